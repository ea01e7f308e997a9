"""What the CMA-ES family shares: a normal distribution that follows its paths (Hansen 2016, arXiv:1604.00772)."""

import dataclasses
import functools
from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core.checks import check_flags, check_population, check_positive
from evolve.core.optimizer import Growing, Guarding
from evolve.core.population import Population, Stored, StoredPairs
from evolve.core.schedule import Scalar
from evolve.core.trees import Geometry, Params, all_finite, begin, fitted, full, keep
from evolve.methods.cma_parameters import Parameters, Rates, default_population, parameters
from evolve.methods.colored import Colored, Growth, White
from evolve.methods.covariance import Shape, Step
from evolve.methods.gather import drawn_from, gather_some, summed, weigh
from evolve.methods.injection import Elite, already, among, fitting, injected
from evolve.methods.mirrored import noise
from evolve.methods.nes import follow, in_range, rescaled
from evolve.methods.stopping import REASONS, Spread, Tolerances, Trail, check_stopping, missed, reason


class CMAState(eqx.Module):
    """The normal distribution and its two evolution paths, in `float_dtype()`, and what stopping remembers."""

    mean: Float[Array, " n"]
    sigma: Float[Array, ""]
    shape: Any  # a `Shape`
    path_sigma: Float[Array, " n"]
    path_c: Float[Array, " n"]
    generation: Int[Array, ""]
    geometry: Geometry
    trail: Trail | None  # None where nothing stops it
    growth: Growth | None  # None where the population is the optimizer's own
    elite: Elite | None  # None where none is kept


