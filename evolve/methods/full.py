"""Full covariance matrices: drawn from by their symmetric root, or by their Cholesky factor."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from evolve.core.refresh import refresh
from evolve.core.trees import as_array
from evolve.methods.cma_parameters import Parameters
from evolve.methods.covariance import Shape, Step, balanced, products


class Full(Shape):
    """U B diag(D^2) B^T U: a full matrix, decomposed now and then, between the units of the coordinates."""

    keeps_white: ClassVar[bool] = True

    covariance: Float[Array, "n n"]  # without the units
    basis: Float[Array, "n n"]  # B, eigenvectors in columns
    scales: Float[Array, " n"]  # D, square roots of the eigenvalues
    units: Float[Array, " n"]  # U

    @classmethod
    def start(cls, deviations: Float[Array, " n"]) -> "Shape":
        """The identity between units."""
        identity = as_array(np.eye(deviations.shape[0], dtype=deviations.dtype))
        return cls(identity, identity, jnp.ones_like(deviations), deviations)

    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """U B D B^T z: the symmetric root, which does not depend on the order and the signs of the eigenvectors.

        U B D z has the same law, but another solver (a batched one under `vmap`, say) would sample other points.
        """
        return self.units * (((z @ self.basis) * self.scales) @ self.basis.T)

    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """B D^-1 B^T U^-1 y."""
        return (((y / self.units) @ self.basis) / self.scales) @ self.basis.T

    def local(self, y: Float[Array, " n"], white: Float[Array, " n"]) -> Float[Array, " n"]:
        """U^-1 y."""
        del white
        return y / self.units

    def moments(
        self, y: Float[Array, "some n"], z: Float[Array, "some n"] | None, weights: Float[Array, " some"]
    ) -> Float[Array, "n n"]:
        """sum_i w_i y_i y_i^T."""
        weights, y = balanced(weights, self.whiten(y) if z is None else z), y / self.units
        return products(weights, y, y)

    def learned(self, step: Step, p: Parameters) -> "Shape":
        """By rank-one and rank-mu update (eq. 47); decomposed where it is due."""
        covariance, basis, scales = self._next(step, p, p.gap)
        return Full(covariance, basis, scales, self.units)

    def _next(
        self, step: Step, p: Parameters, gap: Any
    ) -> tuple[Float[Array, "n n"], Float[Array, "n n"], Float[Array, " n"]]:
        """C, B and D, of which C is decomposed every `gap` generations; a matrix that stays is not copied."""
        _, keep = step.decays(p)
        learned = keep * self.covariance + p.c_1 * jnp.outer(step.path, step.path) + p.c_mu * step.moments
        covariance = jnp.where(step.sound, learned / step.unit**2, self.covariance)
        scales = jnp.where(step.sound, self.scales / step.unit, self.scales)
        return refresh(step.due(gap), _decompose, covariance, (covariance, self.basis, scales))

    def widened(self, least: Float[Array, " n"]) -> "Shape":
        """By larger units."""
        return dataclasses.replace(self, units=self.units * jnp.maximum(1.0, least / self.deviations))

    @property
    def axes(self) -> Float[Array, " n"]:
        """D, as it was decomposed last; without the units."""
        return self.scales

    @property
    def deviations(self) -> Float[Array, " n"]:
        """Roots of the diagonal."""
        return self.units * jnp.sqrt(jnp.diagonal(self.covariance))

    def outward(self, path: Float[Array, " n"], wanted: Bool[Array, ""]) -> Float[Array, " n"]:
        """U p."""
        del wanted
        return path * self.units

    def axis(self, i: Int[Array, ""]) -> Float[Array, " n"]:
        """U B_i D_i."""
        return self.units * self.basis[:, i] * self.scales[i]


class Triangular(Full):
    """U L L^T U (Krause, Arbonès and Igel 2016, NIPS 29): C is learned as `Full` learns it, and drawn from by L.

    Its eigenvectors are for the eye and for stopping.
    """

    lower: Float[Array, "n n"]  # L, factored where `Full` decomposes

    @classmethod
    def start(cls, deviations: Float[Array, " n"]) -> "Shape":
        """The identity between units."""
        identity = as_array(np.eye(deviations.shape[0], dtype=deviations.dtype))
        return cls(identity, identity, jnp.ones_like(deviations), deviations, identity)

    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """U L z."""
        return self.units * (z @ self.lower.T)

    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """L^-1 U^-1 y."""
        return jax.scipy.linalg.solve_triangular(self.lower, (y / self.units).T, lower=True).T

    def learned(self, step: Step, p: Parameters) -> "Shape":
        """By rank-one and rank-mu update (eq. 47); factored where it is due, and looked at every n generations."""
        covariance, basis, scales = self._next(step, p, len(self.units))
        due, moves = step.due(p.gap), step.sound & (step.unit != 1)
        lower = refresh(due | moves, _renew, (covariance, self.lower, step.unit, due), self.lower)
        return Triangular(covariance, basis, scales, self.units, lower)


def _decompose(covariance: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Float[Array, "n n"], Float[Array, " n"]]:
    """C, B and D. Rounding may cost C its positive definiteness, which a little of the identity gives back.

    How little is relative to the largest eigenvalue: a scale-free threshold.
    """
    covariance = (covariance + covariance.T) / 2
    values, basis = jnp.linalg.eigh(covariance)
    lack = jnp.maximum(0, jnp.finfo(values.dtype).eps * values[-1] - values[0])
    return covariance + lack * jnp.eye(values.shape[0], dtype=values.dtype), basis, jnp.sqrt(values + lack)


def _renew(operand: tuple[Any, Any, Any, Any]) -> Float[Array, "n n"]:
    """L of C where that is due, else L in the unit that C has now."""
    covariance, lower, unit, due = operand
    return refresh(due, _factor, covariance, lower / unit)


def _factor(covariance: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """L."""
    lower = jax.lax.linalg.cholesky(covariance, symmetrize_input=False)
    return refresh(jnp.isnan(lower[0, 0]), _mend, covariance, lower)


def _mend(covariance: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """L where rounding has cost C its positive definiteness: of what `_decompose` makes of it, by orthogonal steps.

    With D B^T = Q R, C is R^T R, and R^T is B D Q, whose numbers lie in memory as those of `_factor` do.
    """
    _, basis, scales = _decompose(covariance)
    orthogonal, upper = jnp.linalg.qr(scales[:, None] * basis.T)
    return jnp.tril((basis * scales) @ (orthogonal * jnp.sign(jnp.diagonal(upper))))
