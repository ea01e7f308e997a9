"""Losses to weights: centered ranks, z-scores, elite weights, raw differences.

A shaping is a function of the losses, shape (n,), non-finite for failed members. It returns weights, shape (n,), such
that `combine(weights) / scale` points uphill: a member with a high loss has a high weight. Tied members share
the mean of their places' weights, and a failed member ranks worst.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evolve.core.checks import check_between

_FEW = 32  # losses that are compared each with each
Shaping: TypeAlias = Callable[[Float[Array, " n"]], Float[Array, " n"]]


def sort(losses: Float[Array, " n"]) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Who is best, second best, ..., and the losses in that order; failed members come last, at infinity."""
    losses = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
    order = jnp.argsort(losses)
    return order, losses[order]


def by_rank(losses: Float[Array, " n"], table: Float[Array, " n"], count: Any = None) -> Float[Array, " n"]:
    """Give the member of rank r (best first) the weight `table[r]`; ties share the mean of theirs.

    Sorting decides, so any strictly increasing transformation of the losses leaves the weights bit-identical.
    A failed member ranks worst. Of a population of which only the first `count` members are in use, the others' losses
    are infinite, and they tie with nobody. O(n log n).
    """
    size = losses.shape[0]
    if size <= _FEW:
        return _by_comparison(losses, table, count)
    order, ranked = sort(losses)
    new = ranked[1:] != ranked[:-1]
    if count is not None:
        new |= jnp.arange(1, size) == count  # sorting is stable: of the infinite losses, those in use come first
    tie = jnp.cumsum(jnp.concatenate([jnp.zeros(1, jnp.int32), new.astype(jnp.int32)]))
    count = jax.ops.segment_sum(jnp.ones_like(table), tie, size)
    total = jax.ops.segment_sum(table, tie, size)
    return jnp.zeros_like(table).at[order].set((total / jnp.maximum(count, 1))[tie])


def _by_comparison(losses: Float[Array, " n"], table: Float[Array, " n"], count: Any) -> Float[Array, " n"]:
    """The same of few losses, each compared with each: all in one step, where a sort takes a dozen."""
    losses = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
    places = jnp.arange(losses.shape[0])
    used = places < (losses.shape[0] if count is None else count)
    better, equal = ((compare(losses, losses[:, None]) & used).sum(1)[:, None] for compare in (jnp.less, jnp.equal))
    shared = (better <= places) & (places < better + equal)
    return jnp.where(used, jnp.sum(jnp.where(shared, table, 0.0), axis=1) / jnp.maximum(equal[:, 0], 1), 0.0)


def recombination(losses: Float[Array, " n"], table: Float[Array, " n"], count: Any = None) -> Float[Array, " n"]:
    """`by_rank` for a table whose positive weights attract: a failed member attracts nothing.

    The others share what it would have had, so the positive weights keep their sum.
    """
    weights = by_rank(losses, table, count)
    failed = ~jnp.isfinite(losses)
    kept = jnp.where(failed, jnp.minimum(weights, 0), weights)
    left = jnp.sum(jnp.maximum(kept, 0))
    gain = jnp.where(jnp.any(failed), jnp.sum(jnp.maximum(weights, 0)) / _or_one(left), 1.0)
    return jnp.where(kept > 0, kept * gain, kept)


def centered_ranks(losses: Float[Array, " n"]) -> Float[Array, " n"]:
    """Ranks from -1/2, the best, to 1/2, divided by n; a NaN ranks worst (Salimans et al. 2017, section 2.1).

    Every shaping here is divided by n: the sum over the population is then a mean.
    """
    size = losses.shape[0]
    return by_rank(losses, jnp.linspace(-0.5, 0.5, size, dtype=losses.dtype)) / size


def z_score(losses: Float[Array, " n"]) -> Float[Array, " n"]:
    """(loss - mean) / standard deviation / n over the members that did not fail; a failed member weighs nothing."""
    share = jnp.isfinite(losses).astype(losses.dtype)
    return _standardized(losses, share) / jnp.maximum(jnp.sum(share), 1)


