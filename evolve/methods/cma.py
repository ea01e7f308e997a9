"""CMA-ES, full and separable (Hansen and Ostermeier 2001; Hansen 2016; Ros and Hansen 2008)."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.checks import check_population, check_positive
from evolve.core.optimizer import Optimizer
from evolve.core.population import Population, Stored
from evolve.core.refresh import refresh
from evolve.core.schedule import Scalar
from evolve.core.shaping import recombination
from evolve.core.trees import Geometry, Params, begin, float_dtype
from evolve.methods.cma_parameters import Parameters, default_population, parameters


class Shape(eqx.Module):
    """The sampling distribution N(0, C) up to its size: how to draw from it and how to undo it."""

    @abstractmethod
    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """C^(1/2) z: white noise to a direction."""

    @abstractmethod
    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """C^(-1/2) y."""


class Full(Shape):
    """C = B diag(D^2) B^T, decomposed now and then."""

    covariance: Float[Array, "n n"]
    basis: Float[Array, "n n"]  # B, eigenvectors in columns
    scales: Float[Array, " n"]  # D, square roots of the eigenvalues

    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """B D B^T z: the symmetric root, which does not depend on the order and the signs of the eigenvectors.

        B D z has the same law, but another solver (a batched one under `vmap`, say) would sample other points.
        """
        return ((z @ self.basis) * self.scales) @ self.basis.T

    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """B D^-1 B^T y."""
        return ((y @ self.basis) / self.scales) @ self.basis.T


class Diagonal(Shape):
    """C = diag(scales^2)."""

    scales: Float[Array, " n"]

    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """D z."""
        return z * self.scales

    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """D^-1 y."""
        return y / self.scales


class CMAState(eqx.Module):
    """The normal distribution and its two evolution paths, in `float_dtype()`."""

    mean: Float[Array, " n"]
    sigma: Float[Array, ""]
    shape: Any  # Full or Diagonal
    path_sigma: Float[Array, " n"]
    path_c: Float[Array, " n"]
    generation: Int[Array, ""]
    geometry: Geometry


class _CMA(Optimizer):
    """What the full and the separable variant share: sampling, mean, paths and step size."""

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    active: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, sigma=self.sigma)
        if self.population is not None:
            check_population(self, self.population)

    @abstractmethod
    def _parameters(self, n: int) -> Parameters: ...

    @abstractmethod
    def _first_shape(self, n: int) -> Shape: ...

    @abstractmethod
    def _learn_shape(self, state: CMAState, step: "_Step", p: Parameters) -> Shape: ...

    def init(self, params: Params, key: PRNGKeyArray) -> CMAState:
        """The isotropic normal distribution around the parameters."""
        del key
        geometry, start = begin(self, params)
        n, mean = geometry.size, geometry.ravel(start)
        zeros = jnp.zeros_like(mean)
        sigma = jnp.asarray(self.sigma, float_dtype())
        return CMAState(mean, sigma, self._first_shape(n), zeros, zeros, jnp.zeros((), jnp.int32), geometry)

    def ask(self, state: CMAState, key: PRNGKeyArray) -> Population:
        """x_i = m + sigma y_i with y_i ~ N(0, C) (eqs. 38-40)."""
        n = state.geometry.size
        size = default_population(n) if self.population is None else self.population
        y = state.shape.color(jax.random.normal(key, (size, n), float_dtype()))
        unravel = state.geometry.unravel
        return Population(unravel(state.mean), state.sigma, Stored(jax.vmap(unravel)(y)), key, state.geometry, size)

    def learn(self, state: CMAState, population: Population, losses: Float[Array, " size"]) -> CMAState:
        """Mean, paths, step size and shape (eqs. 41-47)."""
        n, p = state.geometry.size, self._parameters(state.geometry.size)
        y = jax.vmap(state.geometry.ravel)(population.stored)
        tables = jnp.asarray([p.mean_weights, p.weights], y.dtype)
        mean_weights, weights = jax.vmap(recombination, (None, 0))(losses, tables)

        # Of the weights in use: ties share theirs, and a failed member's go to the others.
        mu_eff = 1 / jnp.sum(mean_weights**2)
        shift = mean_weights @ y
        mean = state.mean + state.sigma * shift  # eq. 42
        pull = jnp.sqrt(p.c_sigma * (2 - p.c_sigma) * mu_eff)
        path_sigma = (1 - p.c_sigma) * state.path_sigma + pull * state.shape.whiten(shift)  # eq. 43
        length = jnp.linalg.norm(path_sigma)
        # The cap keeps one lucky generation from multiplying sigma by more than e, as the reference does.
        sigma = state.sigma * jnp.exp(jnp.minimum(1.0, p.c_sigma / p.d_sigma * (length / p.chi - 1)))  # eq. 44

        limits = jnp.finfo(sigma.dtype)
        unit = _unit(state.shape.scales)
        sigma = jnp.clip(sigma * unit, limits.tiny * 2**12, limits.max / 2**12)
        decay = 1 - (1 - p.c_sigma) ** (2 * (state.generation + 1))
        stalled = length**2 / decay / n >= 2 + 4 / (n + 1)  # h_sigma = 0
        pull = jnp.where(stalled, 0.0, jnp.sqrt(p.c_c * (2 - p.c_c) * mu_eff))
        path_c = (1 - p.c_c) * state.path_c + pull * shift  # eq. 45
        shape = self._learn_shape(state, _Step(y, weights, path_c, stalled, unit), p)
        return CMAState(mean, sigma, shape, path_sigma, path_c / unit, state.generation + 1, state.geometry)

    def answer(self, state: CMAState) -> Params:
        """The mean, the best estimate of the optimum under noise."""
        return state.geometry.cast(state.geometry.unravel(state.mean))

    def status(self, state: CMAState) -> dict[str, Float[Array, ""]]:
        """Step size, condition number of C, and the longest axis."""
        scales = state.shape.scales
        longest = jnp.max(scales)
        return {
            "sigma": state.sigma,
            "condition": (longest / jnp.min(scales)) ** 2,
            "axis": state.sigma * longest,
        }


class _Step(eqx.Module):
    """What one generation teaches the shape."""

    y: Float[Array, "size n"]
    weights: Float[Array, " size"]
    path: Float[Array, " n"]
    stalled: Array
    unit: Float[Array, ""]  # what of C's size moves into sigma

    def rates(self, p: Parameters) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The factor that C keeps, and the rank-one rate, corrected where the path stalled (eq. 47)."""
        c_1 = p.c_1 * (1 - jnp.where(self.stalled, p.c_c * (2 - p.c_c), 0.0))
        return 1 - c_1 - p.c_mu * jnp.sum(self.weights), jnp.asarray(p.c_1)

    def balanced(self, whitened: Float[Array, "size n"]) -> Float[Array, " size"]:
        """Negative weights shrink with the member's length, so that C stays positive definite (eq. 46)."""
        n = whitened.shape[1]
        length = jnp.sum(whitened**2, axis=1)
        tiny = jnp.finfo(whitened.dtype).tiny
        return jnp.where(self.weights < 0, self.weights * n / jnp.maximum(length, tiny), self.weights)


