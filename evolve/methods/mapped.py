"""Members that are evaluated elsewhere than where they were drawn."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evolve.core.lowrank import form
from evolve.core.perturbation import Direction, weighted_sum
from evolve.core.population import Derived, Directions, Population
from evolve.core.trees import Params


class Mapped(Derived):
    """Whole members: images of those of another population under a map of trees, in working precision."""

    inner: Population
    image: Callable[[Params], Params]

    @property
    def base(self) -> Directions:
        """The inner population's."""
        return self.inner.directions

    def ahead(self, first: Int[Array, ""], used: Int[Array, ""] | int) -> "Mapped":
        """Images of what the inner population has drawn."""
        inner = dataclasses.replace(self.inner, directions=self.inner.directions.ahead(first, used))
        return Mapped(inner, self.image)

    def one(self, i: Int[Array, ""] | int) -> Direction:
        """The image of member i."""
        return self.image(self._whole(self.inner.directions.one(i)))

    def batch(self, first: Int[Array, ""] | int, count: int) -> Direction:
        """Images of members, formed."""
        return jax.vmap(lambda direction: self.image(self._whole(direction)))(self.inner.directions.batch(first, count))

    def combine(self, weights: Float[Array, " n"]) -> Params:
        """All of them formed at once."""
        return weighted_sum(weights, self.batch(0, weights.shape[0]))

    def _whole(self, direction: Direction) -> Params:
        """A member in working precision."""
        move = form(direction)
        if self.inner.center is None:
            return move
        return jax.tree.map(lambda c, d: c + self.inner.scale.astype(c.dtype) * d, self.inner.center, move)


def mapped(population: Population, image: Callable[[Params], Params]) -> Population:
    """A population whose members are the images of another's."""
    directions = Mapped(population, image)
    return dataclasses.replace(population, center=None, scale=jnp.ones(()), directions=directions)
