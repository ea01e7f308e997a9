"""Members from elsewhere in a population of CMA-ES (Hansen 2011, arXiv:1110.4181), and the best one kept among them."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evolve.core.perturbation import Direction
from evolve.core.population import Derived, Directions, Population, Stored
from evolve.core.trees import Geometry, Params, as_arrays, select, take


class Injected(Derived):
    """Those of another population, but for some members in a row that come from elsewhere."""

    inner: Directions
    rows: Stored  # finite
    sound: Bool[Array, " count"]  # of which rows so; else the drawn member stays in its place
    first: Int[Array, ""] | int  # the number of the member in whose place the first row is

    @property
    def base(self) -> Directions:
        """The inner ones."""
        return self.inner

    def ahead(self, first: Int[Array, ""], used: Int[Array, ""] | int) -> "Injected":
        """Of those that are not from elsewhere a window's, drawn already."""
        return dataclasses.replace(self, inner=self.inner.ahead(first, used))

    def one(self, i: Int[Array, ""] | int) -> Direction:
        """The member's own, or the row in its place."""
        return select(self._here(jnp.asarray(i)), self._rows(jnp.asarray(i)), self.inner.one(i))

    def batch(self, first: Int[Array, ""] | int, count: int) -> Direction:
        """The members' own, and the rows in the place of some."""
        places = first + jnp.arange(count)
        own, rows = self.inner.batch(first, count), self._rows(places)
        return jax.vmap(select)(self._here(places), rows, own)

    def combine(self, weights: Float[Array, " n"]) -> Params:
        """Each sum alone."""
        own, theirs = self.divided(weights)
        return jax.tree.map(jnp.add, self.inner.combine(own), self.rows.combine(theirs))

    def foreign(self, i: Int[Array, "*any"]) -> Bool[Array, "*any"]:
        """Which members come from elsewhere."""
        return self._here(i) | self.inner.foreign(i) if isinstance(self.inner, Injected) else self._here(i)

    def divided(self, weights: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " count"]]:
        """The weights of the inner members, zero where there is a row in their place, and of the rows."""
        theirs = weights.at[self.first + jnp.arange(len(self.sound))].get(mode="fill", fill_value=0)
        return jnp.where(self._here(jnp.arange(len(weights))), 0, weights), jnp.where(self.sound, theirs, 0)

    def _here(self, i: Int[Array, "*any"]) -> Bool[Array, "*any"]:
        inside = (i >= self.first) & (i < self.first + len(self.sound))
        return inside & self.sound[self._row(i)]

    def _rows(self, i: Int[Array, "*any"]) -> Direction:
        return take(self.rows.tree, self._row(i))

    def _row(self, i: Int[Array, "*any"]) -> Int[Array, "*any"]:
        return jnp.clip(i - self.first, 0, len(self.sound) - 1)


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
        place, loss = population.brief(lambda losses: (jnp.argmin(losses), jnp.min(losses)), losses)
        better, loss = loss < self.loss, loss.astype(self.loss.dtype)
        geometry = population.geometry
        member = population.member_if(better, place, geometry.unravel(self.vector))
        return Elite(geometry.ravel(member), jnp.where(better, loss, self.loss))


def among(elite: Elite, state: Any, population: Population, losses: Float[Array, " size"]) -> tuple[Population, Array]:
    """The elite in the place of the worst member, where it is better than all."""

    def ends(losses: Array, used: Any) -> tuple[Array, Array]:
        return jnp.argmax(jnp.where(jnp.arange(len(losses)) < used, losses, -jnp.inf)), jnp.min(losses)

    worst, best = population.brief(ends, losses, population.used)
    wanted = elite.loss < best
    member = jax.tree.map(lambda leaf: leaf[None], population.geometry.unravel(elite.vector))
    told = jnp.where(wanted, losses.at[worst].set(elite.loss.astype(losses.dtype)), losses)
    return injected(state, population, member, jnp.where(wanted, worst, population.size)), told


def injected(state: Any, population: Population, members: Params, place: Int[Array, ""] | int) -> Population:
    """The population with these members, a tree with a leading axis, from a place on; beyond the last one, as it is.

    One that lies farther than a drawn member ever would is moved towards the mean, to c_y = sqrt(n) + 2n / (n + 2)
    standard deviations (Hansen 2011), lest it alone decide on the shape. One that is not finite is left out.
    """
    geometry, n = state.geometry, state.geometry.size
    offset = jax.vmap(geometry.ravel)(members) - state.mean
    sound = jnp.all(jnp.isfinite(offset), axis=1)
    # In units of its longest coordinate no square overflows.
    longest = jnp.max(jnp.abs(offset), axis=1, keepdims=True)
    unit = jnp.where(sound[:, None] & (longest > 0), offset / jnp.where(longest > 0, longest, 1.0), 0.0)
    length = jnp.linalg.norm(state.shape.whiten(unit), axis=1, keepdims=True)
    most = (math.sqrt(n) + 2 * n / (n + 2)) / jnp.where(length > 0, length, 1.0)
    rows = unit * jnp.where(sound[:, None], jnp.minimum(longest / state.sigma, most), 0.0)
    stored = Stored(jax.vmap(geometry.unravel)(rows))
    return dataclasses.replace(population, directions=Injected(population.directions, stored, sound, place))


def already(directions: Directions) -> int:
    """How many members from elsewhere there are."""
    return len(directions.sound) + already(directions.inner) if isinstance(directions, Injected) else 0


def fitting(owner: Any, members: Params, geometry: Geometry, most: int, before: int = 0) -> Params:
    """The members as arrays, after the check that they are members.

    Raises
    ------
    ValueError
        They are no tree like the parameters with a leading axis, none, or with those `before` more than `most`.
    """
    name, members = f"{type(owner).__name__}.inject", as_arrays(members)
    leaves, structure = jax.tree.flatten(members)
    if structure != geometry.structure:
        raise ValueError(
            f"{name}: the members are {structure}, the parameters {geometry.structure}; give a tree alike."
        )
    count = max(leaf.shape[0] if leaf.ndim else 0 for leaf in leaves)
    for leaf, shape in zip(leaves, geometry.shapes, strict=True):
        if count == 0 or leaf.shape != (count, *shape):
            wanted = ", ".join(["count", *map(str, shape)])
            raise ValueError(
                f"{name}: members have shape {leaf.shape}; give ({wanted}{',' * (not shape)}), one or more."
            )
    if before + count > most:
        raise ValueError(f"{name}: there are {before + count} members for a population of {most}.")
    return members
