"""What COCO's logger keeps of a run, kept inside the compiled loop (Hansen et al. 2021, COCO)."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core.optimizer import plain
from evolve.core.population import Population
from evolve.core.refresh import refresh
from evolve.core.trees import float_dtype
from evolve.core.wrapper import Wrapper
from evolve.run.budget import answers

# From 10^10 on, five a decade, as cocopp reads them; those that profiles are drawn of are the last 51.
TARGETS = 10.0 ** (np.arange(50, -41, -1) / 5)
PROFILE = slice(40, None)


def moments(dimension: int, evaluations: int) -> np.ndarray:
    """Evaluations at which COCO's logger writes a line whatever happens: 20 a decade, and n times 1, 2, 5, 10, ..."""
    decades = np.arange(np.log10(evaluations) + 1)
    even = np.floor(10.0 ** (np.arange(20 * len(decades)) / 20) * (1 + 1e-12))
    round_ = (dimension * np.array([[1], [2], [5]]) * 10**decades).ravel()
    every = np.unique(np.concatenate([even, round_]).astype(np.int64))
    return every[every <= evaluations]


class Record(eqx.Module):
    """What is known of a run. A gap is a loss less the minimum; evaluations are counted from 1.

    Several members of a generation are taken as evaluated in the order in which they were drawn.
    """

    evaluations: Int[Array, ""]  # made so far
    failed: Int[Array, ""]  # members
    best: Float[Array, ""]  # the lowest gap so far
    hits: Int[Array, " targets"]  # the evaluation that first reached a target; 0 where none has
    gaps: Float[Array, " targets"]  # its gap
    bests: Float[Array, " moments"]  # the lowest gap up to a moment
    losses: Float[Array, " moments"]  # the loss evaluated at a moment


class RecordedState(eqx.Module):
    """The method's own state, and the record beside it."""

    inner: Any
    record: Record


class Recorded(Wrapper):
    """Any method, its run recorded; it ends when the last target is reached.

    The record is part of the state, so that every run may carry it: compiled, resumed, and for several seeds at once.
    It stands around all other wrappers, which refuse to be put around it.
    What a line search evaluates is counted, but only the points that `ask` gave are recorded.

    Parameters
    ----------
    optimizer
        The method.
    f_opt
        The minimum of the loss.
    targets
        Gaps to be reached, in descending order.
    moments
        Evaluations at which to look, in ascending order.

    Time a generation: O(population); where a target or a moment is passed, and that is at most once for each of them,
    O(population (targets + moments)). Memory: O(targets + moments).
    """

    takes_clean: ClassVar[bool] = True

    f_opt: Any
    targets: Any
    moments: Any

    @property
    def reasons(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The last target, or one of the method's own."""
        return ("final target", *self.optimizer.reasons)

    def around(self, inner: Any) -> RecordedState:
        """Nothing is evaluated yet."""
        zero, infinite = jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, float_dtype())
        hits, gaps = jnp.zeros(len(self.targets), jnp.int32), jnp.full(len(self.targets), jnp.inf, float_dtype())
        blank = jnp.full(len(self.moments), jnp.inf, float_dtype())
        return RecordedState(inner, Record(zero, zero, infinite, hits, gaps, blank, blank))

    def ask(self, state: RecordedState, key: PRNGKeyArray) -> Population:
        """The method's members."""
        return self.optimizer.ask(state.inner, key)

    def tell(self, state: RecordedState, population: Population, losses: Any) -> RecordedState:
        """Record, and let the method learn. A generation in which all members fail is counted too."""
        inner = self.optimizer.tell(state.inner, population, losses)
        more = self.optimizer.extra(inner) - self.optimizer.extra(state.inner)  # a line search's, say
        spent = (population.evaluations + more) * answers(self.optimizer)
        return RecordedState(inner, self._noted(state.record, plain(losses), population, spent))

    def learn(self, state: RecordedState, population: Population, losses: Any) -> RecordedState:
        """The method's part of `tell`."""
        return RecordedState(self.optimizer.learn(state.inner, population, losses), state.record)

    def stop(self, state: RecordedState) -> Int[Array, ""]:
        """The last target is reached, or the method has nothing more to find."""
        own = self.optimizer.stop(state.inner)
        return jnp.where(state.record.hits[-1] > 0, 1, jnp.where(own > 0, own + 1, 0))

    def _noted(
        self, record: Record, values: Float[Array, " size"], population: Population, spent: Int[Array, ""]
    ) -> Record:
        cost, used = answers(self.optimizer), jnp.asarray(population.used, jnp.int32)
        after = record.evaluations + spent.astype(jnp.int32)
        passed = (self.moments > record.evaluations) & (self.moments <= after)
        seen = _Seen(self.targets, self.moments, passed, self.f_opt, used, cost)
        values = values.astype(record.best.dtype)
        good, low = population.brief(_summary, values, seen)
        best = jnp.minimum(record.best, low)
        due = jnp.any(passed) | jnp.any((best <= self.targets) & (record.hits == 0))
        # Most generations pass nothing, and the lines would cost more than they do.
        old = (record.hits, record.gaps, record.bests, record.losses)
        lines = refresh(due, lambda x: x[0].brief(_lines, *x[1:]), (population, values, seen, record), old)
        return Record(after, record.failed + used - good, best, *lines)


class _Seen(eqx.Module):
    """What is looked for in a generation's losses."""

    targets: Any
    moments: Any
    passed: Bool[Array, " moments"]
    f_opt: Any
    used: Int[Array, ""]  # members in use
    cost: int = eqx.field(static=True)  # of a member, whose loss is known after the first of its forward passes

    def gaps(self, losses: Float[Array, " size"]) -> Float[Array, " size"]:
        """Infinite where a member failed or is not in use. Not kept, but computed where wanted: it costs less."""
        good = jnp.isfinite(losses) & (jnp.arange(len(losses)) < self.used)
        return jnp.where(good, losses - self.f_opt, jnp.inf).astype(losses.dtype)

    def lines(self, losses: Float[Array, " size"], record: Record) -> tuple[Array, ...]:
        """The record's lines after the generation."""
        own, places = self.gaps(losses), jnp.arange(len(losses), dtype=jnp.int32)
        # Reductions: a running minimum would take the compiler longer, and this happens a few hundred times a run.
        below = jnp.asarray(self.targets)[:, None] >= own
        place = jnp.min(jnp.where(below, places, len(losses)), axis=1)
        fresh = (record.hits == 0) & (place < len(losses))
        hits = jnp.where(fresh, record.evaluations + self.cost * place + 1, record.hits)
        gaps = jnp.where(fresh, own[jnp.minimum(place, len(losses) - 1)], record.gaps)
        member = jnp.clip((self.moments - record.evaluations - 1) // self.cost, 0, self.used - 1)
        low = jnp.min(jnp.where(places <= member[:, None], own, jnp.inf), axis=1)
        bests = jnp.where(self.passed, jnp.minimum(record.best, low), record.bests)
        return hits, gaps, bests, jnp.where(self.passed, losses[member], record.losses)


def _summary(losses: Float[Array, " size"], seen: _Seen) -> tuple[Array, Array]:
    """How many members did not fail, and their lowest gap."""
    gaps = seen.gaps(losses)
    return jnp.sum(jnp.isfinite(gaps), dtype=jnp.int32), jnp.min(gaps)


def _lines(losses: Float[Array, " size"], seen: _Seen, record: Record) -> tuple[Array, ...]:
    return seen.lines(losses, record)