def difference(losses: Float[Array, " n"]) -> Float[Array, " n"]:
    """Raw losses / n, the finite-difference estimate (Spall 1992, eq. 2.2; Malladi et al. 2023, definition 1).

    With antithetic pairs `combine` takes the difference within each pair, and a pair of which one failed weighs
    nothing: half a difference is no estimate.
    """
    ok = jnp.isfinite(losses)
    return jnp.where(ok, losses, 0.0) / jnp.maximum(jnp.sum(ok), 1)


class Elite(eqx.Module):
    """The best `fraction` of the population, weighed by log-rank (Hansen 2016, eq. 49); the others weigh nothing."""

    fraction: float = eqx.field(static=True, default=0.5)

    def __check_init__(self) -> None:
        check_between(self, 0, 1, schedules=False, above=True, fraction=self.fraction)

    def __call__(self, losses: Float[Array, " n"]) -> Float[Array, " n"]:
        """Weights <= 0 that sum to -1: following them downhill moves to the mean of the elite."""
        size = losses.shape[0]
        parents = max(1, int(size * self.fraction + 1e-9))  # 0.29 of 100 is 28.999999999999996
        places = jnp.arange(1, size + 1, dtype=losses.dtype)
        raw = jnp.where(places <= parents, jnp.log(parents + 0.5) - jnp.log(places), 0.0)
        return -recombination(losses, raw / jnp.sum(raw))


class TopPairs(eqx.Module):
    """The differences of the best `fraction` of the pairs, over the standard deviation of their losses.

    A pair is as good as its better half (Mania et al. 2018, arXiv:1803.07055, algorithm 2, steps 5 to 7). Tied pairs
    share their places, and a failed pair weighs nothing. Pairs are successive members, as `Antithetic` draws them.
    """

    fraction: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        check_between(self, 0, 1, schedules=False, above=True, fraction=self.fraction)

    def __call__(self, losses: Float[Array, " n"]) -> Float[Array, " n"]:
        """(loss - mean) / standard deviation / number of pairs, over the losses of the pairs that count."""
        if losses.shape[0] % 2:
            raise ValueError(f"TopPairs: {losses.shape[0]} losses are no pairs; use it with Antithetic(...).")
        pairs = losses.reshape(-1, 2)
        ok = jnp.all(jnp.isfinite(pairs), axis=1)
        best = jnp.where(ok, jnp.min(pairs, axis=1), jnp.inf)
        count = max(1, int(ok.shape[0] * self.fraction + 1e-9))
        places = (jnp.arange(ok.shape[0]) < count).astype(losses.dtype)
        share = jnp.where(ok, by_rank(best, places), 0.0)
        each = jnp.repeat(share, 2)
        return _standardized(losses, each) * each / _or_one(jnp.sum(share))


def _standardized(losses: Float[Array, " n"], share: Float[Array, " n"]) -> Float[Array, " n"]:
    """(loss - mean) / standard deviation, by members' shares; 0 where there is none.

    Distances from the best: exactly zero where all are equal, while a mean rounds and leaves noise to be magnified.
    Halved and then divided by the largest, neither they nor their squares overflow.
    """
    ok = share > 0
    total = _or_one(jnp.sum(share))
    above = jnp.where(ok, losses / 2 - jnp.min(losses, where=ok, initial=jnp.inf) / 2, 0.0)
    above = above / _or_one(jnp.max(above))
    centered = jnp.where(ok, above - jnp.sum(share * above) / total, 0.0)
    return centered / _or_one(jnp.sqrt(jnp.sum(share * centered**2) / total))


def _or_one(divisor: Float[Array, ""]) -> Float[Array, ""]:
    """What to divide by: zero becomes one, for a flat generation has no direction."""
    return jnp.where(divisor > 0, divisor, 1.0)
