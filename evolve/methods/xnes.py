"""Exponential natural evolution strategy (Glasmachers et al. 2010; Wierstra et al. 2014, JMLR 15)."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_positive
from evolve.core.population import Population, Stored
from evolve.core.schedule import Scalar
from evolve.core.trees import Geometry, Params, float_dtype, select
from evolve.methods.colored import Growth
from evolve.methods.gather import summed
from evolve.methods.natural import Natural
from evolve.methods.nes import in_range, usable, utilities
from evolve.methods.stopping import Spread, Tolerances
from evolve.methods.watch import Watch, watched


class Root(eqx.Module):
    """N(0, B B^T) up to its size."""

    keeps_white: ClassVar[bool] = True

    root: Float[Array, "n n"]  # B
    inverse: Float[Array, "n n"]  # of B

    def color(self, z: Float[Array, "many n"]) -> Float[Array, "many n"]:
        """B z."""
        return z @ self.root.T

    def whiten(self, y: Float[Array, "many n"]) -> Float[Array, "many n"]:
        """B^-1 y."""
        return y @ self.inverse.T


class XNESState(eqx.Module):
    """N(mean, sigma^2 B B^T) with det B = 1, in `float_dtype()`."""

    mean: Float[Array, " n"]
    sigma: Float[Array, ""]
    root: Float[Array, "n n"]  # B
    inverse: Float[Array, "n n"]  # of B
    geometry: Geometry
    watch: Watch | None  # None where nothing stops it
    growth: Growth | None  # None where the population is the optimizer's own

    @property
    def shape(self) -> Root:
        """What makes directions of white noise."""
        return Root(self.root, self.inverse)


class XNES(Natural):
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

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    mean_rate: Scalar = 1.0
    sigma_rate: Scalar | None = None
    shape_rate: Scalar | None = None
    stopping: Tolerances | None = Tolerances()

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, mean_rate=self.mean_rate)
        for option in ("sigma_rate", "shape_rate"):
            if getattr(self, option) is not None:
                check_positive(self, schedules=False, **{option: getattr(self, option)})

    def begun(
        self, geometry: Geometry, start: Params, key: PRNGKeyArray, sigma: Float[Array, ""], growth: Growth | None
    ) -> XNESState:
        """The isotropic normal distribution around the parameters."""
        del key
        mean, identity = geometry.ravel(start), jnp.eye(geometry.size, dtype=float_dtype())
        watch = Watch.start(self.stopping, mean, jnp.full_like(mean, sigma), self.default_size(geometry.size))
        return XNESState(mean, sigma, identity, identity, geometry, watch, growth)

    def ask(self, state: XNESState, key: PRNGKeyArray) -> Population:
        """x_i = mu + sigma B s_i with s_i ~ N(0, I) (Wierstra et al. 2014, algorithm 5)."""
        geometry, unravel = state.geometry, state.geometry.unravel
        if state.growth is not None:
            return state.growth.population(unravel(state.mean), state.sigma, state.shape, key, geometry)
        size = self.default_size(geometry.size)
        y = state.shape.color(draws.normal(key, (size, geometry.size), float_dtype()))
        return Population(unravel(state.mean), state.sigma, Stored(jax.vmap(unravel)(y)), key, geometry, size)

    def learn(self, state: XNESState, population: Population, losses: Float[Array, " size"]) -> XNESState:
        """Natural gradients in the local coordinates s, then the updates (algorithm 5)."""
        n = state.geometry.size
        usual = 0.6 * (3 + math.log(n)) / (n * math.sqrt(n))
        u, identity = utilities(population, losses), jnp.eye(n, dtype=state.mean.dtype)

        def part(shape: Root, y: Array, s: Array, u: Array) -> tuple[Array, Array]:
            return u @ y, (s.T * u) @ s

        drawn, geometry = population.directions, state.geometry
        shift, products = summed(drawn, state.shape, geometry, population.used, (u,), part)
        gradient = products - jnp.sum(u) * identity
        growth = jnp.trace(gradient) / n
        mean = state.mean + self.mean_rate * state.sigma * shift
        rate = usual if self.sigma_rate is None else self.sigma_rate
        sigma = in_range(state.sigma * jnp.exp(rate / 2 * growth))
        rate = usual if self.shape_rate is None else self.shape_rate
        root, inverse = _reshaped(state, rate / 2 * (gradient - growth * identity))
        watch = watched(state.watch, self.stopping, population, losses, mean)
        return XNESState(mean, sigma, root, inverse, geometry, watch, state.growth)

    def answer(self, state: XNESState) -> Params:
        """The mean."""
        return state.geometry.cast(state.geometry.unravel(state.mean))

    def status(self, state: XNESState) -> dict[str, Float[Array, ""]]:
        """Step size, and the condition number of the covariance by Frobenius norms: right up to a factor n^2."""
        return {"sigma": state.sigma, "condition": _condition(state.root, state.inverse)}

    def spread(self, state: XNESState) -> Spread:
        """Deviations of the coordinates, and bounds of the axes."""
        deviations = state.sigma * jnp.linalg.norm(state.root, axis=1)
        return Spread(state.mean, deviations, axes=_axes(state.root, state.inverse))


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
