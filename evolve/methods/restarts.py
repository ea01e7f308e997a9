"""Restarts inside one compilation: IPOP (Auger and Hansen 2005) and BIPOP (Hansen 2009), around any method."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_count, check_edges
from evolve.core.optimizer import Growing, Guarding, Optimizer
from evolve.core.population import Population
from evolve.core.refresh import refresh
from evolve.core.shaping import places
from evolve.core.trees import Geometry, Params, altered, begin, fitted, float_dtype, select
from evolve.core.wrapper import Wrapper, check_inner, grows, within
from evolve.methods.stopping import quantiles

_NEVER = 2**31 - 1  # evaluations with which a run does not end
Start = Callable[[PRNGKeyArray, Params], Params]


class Uniform(eqx.Module):
    """Starts drawn uniformly from a box, its edges numbers or trees that broadcast against the parameters.

    They are finite, and `low` is nowhere above `high`.
    """

    low: Any
    high: Any

    def __check_init__(self) -> None:
        check_edges(self, self.low, self.high, finite=True)

    def __call__(self, key: PRNGKeyArray, params: Params) -> Params:
        """One start."""
        geometry = Geometry.of(params)
        edges = (fitted("Uniform", name, getattr(self, name), geometry.like) for name in ("low", "high"))
        unit = geometry.unravel(draws.uniform(key, (geometry.size,), float_dtype()))
        low, high = edges
        check_edges(self, low, high, finite=True)  # shapes that differ meet in the parameters only
        return geometry.cast(jax.tree.map(lambda unit, low, high: low + (high - low) * unit, unit, low, high))


class RestartsState(eqx.Module):
    """The run that goes on, and the books of those before it."""

    inner: Any
    origin: Params  # where the first run started
    best: Params  # best member of all runs; where losses are noisy, the method's answer of the best run before
    best_loss: Float[Array, ""]
    run: Int[Array, ""]  # 0, 1, ...
    grown: Int[Array, ""]  # restarts that count: of BIPOP the large ones
    small: Bool[Array, ""]  # whether this run is a small one
    size: Int[Array, ""]  # of this run's population
    spent: Int[Array, ""]  # evaluations of this run
    limit: Int[Array, ""]  # with which it ends
    books: Int[Array, " 2"]  # evaluations of all large and of all small runs before
    extra: Int[Array, ""]  # of those, the ones beside their populations
    level: Float[Array, ""]  # where losses are noisy, the median of this run's last ones; else infinite
    done: Bool[Array, ""]  # no restart is left


# What of it a new run changes, and what besides where losses are noisy.
_RENEWED = "inner", "run", "grown", "small", "size", "spent", "limit", "books", "extra", "level"
_SETTLED = "best", "best_loss"


class Restarts(Guarding):
    """Start again where a run has nothing more to find (Auger and Hansen 2005; Hansen 2009).

    Parameters
    ----------
    optimizer
        The method, with a stopping rule of its own: such as `CMAES()`, `XNES()` or `SNES(stopping=Tolerances())`.
    regime
        "same": every run as the first. "ipop": each run has twice the population of the one before. "bipop": runs with
        doubled populations take turns with runs of small ones and small radii, so that both get as many evaluations.
    restarts
        How many there may be, at least 0; of BIPOP the small runs do not count.
    start
        Where a run starts: a function of (key, first start), such as `Uniform(-4, 4)`; by default where the first did.
    noisy
        Whether losses are noisy, which `run` and `UncertaintyHandling`, inside or around, tell by themselves
        (`under_noise`). The best member is then luck, and the answer is the method's own, of the run that ended with
        the lowest median of a generation's losses.

    The populations of "ipop" and "bipop" are drawn, evaluated and summed a few at a time, so that one program serves
    them all and a small one costs little; the method must be `Growing` (the CMA-ES family, `XNES`, `SNES`, `CRFMNES`,
    `PGPE`, and wrappers around them). The regimes are those of pycma 4.5 (`fmin2`): where the first run has lambda
    members and the largest so far lambda_l, a small run has lambda (lambda_l / lambda)^(u^2), radii 10^(-2 v) times
    the first run's, u and v uniform in [0, 1], and at most half the evaluations of all large ones (Hansen 2009,
    section 2, halves lambda_l besides). Time and memory a generation: the method's, for the members in use, and a
    number for each member of the largest population, which counts from some 10^5 of them on (2^restarts times the
    first).

    For multimodal problems, and where one run may end in the wrong place. A method that never stops by itself has
    nothing to restart.
    """

    reasons: ClassVar[tuple[str, ...]] = ("restarts",)

    optimizer: Optimizer
    regime: Literal["same", "ipop", "bipop"] = eqx.field(static=True, default="bipop")
    restarts: int = eqx.field(static=True, default=9)
    start: Start | None = None
    noisy: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_inner(self, self.optimizer, any_oracle=False)
        check_count(self, 0, 20, restarts=self.restarts)
        name = type(self.optimizer).__name__
        if self.regime not in ("same", "ipop", "bipop"):
            raise ValueError(f"Restarts: regime is {self.regime!r}; it must be 'same', 'ipop' or 'bipop'.")
        if not _stops(self.optimizer):
            raise ValueError(f"Restarts: {name} never stops by itself, so it would never be restarted.")
        if self.regime != "same" and not grows(self.optimizer):
            raise ValueError(f"Restarts: the population of {name} cannot grow; say regime='same'.")
        if self.start is not None and not callable(self.start):
            given = f"Restarts: start is {self.start!r}"
            raise TypeError(f"{given}; give a function of (key, first start), such as Uniform(-4, 4).")

    def init(self, params: Params, key: PRNGKeyArray) -> RestartsState:
        """The first run."""
        geometry, start = begin(self, params)
        zero, origin = jnp.zeros((), jnp.int32), geometry.cast(start)
        small, size = jnp.asarray(self.regime == "bipop"), jnp.asarray(self._least(geometry.size), jnp.int32)
        inner, far = self._run(origin, key, size, 1.0), jnp.asarray(_NEVER, jnp.int32)
        books, no = jnp.zeros(2, jnp.int32), jnp.zeros((), bool)
        infinite = jnp.full((), jnp.inf, float_dtype())
        return RestartsState(
            inner, origin, origin, infinite, zero, zero, small, size, zero, far, books, zero, infinite, no
        )

    def takes_turns(self, state: RestartsState) -> bool:
        """Where populations grow, or the method does."""
        return self.regime != "same" or self.optimizer.takes_turns(state.inner)

    def ask(self, state: RestartsState, key: PRNGKeyArray) -> Population:
        """The run's own members."""
        return self.optimizer.ask(state.inner, key)

    def inject(self, state: RestartsState, population: Population, members: Params) -> Population:
        """Into the run that goes on."""
        return self.optimizer.inject(state.inner, population, members)

    def told(
        self, state: RestartsState, population: Population, losses: Float[Array, " size"], some: Bool[Array, ""] | bool
    ) -> RestartsState:
        """What the run learns; where that was its last generation, the next run begins.

        A generation of which no member succeeded belongs to the run as any other.
        """
        inner = self.optimizer.learn_if(state.inner, population, losses, some)
        if self._noisy:
            middle = population.brief(_median, losses).astype(state.level.dtype)
            level = jnp.where(jnp.isfinite(middle), middle, state.level)
            return self._after(dataclasses.replace(state, inner=inner, level=level), population)
        place, best_loss = population.brief(lambda losses: (jnp.argmin(losses), jnp.min(losses)), losses)
        best_loss = best_loss.astype(state.best_loss.dtype)
        best = population.member_if(best_loss < state.best_loss, place, state.best)
        best_loss = jnp.minimum(best_loss, state.best_loss)
        return self._after(dataclasses.replace(state, inner=inner, best=best, best_loss=best_loss), population)

    def failed(self, state: RestartsState, population: Population) -> RestartsState:
        """One more generation of the run."""
        return self._after(dataclasses.replace(state, inner=self.optimizer.failed(state.inner, population)), population)

    def widened(self, state: RestartsState, factor: Float[Array, ""]) -> RestartsState:
        """Those of the run that goes on."""
        return dataclasses.replace(state, inner=self.optimizer.widened(state.inner, factor))

    def deviations(self, state: RestartsState) -> Float[Array, " n"] | None:
        """Those of the run that goes on."""
        return self.optimizer.deviations(state.inner)

    def under_noise(self) -> Optimizer:
        """With `noisy`."""
        return altered(self, noisy=True, optimizer=self.optimizer.under_noise())

    def answer(self, state: RestartsState) -> Params:
        """The best member of all runs; where losses are noisy, the method's answer of the best run."""
        if self._noisy:
            return self._settled(state)[0]
        return select(jnp.isfinite(state.best_loss), state.best, self.optimizer.answer(state.inner))

    def status(self, state: RestartsState) -> dict[str, Array]:
        """Which run it is, its population, and what the method says."""
        return {"run": state.run, "population": state.size} | self.optimizer.status(state.inner)

    def stop(self, state: RestartsState) -> Int[Array, ""]:
        """No restart is left."""
        return state.done.astype(jnp.int32)

    def extra(self, state: RestartsState) -> Int[Array, ""]:
        """The method's, of all runs."""
        return state.extra + self.optimizer.extra(state.inner)

    def counted(self, state: RestartsState, learned: RestartsState) -> RestartsState:
        """The other one's, of all runs: in the run, unless one of the two has begun another.

        What no run's method counts any more is spent by the run that goes on.
        """
        counted = self.optimizer.counted(state.inner, learned.inner)
        inner = counted if counted is state.inner else select(state.run == learned.run, counted, state.inner)
        extra = self.extra(learned) - self.optimizer.extra(inner)
        spent = _added(state.spent, extra - state.extra)
        return dataclasses.replace(state, inner=inner, extra=extra, spent=spent)

    def more(self, state: RestartsState) -> Int[Array, ""]:
        """The method's."""
        return self.optimizer.more(state.inner)

    @property
    def _noisy(self) -> bool:
        return self.noisy or any(isinstance(one, Wrapper) and one.handles_noise for one in within(self.optimizer))

    def _after(self, state: RestartsState, population: Population) -> RestartsState:
        """With one more generation of the run, or at the beginning of the next one."""
        spent = _added(state.spent, population.evaluations)
        over = _added(spent, self.optimizer.extra(state.inner)) >= state.limit
        over |= self.optimizer.stop(state.inner) > 0
        last = state.grown >= self.restarts
        after = dataclasses.replace(state, spent=spent, done=over & last)
        # What no new run changes goes around: a program that does not want the best member then never draws it.
        old = {name: getattr(after, name) for name in (*_RENEWED, *(_SETTLED if self._noisy else ()))}
        new = refresh(over & ~last, lambda x: x[0]._again(*x[1:]), (self, after, population.key), old)
        return dataclasses.replace(after, **new)

    def _settled(self, state: RestartsState) -> tuple[Params, Float[Array, ""]]:
        """The method's answer of the best run so far, and its losses' median, where they are noisy."""
        here = (state.level < state.best_loss) | ~jnp.isfinite(state.best_loss)
        own = self.optimizer.answer(state.inner)
        return select(here, own, state.best), jnp.where(here, state.level, state.best_loss)

    def _again(self, state: RestartsState, key: PRNGKeyArray) -> dict[str, Any]:
        """What of the state the next run changes (pycma 4.5, `fmin2`)."""
        settled = zip(_SETTLED, self._settled(state), strict=True) if self._noisy else ()
        key = draws.fold_in(key, 2**31 - 1)  # none of the members', which are numbered from 0
        begins, own, random = draws.split(key, 3)
        width, local = draws.uniform(random, (2,), float_dtype())
        least = self._least(Geometry.of(state.origin).size)
        beside, place = self.optimizer.extra(state.inner), state.small.astype(jnp.int32)
        books = state.books.at[place].set(_added(state.books[place], _added(state.spent, beside)))
        books = jnp.where(jnp.max(books) >= 2**30, books >> 1, books)  # which of them is larger is what counts
        small = (books[1] < jnp.maximum(1, books[0])) & (self.regime == "bipop")
        grown = state.grown + ~small
        largest = least * 2.0**grown if self.regime != "same" else jnp.asarray(float(least))
        # A small run's size lies between the first and the largest, on a logarithmic scale and mostly near the first.
        some = least * (largest / least) ** width**2
        size = jnp.where(small, some, largest).astype(jnp.int32)
        spread = jnp.where(small, 0.01**local, 1.0)
        limit = jnp.where(small, books[0] - (books[0] >> 1), _NEVER).astype(jnp.int32)
        start = state.origin if self.start is None else self.start(begins, state.origin)
        level = jnp.full_like(state.level, jnp.inf)
        inner, run = self._run(start, own, size, spread), state.run + 1
        spent, extra = jnp.zeros_like(state.spent), state.extra + beside
        new = inner, run, grown, small, size, spent, limit, books, extra, level
        return dict[str, Any](zip(_RENEWED, new, strict=True)) | dict[str, Any](settled)

    def _run(self, start: Params, key: PRNGKeyArray, size: Int[Array, ""], spread: Any) -> Any:
        """A run's first state."""
        if self.regime == "same":
            return self.optimizer.init(start, key)
        method, most = cast(Growing, self.optimizer), self._least(Geometry.of(start).size) * 2 ** int(self.restarts)
        return method.start(start, key, size, most, spread)

    def _least(self, n: int) -> int:
        """The first run's population; where it never changes, nobody asks."""
        return cast(Growing, self.optimizer).default_size(n) if grows(self.optimizer) else 1


def _added(one: Int[Array, "*any"], other: Any) -> Int[Array, "*any"]:
    """The sum of two counts, below `_NEVER`: where one of them is 2^30 - 1 or more, some number from 2^30 - 2 on."""
    return jnp.minimum(one, 2**30) + jnp.minimum(jnp.asarray(other, jnp.int32), 2**30 - 2)


def _median(losses: Float[Array, " size"]) -> Float[Array, ""]:
    """Of those that are finite; infinite where none is."""
    return quantiles(losses, places(losses)[0], jnp.maximum(jnp.sum(jnp.isfinite(losses)), 1))[1]


def _stops(optimizer: Optimizer) -> bool:
    """Whether it may stop by itself, or what it is a wrapper of."""
    for one in within(optimizer):
        if not isinstance(one, Wrapper):
            return bool(one.reasons) and getattr(one, "stopping", True) is not None
        if one.reasons != one.optimizer.reasons:
            return True  # a reason of its own
    return False
