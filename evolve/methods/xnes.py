"""Exponential natural evolution strategy (Glasmachers et al. 2010; Wierstra et al. 2014, JMLR 15)."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_population, check_positive
from evolve.core.optimizer import Optimizer
from evolve.core.population import Population, Stored
from evolve.core.schedule import Scalar
from evolve.core.trees import Geometry, Params, begin, float_dtype, select
from evolve.methods.cma_parameters import default_population
from evolve.methods.nes import in_range, usable, utilities
from evolve.methods.stopping import REASONS, Spread, Tolerances, Watch, check_stopping, watched


class XNESState(eqx.Module):
    """N(mean, sigma^2 B B^T) with det B = 1, in `float_dtype()`."""

    mean: Float[Array, " n"]
    sigma: Float[Array, ""]
    root: Float[Array, "n n"]  # B
    inverse: Float[Array, "n n"]  # of B
    geometry: Geometry
    watch: Watch | None  # None where nothing stops it


class XNES(Optimizer):
    """Exponential NES: natural gradient steps of mean, step size and shape, each with a rate of its own.

    Algorithm 5 of Wierstra et al. (2014, JMLR 15).

    Any rotation, any conditioning, and few settings, for up to a few hundred parameters. It follows the same natural
    gradient as `CMAES`, without evolution paths, which help the more the more parameters there are. Beyond some hundred
    take `SNES` or `CRFMNES`.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0; about a third of the distance to where the optimum may lie.
    population
        Members a generation, at least 2; by default 4 + floor(3 ln n).
    mean_rate
        eta_mu > 0, the mean's learning rate.
    sigma_rate, shape_rate
        eta_sigma and eta_B > 0, those of the step size and of the shape; by default 0.6 (3 + ln n) / (n sqrt n)
        (Wierstra et al. 2014, table 1).
    stopping
        When to stop before the budget is spent; None to go on for ever. The condition is that of `status`, which is at
        most the true one. Left out are `noeffectaxis`, for the principal axes are not known; `tolupsigma`, for det B
        is 1, and sigma does not grow while B shrinks; and of `tolx` the path, for there is none.

    Computes in float64 where x64 is on; in float32 the condition of the covariance is limited to about 1e7. Time a
    generation: O(population n^2 + n^3); memory O(population n + n^2).
    """

    reasons: ClassVar[tuple[str, ...]] = REASONS

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    mean_rate: Scalar = 1.0
    sigma_rate: Scalar | None = None
    shape_rate: Scalar | None = None
    stopping: Tolerances | None = Tolerances()

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, sigma=self.sigma, mean_rate=self.mean_rate)
        if self.population is not None:
            check_population(self, self.population)
        for option in ("sigma_rate", "shape_rate"):
            if getattr(self, option) is not None:
                check_positive(self, schedules=False, **{option: getattr(self, option)})
        check_stopping(self, self.stopping)

    def init(self, params: Params, key: PRNGKeyArray) -> XNESState:
        """The isotropic normal distribution around the parameters."""
        del key
        geometry, start = begin(self, params)
        mean, sigma = geometry.ravel(start), jnp.asarray(self.sigma, float_dtype())
        identity = jnp.eye(geometry.size, dtype=float_dtype())
        watch = Watch.start(self.stopping, mean, jnp.full_like(mean, sigma), self._size(geometry.size))
        return XNESState(mean, sigma, identity, identity, geometry, watch)

    def ask(self, state: XNESState, key: PRNGKeyArray) -> Population:
        """x_i = mu + sigma B s_i with s_i ~ N(0, I) (Wierstra et al. 2014, algorithm 5)."""
        n, unravel = state.geometry.size, state.geometry.unravel
        size = self._size(n)
        y = draws.normal(key, (size, n), float_dtype()) @ state.root.T
        return Population(unravel(state.mean), state.sigma, Stored(jax.vmap(unravel)(y)), key, state.geometry, size)

    def learn(self, state: XNESState, population: Population, losses: Float[Array, " size"]) -> XNESState:
        """Natural gradients in the local coordinates s, then the updates (algorithm 5)."""
        n = state.geometry.size
        usual = 0.6 * (3 + math.log(n)) / (n * math.sqrt(n))
        y = jax.vmap(state.geometry.ravel)(population.stored)
        s = y @ state.inverse.T
        u = utilities(losses, y.dtype)

        identity = jnp.eye(n, dtype=y.dtype)
        gradient = (s.T * u) @ s - jnp.sum(u) * identity
        growth = jnp.trace(gradient) / n
        mean = state.mean + self.mean_rate * state.sigma * (u @ y)
        rate = usual if self.sigma_rate is None else self.sigma_rate
        sigma = in_range(state.sigma * jnp.exp(rate / 2 * growth))
        rate = usual if self.shape_rate is None else self.shape_rate
        root, inverse = _reshaped(state, rate / 2 * (gradient - growth * identity))
        watch = watched(state.watch, self.stopping, losses, mean)
        return XNESState(mean, sigma, root, inverse, state.geometry, watch)

    def answer(self, state: XNESState) -> Params:
        """The mean."""
        return state.geometry.cast(state.geometry.unravel(state.mean))

    def status(self, state: XNESState) -> dict[str, Float[Array, ""]]:
        """Step size, and the condition number of the covariance by Frobenius norms: right up to a factor n^2."""
        return {"sigma": state.sigma, "condition": _condition(state.root, state.inverse)}

    def stop(self, state: XNESState) -> Int[Array, ""]:
        """The first criterion of `stopping` that holds."""
        if self.stopping is None or state.watch is None:
            return super().stop(state)
        axes = _axes(state.root, state.inverse)
        return state.watch.reason(self.stopping, Spread(state.mean, _deviations(state.sigma, state.root), axes=axes))

    def _size(self, n: int) -> int:
        return default_population(n) if self.population is None else int(self.population)


def _reshaped(state: XNESState, change: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    """B exp(change) and its inverse, or those of before where rounding would leave nothing of the inverse.

    Products of random matrices grow without end, so that without a bound a loss of noise alone would make B overflow.
    """
    root = state.root @ symmetric_exponential(change)
    inverse = jnp.linalg.inv(root)
    good = usable(_condition(root, inverse), _condition(state.root, state.inverse))
    return select(good, (root, inverse), (state.root, state.inverse))


def symmetric_exponential(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The matrix exponential of a symmetric matrix, Q exp(D) Q^T.

    Exact to rounding at any norm. `jax.scipy.linalg.expm` takes from half the time to as long, but two to three times
    as long under `vmap` over seeds, and five times as long to compile.
    """
    values, basis = jnp.linalg.eigh(matrix)
    return (basis * jnp.exp(values)) @ basis.T


def _condition(root: Float[Array, "n n"], inverse: Float[Array, "n n"]) -> Float[Array, ""]:
    """Of B B^T: (||B|| ||B^-1|| / n)^2, which is one for a rotation, and never too large."""
    return (jnp.linalg.norm(root) * jnp.linalg.norm(inverse) / root.shape[0]) ** 2


def _axes(root: Float[Array, "n n"], inverse: Float[Array, "n n"]) -> Float[Array, " 2"]:
    """At most the longest axis of B B^T, and at least the shortest: the square of their ratio is `_condition`."""
    middle = math.sqrt(root.shape[0])
    return jnp.stack([jnp.linalg.norm(root) / middle, middle / jnp.linalg.norm(inverse)])


def _deviations(sigma: Float[Array, ""], root: Float[Array, "n n"]) -> Float[Array, " n"]:
    """Standard deviations of the coordinates."""
    return sigma * jnp.linalg.norm(root, axis=1)
