"""Uncertainty handling (Hansen, Niederberger, Guzzella and Koumoutsakos 2009), as pycma 4.5 does it, for any method."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core.checks import check_between, check_count
from evolve.core.optimizer import Growing, Guarding, Optimizer
from evolve.core.population import Population, Stored
from evolve.core.schedule import Scalar
from evolve.core.trees import Params, float_dtype
from evolve.core.wrapper import Wrapper
from evolve.methods.again import Again
from evolve.methods.stopping import Tolerances, relaxed

_MOST = 2**16  # a generation of 32 000 members is then counted in 32 bits


class UncertaintyState(eqx.Module):
    """The method's own, and what is known of the noise."""

    inner: Any
    repeats: Float[Array, ""]  # evaluations of a member, of which the whole part is made
    noise: Float[Array, ""]  # s, the cumulated rank change beyond what is allowed


class UncertaintyHandling(Guarding, Wrapper):
    """Evaluate as often as noise makes necessary, told by how ranks change where members are evaluated twice.

    A few members of every generation are evaluated again. Where their ranks change by more than is allowed, the number
    of evaluations of every member grows, and so do the standard deviations; otherwise the number shrinks, more slowly
    (Hansen et al. 2009, IEEE TEC 13(1), 180-197; limits, constants and treatment are those of pycma 4.5's
    `NoiseHandler`). It is part of the compiled loop: the number of evaluations is a number of the program, and every
    evaluation counts in the budget.

    Every evaluation gets noise of its own, without which there would be no rank change to see. The method learns from
    means, of the second evaluations too, pycma from medians. Where standard deviations are widened, the method does not
    stop by `tolfacupx`, as in pycma's `fmin2`. The members evaluated again are the first ones, as in the paper, which
    are as good as any where they are drawn alike; pycma takes half of them, and the best of the others. They are
    evaluated where they are, not beside: noise comes from keys.

    For losses whose noise cannot be shared among members, of unknown or varying strength. Where it can (a
    minibatch, the same episodes), common noise is usually worth more, and where one number of repeats serves
    throughout, `Averaged`. Ranks of five members or fewer say little.

    Parameters
    ----------
    optimizer
        Any that learns from losses.
    most
        Evaluations of a member at most, from 1 to 65 536. With 1 only standard deviations grow.
    reevaluated
        Members evaluated again, at least 1; by default 2 + population / 20, rounded down where pycma rounds by chance,
        then up to whole antithetic pairs.
    theta
        In [0, 1]: allowed are rank changes up to the theta / 2 quantile of those to a rank at random.
    cumulation
        c_s in (0, 1], the weight of a generation's measurement.
    widening
        alpha_sigma = 1 + widening / (n + 10) is what a noisy generation multiplies the standard deviations by that the
        method adapts (`Optimizer.widened`); a fixed or scheduled one stays, and `Bounded` sets a limit. At least 0,
        with which the method alone decides: often better where `most` is out of reach.
    growth
        alpha_t = 1 + growth / (n + 10), likewise for the number of evaluations, which a generation without noise
        multiplies by alpha_t^(-1/4). At least 0.

    Time and memory: the method's, and O(population log population).
    """

    any_oracle: ClassVar[bool] = False
    handles_noise: ClassVar[bool] = True

    most: Scalar = 30
    reevaluated: int | None = eqx.field(static=True, default=None)
    theta: Scalar = 0.5
    cumulation: Scalar = 0.3
    widening: Scalar = 2.0
    growth: Scalar = 2.0

    def __check_init__(self) -> None:
        if isinstance(self.optimizer, UncertaintyHandling):
            raise ValueError("UncertaintyHandling: its optimizer handles uncertainty already; wrap it once.")
        if self.reevaluated is not None:
            check_count(self, 1, reevaluated=self.reevaluated)
        check_between(self, 1, _MOST, schedules=False, most=self.most)
        check_between(self, 0, 1, schedules=False, theta=self.theta)
        check_between(self, 0, 1, schedules=False, above=True, cumulation=self.cumulation)
        check_between(self, 0, float("inf"), schedules=False, widening=self.widening, growth=self.growth)

    def around(self, inner: Any) -> UncertaintyState:
        """One evaluation a member, and no noise seen."""
        one, zero = jnp.ones((), float_dtype()), jnp.zeros((), float_dtype())
        return UncertaintyState(inner, one, zero)

    def ask(self, state: UncertaintyState, key: PRNGKeyArray) -> Population:
        """The method's members, and the first of them again behind them."""
        inner = self.optimizer.ask(state.inner, key)
        if inner.repeats is not None:
            raise ValueError("UncertaintyHandling: its optimizer handles uncertainty already; wrap it once.")
        return self._twice(state, inner)

    def inject(self, state: UncertaintyState, population: Population, members: Params) -> Population:
        """Among the method's members; they are evaluated again where they are among the first."""
        return self._twice(state, self.optimizer.inject(state.inner, self._own(state, population)[0], members))

    def failed(self, state: UncertaintyState, population: Population) -> UncertaintyState:
        """As the method has it."""
        inner = self._method.failed(state.inner, self._own(state, population)[0])
        return dataclasses.replace(state, inner=inner)

    def told(
        self,
        state: UncertaintyState,
        population: Population,
        losses: Float[Array, " size"],
        some: Bool[Array, ""] | bool,
    ) -> UncertaintyState:
        """What the method learns from means, after the ranks of both evaluations were compared.

        Where no member succeeded, they say nothing.
        """
        inner, copies = self._own(state, population)
        second = jax.lax.dynamic_slice(losses, (inner.used,), (copies,))
        first = jnp.where(inner.in_use, losses[: inner.size], jnp.inf)
        change = rank_change(first, second, inner.used, self.theta)
        # Where nobody was evaluated twice without failing, nothing is known.
        noise = state.noise + jnp.where(jnp.isnan(change), 0.0, self.cumulation * (change - state.noise))
        one, two = first[:copies], second
        both = jnp.isfinite(one) & jnp.isfinite(two)
        means = first.at[:copies].set(jnp.where(both, one / 2 + two / 2, jnp.minimum(one, two)))
        learned = self._method.learn_if(state.inner, inner, means, some)
        alpha_sigma, alpha_t = (1 + rate / (inner.geometry.size + 10) for rate in (self.widening, self.growth))
        more = jnp.minimum(state.repeats * alpha_t, self.most)
        fewer = jnp.maximum(state.repeats * alpha_t**-0.25, 1.0)
        repeats = jnp.where(some, jnp.where(noise > 0, more, fewer), state.repeats)
        learned = self._method.widened(learned, jnp.where(some & (noise > 0), alpha_sigma, 1.0))
        return UncertaintyState(learned, repeats.astype(state.repeats.dtype), noise.astype(state.noise.dtype))

    def answer(self, state: UncertaintyState) -> Params:
        """The method's under noise."""
        return self._method.answer(state.inner)

    def stop(self, state: UncertaintyState) -> Int[Array, ""]:
        """When the method does, but for deviations that have grown."""
        return self._method.stop(state.inner)

    def status(self, state: UncertaintyState) -> dict[str, Float[Array, ""]]:
        """Evaluations of a member, s, and what the method says."""
        return {"repeats": jnp.floor(state.repeats), "noise": state.noise} | super().status(state)

    def more(self, state: UncertaintyState) -> Int[Array, ""]:
        """What they will cost in the next generation."""
        return Growing.more(self, state)

    @property
    def _method(self) -> Optimizer:
        def widened(tolerances: Tolerances) -> Tolerances:
            limit = jnp.where(self.widening > 0, jnp.inf, tolerances.tolfacupx)
            return dataclasses.replace(tolerances, tolfacupx=limit)

        return relaxed(self.optimizer.under_noise(), widened)

    def _twice(self, state: UncertaintyState, inner: Population) -> Population:
        """The method's population, and the first of its members again behind it."""
        copies, block = self._copies(inner), inner.directions.block or 1
        return dataclasses.replace(
            inner,
            directions=Again(inner.directions, inner.used, copies, inner.size),
            size=inner.size + -(-copies // block) * block,
            count=None if inner.count is None else inner.count + copies,
            repeats=state.repeats.astype(jnp.int32),
        )

    def _copies(self, inner: Population) -> int:
        size, group = inner.least, inner.directions.group
        count = self.reevaluated or min(size, 2 + size // 20)
        count = -(-count // group) * group
        if count > size:
            raise ValueError(
                f"UncertaintyHandling: reevaluated is {self.reevaluated}; there are only {size} members (in groups of"
                f" {group}) to evaluate again."
            )
        return count

    def _own(self, state: UncertaintyState, population: Population) -> tuple[Population, int]:
        """The population that the method asked for, and how many of its members are evaluated again."""
        directions, count = population.directions, population.count
        if isinstance(directions, Again):
            copies, size, directions = directions.copies, directions.size, directions.inner
        else:  # members were put in the place of those that were drawn
            asked = jax.eval_shape(self.optimizer.ask, state.inner, population.key)
            copies, size, directions = self._copies(asked), asked.size, Stored(directions.batch(0, asked.size))
        count = None if count is None else count - copies
        return dataclasses.replace(population, directions=directions, size=size, count=count, repeats=None), copies


def rank_change(
    first: Float[Array, " size"], second: Float[Array, " copies"], count: Any, theta: Any
) -> Float[Array, ""]:
    """By how much ranks changed beyond what is allowed, the mean over the members evaluated twice.

    Hansen et al. 2009, steps 4 and 5 of the uncertainty measurement, as pycma 4.5 has them
    (`NoiseHandler.update_measure`); equal losses, which pycma leaves to the order of sorting, are no change of rank.

    Parameters
    ----------
    first
        Losses of all members; those of failed ones, and all beyond the first `count`, infinite.
    second
        Losses of the first members, evaluated again.
    theta
        In [0, 1]: allowed are changes up to the theta / 2 quantile of those to a rank at random.

    Returns
    -------
    Float[Array, ""]
        In about [-count, 2 count]; NaN where none was evaluated twice without failing.
    """
    copies = second.shape[0]
    ranked = jnp.sort(jnp.concatenate([first, second, first[copies:]]))
    same = first[:copies] == second

    def rank(losses: Array, own: Array) -> Array:
        below, within = (jnp.searchsorted(ranked, losses, side) for side in ("left", "right"))
        # In the middle of those that are equal, and of a member's own two the first before the second.
        return below + (within - below - 1 - same) // 2 + own

    before, after = rank(first[:copies], jnp.zeros_like(same)), rank(second, same)
    change = jnp.abs(before - after) - 1
    last = 2 * jnp.asarray(count) - 1  # of the ranks 1 ... that the other one may have
    limits = [_percentile(each, last, 50 * theta) for each in (before + (before < after), after + (after < before))]
    beyond = change - jnp.maximum(1.0, limits[0] / 2 + limits[1] / 2)
    known = jnp.isfinite(first[:copies]) & jnp.isfinite(second)
    known = known & (jnp.arange(copies) < count)
    return jnp.sum(jnp.where(known, beyond, 0.0)) / jnp.where(jnp.any(known), jnp.sum(known), jnp.nan)


def _percentile(center: Int[Array, " n"], last: Int[Array, ""], percent: Any) -> Float[Array, " n"]:
    """That of |r - center| over r = 1 ... last, interpolated as pycma's `prctile` does."""
    near = jnp.minimum(center - 1, last - center)  # distances up to this one come twice

    def sorted_distance(j: Array) -> Array:
        return jnp.where(j <= 2 * near, (j + 1) // 2, j - near)

    place = jnp.clip(percent * last / 100 - 0.5, 0, last - 1).astype(float_dtype())
    low = jnp.floor(place).astype(jnp.int32)
    return (low + 1 - place) * sorted_distance(low) + (place - low) * sorted_distance(low + 1)
