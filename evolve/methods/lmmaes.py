"""Limited-memory matrix adaptation (Loshchilov, Glasmachers and Beyer 2019, IEEE TEVC 23(2), arXiv:1705.06693)."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from evolve.core.checks import check_count
from evolve.core.refresh import refresh
from evolve.core.trees import keep
from evolve.methods.cma_parameters import Parameters, Rates, default_population
from evolve.methods.covariance import Shape, Step, WhitePath
from evolve.methods.distribution import CMA
from evolve.methods.nes import shares

_PIECE = 20_000  # coordinates
_SMALL = 64  # rows
_MOST = 0.5  # of any rate; in few dimensions the paper's would exceed one


class Chain(eqx.Module):
    """A product of maps u_j I + v_j m_j m_j^T as one of rank m: y = scale z + V^T mix V z, where V holds the m_j."""

    scale: Float[Array, ""]
    mix: Float[Array, "m m"]

    @classmethod
    def of(cls, gram: Float[Array, "m m"], u: Float[Array, " m"], v: Float[Array, " m"]) -> "Chain":
        """The first map acts first; `gram` is V V^T.

        s_j = m_j . y_(j-1) depends on the s_k before it through V V^T alone: forward substitution gives all.
        """
        after = jnp.cumprod(u)
        before = jnp.concatenate([jnp.ones_like(u[:1]), after[:-1]])
        lower = jnp.tril(before[:, None] * gram * (v / after), -1)
        return cls(after[-1], (after[-1] / after * v)[:, None] * _substituted(lower, jnp.diag(before)))

    def __call__(self, vectors: Float[Array, "m n"], z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """Two thin products for all rows of z."""
        return self.scale * z + (_products(z, vectors) @ self.mix.T) @ vectors


def _substituted(lower: Float[Array, "m m"], right: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """The solution of (I - L) X = R for a strictly lower triangular L, row after row."""
    m = len(lower)
    if m > _SMALL or jax.default_backend() != "cpu":
        return solve_triangular(jnp.eye(m, dtype=lower.dtype) - lower, right, lower=True)

    # LAPACK is quicker by some microseconds, but its threads stay awake after it and keep cores from large products.
    def add(j: Int[Array, ""], rows: Array) -> Array:
        return rows.at[j].add(jnp.matmul(lower[j], rows, precision="highest"))

    return jax.lax.fori_loop(1, m, add, right)


def _products(
    z: Float[Array, "*many n"], vectors: Float[Array, "m n"], precision: Any = None
) -> Float[Array, "*many m"]:
    """The products z V^T. Of many long rows a cache holds a piece at a time, which XLA's own product does not heed."""
    if z.ndim == 1:  # reads every vector once
        return jnp.matmul(vectors, z, precision=precision)
    n = z.shape[-1]
    count = n // _PIECE if jax.default_backend() == "cpu" else 0

    def add(i: Int[Array, ""], total: Array) -> Array:
        one, other = (jax.lax.dynamic_slice_in_dim(each, i * _PIECE, _PIECE, -1) for each in (z, vectors))
        return total + jnp.matmul(one, other.T, precision=precision)

    rest = jnp.matmul(z[..., count * _PIECE :], vectors[:, count * _PIECE :].T, precision=precision)
    return jax.lax.fori_loop(0, count, add, rest) if count else rest


def _triangle(vectors: Float[Array, "m n"]) -> Float[Array, "least m"]:
    """R of V^T = Q R, of long rows from those of pieces that a cache holds (Demmel, Grigori, Hoemmen and Langou 2012).

    SIAM J. Sci. Comput. 34(1), TSQR: as stable as that of the whole.
    """
    count = vectors.shape[1] // _PIECE if jax.default_backend() == "cpu" else 0

    def piece(i: Int[Array, ""]) -> Float[Array, "some m"]:
        return jnp.linalg.qr(jax.lax.dynamic_slice_in_dim(vectors, i * _PIECE, _PIECE, 1).T, mode="r")

    rest = vectors[:, count * _PIECE :].T
    if count:
        rest = jnp.concatenate([jax.lax.map(piece, jnp.arange(count)).reshape(-1, len(vectors)), rest])
    return jnp.linalg.qr(rest, mode="r")