class CMA(Guarding, Growing):
    """Sampling, mean, paths and step size; a variant says which shape it learns, and how fast."""

    reasons: ClassVar[tuple[str, ...]] = REASONS
    waits: ClassVar[bool] = True  # whether the path p_c waits while sigma is about to grow

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    active: bool = eqx.field(static=True, default=True)
    stds: Params | None = None
    min_std: Params | None = None
    stopping: Tolerances | None = Tolerances()
    mirrored: bool = eqx.field(static=True, default=False)
    elitist: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, sigma=self.sigma)
        check_flags(self, active=self.active, mirrored=self.mirrored, elitist=self.elitist)
        if self.population is not None:
            check_population(self, self.population, group=2 if self.mirrored else 1)
        for option in ("stds", "min_std"):
            for number in jax.tree.leaves(getattr(self, option)):
                check_positive(self, schedules=False, **{option: number})
        check_stopping(self, self.stopping)

    @abstractmethod
    def _kind(self) -> tuple[type[Shape], Rates]:
        """The shape that is learned, and how fast."""

    def init(self, params: Params, key: PRNGKeyArray) -> CMAState:
        """The normal distribution around the parameters, its axes along the coordinates."""
        del key
        return self._begin(*begin(self, params), 1.0)

    def default_size(self, n: int) -> int:
        """4 + floor(3 ln n), rounded up to whole pairs, or what `population` says."""
        if self.population is not None:
            return int(self.population)  # NumPy's integers are none of a program's static numbers
        size = default_population(n)
        return size + size % 2 if self.mirrored else size

    def start(self, params: Params, key: PRNGKeyArray, size: Int[Array, ""], most: int, spread: Any) -> CMAState:
        """`init` for a restart."""
        del key
        return self._begin(*begin(self, params), spread, size, most)

    def _begin(self, geometry: Geometry, start: Params, spread: Any, size: Any = None, most: int = 0) -> CMAState:
        """With a population of `size` that may grow to `most`, or with the optimizer's own."""
        mean, growth = geometry.ravel(start), None
        if size is not None:
            block = self.default_size(geometry.size)
            rates = functools.partial(self._constants, geometry.size)
            growth = Growth.of(rates, size, most, block, self.mirrored, geometry.size)
        deviations = jnp.ones_like(mean) if self.stds is None else self._fitted("stds", geometry)
        sigma, zeros = jnp.asarray(self.sigma * spread, mean.dtype), jnp.zeros_like(mean)
        if self.min_std is not None:
            deviations = jnp.maximum(deviations, self._fitted("min_std", geometry) / sigma)
        shape, generation = self._shape(deviations), full((), 0, jnp.int32)
        stops = self.stopping is not None
        trail = Trail.start(mean, sigma * deviations, self.default_size(geometry.size)) if stops else None
        elite = Elite.none(mean) if self.elitist else None
        return CMAState(mean, sigma, shape, zeros, zeros, generation, geometry, trail, growth, elite)

    def ask(self, state: CMAState, key: PRNGKeyArray) -> Population:
        """x_i = m + sigma y_i with y_i ~ N(0, C) (eqs. 38-40)."""
        geometry, growth = state.geometry, state.growth
        center = geometry.unravel(state.mean)
        if growth is not None:
            return growth.population(center, state.sigma, state.shape, key, geometry)
        size = self.default_size(geometry.size)
        z = noise(key, size, geometry.size, self.mirrored)
        tree = jax.vmap(geometry.unravel)(state.shape.color(z))
        plain = StoredPairs if self.mirrored else Stored
        directions = White(tree, z, self.mirrored) if state.shape.keeps_white else plain(tree)
        return Population(center, state.sigma, directions, key, geometry, size)

    def failed(self, state: CMAState, population: Population) -> CMAState:
        """As it was; stopping counts it."""
        del population
        return dataclasses.replace(state, trail=missed(state.trail))

    def widened(self, state: CMAState, factor: Float[Array, ""]) -> CMAState:
        """With a longer or shorter step size."""
        return dataclasses.replace(state, sigma=rescaled(state.sigma, factor))

    def deviations(self, state: CMAState) -> Float[Array, " n"]:
        """Roots of the diagonal of sigma^2 C."""
        return state.sigma * state.shape.deviations

    def told(
        self, state: CMAState, population: Population, losses: Float[Array, " size"], some: Bool[Array, ""] | bool
    ) -> CMAState:
        """Mean, paths, step size and shape (eqs. 41-47).

        Guarded where it is made, a matrix that stays as it is is not copied: that would be a third of the time.
        """
        p, geometry, elite = self._parameters(state), state.geometry, state.elite
        if elite is not None:
            population, losses, elite = *among(elite, state, population, losses), elite.after(population, losses)
        (shift, white, moments), selection = self._gather(state, population, losses, p)
        white, mu_eff = state.shape.whiten(shift) if white is None else white, selection.mu_eff
        mean = state.mean + state.sigma * shift  # eq. 42
        path_sigma = follow(state.path_sigma, p.c_sigma, mu_eff, white)  # eq. 43
        length, moved = jnp.linalg.norm(path_sigma), state.shape.unit
        sigma = _step_size(state.sigma * moved, self._growth(length, p, geometry.size))
        stalled = _stalls(length, state.generation, p, geometry.size) & self.waits
        local = state.shape.local(shift, white)
        path_c = follow(state.path_c, p.c_c, jnp.where(stalled, 0.0, mu_eff), local)  # eq. 45
        sound = some is True or some & all_finite(geometry.cast(geometry.unravel(mean)))
        step = Step(moments, selection.total, white, mu_eff, path_c, stalled, state.generation, moved, sound)
        shape, trail, path_c = state.shape.learned(step, p), state.trail, state.shape.carried(path_c, moved)
        if trail is not None and self.stopping is not None:
            trail = trail.after(selection.seen, mean, state.generation, self.stopping.tolxstagnation)
        new = mean, sigma, path_sigma, path_c, state.generation + 1, trail, elite
        old = state.mean, state.sigma, state.path_sigma, state.path_c, state.generation
        mean, sigma, path_sigma, path_c, after, trail, elite = keep(
            sound, new, (*old, missed(state.trail), state.elite)
        )
        if self.min_std is not None:
            shape = shape.widened(jnp.where(sound, self._fitted("min_std", geometry) / sigma, 0.0))
        return CMAState(mean, sigma, shape, path_sigma, path_c, after, geometry, trail, state.growth, elite)

    def inject(self, state: CMAState, population: Population, members: Params) -> Population:
        """A population with members from elsewhere in the place of its last ones, to be evaluated with the others.

        One farther from the mean than any drawn member would be is moved towards it (Hansen 2011, arXiv:1110.4181). A
        bad one does not make the variance smaller where it lies, as in pycma; one that is not finite is left out.
        Those of a second call stand before those of the first.
        """
        before = already(population.directions)
        members = fitting(self, members, state.geometry, population.least, before)
        count = before + jax.tree.leaves(members)[0].shape[0]
        return injected(state, population, members, population.used - count)

    def answer(self, state: CMAState) -> Params:
        """The mean, the best estimate of the optimum under noise."""
        return state.geometry.cast(state.geometry.unravel(state.mean))

    def status(self, state: CMAState) -> dict[str, Float[Array, ""]]:
        """Step size, condition number of C, and the longest axis."""
        axes = state.shape.axes
        longest = jnp.max(axes)
        return {"sigma": state.sigma, "condition": (longest / jnp.min(axes)) ** 2, "axis": state.sigma * longest}

    def stop(self, state: CMAState) -> Int[Array, ""]:
        """The first criterion of `stopping` that holds, as its place in `reasons` counted from 1; 0 to go on."""
        if self.stopping is None or state.trail is None:
            return super().stop(state)
        n, shape = state.geometry.size, state.shape
        first = self.default_size(n)
        size = first if state.growth is None else state.growth.size
        # What is learned along the coordinates are units of theirs, as pycma has it: beside them C is the identity.
        axes, axis = shape.axes if shape.turns else None, shape.axis(state.generation % n)
        creep = state.sigma / (1.0 if axes is None else jnp.max(axes)) / self.sigma
        deviations = state.sigma * shape.deviations
        narrow = jnp.all(deviations < self.stopping.tolx)  # where they are not, `tolx` does not look at the path
        path = state.sigma * shape.outward(state.path_c, narrow)
        axis = None if axis is None else state.sigma * axis
        spread = Spread(state.mean, deviations, path, axes, axis, creep)
        return reason(self.stopping, state.trail, spread, state.generation, size, first)

    def more(self, state: CMAState) -> Int[Array, ""]:
        """The members of a grown population beyond the smallest."""
        return Growth.more(state.growth)

    def _fitted(self, option: str, geometry: Geometry) -> Float[Array, " n"]:
        """An option that has a number for each coordinate."""
        return geometry.ravel(fitted(type(self).__name__, option, getattr(self, option), geometry.like))

    def _parameters(self, state: CMAState) -> Parameters:
        n = state.geometry.size
        if state.growth is not None:
            return state.growth.parameters
        return self._constants(n, self.default_size(n))

    def _constants(self, n: int, size: Any, most: int | None = None) -> Parameters:
        """Those of a population, which may be a traced number of at most `most`."""
        return parameters(n, size, self.active, self._kind()[1], most)

    def _shape(self, deviations: Float[Array, " n"]) -> Shape:
        return self._kind()[0].start(deviations)

    def _growth(self, length: Float[Array, ""], p: Parameters, n: int) -> Float[Array, ""]:
        """By what log sigma grows, from the length of its path (eq. 44)."""
        del n
        return p.c_sigma / p.d_sigma * (length / p.chi - 1)

    def _gather(self, state: CMAState, population: Population, losses: Float[Array, " size"], p: Parameters) -> Any:
        """The mean's step, as white noise too where the shape keeps it, what the members teach; and their selection."""

        def part(shape: Shape, y: Array, z: Array | None, mean_weights: Array, weights: Array) -> Any:
            white = None if z is None else mean_weights @ z
            return mean_weights @ y, white, shape.moments(y, z, weights)

        directions = population.directions
        if state.growth is not None and isinstance(drawn_from(directions), Colored):
            return gather_some(directions, losses, state.growth, part)
        weights, selection = weigh(directions, losses, p, self.mirrored, None if state.growth is None else p.size)
        return summed(directions, state.shape, state.geometry, population.used, weights, part), selection


def _step_size(sigma: Float[Array, ""], growth: Float[Array, ""]) -> Float[Array, ""]:
    """Cumulative step-size adaptation (eq. 44), kept within what the dtype can square."""
    # The cap keeps one lucky generation from multiplying sigma by more than e, as pycma does.
    return in_range(sigma * jnp.exp(jnp.minimum(1.0, growth)))


def _stalls(length: Float[Array, ""], generation: Int[Array, ""], p: Parameters, n: int) -> Bool[Array, ""]:
    """h_sigma = 0: the path is much longer than by chance, so sigma is about to grow; pycma asks it of the square."""
    decay = 1 - (1 - p.c_sigma) ** (2 * (generation + 1))
    return length**2 / decay / n >= 2 + 4 / (n + 1)
