"""Cost-reduced fast moving natural evolution strategy, CR-FM-NES (Nomura and Ono 2022, arXiv:2201.11422)."""

import math
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_population, check_positive
from evolve.core.optimizer import Optimizer
from evolve.core.population import Population, StoredPairs
from evolve.core.schedule import Scalar
from evolve.core.trees import Geometry, Params, begin, float_dtype, select
from evolve.methods.cma_parameters import default_population
from evolve.methods.nes import follow, in_range, selection, table, usable
from evolve.methods.stopping import REASONS, Spread, Tolerances, Watch, check_stopping, watched


class CRFMNESState(eqx.Module):
    """N(mean, sigma^2 D (I + v v^T) D) and its two evolution paths, in `float_dtype()`."""

    mean: Float[Array, " n"]
    sigma: Float[Array, ""]
    scales: Float[Array, " n"]  # D
    axis: Float[Array, " n"]  # v
    path_sigma: Float[Array, " n"]
    path_c: Float[Array, " n"]
    geometry: Geometry
    watch: Watch | None  # None where nothing stops it


class CRFMNES(Optimizer):
    """CR-FM-NES: a covariance of 2 n numbers, and step size rates that switch with the length of a path.

    Nomura and Ono (2022), arXiv:2201.11422, algorithm 1.

    For hundreds to many thousands of dependent parameters, in time and memory linear in n: it learns a scale for each
    coordinate and one long axis across all of them. What else is rotated and badly conditioned it does not learn, and
    solves some seventy times as slowly as `XNES` at n = 10: take that or `CMAES` for few parameters.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0; about a third of the distance to where the optimum may lie.
    population
        Members a generation, even for antithetic pairs; by default 4 + floor(3 ln n), or one more. The paper takes
        more for rugged losses, up to tens of times n.
    stopping
        When to stop before the budget is spent, such as `Tolerances(maxiter=inf)`; by default never, for along a valley
        it may creep more slowly than `tolfun` allows, and for longer than `maxiter`. Left out are `tolconditioncov`,
        for scales lose no digits however far apart they are; `noeffectaxis`, for the principal axes are not known; and
        `tolupsigma`, for the determinant is one, and sigma does not grow while the shape shrinks.

    Computes in float64 where x64 is on. Time and memory a generation: O(population n).
    """

    reasons: ClassVar[tuple[str, ...]] = REASONS

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    stopping: Tolerances | None = None

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, sigma=self.sigma)
        if self.population is not None:
            check_population(self, self.population, group=2)
        check_stopping(self, self.stopping)

    def init(self, params: Params, key: PRNGKeyArray) -> CRFMNESState:
        """Around the parameters, slightly longer along a random axis (algorithm 1, initialization)."""
        geometry, start = begin(self, params)
        mean = geometry.ravel(start)
        axis = draws.normal(key, mean.shape, mean.dtype) / math.sqrt(geometry.size)
        sigma, scales, zeros = jnp.asarray(self.sigma, mean.dtype), jnp.ones_like(mean), jnp.zeros_like(mean)
        watch = Watch.start(self.stopping, mean, _deviations(sigma, scales, axis), self._size(geometry.size))
        return CRFMNESState(mean, sigma, scales, axis, zeros, zeros, geometry, watch)

    def ask(self, state: CRFMNESState, key: PRNGKeyArray) -> Population:
        """Pairs m + sigma D y and m - sigma D y with y = (I + v v^T)^(1/2) z, z ~ N(0, I) (step 1)."""
        n, unravel = state.geometry.size, state.geometry.unravel
        size = self._size(n)
        half = draws.normal(key, (size // 2, n), float_dtype())
        y = _stretched(half, state.axis, 0.5)
        directions = jnp.stack([y, -y], axis=1).reshape(size, n) * state.scales
        stored = StoredPairs(jax.vmap(unravel)(directions))
        return Population(unravel(state.mean), state.sigma, stored, key, state.geometry, size)

    def learn(self, state: CRFMNESState, population: Population, losses: Float[Array, " size"]) -> CRFMNESState:
        """Path and phase, mean, shape and step size (steps 4 to 8)."""
        d = jax.vmap(state.geometry.ravel)(population.stored)
        n, size = state.geometry.size, population.size
        y = d / state.scales
        z = _stretched(y, state.axis, -0.5)
        chosen = selection(losses, d.dtype)
        share = jnp.mean(jnp.isfinite(losses), dtype=d.dtype)
        p = _Rates.of(n, size)

        # Of the weights in use: ties share theirs, and a failed member's go to the others.
        mu_eff = 1 / jnp.sum(chosen**2)
        path_sigma = follow(state.path_sigma, p.c_sigma, mu_eff, chosen @ z)
        length = jnp.linalg.norm(path_sigma)
        moving = length >= p.chi
        weights = jnp.where(moving, _by_distance(chosen, z, p.steepness * jnp.sqrt(share)), chosen) - 1 / size

        shift = weights @ d
        path_c = follow(state.path_c, p.c_c, mu_eff, shift)
        # The path is one more member, with a weight of its own.
        members = jnp.concatenate([y, (path_c / state.scales)[None]])
        each = jnp.append(weights * p.shape_rate(share), p.c_1 * share)
        scales, axis = _reshaped(state, members, each)
        growth = weights @ (jnp.sum(z**2, axis=1) / n - 1)
        sigma = in_range(state.sigma * jnp.exp(p.step_rate(length, share) / 2 * growth))
        mean = state.mean + state.sigma * shift
        watch = watched(state.watch, self.stopping, losses, mean)
        return CRFMNESState(mean, sigma, scales, axis, path_sigma, path_c, state.geometry, watch)

    def answer(self, state: CRFMNESState) -> Params:
        """The mean."""
        return state.geometry.cast(state.geometry.unravel(state.mean))

    def status(self, state: CRFMNESState) -> dict[str, Float[Array, ""]]:
        """Step size, and a bound of the condition number of the covariance."""
        return {"sigma": state.sigma, "condition": _condition(state.scales, state.axis)}

    def stop(self, state: CRFMNESState) -> Int[Array, ""]:
        """The first criterion of `stopping` that holds."""
        if self.stopping is None or state.watch is None:
            return super().stop(state)
        deviations = _deviations(state.sigma, state.scales, state.axis)
        return state.watch.reason(self.stopping, Spread(state.mean, deviations, state.sigma * state.path_c))

    def _size(self, n: int) -> int:
        usual = default_population(n)
        return usual + usual % 2 if self.population is None else int(self.population)


class _Rates(NamedTuple):
    """What follows from dimension and population (Nomura and Ono 2022, table 1). `share`: of members that count."""

    n: int
    size: int
    c_sigma: float
    c_c: float
    c_1: float
    chi: float  # the expected length of a standard normal vector
    steepness: float  # alpha_dist of a population without failures

    @classmethod
    def of(cls, n: int, size: int) -> "_Rates":
        """All of them, from the weights of a population without ties and failures."""
        mu_eff = float(1 / np.sum(table(size) ** 2))
        c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)
        # Below six dimensions the paper's rate is not positive: the path then teaches nothing.
        c_1 = 2 / ((n + 1.3) ** 2 + mu_eff) * max(0, n - 5) / 6
        chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        return cls(n, size, c_sigma, c_c, c_1, chi, _steepness(n) * min(1.0, math.sqrt(size / n)))

    def shape_rate(self, share: Float[Array, ""]) -> Float[Array, ""]:
        """eta_B."""
        return jnp.tanh((jnp.minimum(0.02 * self.size * share, 3 * math.log(self.n)) + 5) / (0.23 * self.n + 25))

    def step_rate(self, length: Float[Array, ""], share: Float[Array, ""]) -> Float[Array, ""]:
        """eta_sigma: moving, stagnating or converging, by the length of the path (step 5)."""
        n, members = self.n, self.size * share
        stagnating = jnp.tanh((0.024 * members + 0.7 * n + 20) / (n + 12))
        converging = 2 * jnp.tanh((0.025 * members + 0.75 * n + 10) / (n + 4))
        return jnp.where(length >= self.chi, 1.0, jnp.where(length >= 0.1 * self.chi, stagnating, converging))


def _steepness(n: int) -> float:
    """h^-1(n): where (1 + a^2) exp(a^2 / 2) / 0.24 - 10 equals n (Nomura and Ono 2022, section III)."""
    low, high = 0.0, 10.0  # at 10 it is beyond 1e24
    for _ in range(200):
        middle = (low + high) / 2
        below = (1 + middle**2) * math.exp(middle**2 / 2) / 0.24 - 10 < n
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2


def _by_distance(chosen: Float[Array, " size"], z: Float[Array, "size n"], steepness: Array) -> Float[Array, " size"]:
    """Weights that also grow with exp(alpha |z|) (step 4); less the largest exponent, nothing overflows."""
    exponent = steepness * jnp.linalg.norm(z, axis=1)
    far = chosen * jnp.exp(exponent - jnp.max(exponent, where=chosen > 0, initial=-jnp.inf))
    return far / jnp.sum(far)


def _stretched(z: Float[Array, "size n"], axis: Float[Array, " n"], power: float) -> Float[Array, "size n"]:
    """(I + v v^T)^power z."""
    length = jnp.linalg.norm(axis)
    unit = axis / length
    return z + (jnp.power(1 + length**2, power) - 1) * jnp.outer(z @ unit, unit)


def _reshaped(
    state: CRFMNESState, members: Float[Array, "many n"], weights: Float[Array, " many"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """D and v after their natural gradient step, det(D (I + v v^T) D) = 1 (steps 6 and 7); or those of before.

    The paper's step is linear, and far off where long axes lie across the coordinates, or v is short. So v moves by no
    more than 1.5 times its length, the whole step being shortened (VD-CMA has such a limit: Akimoto et al. 2014), and a
    step is not taken that would take more than 0.6 of a scale away, or lead to a condition that is not usable.
    """
    t, s = _natural_gradient(members, weights, state.axis)
    length = jnp.linalg.norm(state.axis)
    step = 1 / jnp.maximum(1, jnp.linalg.norm(t) / (1.5 * length**2))
    axis, scales = state.axis + step * t / length, state.scales * (1 + step * s)
    root = jnp.mean(jnp.log(scales)) + jnp.log1p(axis @ axis) / (2 * axis.shape[0])
    scales = scales / jnp.exp(root)
    good = usable(_condition(scales, axis), _condition(state.scales, state.axis))
    near = (jnp.min(s) > -0.6) & (axis @ axis > 0)
    return select(good & near, (scales, axis), (state.scales, state.axis))


def _natural_gradient(
    y: Float[Array, "many n"], weights: Float[Array, " many"], axis: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """The sums of |v| t and s over members: directions of v, and of log D (Akimoto et al. 2014, theorem 3.6).

    Both are linear in squares and products of y, which are summed first: O(many n) there, O(n) from there on.
    """
    v2 = axis @ axis
    v, gamma = axis / jnp.sqrt(v2), 1 + v2
    along, total = y @ v, jnp.sum(weights)
    products = (weights * along) @ y
    t = products - v * (weights @ along**2 + gamma * total) / 2
    alpha = jnp.minimum(1, jnp.sqrt(v2**2 + (2 * gamma - jnp.sqrt(gamma)) / jnp.max(v**2)) / (2 + v2))
    b = 2 * alpha**2 - (1 - alpha**2) * v2**2 / gamma
    inverse = 1 / (2 - (b + 2 * alpha**2) * v**2)
    s = weights @ y**2 - v2 / gamma * v * products - total
    s = s - alpha / gamma * ((2 + v2) * v * t - v2 * v**2 * (v @ t))
    s = inverse * (s - b * v**2 * (s @ (inverse * v**2)) / (1 + b * (v**2 @ (inverse * v**2))))
    return t - alpha * ((2 + v2) * v * s - v * (v**2 @ s)), s


def _condition(scales: Float[Array, " n"], axis: Float[Array, " n"]) -> Float[Array, ""]:
    """At least that of D (I + v v^T) D, and equal where the long axis is that of the largest scale."""
    return (jnp.max(scales) / jnp.min(scales)) ** 2 * (1 + axis @ axis)


def _deviations(sigma: Float[Array, ""], scales: Float[Array, " n"], axis: Float[Array, " n"]) -> Float[Array, " n"]:
    """Standard deviations of the coordinates."""
    return sigma * scales * jnp.sqrt(1 + axis**2)
