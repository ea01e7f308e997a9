"""Cost-reduced fast moving natural evolution strategy, CR-FM-NES (Nomura and Ono 2022, arXiv:2201.11422)."""

import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core import draws
from evolve.core.population import Population, StoredPairs
from evolve.core.schedule import Scalar
from evolve.core.trees import Geometry, Params, select
from evolve.methods.colored import Growth
from evolve.methods.gather import summed
from evolve.methods.mirrored import noise
from evolve.methods.natural import Natural
from evolve.methods.nes import follow, in_range, selection, table, usable
from evolve.methods.stopping import Spread, Tolerances
from evolve.methods.watch import Watch, watched


class OneAxis(eqx.Module):
    """N(0, D (I + v v^T) D)."""

    keeps_white: ClassVar[bool] = True

    scales: Float[Array, " n"]  # D
    axis: Float[Array, " n"]  # v

    def color(self, z: Float[Array, "many n"]) -> Float[Array, "many n"]:
        """D (I + v v^T)^(1/2) z."""
        return _stretched(z, self.axis, 0.5) * self.scales

    def whiten(self, y: Float[Array, "many n"]) -> Float[Array, "many n"]:
        """Its inverse."""
        return _stretched(y / self.scales, self.axis, -0.5)


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
    growth: Growth | None  # None where the population is the optimizer's own

    @property
    def shape(self) -> OneAxis:
        """What makes directions of white noise."""
        return OneAxis(self.scales, self.axis)


