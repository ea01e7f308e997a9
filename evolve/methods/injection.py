"""Members from elsewhere in a population of CMA-ES (Hansen 2011, arXiv:1110.4181), and the best one kept among them."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evolve.core.population import Population
from evolve.core.trees import Params, select
from evolve.methods.colored import White


class Elite(eqx.Module):
    """The best member so far."""

    vector: Float[Array, " n"]
    loss: Float[Array, ""]  # infinite before there is one

    @classmethod
    def none(cls, mean: Float[Array, " n"]) -> "Elite":
        """Nothing is evaluated yet."""
        return cls(mean, jnp.full((), jnp.inf, mean.dtype))

    def after(self, population: Population, losses: Float[Array, " size"]) -> "Elite":
        """With one more generation."""
        place = jnp.argmin(losses)
        found = Elite(population.geometry.ravel(population.member(place)), losses[place].astype(self.loss.dtype))
        return select(found.loss < self.loss, found, self)


def among(elite: Elite, state: Any, population: Population, losses: Float[Array, " size"]) -> tuple[Population, Array]:
    """The elite in the place of the worst member, where it is better than all."""
    place = jnp.argmax(losses)
    member = jax.tree.map(lambda leaf: leaf[None], population.geometry.unravel(elite.vector))
    wanted = elite.loss < jnp.min(losses)
    changed = injected(state, population, member, place).directions
    directions = select(wanted, changed, population.directions)
    told = jnp.where(wanted, losses.at[place].set(elite.loss.astype(losses.dtype)), losses)
    return dataclasses.replace(population, directions=directions), told


def injected(state: Any, population: Population, members: Params, place: Int[Array, ""] | int) -> Population:
    """The population with these members, a tree with a leading axis, from a place on.

    One that lies farther than a drawn member ever would is moved towards the mean, to c_y = sqrt(n) + 2n / (n + 2)
    standard deviations (Hansen 2011), lest it alone decide on the shape.
    """
    geometry = state.geometry
    y = (jax.vmap(geometry.ravel)(members) - state.mean) / state.sigma
    z, n = state.shape.whiten(y), y.shape[1]
    length = jnp.linalg.norm(z, axis=1, keepdims=True)
    factor = jnp.minimum(1.0, (math.sqrt(n) + 2 * n / (n + 2)) / jnp.where(length > 0, length, 1.0))

    def put(rows: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(rows, new.astype(rows.dtype), place, 0)

    tree = jax.tree.map(put, population.stored, jax.vmap(geometry.unravel)(factor * y))
    kept = dataclasses.replace(population.directions, tree=tree)
    if isinstance(kept, White):
        kept = dataclasses.replace(kept, white=put(kept.white, factor * z))
    return dataclasses.replace(population, directions=kept)
