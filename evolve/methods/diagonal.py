"""A normal distribution with a standard deviation for each coordinate, drawn and never stored (SNES, PGPE)."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.lowrank import form
from evolve.core.perturbation import Direction, Perturbation, weighted_sum
from evolve.core.population import Directions, Drawn, Population, Stored, stored
from evolve.core.trees import Geometry, Params
from evolve.methods.colored import Colored, Growth
from evolve.methods.nes import in_range
from evolve.methods.stopping import Spread, Tolerances
from evolve.methods.watch import Watch, watched


class Scaled(Perturbation):
    """The inner perturbation, each coordinate times a number of its own. Low-rank leaves are formed."""

    inner: Perturbation
    scales: Params

    @property
    def group(self) -> int:
        """The inner one's."""
        return self.inner.group

    def direction(self, key: PRNGKeyArray, i: Int[Array, ""] | int, like: Params) -> Direction:
        """Drawn, then scaled."""
        return jax.tree.map(jnp.multiply, form(self.inner.direction(key, i, like)), self.scales)

    def batch(self, key: PRNGKeyArray, first: Int[Array, ""] | int, count: int, like: Params) -> Direction:
        """Drawn together, then scaled."""
        return jax.tree.map(jnp.multiply, form(self.inner.batch(key, first, count, like)), self.scales)

    def combine(self, key: PRNGKeyArray, weights: Float[Array, " n"], like: Params) -> Params:
        """Scaled once, after the sum."""
        return jax.tree.map(jnp.multiply, self.inner.combine(key, weights, like), self.scales)

    def weigh(self, weights: Float[Array, " n"], batch: Direction) -> Params:
        """The inner one's: what it knows of pairs holds for scaled ones too."""
        return self.inner.weigh(weights, batch)


class Squared(Perturbation):
    """The squares of the inner perturbation's coordinates; `weigh` takes those that are not squared yet."""

    inner: Perturbation

    @property
    def group(self) -> int:
        """The inner one's."""
        return self.inner.group

    def direction(self, key: PRNGKeyArray, i: Int[Array, ""] | int, like: Params) -> Direction:
        """Drawn, then squared."""
        return _squares(self.inner.direction(key, i, like))

    def batch(self, key: PRNGKeyArray, first: Int[Array, ""] | int, count: int, like: Params) -> Direction:
        """Drawn together, then squared."""
        return _squares(self.inner.batch(key, first, count, like))

    def weigh(self, weights: Float[Array, " n"], batch: Direction) -> Params:
        """Squared, then summed."""
        return weighted_sum(weights, _squares(batch))


class Scales(eqx.Module):
    """N(0, diag(scales^2)) over flat vectors."""

    keeps_white: ClassVar[bool] = True

    scales: Float[Array, " n"]

    def color(self, z: Float[Array, "many n"]) -> Float[Array, "many n"]:
        """D z."""
        return z * self.scales