class CRFMNES(Natural):
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

    mirrored: ClassVar[bool] = True

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    stopping: Tolerances | None = None

    def begun(
        self, geometry: Geometry, start: Params, key: PRNGKeyArray, sigma: Float[Array, ""], growth: Growth | None
    ) -> CRFMNESState:
        """Around the parameters, slightly longer along a random axis (algorithm 1, initialization)."""
        mean = geometry.ravel(start)
        axis = draws.normal(key, mean.shape, mean.dtype) / math.sqrt(geometry.size)
        scales, zeros = jnp.ones_like(mean), jnp.zeros_like(mean)
        watch = Watch.start(self.stopping, mean, _deviations(sigma, scales, axis), self.default_size(geometry.size))
        return CRFMNESState(mean, sigma, scales, axis, zeros, zeros, geometry, watch, growth)

    def ask(self, state: CRFMNESState, key: PRNGKeyArray) -> Population:
        """Pairs m + sigma D y and m - sigma D y with y = (I + v v^T)^(1/2) z, z ~ N(0, I) (step 1)."""
        geometry, unravel = state.geometry, state.geometry.unravel
        if state.growth is not None:
            return state.growth.population(unravel(state.mean), state.sigma, state.shape, key, geometry)
        size = self.default_size(geometry.size)
        directions = state.shape.color(noise(key, size, geometry.size, True))
        stored = StoredPairs(jax.vmap(unravel)(directions))
        return Population(unravel(state.mean), state.sigma, stored, key, geometry, size)

    def learn(self, state: CRFMNESState, population: Population, losses: Float[Array, " size"]) -> CRFMNESState:
        """Path and phase, mean, shape and step size (steps 4 to 8)."""
        geometry, shape, n, count = state.geometry, state.shape, state.geometry.size, population.used
        chosen = selection(population, losses)
        share = jnp.sum(jnp.isfinite(losses), dtype=chosen.dtype) / count
        p = self.rates(n, population.size, population.size) if state.growth is None else state.growth.parameters
        steepness = p.steepness * jnp.sqrt(share)

        def toward(shape: OneAxis, d: Array, z: Array, chosen: Array) -> tuple[Array, Array]:
            return chosen @ z, chosen @ _far(z, steepness)

        step, far = summed(population.directions, shape, geometry, count, (chosen,), toward)
        # Of the weights in use: ties share theirs, and a failed member's go to the others.
        mu_eff = 1 / jnp.sum(chosen**2)
        path_sigma = follow(state.path_sigma, p.c_sigma, mu_eff, step)
        length = jnp.linalg.norm(path_sigma)
        moving = length >= p.chi

        def moments(shape: OneAxis, d: Array, z: Array, chosen: Array, used: Array) -> tuple[Any, ...]:
            # Those that move the mean also grow with the distance, while it moves (step 4).
            weights = jnp.where(moving, chosen * _far(z, steepness) / far, chosen) - used / count
            growth = weights @ (jnp.sum(z**2, axis=1) / n - 1)
            return weights @ d, growth, _Moments.of(d / shape.scales, weights, shape.axis)

        used = population.in_use.astype(chosen.dtype)
        shift, growth, taught = summed(population.directions, shape, geometry, count, (chosen, used), moments)
        path_c = follow(state.path_c, p.c_c, mu_eff, shift)
        # The path is one more member, with a weight of its own.
        own = _Moments.of((path_c / state.scales)[None], jnp.reshape(p.c_1 * share, 1), state.axis)
        rate = p.shape_rate(n, share)
        scales, axis = _reshaped(state, jax.tree.map(lambda many, one: rate * many + one, taught, own))
        sigma = in_range(state.sigma * jnp.exp(p.step_rate(n, length, share) / 2 * growth))
        mean = state.mean + state.sigma * shift
        watch = watched(state.watch, self.stopping, population, losses, mean)
        return CRFMNESState(mean, sigma, scales, axis, path_sigma, path_c, geometry, watch, state.growth)

    def answer(self, state: CRFMNESState) -> Params:
        """The mean."""
        return state.geometry.cast(state.geometry.unravel(state.mean))

    def status(self, state: CRFMNESState) -> dict[str, Float[Array, ""]]:
        """Step size, and a bound of the condition number of the covariance."""
        return {"sigma": state.sigma, "condition": _condition(state.scales, state.axis)}

    def spread(self, state: CRFMNESState) -> Spread:
        """Deviations of the coordinates, and the path."""
        deviations = _deviations(state.sigma, state.scales, state.axis)
        return Spread(state.mean, deviations, state.sigma * state.path_c)

    def rates(self, n: int, size: Any, most: int) -> "_Rates":
        """Those of table 1, from the weights of a population without ties and failures."""
        xp = jnp if isinstance(size, jax.Array) else np
        mu_eff = 1 / xp.sum(table(size, most) ** 2)
        c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)
        # Below six dimensions the paper's rate is not positive: the path then teaches nothing.
        c_1 = 2 / ((n + 1.3) ** 2 + mu_eff) * max(0, n - 5) / 6
        chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        steepness = _steepness(n) * xp.minimum(1.0, xp.sqrt(size / mu_eff.dtype.type(n)))
        found = _Rates(size, c_sigma, c_c, c_1, chi, steepness)
        # Plain numbers are constants of the compiled program.
        return found if xp is jnp else _Rates(*map(float, found))._replace(size=size)


class _Rates(NamedTuple):
    """What follows from dimension and population (Nomura and Ono 2022, table 1). `share`: of members that count."""

    size: Any
    c_sigma: Any
    c_c: Any
    c_1: Any
    chi: Any  # the expected length of a standard normal vector
    steepness: Any  # alpha_dist of a population without failures

    def shape_rate(self, n: int, share: Float[Array, ""]) -> Float[Array, ""]:
        """eta_B."""
        return jnp.tanh((jnp.minimum(0.02 * (self.size * share), 3 * math.log(n)) + 5) / (0.23 * n + 25))

    def step_rate(self, n: int, length: Float[Array, ""], share: Float[Array, ""]) -> Float[Array, ""]:
        """eta_sigma: moving, stagnating or converging, by the length of the path (step 5)."""
        members = self.size * share
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


def _far(z: Float[Array, "size n"], steepness: Array) -> Float[Array, " size"]:
    """exp(alpha |z|) up to a factor (step 4), limited, so that no member from elsewhere overflows."""
    exponent = steepness * (jnp.linalg.norm(z, axis=1) - math.sqrt(z.shape[1]))
    return jnp.exp(jnp.clip(exponent, -50, 50))


