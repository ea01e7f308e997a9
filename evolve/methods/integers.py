"""Coordinates on a grid: CMA-ES with margin (Hamano, Saito, Nomura and Shirakawa 2022, arXiv:2205.13482)."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Bool, Float, Int

from evolve.core.checks import check_between, check_numbers
from evolve.core.optimizer import State
from evolve.core.population import Population
from evolve.core.trees import Geometry, Params, all_finite, fitted, keep
from evolve.methods.bounded import Bounded, BoundedState, Box, Image
from evolve.methods.distribution import CMA
from evolve.methods.stopping import relaxed

_ROUNDING = 1e-3  # in steps: by so much an edge may miss the grid and still belong to it


class Grid(eqx.Module):
    """The values that coordinates may take: `low + k step`, or multiples of the step where there is no lower edge.

    Flat vectors; a step of zero leaves a coordinate continuous.
    """

    step: Float[Array, " n"]
    low: Float[Array, " n"]
    high: Float[Array, " n"]

    @property
    def discrete(self) -> Bool[Array, " n"]:
        """Which coordinates have a step."""
        return self.step > 0

    def places(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """How many steps the nearest value is above the first; half way the lower one."""
        first, last = self.ends
        return jnp.clip(jnp.ceil((x - self._anchor) / self._unit - 0.5), first, last)

    def values(self, places: Float[Array, " n"]) -> Float[Array, " n"]:
        """Where they are."""
        return self._anchor + places * self._unit

    def nearest(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The nearest value; continuous coordinates as they are."""
        return jnp.where(self.discrete, self.values(self.places(x)), x)

    def limits(self, x: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"], Bool[Array, " n"]]:
        """Where the next lower and the next higher value begin, and where there is only one of them.

        Then both limits are that one's.
        """
        (first, last), place = self.ends, self.places(x)
        lower = jnp.clip(place - 1, first, last - 1)
        upper = jnp.clip(place, first, last - 1)
        return self.values(lower + 0.5), self.values(upper + 0.5), lower == upper

    @property
    def _unit(self) -> Float[Array, " n"]:
        return jnp.where(self.discrete, self.step, 1.0)

    @property
    def _anchor(self) -> Float[Array, " n"]:
        return jnp.where(jnp.isfinite(self.low), self.low, 0.0)

    @property
    def ends(self) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """The least and the greatest place."""
        first = jnp.where(jnp.isfinite(self.low), 0.0, -jnp.inf)
        return first, jnp.floor((self.high - self._anchor) / self._unit + _ROUNDING)


class Rounded(Image):
    """The map of what a method draws to what is evaluated: stretched around the mean, rounded, kept within bounds."""

    box: Box
    grid: Grid
    mean: Float[Array, " n"]
    stretch: Float[Array, " n"]
    geometry: Geometry

    def __call__(self, tree: Params) -> Params:
        """To what is evaluated."""
        x = self.geometry.ravel(self.box(tree))
        wide = self.mean + self.stretch * (self.geometry.ravel(tree) - self.mean)
        return self.geometry.working(self.geometry.unravel(jnp.where(self.grid.discrete, self.grid.nearest(wide), x)))

    def inverse(self, tree: Params) -> Params:
        """What is mapped there."""
        x = self.geometry.ravel(tree)
        narrow = self.mean + (x - self.mean) / self.stretch
        back = self.geometry.ravel(self.box.inverse(tree))
        return self.geometry.working(self.geometry.unravel(jnp.where(self.grid.discrete, narrow, back)))


class IntegersState(BoundedState):
    """That of a run that knows no grid, and how much wider each coordinate is drawn."""

    stretch: Float[Array, " n"]


class Integers(Bounded):
    """Search coordinates that take whole values only, alone or among continuous ones, with the CMA-ES family.

    Members are rounded before they are evaluated; the method learns from what it drew. Where a standard deviation
    falls far below the step, all members would be rounded to one value, and the coordinate would freeze. So after every
    generation the probability of the values below and above is kept at a margin, by widening the coordinate's
    distribution and moving its mean, and at an end of its range the probability of leaving it (Hamano et al. 2022,
    section 4; equal to `cmaes.CMAwM`).

    Parameters
    ----------
    optimizer
        `CMAES`, `SepCMAES`, `MAES` or `LMMAES`, the last not for few parameters, of which a single one runs away. Equal
        losses are the rule on a grid, so its `tolflatfitness` and `tolfun` are not asked.
    low, high
        Edges, as of `Bounded`: integer coordinates reach both where the step divides the distance.
    step
        The distance between the values of a coordinate, 0 for a continuous one: a number, or a tree of numbers or
        arrays that broadcast against the parameters. Values are counted from `low`, where that is finite.
    margin
        The least probability of leaving a value, in (0, 0.5); by default 1 / (n population).

    O(population n) time and memory a generation beside the method's; members are formed whole.
    """

    rounds: ClassVar[bool] = True

    step: Params = 1.0
    margin: float | None = None

    def __check_init__(self) -> None:
        self._check_within()
        if not isinstance(self.optimizer, CMA):
            name = type(self.optimizer).__name__
            raise ValueError(
                f"Integers: {name} has no normal distribution of its own whose margins could be kept; take CMAES, "
                "SepCMAES, MAES or LMMAES, and put wrappers around Integers."
            )
        check_numbers(self, step=self.step)
        if self.margin is not None:
            check_between(self, 0, 0.5, schedules=False, above=True, below=True, margin=self.margin)

    def around(self, inner: State) -> IntegersState:
        """With no coordinate wider than the method's."""
        return IntegersState(inner, self.optimizer.deviations(inner), jnp.ones_like(inner.mean))

    def told(
        self, state: IntegersState, population: Population, losses: Float[Array, " size"], some: Bool[Array, ""] | bool
    ) -> IntegersState:
        """What the method learns of the members that it drew, the margins kept."""
        after = super().told(state, population, losses, some)
        inner, grid = after.inner, self._grid(after.inner.geometry)
        margin = 1 / (len(inner.mean) * population.used) if self.margin is None else self.margin
        deviations = inner.sigma * inner.shape.deviations
        kept = with_margin(grid, inner.mean, deviations, after.stretch, margin)
        mean, stretch = keep(some & all_finite(kept), kept, (inner.mean, after.stretch))
        return dataclasses.replace(after, inner=dataclasses.replace(inner, mean=mean), stretch=stretch)

    def stop(self, state: IntegersState) -> Int[Array, ""]:
        """When the method does, but for flat generations."""
        # One flat generation fulfils tolfun; the equal losses of many are tolfunhist's.
        patient = {"tolflatfitness": jnp.inf, "tolfun": 0.0}
        method = relaxed(self.optimizer, lambda tolerances: dataclasses.replace(tolerances, **patient))
        return method.stop(state.inner)

    def _image(self, state: IntegersState, geometry: Geometry) -> Rounded:
        return Rounded(self._box(geometry), self._grid(geometry), state.inner.mean, state.stretch, geometry)

    def _box(self, geometry: Geometry) -> Box:
        """Of the continuous coordinates alone."""
        low, high = self._edges(geometry)
        free = jax.tree.map(lambda step: jnp.where(step > 0, jnp.inf, 0.0), self._steps(geometry))
        return Box(jax.tree.map(jnp.subtract, low, free), jax.tree.map(jnp.add, high, free))

    def _steps(self, geometry: Geometry) -> Params:
        return fitted("Integers", "step", self.step, geometry.like)

    def _grid(self, geometry: Geometry) -> Grid:
        return Grid(*(geometry.ravel(tree) for tree in (self._steps(geometry), *self._edges(geometry))))

    def _check(self, start: Params, geometry: Geometry) -> None:
        super()._check(start, geometry)
        grid = self._grid(geometry)
        if isinstance(grid.step, jax.core.Tracer):
            return
        step = np.asarray(grid.step)
        if not np.all((step >= 0) & np.isfinite(step)):
            k = int(np.argmax(~((step >= 0) & np.isfinite(step))))
            raise ValueError(f"Integers: step is {step[k]}; it must be positive, or 0 for a continuous coordinate.")
        first, last = grid.ends
        narrow = np.asarray(grid.discrete & (last - first < 1))
        if np.any(narrow):
            k = int(np.argmax(narrow))
            low, high = grid.low[k], grid.high[k]
            raise ValueError(
                f"Integers: between low = {low} and high = {high} there is no second value of step {step[k]}."
            )


def with_margin(
    grid: Grid, mean: Float[Array, " n"], deviations: Float[Array, " n"], stretch: Float[Array, " n"], margin: Any
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Mean and stretch that keep the margins of the discrete coordinates (Hamano et al. 2022, section 4).

    At an end of the range the mean moves so close to the limit that it is passed with probability `margin`; between
    two limits, each is passed with at least half of it: what is added to one side is taken from the others in
    proportion to what they have above that half, and mean and stretch solve for the two probabilities.
    """
    low, high, end = grid.limits(mean)
    wide = stretch * deviations
    low, high = (jnp.where(grid.discrete, limit, mean) for limit in (low, high))
    below, above = ndtr((low - mean) / wide), ndtr((mean - high) / wide)

    lost = grid.discrete & end & (jnp.minimum(below, above) < margin)
    nearer = high + jnp.sign(mean - high) * -ndtri(margin) * wide

    half = margin / 2
    short = grid.discrete & ~end & (jnp.minimum(below, above) < half)
    middle = 1 - below - above
    one, other = jnp.maximum(below, half), jnp.maximum(above, half)
    excess, total = 1 - one - other - middle, one + middle + other
    least = jnp.finfo(mean.dtype).eps ** 0.625  # 1e-10 in double precision, as the reference has it
    sides = (each + excess * (each - half) / (total - 3 * half) for each in (one, other))
    one, other = (-ndtri(jnp.clip(each, least, 0.5 - least)) for each in sides)
    spread = (high - low) / (one + other)
    between = (low * other + high * one) / (one + other)
    mean = jnp.where(lost, nearer, jnp.where(short, between, mean))
    return mean, jnp.where(short, spread / deviations, stretch)
