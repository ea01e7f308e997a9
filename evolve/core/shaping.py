"""Losses to weights: centered ranks, z-scores, elite weights, raw differences.

A shaping is a function of the losses, shape (n,), non-finite for failed members. It returns weights, shape (n,), such
that `combine(weights) / scale` points uphill: a member with a high loss has a high weight. Tied members share
the mean of their places' weights, and a failed member ranks worst.

Of a population that may grow only the first members are in use, as many as a second argument, `count`, says; the losses
of the others are infinite, and they weigh nothing. A shaping that is used where nothing grows needs no `count`.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype
from jaxtyping import Array, Float, Int

from evolve.core.checks import check_between

_FEW = 128  # losses that are compared each with each: up to here that costs no more than sorting them
Shaping: TypeAlias = Callable[..., Float[Array, " n"]]


def places(losses: Float[Array, " n"], count: Any = None) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
    """How many members are better than each, and how many, itself included, are as good: a failed one is worst.

    So a member and those that it ties with share the places first, ..., first + tied - 1, counted from 0, best first.
    Of a population of which only the first `count` members are in use, the others' losses are infinite, and they tie
    with nobody, themselves included.
    """
    losses, used = failed_last(losses), jnp.arange(losses.shape[0]) < (losses.shape[0] if count is None else count)
    if losses.shape[0] <= _FEW:
        losses = _formed(losses)
        # As floats, which add up faster than whole numbers.
        each = (compare(losses[:, None], losses) & used[:, None] for compare in (jnp.less, jnp.equal))
        first, tied = (jnp.sum(one, axis=0, dtype=jnp.float32).astype(jnp.int32) for one in each)
    else:
        ranked = jnp.sort(losses)
        first, last = (jnp.searchsorted(ranked, losses, side).astype(jnp.int32) for side in ("left", "right"))
        tied = (last if count is None else jnp.minimum(last, count)) - first
    return first, jnp.where(used, tied, 0)


def _formed(losses: Float[Array, " n"]) -> Float[Array, " n"]:
    """As they are, but in memory: on a CPU XLA would repeat their last steps for each comparison.

    Of a generation of OpenAI-ES with 256 members that was two thirds. It fuses no reduction into what comes after it,
    and a barrier does not last until it fuses.
    """
    return jnp.max(jnp.broadcast_to(losses[:, None], (losses.shape[0], 2)), axis=1)


def failed_last(losses: Float[Array, " n"]) -> Float[Array, " n"]:
    """Those that are not finite at infinity."""
    return jnp.where(jnp.isfinite(losses), losses, jnp.inf)


def ordered(losses: Float[Array, " n"], first: Int[Array, " n"], which: Any) -> Float[Array, " some"]:
    """The losses at these places, best first: of those at or before a place the worst."""
    before = first[:, None] <= jnp.stack([jnp.asarray(place) for place in which])
    return jnp.max(jnp.where(before, failed_last(losses)[:, None], -jnp.inf), axis=0)


def by_rank(losses: Float[Array, " n"], table: Any, count: Any = None) -> Float[Array, " n"]:
    """Give the member of rank r (best first) the weight `table[r]`; ties share the mean of theirs.

    The order decides alone, so any strictly increasing transformation of the losses leaves the weights bit-identical.
    A failed member ranks worst. Of a population of which only the first `count` members are in use, the others' losses
    are infinite, and they weigh nothing. O(n log n); up to 128 members O(n^2), which is no slower.

    Raises
    ------
    ValueError
        The table has another length.
    """
    if losses.shape != table.shape:
        raise ValueError(f"by_rank: a table of {table.shape[0]} weights does not fit {losses.shape[0]} losses.")
    first, tied = places(losses, count)
    total = between(first, first + tied, table)
    return total / jnp.maximum(tied, 1).astype(total.dtype)


def between(first: Int[Array, "*any"], last: Int[Array, "*any"], table: Any) -> Float[Array, "*any"]:
    """The sum of a table's entries first, ..., last - 1, as differences of sums from its beginning.

    Those are known when compiling where the table is NumPy's. What rounding has cost them is kept beside them, so that
    a difference is exact to the rounding of the whole sum, twice over; entries are finite.
    """
    if isinstance(table, np.ndarray):
        exact = np.cumsum(np.append(np.zeros(1, table.dtype), table), dtype=np.longdouble)
        high = exact.astype(canonicalize_dtype(table.dtype))
        sums = jnp.asarray(np.stack([high, (exact - high).astype(high.dtype)]))
    else:
        high = jnp.cumsum(jnp.append(jnp.zeros(1, table.dtype), table))
        sums = jnp.stack([high, jnp.cumsum(jnp.append(jnp.zeros(1, table.dtype), table - jnp.diff(high)))])
    begin, end = (sums.at[:, place].get(mode="clip") for place in (first, last))
    return jnp.sum(end - begin, axis=0)


def recombination(losses: Float[Array, " n"], table: Any, count: Any = None) -> Float[Array, " n"]:
    """`by_rank` for a table whose positive weights attract, as `attracting` has it."""
    return attracting(losses, by_rank(losses, table, count))


def attracting(losses: Float[Array, " n"], weights: Float[Array, "*sets n"]) -> Float[Array, "*sets n"]:
    """Weights of which the positive ones attract, so that a failed member's is at most 0.

    The others share what it would have had, so the positive weights keep their sum.
    """
    failed = ~jnp.isfinite(losses)
    kept = jnp.where(failed, jnp.minimum(weights, 0), weights)
    # Both sums at once: what XLA computes twice, it compiles twice.
    had, left = jnp.sum(jnp.maximum(jnp.stack([weights, kept]), 0), axis=-1, keepdims=True)
    gain = jnp.where(jnp.any(failed), had / _or_one(left), 1.0)
    return jnp.where(kept > 0, kept * gain, kept)


def centered_ranks(losses: Float[Array, " n"], count: Any = None) -> Float[Array, " n"]:
    """Ranks from -1/2, the best, to 1/2, divided by n; a NaN ranks worst (Salimans et al. 2017, section 2.1).

    Every shaping here is divided by n: the sum over the population is then a mean.
    """
    size = losses.shape[0]
    if count is None:
        return by_rank(losses, np.linspace(-0.5, 0.5, size, dtype=losses.dtype)) / size
    used = jnp.asarray(count, losses.dtype)
    return by_rank(losses, jnp.arange(size, dtype=losses.dtype) / jnp.maximum(used - 1, 1) - 0.5, count) / used


def z_score(losses: Float[Array, " n"], count: Any = None) -> Float[Array, " n"]:
    """(loss - mean) / standard deviation / n over the members that did not fail; a failed member weighs nothing."""
    del count  # members that are not in use are as failed ones
    share = jnp.isfinite(losses).astype(losses.dtype)
    return _standardized(losses, share) / jnp.maximum(jnp.sum(share), 1)


def difference(losses: Float[Array, " n"], count: Any = None) -> Float[Array, " n"]:
    """Raw losses / n, the finite-difference estimate (Spall 1992, eq. 2.2; Malladi et al. 2023, definition 1).

    With antithetic pairs `combine` takes the difference within each pair, and a pair of which one failed weighs
    nothing: half a difference is no estimate.
    """
    del count  # members that are not in use are as failed ones
    ok = jnp.isfinite(losses)
    return jnp.where(ok, losses, 0.0) / jnp.maximum(jnp.sum(ok), 1)


class Elite(eqx.Module):
    """The best `fraction` of the population, weighed by log-rank (Hansen 2016, eq. 49); the others weigh nothing."""

    fraction: float = eqx.field(static=True, default=0.5)

    def __check_init__(self) -> None:
        check_between(self, 0, 1, schedules=False, above=True, fraction=self.fraction)

    def __call__(self, losses: Float[Array, " n"], count: Any = None) -> Float[Array, " n"]:
        """Weights <= 0 that sum to -1: following them downhill moves to the mean of the elite."""
        size, xp = losses.shape[0], np if count is None else jnp
        parents = _part(self.fraction, size, count)
        raw = xp.maximum(0, xp.log(parents + 0.5) - np.log(np.arange(1, size + 1)))
        return -recombination(losses, (raw / xp.sum(raw)).astype(losses.dtype), count)


class TopPairs(eqx.Module):
    """The differences of the best `fraction` of the pairs, over the standard deviation of their losses.

    A pair is as good as its better half (Mania et al. 2018, arXiv:1803.07055, algorithm 2, steps 5 to 7). Tied pairs
    share their places, and a failed pair weighs nothing. Pairs are successive members, as `Antithetic` draws them.
    """

    fraction: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        check_between(self, 0, 1, schedules=False, above=True, fraction=self.fraction)

    def __call__(self, losses: Float[Array, " n"], count: Any = None) -> Float[Array, " n"]:
        """(loss - mean) / standard deviation / number of pairs, over the losses of the pairs that count."""
        if losses.shape[0] % 2:
            raise ValueError(f"TopPairs: {losses.shape[0]} losses are no pairs; use it with Antithetic(...).")
        pairs = losses.reshape(-1, 2)
        ok = jnp.all(jnp.isfinite(pairs), axis=1)
        best = jnp.where(ok, jnp.min(pairs, axis=1), jnp.inf)
        whole = None if count is None else count // 2
        best_few = (np.arange(ok.shape[0]) < _part(self.fraction, ok.shape[0], whole)).astype(losses.dtype)
        share = jnp.where(ok, by_rank(best, best_few, whole), 0.0)
        each = jnp.repeat(share, 2)
        return _standardized(losses, each) * each / _or_one(jnp.sum(share))


def _part(fraction: float, size: int, count: Any) -> Any:
    """How many that part of the members is, at least one; `count` of them are in use, or all."""
    each = np.maximum(1, (np.arange(size + 1) * fraction + 1e-9).astype(int))  # 0.29 of 100 is 28.999999999999996
    return each[size] if count is None else jnp.asarray(each)[count]


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


def _or_one(divisor: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """What to divide by: zero becomes one, for a flat generation has no direction."""
    return jnp.where(divisor > 0, divisor, 1.0)