def _stretched(z: Float[Array, "size n"], axis: Float[Array, " n"], power: float) -> Float[Array, "size n"]:
    """(I + v v^T)^power z."""
    length = jnp.linalg.norm(axis)
    unit = axis / length
    return z + (jnp.power(1 + length**2, power) - 1) * jnp.outer(z @ unit, unit)


class _Moments(NamedTuple):
    """Sums over members y, in units of D, by weights; with v = axis / |axis|."""

    products: Float[Array, " n"]  # of (y v) y
    along: Float[Array, ""]  # of (y v)^2
    squares: Float[Array, " n"]  # of y^2, each coordinate its own
    total: Float[Array, ""]

    @classmethod
    def of(cls, y: Float[Array, "many n"], weights: Float[Array, " many"], axis: Float[Array, " n"]) -> "_Moments":
        """All of them, in O(many n)."""
        along = y @ (axis / jnp.sqrt(axis @ axis))
        return cls((weights * along) @ y, weights @ along**2, weights @ y**2, jnp.sum(weights))


def _reshaped(state: CRFMNESState, taught: _Moments) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """D and v after their natural gradient step, det(D (I + v v^T) D) = 1 (steps 6 and 7); or those of before.

    The paper's step is linear, and far off where long axes lie across the coordinates, or v is short. So v moves by no
    more than 1.5 times its length, the whole step being shortened (VD-CMA has such a limit: Akimoto et al. 2014), and a
    step is not taken that would take more than 0.6 of a scale away, or lead to a condition that is not usable.
    """
    t, s = _natural_gradient(taught, state.axis)
    length = jnp.linalg.norm(state.axis)
    step = 1 / jnp.maximum(1, jnp.linalg.norm(t) / (1.5 * length**2))
    axis, scales = state.axis + step * t / length, state.scales * (1 + step * s)
    root = jnp.mean(jnp.log(scales)) + jnp.log1p(axis @ axis) / (2 * axis.shape[0])
    scales = scales / jnp.exp(root)
    good = usable(_condition(scales, axis), _condition(state.scales, state.axis))
    near = (jnp.min(s) > -0.6) & (axis @ axis > 0)
    return select(good & near, (scales, axis), (state.scales, state.axis))


def _natural_gradient(taught: _Moments, axis: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """The sums of |v| t and s over members: directions of v, and of log D (Akimoto et al. 2014, theorem 3.6).

    Both are linear in squares and products of members, which are summed first: O(n) from there on.
    """
    v2 = axis @ axis
    v, gamma = axis / jnp.sqrt(v2), 1 + v2
    products, along, squares, total = taught
    t = products - v * (along + gamma * total) / 2
    alpha = jnp.minimum(1, jnp.sqrt(v2**2 + (2 * gamma - jnp.sqrt(gamma)) / jnp.max(v**2)) / (2 + v2))
    b = 2 * alpha**2 - (1 - alpha**2) * v2**2 / gamma
    inverse = 1 / (2 - (b + 2 * alpha**2) * v**2)
    s = squares - v2 / gamma * v * products - total
    s = s - alpha / gamma * ((2 + v2) * v * t - v2 * v**2 * (v @ t))
    s = inverse * (s - b * v**2 * (s @ (inverse * v**2)) / (1 + b * (v**2 @ (inverse * v**2))))
    return t - alpha * ((2 + v2) * v * s - v * (v**2 @ s)), s


def _condition(scales: Float[Array, " n"], axis: Float[Array, " n"]) -> Float[Array, ""]:
    """At least that of D (I + v v^T) D, and equal where the long axis is that of the largest scale."""
    return (jnp.max(scales) / jnp.min(scales)) ** 2 * (1 + axis @ axis)


def _deviations(sigma: Float[Array, ""], scales: Float[Array, " n"], axis: Float[Array, " n"]) -> Float[Array, " n"]:
    """Standard deviations of the coordinates."""
    return sigma * scales * jnp.sqrt(1 + axis**2)
