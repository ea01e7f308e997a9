"""What natural evolution strategies and PGPE share: a population whose size may grow, and when they stop."""

import dataclasses
import functools
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.checks import check_population, check_positive
from evolve.core.optimizer import Growing
from evolve.core.population import Population
from evolve.core.schedule import Scalar
from evolve.core.trees import Geometry, Params, begin, float_dtype
from evolve.methods.cma_parameters import default_population
from evolve.methods.colored import Growth
from evolve.methods.nes import rescaled
from evolve.methods.stopping import REASONS, Spread, Tolerances, check_stopping
from evolve.methods.watch import unseen


class Size(NamedTuple):
    """What follows from the population's size: for most of them nothing."""

    size: Any


class Natural(Growing):
    """A method with a radius and a population, whose state has `watch` and `growth`."""

    reasons: ClassVar[tuple[str, ...]] = REASONS
    mirrored: ClassVar[bool] = False  # whether members come in opposite pairs

    stopping: eqx.AbstractVar[Tolerances | None]
    sigma: eqx.AbstractVar[Scalar]
    population: eqx.AbstractVar[int | None]

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, sigma=self.sigma)
        if self.population is not None:
            check_population(self, self.population, group=2 if self.mirrored else 1)
        check_stopping(self, self.stopping)

    @abstractmethod
    def begun(
        self, geometry: Geometry, start: Params, key: PRNGKeyArray, sigma: Float[Array, ""], growth: Growth | None
    ) -> Any:
        """The state before the first generation, around a start in working precision."""

    @abstractmethod
    def spread(self, state: Any) -> Spread:
        """What stopping asks about the distribution."""

    def init(self, params: Params, key: PRNGKeyArray) -> Any:
        """Around the parameters."""
        return self.begun(*begin(self, params), key, jnp.asarray(self.sigma, float_dtype()), None)

    def start(self, params: Params, key: PRNGKeyArray, size: Int[Array, ""], most: int, spread: Any) -> Any:
        """`init` for a restart."""
        geometry, start = begin(self, params)
        n, rates = geometry.size, functools.partial(self.rates, geometry.size)
        growth = Growth.of(rates, size, most, self.default_size(n), self.mirrored, n)
        return self.begun(geometry, start, key, jnp.asarray(self.sigma * spread, float_dtype()), growth)

    def default_size(self, n: int) -> int:
        """4 + floor(3 ln n), rounded up to whole pairs, or what `population` says."""
        if self.population is not None:
            return int(self.population)
        size = default_population(n)
        return size + size % 2 if self.mirrored else size

    def rates(self, n: int, size: Any, most: int) -> Any:
        """A named tuple of what follows from a population's size, which may be a traced number of at most `most`."""
        del n, most
        return Size(size)

    def failed(self, state: Any, population: Population) -> Any:
        """As it was; stopping counts it."""
        del population
        return dataclasses.replace(state, watch=unseen(state.watch))

    def widened(self, state: Any, factor: Float[Array, ""]) -> Any:
        """With longer or shorter deviations."""
        return dataclasses.replace(state, sigma=rescaled(state.sigma, factor))

    def deviations(self, state: Any) -> Float[Array, " n"]:
        """As stopping sees them."""
        return self.spread(state).deviations

    def more(self, state: Any) -> Int[Array, ""]:
        """The members of a grown population beyond the smallest."""
        return Growth.more(state.growth)

    def stop(self, state: Any) -> Int[Array, ""]:
        """The first criterion of `stopping` that holds, as its place in `reasons` counted from 1; 0 to go on."""
        if self.stopping is None or state.watch is None:
            return super().stop(state)
        size = None if state.growth is None else state.growth.size
        return state.watch.reason(self.stopping, self.spread(state), size)
