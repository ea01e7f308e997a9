"""A population is a center plus scaled directions, stored or drawn: x_i = center + scale * direction_i."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core.lowrank import Factored, form, is_factored
from evolve.core.perturbation import Direction, Perturbation, numbers, weighted_sum
from evolve.core.refresh import at_least, refresh
from evolve.core.trees import Geometry, Params, take

# Drawn numbers that are kept from `ask` to `tell`: 2^22 (16 MB in single precision) are small beside any network's
# activations.
KEPT = 1 << 22


class Directions(eqx.Module):
    """The directions of all members, in working precision."""

    @property
    def group(self) -> int:
        """How many successive members belong together when a batch is cut."""
        return 1

    @property
    def block(self) -> int | None:
        """How many members are evaluated at once, where their number is not known when compiling."""
        return None

    @property
    def window(self) -> int | None:
        """How many of them, a multiple of the block, are drawn at once."""
        return self.block

    def ahead(self, first: Int[Array, ""], used: Int[Array, ""] | int) -> "Directions":
        """The same, of which a window's are drawn already, as far as they are in use; no others may be asked for."""
        del first, used
        return self

    @abstractmethod
    def one(self, i: Int[Array, ""] | int) -> Direction:
        """Member i's."""

    @abstractmethod
    def batch(self, first: Int[Array, ""] | int, count: int) -> Direction:
        """Those of members first ... first + count - 1, stacked."""

    @abstractmethod
    def combine(self, weights: Float[Array, " n"]) -> Params:
        """sum_i weights_i * direction_i."""


class Derived(Directions):
    """Directions made of others, in whose groups, blocks and windows they come."""

    @property
    @abstractmethod
    def base(self) -> Directions:
        """Those that they are made of."""

    @property
    def group(self) -> int:
        """As of those."""
        return self.base.group

    @property
    def block(self) -> int | None:
        """As of those."""
        return self.base.block

    @property
    def window(self) -> int | None:
        """As of those."""
        return self.base.window


class Stored(Directions):
    """Directions that are kept (CMA-ES, genetic algorithms): a tree with a leading axis of members."""

    tree: Params

    def one(self, i: Int[Array, ""] | int) -> Direction:
        """Row i."""
        return take(self.tree, i)

    def batch(self, first: Int[Array, ""] | int, count: int) -> Direction:
        """`count` rows."""
        return _slice(self.tree, first, count)

    def combine(self, weights: Float[Array, " n"]) -> Params:
        """One matrix-vector product a leaf."""
        return weighted_sum(weights, self.tree)


class StoredPairs(Stored):
    """Stored directions of which each even one has its opposite behind it."""

    @property
    def group(self) -> int:
        """Pairs."""
        return 2


class Drawn(Directions):
    """Directions that are a pure function of (key, leaf, member), redrawn whenever wanted.

    Few numbers are drawn once instead and handed from `ask` to `tell` (`kept`): drawing costs more than remembering
    them. Which way it goes changes nothing but rounding.
    """

    perturbation: Perturbation
    key: PRNGKeyArray
    geometry: Geometry
    kept: Direction | None

    @classmethod
    def of(cls, perturbation: Perturbation, key: PRNGKeyArray, geometry: Geometry, size: int) -> "Drawn":
        """The directions of `size` members, kept if they are few numbers altogether."""
        few = numbers(perturbation, geometry.like) * size <= KEPT
        return cls(perturbation, key, geometry, perturbation.batch(key, 0, size, geometry.like) if few else None)

    @property
    def group(self) -> int:
        """The perturbation's: 2 for antithetic pairs."""
        return self.perturbation.group

    def one(self, i: Int[Array, ""] | int) -> Direction:
        """Drawn alone."""
        if self.kept is not None:
            return take(self.kept, i)
        return self.perturbation.direction(self.key, i, self.geometry.like)

    def batch(self, first: Int[Array, ""] | int, count: int) -> Direction:
        """Drawn together."""
        if self.kept is not None:
            return _slice(self.kept, first, count)
        return self.perturbation.batch(self.key, first, count, self.geometry.like)

    def combine(self, weights: Float[Array, " n"]) -> Params:
        """Redrawn a few at a time."""
        if self.kept is not None:
            return self.perturbation.weigh(weights, self.kept)
        return self.perturbation.combine(self.key, weights, self.geometry.like)


