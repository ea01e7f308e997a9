"""Exponential natural evolution strategy (Glasmachers et al. 2010; Wierstra et al. 2014, JMLR 15)."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_population, check_positive
from evolve.core.optimizer import Optimizer
from evolve.core.population import Population, Stored
from evolve.core.schedule import Scalar
from evolve.core.trees import Geometry, Params, begin, float_dtype, select
from evolve.methods.cma_parameters import default_population
from evolve.methods.nes import in_range, usable, utilities


class XNESState(eqx.Module):
    """N(mean, sigma^2 B B^T) with det B = 1, in `float_dtype()`."""

    mean: Float[Array, " n"]
    sigma: Float[Array, ""]
    root: Float[Array, "n n"]  # B
    inverse: Float[Array, "n n"]  # of B
    geometry: Geometry


class XNES(Optimizer):
    """Exponential NES: natural gradient steps of mean, step size and shape, each with a rate of its own.

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

    Computes in float64 where x64 is on; in float32 the condition of the covariance is limited to about 1e7. Time a
    generation: O(population n^2 + n^3); memory O(population n + n^2).
    """

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    mean_rate: Scalar = 1.0
    sigma_rate: Scalar | None = None
    shape_rate: Scalar | None = None

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, sigma=self.sigma, mean_rate=self.mean_rate)
        if self.population is not None:
            check_population(self, self.population)
        for option in ("sigma_rate", "shape_rate"):
            if getattr(self, option) is not None:
                check_positive(self, schedules=False, **{option: getattr(self, option)})

    def init(self, params: Params, key: PRNGKeyArray) -> XNESState:
        """The isotropic normal distribution around the parameters."""
        del key
        geometry, start = begin(self, params)
        identity = jnp.eye(geometry.size, dtype=float_dtype())
        return XNESState(geometry.ravel(start), jnp.asarray(self.sigma, float_dtype()), identity, identity, geometry)

    def ask(self, state: XNESState, key: PRNGKeyArray) -> Population:
        """x_i = mu + sigma B s_i with s_i ~ N(0, I) (Wierstra et al. 2014, algorithm 5)."""
        n, unravel = state.geometry.size, state.geometry.unravel
        size = default_population(n) if self.population is None else self.population
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
        return XNESState(mean, sigma, root, inverse, state.geometry)

    def answer(self, state: XNESState) -> Params:
        """The mean."""
        return state.geometry.cast(state.geometry.unravel(state.mean))

    def status(self, state: XNESState) -> dict[str, Float[Array, ""]]:
        """Step size, and the condition number of the covariance by Frobenius norms: right up to a factor n^2."""
        return {"sigma": state.sigma, "condition": _condition(state.root, state.inverse)}


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
    """Of B B^T: (||B|| ||B^-1|| / n)^2, which is one for a rotation."""
    return (jnp.linalg.norm(root) * jnp.linalg.norm(inverse) / root.shape[0]) ** 2