class Diagonal(eqx.Module):
    """N(center, diag(sigma^2)): two trees in working precision.

    Directions are redrawn for every sum over them, unless they are few: memory is O(size), whatever the population. Of
    one that may grow, a window is kept.
    """

    center: Params
    sigma: Params
    geometry: Geometry
    watch: Watch | None = None  # None where nothing stops the method
    growth: Growth | None = None  # None where the population is the optimizer's own

    @classmethod
    def around(cls, geometry: Geometry, center: Params, sigma: Any, growth: Growth | None = None) -> "Diagonal":
        """The isotropic one around a tree in working precision."""
        return cls(center, jax.tree.map(lambda leaf: jnp.full_like(leaf, sigma), center), geometry, growth=growth)

    def watching(self, tolerances: Tolerances | None, size: int) -> "Diagonal":
        """With what stopping needs to remember of populations of this size."""
        if tolerances is None:
            return self
        mean, deviations = (self.geometry.ravel(tree) for tree in (self.center, self.sigma))
        return dataclasses.replace(self, watch=Watch.start(tolerances, mean, deviations, size))

    def population(self, inner: Perturbation, key: PRNGKeyArray, size: int) -> Population:
        """Members along the inner perturbation's directions."""
        scale, relative = self._axes()
        if self.growth is not None:
            scales = Scales(self.geometry.ravel(relative))
            return self.growth.population(self.center, scale, scales, key, self.geometry)
        directions = Drawn.of(Scaled(inner, relative), key, self.geometry, size)
        return Population(self.center, scale, directions, key, self.geometry, size)

    def moments(
        self, population: Population, weights: Float[Array, " size"], others: Float[Array, " size"]
    ) -> tuple[Params, Params]:
        """sum_i weights_i z_i and sum_i others_i z_i^2, z the members' distances from the center in deviations."""
        drawn, geometry = population.directions, self.geometry
        if not isinstance(drawn, Colored):
            first = jax.tree.map(jnp.divide, population.combine(weights), self._axes()[1])
            return first, self._second(drawn, others)
        sums = drawn.total(population.used, (weights, others), lambda shape, y, z, one, two: (one @ z, two @ z**2))
        first, second = (geometry.working(geometry.unravel(total)) for total in sums)
        return first, second

    def _second(self, drawn: Directions, weights: Float[Array, " size"]) -> Params:
        if isinstance(drawn, Drawn):
            drawn = Drawn(Squared(drawn.perturbation), drawn.key, drawn.geometry, drawn.kept)
        else:
            drawn = Stored(_squares(stored(drawn)))
        return jax.tree.map(lambda total, axis: total / axis**2, drawn.combine(weights), self._axes()[1])

    def moved(self, center: Params, factors: Params) -> "Diagonal":
        """Around another center, each standard deviation times its factor.

        None falls below eps^2 of the largest: its squares must not underflow where others set the scale.
        """
        sigma = jax.tree.map(lambda sd, factor: in_range(sd * factor), self.sigma, factors)
        longest = _largest(sigma)
        least = jax.tree.map(lambda sd: longest.astype(sd.dtype) * jnp.finfo(sd.dtype).eps ** 2, sigma)
        return dataclasses.replace(self, center=center, sigma=jax.tree.map(jnp.maximum, sigma, least))

    def told(self, tolerances: Tolerances | None, population: Population, losses: Float[Array, " size"]) -> "Diagonal":
        """What stopping remembers, with the losses that led here."""
        if self.watch is None:
            return self
        watch = watched(self.watch, tolerances, population, losses, self.geometry.ravel(self.center))
        return dataclasses.replace(self, watch=watch)

    @property
    def spread(self) -> Spread:
        """What stopping asks about it."""
        return Spread(*(self.geometry.ravel(tree) for tree in (self.center, self.sigma)))

    def answer(self) -> Params:
        """The center, in the user's dtypes."""
        return self.geometry.cast(self.center)

    def status(self) -> dict[str, Float[Array, ""]]:
        """The geometric mean of the standard deviations, the condition number of the covariance, and the longest."""
        longest, relative = self._axes()
        leaves = [leaf for leaf in jax.tree.leaves(relative) if leaf.size]
        mean = sum(jnp.sum(jnp.log(leaf)) for leaf in leaves) / self.geometry.size
        least = -_largest(jax.tree.map(jnp.negative, relative))
        return {"sigma": longest * jnp.exp(mean), "condition": least**-2, "axis": longest}

    def _axes(self) -> tuple[Float[Array, ""], Params]:
        """The largest standard deviation, and all of them in its unit."""
        longest = _largest(self.sigma)
        return longest, jax.tree.map(lambda sd: sd / longest.astype(sd.dtype), self.sigma)


def _largest(tree: Params) -> Float[Array, ""]:
    return jnp.max(jnp.stack([jnp.max(leaf) for leaf in jax.tree.leaves(tree) if leaf.size]))


def _squares(tree: Direction) -> Params:
    return jax.tree.map(jnp.square, form(tree))
