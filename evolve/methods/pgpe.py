"""Policy gradients with parameter-based exploration, PGPE (Sehnke et al. 2010, Neural Networks 23)."""

import dataclasses
import inspect
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core.checks import check_between, check_positive, check_update
from evolve.core.estimator import whole_groups
from evolve.core.perturbation import Antithetic
from evolve.core.population import Population
from evolve.core.schedule import Scalar
from evolve.core.shaping import Shaping, centered_ranks
from evolve.core.trees import Geometry, Params, select
from evolve.methods.clipup import ClipUp
from evolve.methods.colored import Growth
from evolve.methods.diagonal import Diagonal
from evolve.methods.natural import Natural
from evolve.methods.stopping import Spread, Tolerances
from evolve.methods.watch import Watch, unseen


class PGPEState(eqx.Module):
    """The distribution, and the update's own state."""

    normal: Diagonal
    update: Any
    first: Float[Array, ""]  # sigma of the run's first generation, the unit of the default update's lengths

    @property
    def watch(self) -> Watch | None:
        """The distribution's."""
        return self.normal.watch

    @property
    def growth(self) -> Growth | None:
        """The distribution's."""
        return self.normal.growth


class PGPE(Natural):
    """PGPE with symmetric sampling: pairs tell how to move the mean and each standard deviation (Sehnke et al. 2010).

    For networks whose parameters want different radii, and for noisy losses; in memory and time as `OpenES`, but
    with full directions only. Where one radius serves all, `OpenES` has fewer settings and low-rank directions.

    Parameters
    ----------
    population
        Members a generation, even for antithetic pairs; None for 4 + floor(3 ln n), in whole pairs.
    sigma
        The first standard deviation, > 0.
    sigma_rate
        The learning rate of the standard deviations, > 0.
    max_change
        The largest change of a standard deviation in a generation, as a part of it, in (0, 0.9].
    max_speed, step, momentum
        Those of `ClipUp`, the default update of the mean: the longest update, > 0, by default a fifteenth of a
        direction's first length, sigma sqrt(n) / 15; what a gradient adds to it, > 0, by default half of that; and what
        it keeps, in [0, 1] (Toklu et al. 2020, section 3).
    update
        Any complete optax optimizer in place of ClipUp. Its gradient is sum_i shaping(losses)_i (x_i - center), as in
        the paper, which shrinks with the standard deviations.
    shaping
        Losses to weights: a function such as `centered_ranks`; where populations grow (`Restarts`), of the losses and
        of `count`, how many members are in use.
    stopping
        As in `SNES`: by default never. `ClipUp` takes steps of one length, which end in `tolstagnation`.

    Time a generation: O(population x size); memory O(size), for directions are redrawn.
    """

    mirrored: ClassVar[bool] = True

    population: int | None = eqx.field(static=True, default=64)
    sigma: Scalar = 0.1
    sigma_rate: Scalar = 0.1
    max_change: Scalar = 0.2
    max_speed: Scalar | None = None
    step: Scalar | None = None
    momentum: Scalar = 0.9
    update: optax.GradientTransformation | None = eqx.field(static=True, default=None)
    shaping: Shaping = eqx.field(static=True, default=centered_ranks)
    stopping: Tolerances | None = None

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, sigma_rate=self.sigma_rate)
        check_between(self, 0, 0.9, schedules=False, above=True, max_change=self.max_change)
        check_between(self, 0, 1, schedules=False, momentum=self.momentum)
        if not callable(self.shaping):
            raise TypeError(f"PGPE: shaping is {self.shaping!r}; give a function such as centered_ranks.")
        if self.update is not None:
            check_update(self, self.update)
        for option in ("max_speed", "step"):
            given = getattr(self, option)
            if given is not None:
                check_positive(self, schedules=False, **{option: given})
            if given is not None and self.update is not None:
                raise ValueError(f"PGPE: {option} is {given}, but the update given has its own; leave one of them out.")

    def begun(
        self, geometry: Geometry, start: Params, key: PRNGKeyArray, sigma: Float[Array, ""], growth: Growth | None
    ) -> PGPEState:
        """The isotropic normal distribution around the parameters."""
        del key
        if growth is not None and not _counts(self.shaping):
            raise TypeError(
                f"PGPE: shaping is {self.shaping!r}; for a population that grows it must take count, how many members"
                " are in use, beside the losses, as centered_ranks does."
            )
        normal = Diagonal.around(geometry, start, sigma, growth)
        normal = normal.watching(self.stopping, self.default_size(geometry.size))
        return PGPEState(normal, self._update(geometry.size, sigma).init(normal.center), sigma)

    def ask(self, state: PGPEState, key: PRNGKeyArray) -> Population:
        """Pairs mu + eps and mu - eps with eps ~ N(0, sigma^2) (section 3.2)."""
        return state.normal.population(Antithetic(), key, self.default_size(state.normal.geometry.size))

    def learn(self, state: PGPEState, population: Population, losses: Float[Array, " size"]) -> PGPEState:
        """The mean by differences of pairs, the standard deviations by their sums (section 3.2, eqs. 14 and 16)."""
        losses = whole_groups(losses, 2)
        counted = jnp.isfinite(losses)
        weights = self._weights(population, losses)
        # Half the difference, with either sign: what equal halves left by rounding, ClipUp would magnify.
        half = (weights[0::2] - weights[1::2]) / 2
        pull = jnp.stack([half, -half], axis=1).reshape(-1)
        # The baseline: the mean weight. A failed pair pulls at nothing.
        above = jnp.where(counted, weights - jnp.mean(weights, where=counted), 0.0)

        def factor(squares: Array) -> Array:
            rate, limit = (jnp.asarray(number, squares.dtype) for number in (self.sigma_rate, self.max_change))
            return 1 - jnp.clip(rate * (squares - jnp.sum(above).astype(squares.dtype)), -limit, limit)

        first, second = state.normal.moments(population, pull, above)
        gradient, mean = jax.tree.map(jnp.multiply, state.normal.sigma, first), jnp.mean(losses, where=counted)
        step = self._update(state.normal.geometry.size, state.first).update
        move, update = step(gradient, state.update, state.normal.center, value=mean)
        normal = state.normal.moved(jax.tree.map(jnp.add, state.normal.center, move), jax.tree.map(factor, second))
        learned = PGPEState(normal.told(self.stopping, population, losses), update, state.first)
        # Without a whole pair nothing is known.
        return select(jnp.any(counted), learned, self.failed(state, population))

    def failed(self, state: PGPEState, population: Population) -> PGPEState:
        """As it was; stopping counts it."""
        del population
        normal = dataclasses.replace(state.normal, watch=unseen(state.watch))
        return dataclasses.replace(state, normal=normal)

    def widened(self, state: PGPEState, factor: Float[Array, ""]) -> PGPEState:
        """With longer or shorter deviations."""
        return dataclasses.replace(state, normal=super().widened(state.normal, factor))

    def answer(self, state: PGPEState) -> Params:
        """The mean."""
        return state.normal.answer()

    def status(self, state: PGPEState) -> dict[str, Float[Array, ""]]:
        """Standard deviations: their geometric mean, the largest, and the square of largest over smallest."""
        return state.normal.status()

    def spread(self, state: PGPEState) -> Spread:
        """Deviations of the coordinates."""
        return state.normal.spread

    def _weights(self, population: Population, losses: Float[Array, " size"]) -> Float[Array, " size"]:
        if population.count is None:
            return self.shaping(losses)

        def shaped(losses: Array, count: Any) -> Float[Array, " size"]:
            return jnp.pad(self.shaping(losses, count=count), (0, population.size - len(losses)))

        return population.brief(shaped, losses, population.count)

    def _update(self, n: int, sigma: Float[Array, ""]) -> optax.GradientTransformationExtraArgs:
        if self.update is not None:
            return optax.with_extra_args_support(self.update)
        speed = sigma * (math.sqrt(n) / 15) if self.max_speed is None else self.max_speed
        return optax.with_extra_args_support(ClipUp(speed, self.step, self.momentum))


def _counts(shaping: Shaping) -> bool:
    """Whether it may be told how many members are in use."""
    try:
        inspect.signature(shaping).bind(None, count=None)
    except TypeError:
        return False
    except ValueError:  # it does not say what it takes
        return True
    return True