class Vectors(WhitePath):
    """C = U T T^T U with T = prod_j ((1 - c_j) I + c_j m_j m_j^T): m paths, each slower than the one before."""

    vectors: Float[Array, "m n"]
    gram: Float[Array, "m m"]  # V V^T
    count: Int[Array, ""]  # generations; so many of the vectors act
    units: Float[Array, " n"]  # U
    scales: Float[Array, " some"]  # singular values of T, as they were looked at last
    widths: Float[Array, " n"]  # lengths of its rows, likewise

    @classmethod
    def start(cls, deviations: Float[Array, " n"]) -> "Shape":
        """With the paper's number of vectors."""
        return cls.of(deviations, default_population(len(deviations)))

    @classmethod
    def of(cls, deviations: Float[Array, " n"], m: int) -> "Vectors":
        """The identity between units."""
        n, kind = len(deviations), deviations.dtype
        scales = jnp.ones(min(m, n) + (n > m), kind)
        vectors, gram, count = jnp.zeros((m, n), kind), jnp.zeros((m, m), kind), jnp.zeros((), jnp.int32)
        return cls(vectors, gram, count, deviations, scales, jnp.ones_like(deviations))

    def color(self, z: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """U T z (algorithm 1, lines 7-10), for all members together."""
        return self.units * self._chain()(self.vectors, z)

    def whiten(self, y: Float[Array, "*many n"]) -> Float[Array, "*many n"]:
        """T^-1 U^-1 y: each map undone by Sherman and Morrison's formula, the last first."""
        c = self._rates()
        v = -c / ((1 - c) * (1 - c + c * jnp.diagonal(self.gram)))
        undone = Chain.of(self.gram[::-1, ::-1], 1 / (1 - c)[::-1], v[::-1])
        return Chain(undone.scale, undone.mix[::-1, ::-1])(self.vectors, y / self.units)

    def moments(
        self, y: Float[Array, "some n"], z: Float[Array, "some n"] | None, weights: Float[Array, " some"]
    ) -> None:
        """Nothing: the step of the mean is all that it learns from."""
        del y, z, weights

    def learned(self, step: Step, p: Parameters) -> "Shape":
        """m_i <- (1 - c_i) m_i + sqrt(mu_eff c_i (2 - c_i)) sum_j w_j z_j (algorithm 1, lines 14-15)."""
        m, n = self.vectors.shape
        rates = jnp.minimum(_MOST, p.size / (n * 4.0 ** jnp.arange(m)))  # c_c,i
        rates = rates.astype(self.vectors.dtype)[:, None]
        left, gain = shares(rates, step.mu_eff)
        white, count = step.white, step.generation + 1
        # The products of the new vectors from those of the old ones: all of them anew would cost as much as coloring.
        along = left * jnp.matmul(self.vectors, white, precision="highest")[:, None]
        gram = left * self.gram * left.T + along * gain.T + gain * along.T + jnp.sum(white**2) * gain * gain.T
        vectors = left * self.vectors + gain * white
        new = type(self)(vectors, gram, count, self.units, self.scales, self.widths)
        gram, scales, widths = refresh(count % m == 0, Vectors._look, new, (gram, self.scales, self.widths))
        return keep(step.sound, type(self)(vectors, gram, count, self.units, scales, widths), self)

    def widened(self, least: Float[Array, " n"]) -> "Shape":
        """By larger units."""
        widths = self._lengths()
        units = self.units * jnp.maximum(1.0, least / (self.units * widths))
        return type(self)(self.vectors, self.gram, self.count, units, self.scales, widths)

    @property
    def axes(self) -> Float[Array, " some"]:
        """Those in the span of the vectors and one of all others, as they were looked at last; without the units."""
        return self.scales

    @property
    def unit(self) -> Float[Array, ""]:
        """One: T is made of paths of white noise, whose size does not drift."""
        return jnp.ones((), self.units.dtype)

    @property
    def deviations(self) -> Float[Array, " n"]:
        """As they were looked at last."""
        return self.units * self.widths

    def _rates(self) -> Float[Array, " m"]:
        """c_d,i of the first min(t, m) vectors; the others do not act yet (algorithm 1, line 8)."""
        m, n = self.vectors.shape
        rates = jnp.asarray(np.minimum(_MOST, 1 / (n * 1.5 ** np.arange(m))), self.vectors.dtype)
        return jnp.where(jnp.arange(m) < self.count, rates, 0.0)

    def _chain(self) -> Chain:
        c = self._rates()
        return Chain.of(self.gram, 1 - c, c)

    def _lengths(self) -> Float[Array, " n"]:
        """Lengths of the rows of T = a I + V^T X V: the diagonal of T T^T, by its terms."""
        chain = self._chain()
        both = chain.scale * (chain.mix + chain.mix.T) + chain.mix @ self.gram @ chain.mix.T
        ones = jnp.ones(len(self.gram), self.gram.dtype)  # a product with them takes a third of the time of the sum
        terms = self.vectors * (both @ self.vectors)
        squares = chain.scale**2 + jnp.matmul(ones, terms, precision="highest")
        return jnp.sqrt(jnp.maximum(squares, jnp.finfo(squares.dtype).eps))

    def _look(self) -> tuple[Float[Array, "m m"], Float[Array, " some"], Float[Array, " n"]]:
        """V V^T without the rounding that has added up; singular values of T, and lengths of its rows."""
        exact = _products(self.vectors, self.vectors, precision="highest")
        return exact, *dataclasses.replace(self, gram=exact)._seen()

    def _seen(self) -> tuple[Float[Array, " some"], Float[Array, " n"]]:
        """What rounding hides counts as just visible."""
        chain, (m, n) = self._chain(), self.vectors.shape
        inner = _triangle(self.vectors)  # V^T = Q R: T is a I + R X R^T in the span's own coordinates
        square = chain.scale * jnp.eye(len(inner), dtype=inner.dtype) + inner @ chain.mix @ inner.T
        scales = jnp.linalg.svd(square, compute_uv=False)
        scales = jnp.append(scales, chain.scale) if n > m else scales
        return jnp.maximum(scales, jnp.finfo(scales.dtype).eps * jnp.max(scales)), self._lengths()


class LMMAES(CMA):
    """LM-MA-ES: a covariance of m directions (Loshchilov, Glasmachers and Beyer 2019, arXiv:1705.06693).

    For 10^4 to 10^7 parameters, and from a few hundred where time counts more than evaluations: it learns a few
    directions wherever they point, which `SepCMAES` cannot, in time and memory linear in n, which `CMAES` cannot. It
    does not learn hundreds of different scales: for those take `CMAES` where n allows, or `SepCMAES` where the
    problem is separable. Not for fewer than about a hundred parameters.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0; about a third of the distance to where the optimum may lie; by default 0.3.
    population
        Members a generation, at least 2; by default 4 + floor(3 ln n).
    stds, min_std, stopping, mirrored, elitist
        As in `CMAES`. What stopping and `status` see of the shape is renewed once in m generations.
    vectors
        m, at least 1; by default 4 + floor(3 ln n).

    The constants are those of the paper's algorithm 1, except that no rate exceeds 1/2, which matters below
    n = 4 population; the weights are the tutorial's (Hansen 2016, eq. 49), the paper's where the population is even.
    Time a generation: O((population + m) m n); memory O((population + m) n).
    """

    waits: ClassVar[bool] = False

    active: bool = eqx.field(static=True, default=False, init=False)
    vectors: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.vectors is not None:
            check_count(self, 1, vectors=self.vectors)

    def _kind(self) -> tuple[type[Shape], Rates]:
        return Vectors, "full"

    def _shape(self, deviations: Float[Array, " n"]) -> Shape:
        return Vectors.start(deviations) if self.vectors is None else Vectors.of(deviations, self.vectors)

    def _constants(self, n: int, size: Any, most: int | None = None) -> Parameters:
        """c_sigma = 2 population / n, and no path of its own for the shape."""
        c = (jnp if isinstance(size, jax.Array) else np).minimum(_MOST, 2 * size / n)
        return super()._constants(n, size, most)._replace(c_sigma=c, d_sigma=2.0, c_c=c)

    def _growth(self, length: Float[Array, ""], p: Parameters, n: int) -> Float[Array, ""]:
        """c_sigma / 2 (|p|^2 / n - 1) (algorithm 1, line 16)."""
        return p.c_sigma / p.d_sigma * (length**2 / n - 1)
