"""Matrix adaptation (Beyer and Sendhoff 2017, IEEE TEVC 21(5)), in its fast form (Loshchilov et al. 2019)."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evolve.core.refresh import refresh
from evolve.core.trees import select
from evolve.methods.cma_parameters import Parameters, Rates
from evolve.methods.covariance import Shape, Step, WhitePath, products
from evolve.methods.distribution import CMA


class Matrix(WhitePath):
    """C = U M M^T U, of which only the root M is learned; its singular values are for the eye and for stopping."""

    keeps_white: ClassVar[bool] = True

    units: Float[Array, " n"]  # U
    matrix: Float[Array, "n n"]  # M
    basis: Float[Array, "n n"]  # principal axes in columns, as they were looked at last
    scales: Float[Array, " n"]  # and their standard deviations

    @classmethod
    def start(cls, deviations: Float[Array, " n"]) -> "Shape":
        """The identity between units."""
        identity = jnp.eye(len(deviations), dtype=deviations.dtype)
        return cls(deviations, identity, identity, jnp.ones_like(deviations))

    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """U M z."""
        return self.units * (z @ self.matrix.T)

    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """M^-1 U^-1 y, in O(n^3): only for directions that came without their white noise."""
        z = jnp.linalg.solve(self.matrix, (y / self.units).T).T
        return jnp.where(jnp.isfinite(z), z, 0.0)  # M may have become singular to rounding

    def moments(
        self, y: Float[Array, "some n"], z: Float[Array, "some n"] | None, weights: Float[Array, " some"]
    ) -> Float[Array, "n n"]:
        """M sum_i w_i z_i z_i^T: M z_i is U^-1 y_i, so that no two matrices are multiplied (2019, section II)."""
        return products(weights, y / self.units, self.whiten(y) if z is None else z)

    def learned(self, step: Step, p: Parameters) -> "Shape":
        """M (I + c_1/2 (p p^T - I) + c_w/2 (sum_i w_i z_i z_i^T - I)) (2017, fig. 3, line M11)."""
        keep = 1 - p.c_1 / 2 - p.c_mu / 2 * step.total
        one = p.c_1 / 2 * jnp.outer(step.path @ self.matrix.T, step.path)
        matrix = (keep * self.matrix + one + p.c_mu / 2 * step.moments) / step.unit
        matrix, scales = select(step.sound, (matrix, self.scales / step.unit), (self.matrix, self.scales))
        return type(self)(self.units, matrix, *refresh(step.due(p.gap), _look, matrix, (self.basis, scales)))

    def widened(self, least: Float[Array, " n"]) -> "Shape":
        """By larger units."""
        return dataclasses.replace(self, units=self.units * jnp.maximum(1.0, least / self.deviations))

    @property
    def axes(self) -> Float[Array, " n"]:
        """Singular values of M, as they were looked at last; without the units."""
        return self.scales

    @property
    def deviations(self) -> Float[Array, " n"]:
        """Lengths of the rows."""
        return self.units * jnp.linalg.norm(self.matrix, axis=1)

    def axis(self, i: Int[Array, ""]) -> Float[Array, " n"]:
        """U times the i-th left singular vector of M and its singular value."""
        return self.units * self.basis[:, i] * self.scales[i]


class MAES(CMA):
    """MA-ES: learns a root of the covariance, so that nothing is decomposed (Beyer and Sendhoff 2017, IEEE TEVC 21(5)).

    Like `CMAES` without the active update, for up to a few thousand parameters, any conditioning, any rotation; it
    takes some more evaluations. Prefer it where eigendecompositions are slow (accelerators) or inexact (float32), and
    `CMAES` where evaluations are what costs.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0; about a third of the distance to where the optimum may lie; by default 0.3.
    population
        Members a generation, at least 2; by default 4 + floor(3 ln n). More for ruggedness or noise.
    stds, min_std, stopping, mirrored, elitist
        As in `CMAES`.

    The constants are those of the paper's figure 3; the weights are the tutorial's (Hansen 2016, eq. 49), which are the
    paper's where the population is even. Time a generation: O(population n^2), in the fast form of Loshchilov,
    Glasmachers and Beyer (2019, arXiv:1705.06693), plus O(n^3) once in n generations for the condition that `status`
    and `stopping` see; memory O(n^2).
    """

    waits: ClassVar[bool] = False

    active: bool = eqx.field(static=True, default=False, init=False)

    def _kind(self) -> tuple[type[Shape], Rates]:
        return Matrix, "full"

    def _constants(self, n: int, size: Any, most: int | None = None) -> Parameters:
        """The paper's constants (2017, below fig. 3)."""
        p = super()._constants(n, size, most)
        mu, xp = p.mu_eff, jnp if isinstance(size, jax.Array) else np
        c_s = (mu + 2) / (mu + n + 5)
        d_s = 1 + c_s + 2 * xp.maximum(0.0, xp.sqrt(xp.maximum(0.0, mu - 1) / (n + 1)) - 1)
        c_1 = 2 / ((n + 1.3) ** 2 + mu)
        c_w = xp.minimum(1 - c_1, 2 * (mu + 1 / mu - 2) / ((n + 2) ** 2 + mu))
        return p._replace(c_sigma=c_s, d_sigma=d_s, c_c=c_s, c_1=c_1, c_mu=c_w, gap=n)


def _look(matrix: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Float[Array, " n"]]:
    """Principal axes and their standard deviations; what rounding hides counts as just visible."""
    basis, scales, _ = jnp.linalg.svd(matrix)
    return basis, jnp.maximum(scales, jnp.finfo(scales.dtype).eps * scales[0])