class Population(eqx.Module):
    """What `ask` returns: `size` members, of which none need be formed.

    center
        The tree that all members share, in working precision; None where members are stored whole.
    scale
        The distance of a direction of unit length, a positive scalar.
    directions
        `Stored` or `Drawn`.
    key
        The key that `ask` was given, for whatever `tell` decides by chance (Metropolis acceptance, say).
    count
        How many of the members are in use, the first ones; all of them where it is None.
    repeats
        How often each member is evaluated, every time with noise of its own: its loss is the mean. Where it is None,
        once, with noise as the problem has it.
    """

    center: Params | None
    scale: Float[Array, ""]
    directions: Directions
    key: PRNGKeyArray
    geometry: Geometry
    size: int = eqx.field(static=True)
    count: Int[Array, ""] | None = None
    repeats: Int[Array, ""] | None = None

    @property
    def used(self) -> Int[Array, ""] | int:
        """Members that are evaluated."""
        return self.size if self.count is None else self.count

    @property
    def in_use(self) -> Bool[Array, " size"]:
        """Which members they are."""
        return jnp.arange(self.size) < self.used

    @property
    def few(self) -> int:
        """How many members come first where a population may grow: what is done for a small one is done for these."""
        return self.size if self.count is None else min(self.size, 8 * self.least)

    def brief(self, function: Callable[..., Any], each: Any, *others: Any) -> Any:
        """`function(each, *others)`, where few members are in use with what is known of each cut to few.

        It must not mind further entries: a small population of one that may grow should not cost what the largest
        does. It closes over no traced number.
        """
        if self.few == self.size:
            return function(each, *others)

        def cut(operand: Any) -> Any:
            return function(jax.tree.map(lambda leaf: leaf[: self.few], operand[0]), *operand[1])

        short = jnp.asarray(self.used > self.few, jnp.int32)
        return at_least(short, [cut, lambda operand: function(operand[0], *operand[1])], (each, others))

    @property
    def evaluations(self) -> Int[Array, ""] | int:
        """What they cost."""
        return self.used if self.repeats is None else self.used * self.repeats

    @property
    def least(self) -> int:
        """What a generation costs at least, in evaluations."""
        return self.directions.block or self.size

    @classmethod
    def of(cls, members: Params, geometry: Geometry, key: PRNGKeyArray) -> "Population":
        """Members stored whole: a tree with a leading axis of members."""
        size = jax.tree.leaves(members)[0].shape[0]
        return cls(None, jnp.ones(()), Stored(members), key, geometry, size)

    def member(self, i: Int[Array, ""] | int) -> Params:
        """Member i, formed, in the user's dtypes."""
        return self.place(form(self.directions.one(i)))

    def member_if(self, wanted: Bool[Array, ""], i: Int[Array, ""], other: Params) -> Params:
        """Member i where it is wanted, else the other tree; only what is wanted is drawn."""

        def member(operand: Any) -> Params:
            population, i = operand
            return jax.tree.map(lambda new, old: new.astype(old.dtype), population.member(i), other)

        return refresh(wanted, member, (self, i), other)

    def members(self, count: int | None = None) -> Params:
        """The first members, all by default, formed, with a leading axis: memory grows with members x parameters.

        Those that are not in use may be anything; where all are asked for, `in_use` tells them.
        """
        directions = form(self.directions.batch(0, self.size if count is None else count))
        return jax.vmap(self.place)(directions)

    @property
    def stored(self) -> Params:
        """The tree of stored directions, for the `learn` of a method whose `ask` stored them.

        Raises
        ------
        TypeError
            The directions are drawn: the population comes from another method's `ask`.
        """
        return stored(self.directions)

    def combine(self, weights: Float[Array, " size"]) -> Params:
        """sum_i weights_i * direction_i, in working precision, without forming all of them."""
        return self.directions.combine(weights)

    def place(self, direction: Direction) -> Params:
        """Center + scale * direction in the user's dtypes; low-rank matrices stay lazy (`Perturbed`)."""
        if self.center is None:
            return self.geometry.cast(direction)
        structure, dtypes = self.geometry.structure, self.geometry.dtypes
        centers = structure.flatten_up_to(self.center)
        moves = jax.tree.leaves(direction, is_leaf=is_factored)
        each = zip(centers, moves, dtypes, strict=True)
        return structure.unflatten([_add(center, self.scale, move, dtype) for center, move, dtype in each])


def stored(directions: Directions) -> Params:
    """The tree of stored directions.

    Raises
    ------
    TypeError
        They are drawn.
    """
    if not isinstance(directions, Stored):
        raise TypeError("tell: this population's directions are drawn, not stored; it is not from this optimizer.")
    return directions.tree


def _add(center: Array, scale: Float[Array, ""], move: Any, dtype: Any) -> Any:
    """One leaf of `place`. The sum is taken in working precision, then rounded once."""
    if isinstance(move, Factored) and len(move.shape) == 2:
        with jax.ensure_compile_time_eval():  # whatever a module computes when it is imported is no part of this trace
            from evolve.core.perturbed import Perturbed
        left = move.left * scale.astype(move.left.dtype)
        return Perturbed(center.astype(dtype), left.astype(dtype), move.right.astype(dtype))
    formed = move.form() if isinstance(move, Factored) else move
    return (center + scale.astype(center.dtype) * formed).astype(dtype)


def _slice(tree: Any, first: Int[Array, ""] | int, count: int) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, count), tree)