class CMAES(_CMA):
    """CMA-ES with active covariance update and lazy eigendecomposition (Hansen 2016, arXiv:1604.00772).

    The method of choice for up to about a thousand parameters, any conditioning, any rotation, some
    ruggedness. For more parameters take `SepCMAES` or `OpenES`.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0; about a third of the distance to where the optimum may lie.
    population
        Members a generation, at least 2; by default 4 + floor(3 ln n). More for ruggedness or noise.
    active
        Whether bad members make the variance smaller where they lie.

    Computes in float64 where x64 is on; in float32 the condition of C is limited to about 1e7. Time a generation:
    O(population n^2), plus O(n^3) for the eigendecomposition every 1 / (10 n (c_1 + c_mu)) generations; memory O(n^2).
    """

    def _parameters(self, n: int) -> Parameters:
        return parameters(n, self.population or default_population(n), self.active)

    def _first_shape(self, n: int) -> Shape:
        identity = jnp.eye(n, dtype=float_dtype())
        return Full(identity, identity, jnp.ones(n, float_dtype()))

    def _learn_shape(self, state: CMAState, step: _Step, p: Parameters) -> Shape:
        """C by rank-one and rank-mu update (eq. 47), decomposed where it is due."""
        keep, c_1 = step.rates(p)
        old = state.shape
        # ||C^(-1/2) y|| needs no rotation back.
        weights = p.c_mu * step.balanced((step.y @ old.basis) / old.scales)
        learned = keep * old.covariance + c_1 * jnp.outer(step.path, step.path) + (step.y.T * weights) @ step.y
        covariance = learned / step.unit**2
        due = (state.generation + 1) % p.gap == 0
        return Full(*refresh(due, _decompose, covariance, (covariance, old.basis, old.scales / step.unit)))


def _decompose(covariance: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Float[Array, "n n"], Float[Array, " n"]]:
    """C, B and D. Rounding may cost C its positive definiteness, which a little of the identity gives back.

    How little is relative to the largest eigenvalue: a scale-free threshold.
    """
    covariance = (covariance + covariance.T) / 2
    values, basis = jnp.linalg.eigh(covariance)
    lack = jnp.maximum(0, jnp.finfo(values.dtype).eps * values[-1] - values[0])
    return covariance + lack * jnp.eye(values.shape[0], dtype=values.dtype), basis, jnp.sqrt(values + lack)


def _unit(scales: Float[Array, " n"]) -> Float[Array, ""]:
    """One, or the power of two next to the longest axis where that has drifted far from one.

    The size of C and sigma are one number too many: on plateaus they drift apart until one underflows. A power of two
    moves from one to the other without rounding.
    """
    longest = jnp.log2(jnp.max(scales))
    return jnp.exp2(jnp.where(jnp.abs(longest) > 16, jnp.round(longest), 0.0))


class SepCMAES(_CMA):
    """Separable CMA-ES: a diagonal covariance that learns (n + 2) / 3 times as fast (Ros and Hansen 2008).

    For thousands to millions of parameters, where the full matrix is too large, and for separable
    problems. It does not learn rotations.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0.
    population
        Members a generation, at least 2; by default 4 + floor(3 ln n).
    active
        Whether bad members make the variance smaller where they lie.

    Time and memory a generation: O(population n).
    """

    def _parameters(self, n: int) -> Parameters:
        return parameters(n, self.population or default_population(n), self.active, separable=True)

    def _first_shape(self, n: int) -> Shape:
        return Diagonal(jnp.ones(n, float_dtype()))

    def _learn_shape(self, state: CMAState, step: _Step, p: Parameters) -> Shape:
        """The diagonal of eq. 47."""
        keep, c_1 = step.rates(p)
        scales = state.shape.scales
        weights = p.c_mu * step.balanced(step.y / scales)
        variance = keep * scales**2 + c_1 * step.path**2 + weights @ step.y**2
        # The guarantee of `balanced` is for the whole vector; one coordinate may still be pushed below zero.
        floor = jnp.finfo(scales.dtype).eps * scales**2
        return Diagonal(jnp.sqrt(jnp.maximum(variance, floor)) / step.unit)
