"""Directions drawn, never kept: a pure function of (key, leaf, member).

A perturbation is a law (normal, Rademacher) times a structure (full, low-rank), varied by wrapping:
`Antithetic(LowRank(1, law=Rademacher()))`. Every coordinate has mean 0 and variance 1, so that
`loss * direction / scale` estimates the gradient whichever is chosen.
"""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_between, check_count, check_kind
from evolve.core.lowrank import Factored, factor_shape, form, is_factored
from evolve.core.trees import Params, take

Direction = Any  # a tree like the parameters; leaves may be `Factored`

# Numbers drawn at once while combining: 2^22 of them (16 MB) keep two cores busy and stay near the caches.
_DRAWN_AT_ONCE = 1 << 22


class Perturbation(eqx.Module):
    """How the members of a population differ from its center.

    `like` is a tree of arrays or `jax.ShapeDtypeStruct`s in float32 or float64.
    """

    @property
    def group(self) -> int:
        """How many successive members are drawn together: 2 for antithetic pairs."""
        return 1

    @abstractmethod
    def direction(self, key: PRNGKeyArray, i: Int[Array, ""] | int, like: Params) -> Direction:
        """Member i's direction. It depends on (key, leaf, i) alone: not on population, chunk or device."""

    def batch(self, key: PRNGKeyArray, first: Int[Array, ""] | int, count: int, like: Params) -> Direction:
        """The directions of members first ... first + count - 1, stacked; both are multiples of `group`."""
        return jax.vmap(lambda i: self.direction(key, i, like))(first + jnp.arange(count))

    def combine(self, key: PRNGKeyArray, weights: Float[Array, " n"], like: Params) -> Params:
        """sum_i weights_i * direction_i, redrawing a few at a time. Costs O(n * size) time, O(size) memory."""
        size = weights.shape[0]
        pieces = math.ceil(size / max(1, _DRAWN_AT_ONCE // numbers(self, like)))
        count = math.ceil(size / pieces / self.group) * self.group
        pieces = math.ceil(size / count)
        weights = jnp.pad(weights, (0, pieces * count - size)).reshape(pieces, count)

        def piece(total: Params, k: Int[Array, ""]) -> tuple[Params, None]:
            batch = self.batch(key, k * count, count, like)
            return jax.tree.map(jnp.add, total, weighted_sum(weights[k], batch)), None

        if pieces == 1:
            return weighted_sum(weights[0], self.batch(key, 0, count, like))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return jax.lax.scan(piece, zeros, jnp.arange(pieces))[0]

    def weigh(self, weights: Float[Array, " n"], batch: Direction) -> Params:
        """sum_i weights_i * direction_i of directions that were kept."""
        return weighted_sum(weights, batch)


def numbers(perturbation: Perturbation, like: Params) -> int:
    """How many numbers one direction is made of."""
    drawn = jax.eval_shape(lambda: perturbation.direction(jax.random.key(0), 0, like))
    return max(1, sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(drawn)))


def weighted_sum(weights: Float[Array, " n"], batch: Direction) -> Params:
    """sum_i weights_i * direction_i of stacked directions; a low-rank sum is one matrix product."""

    def leaf_sum(leaf: Any) -> Array:
        if not is_factored(leaf):
            return jnp.tensordot(weights.astype(leaf.dtype), leaf, 1)
        left = leaf.left * weights.astype(leaf.left.dtype)[:, None, None]
        return jnp.einsum("imr,inr->mn", left, leaf.right).reshape(leaf.shape)

    return jax.tree.map(leaf_sum, batch, is_leaf=is_factored)


class Law(Perturbation):
    """A full perturbation: independent coordinates from one distribution of mean 0 and variance 1."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw an array."""

    def direction(self, key: PRNGKeyArray, i: Int[Array, ""] | int, like: Params) -> Direction:
        """Every coordinate drawn."""
        return _each_leaf(lambda k, leaf: self.sample(k, leaf.shape, leaf.dtype), key, i, like)


class Gaussian(Law):
    """Standard normal coordinates."""

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw from N(0, 1)."""
        return draws.materialized(key, shape, dtype)


class Rademacher(Law):
    """Coordinates +1 or -1 with equal chance; one random bit each."""

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw signs, 32 from one word."""
        size = math.prod(shape)
        words = draws.bits(key, (-(-size // 32),))
        bits = (words[:, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
        return (2 * bits.reshape(-1)[:size].astype(dtype) - 1).reshape(shape)


class LowRank(Perturbation):
    """Matrices of rank `rank`: A B^T / sqrt(rank) with A, B from a law (Sarkar et al. 2025, EGGROLL, section 4).

    A leaf of more than two axes is taken as the matrix (all but the last axis) x (the last). Vectors,
    scalars and matrices that the factors would not make smaller are drawn in full.
    Evaluating and combining cost O(rank * (m + n)) numbers a member instead of m * n.
    """

    rank: int = eqx.field(static=True, default=1)
    law: Law = Gaussian()

    def __check_init__(self) -> None:
        check_count(self, 1, rank=self.rank)
        check_kind(self, Law, "give Gaussian() or Rademacher()", law=self.law)

    def direction(self, key: PRNGKeyArray, i: Int[Array, ""] | int, like: Params) -> Direction:
        """Factors for matrices, full draws for the rest."""
        return _each_leaf(self._leaf, key, i, like)

    def _leaf(self, key: PRNGKeyArray, leaf: Any) -> Any:
        rows, columns = factor_shape(leaf.shape) if leaf.ndim >= 2 else (1, 1)
        if self.rank * (rows + columns) >= rows * columns:
            return self.law.sample(key, leaf.shape, leaf.dtype)
        factors = self.law.sample(key, (rows + columns, self.rank), leaf.dtype)
        # sqrt(rank): keeps the variance of A @ B.T at one for every rank
        return Factored(factors[:rows] / math.sqrt(self.rank), factors[rows:], leaf.shape)


class Antithetic(Perturbation):
    """Pairs: members 2j and 2j + 1 get +d_j and -d_j of the inner perturbation (two-sided differences)."""

    inner: Perturbation = Gaussian()

    def __check_init__(self) -> None:
        check_kind(self, Perturbation, "give Gaussian(), say", inner=self.inner)

    @property
    def group(self) -> int:
        """Two, times the inner one's."""
        return 2 * self.inner.group

    def direction(self, key: PRNGKeyArray, i: Int[Array, ""] | int, like: Params) -> Direction:
        """Plus or minus the pair's direction."""
        sign = 1 - 2 * (i % 2)
        drawn = self.inner.direction(key, i // 2, like)
        return _on_left(lambda leaf: leaf * jnp.asarray(sign, leaf.dtype), lambda leaf: leaf, drawn)

    def batch(self, key: PRNGKeyArray, first: Int[Array, ""] | int, count: int, like: Params) -> Direction:
        """Draw each pair once."""

        def pairs(leaf: Array, sign: int) -> Array:
            return jnp.stack([leaf, sign * leaf], axis=1).reshape(count, *leaf.shape[1:])

        drawn = self.inner.batch(key, first // 2, count // 2, like)
        return _on_left(lambda leaf: pairs(leaf, -1), lambda leaf: pairs(leaf, 1), drawn)

    def combine(self, key: PRNGKeyArray, weights: Float[Array, " n"], like: Params) -> Params:
        """One direction a pair, weighed by the pair's difference."""
        return self.inner.combine(key, weights[0::2] - weights[1::2], like)

    def weigh(self, weights: Float[Array, " n"], batch: Direction) -> Params:
        """As `combine`: equal losses cancel before anything is rounded."""
        return self.inner.weigh(weights[0::2] - weights[1::2], take(batch, slice(None, None, 2)))


class Sparse(Perturbation):
    """Each coordinate kept with chance `fraction`, else zero, then divided by sqrt(fraction): variance stays 1.

    Low-rank leaves are formed: a masked matrix is not low-rank.
    """

    fraction: float
    inner: Perturbation = Gaussian()

    def __check_init__(self) -> None:
        check_between(self, 0, 1, schedules=False, above=True, fraction=self.fraction)
        check_kind(self, Perturbation, "give Gaussian(), say", inner=self.inner)
        if self.inner.group != 1:
            raise ValueError("Sparse: masks must not differ within a pair; write Antithetic(Sparse(...)) instead.")

    def direction(self, key: PRNGKeyArray, i: Int[Array, ""] | int, like: Params) -> Direction:
        """The inner direction under a mask of its own stream."""
        values, masks = draws.split(key)

        def mask(k: PRNGKeyArray, leaf: Any) -> Array:
            fraction = jnp.asarray(self.fraction, leaf.dtype)
            return (draws.uniform(k, leaf.shape, leaf.dtype) < fraction).astype(leaf.dtype) / jnp.sqrt(fraction)

        drawn = form(self.inner.direction(values, i, like))
        return jax.tree.map(jnp.multiply, drawn, _each_leaf(mask, masks, i, like))


def _each_leaf(draw: Any, key: PRNGKeyArray, i: Int[Array, ""] | int, like: Params) -> Direction:
    """Call `draw(key, leaf)` with a key of each leaf's and member's own: same-shaped leaves never share noise."""
    leaves, structure = jax.tree.flatten(like)
    keys = [draws.fold_in(draws.fold_in(key, number), i) for number in range(len(leaves))]
    return structure.unflatten([draw(k, leaf) for k, leaf in zip(keys, leaves, strict=True)])


def _on_left(signed: Any, plain: Any, tree: Direction) -> Direction:
    """Apply `signed` to full leaves and left factors, `plain` to right factors: a sign belongs on one factor only."""

    def leaf_map(leaf: Any) -> Any:
        if is_factored(leaf):
            return Factored(signed(leaf.left), plain(leaf.right), leaf.shape)
        return signed(leaf)

    return jax.tree.map(leaf_map, tree, is_leaf=is_factored)
