"""The 24 noiseless functions of BBOB above their minima (Hansen, Finck, Ros & Auger 2009, INRIA RR-6829).

A landscape holds all that does not depend on x, so that a formula is what its published form leaves to do: `offset` is
x - x_opt, `inner` is its first linear image. Every value is written so that nothing cancels near the minimum: COCO's
100.0 + f(x) - 100.0 has no digits left for a target of 1e-8 in float32.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from problems.formulas import SCHWEFEL_OFFSET, SCHWEFEL_ROOT, Scalar, Vector, ramp, root, schwefel_near

# COCO's roundings of the minimizer of Schwefel's function: another one would move the far slopes by 1e-9.
SCHWEFEL_SHIFT = 4.2096874637
_SCHWEFEL_TURN = 100.0 * SCHWEFEL_SHIFT - SCHWEFEL_ROOT**2


class Landscape(eqx.Module):
    """One instance of one function: numbers of the same shapes for all, zero or one where a function has no use."""

    f_opt: Float[Array, ""]
    x_opt: Float[Array, " n"]
    first: Float[Array, "n n"]
    second: Float[Array, "n n"]
    weights: Float[Array, " n"]
    penalty: Float[Array, ""]
    heights: Float[Array, " peaks"]
    centers: Float[Array, "n peaks"]
    curvatures: Float[Array, "n peaks"]


Formula: TypeAlias = Callable[[Landscape, Vector, Vector], Scalar]


def linear(vector: Vector, matrix: Float[Array, "n n"]) -> Vector:
    """The row vector times the matrix, which over a population is one product without a transposition."""
    # A GPU's default precision keeps three digits, too few for these conditions.
    return jnp.matmul(vector, matrix, precision=jax.lax.Precision.HIGHEST)


def _oscillated(y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """T_osz, written as a factor near one, so that it is exact in relative terms down to 0."""
    log = jnp.log(jnp.where(y == 0, 1.0, jnp.abs(y)))
    positive = y > 0
    waves = jnp.sin(jnp.where(positive, 10.0, 5.5) * log) + jnp.sin(jnp.where(positive, 7.9, 3.1) * log)
    return y * jnp.exp(0.049 * waves)


def _asymmetric(y: Vector, beta: float) -> Vector:
    """T_asy; where its result squared would overflow it stays at the largest that does not."""
    positive = y > 0
    safe, largest = jnp.where(positive, y, 1.0), float(jnp.finfo(y.dtype).max)
    growth = jnp.minimum(beta * ramp(y) * jnp.sqrt(safe) * jnp.log(safe), 0.5 * math.log(largest))
    # f12 squares, weighs by 1e6 and sums: 1e14 is the limit in float32, and far beyond reach in float64.
    return jnp.where(positive, jnp.minimum(safe * jnp.exp(growth), largest**0.37), y)


def _rippled(z: Vector) -> Scalar:
    """Rastrigin's sum; 10 - 10 cos(2 pi z) = 20 sin^2(pi z) does not cancel."""
    return jnp.sum(z**2 + 20.0 * jnp.sin(jnp.pi * z) ** 2)


def sphere(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f1."""
    del land, inner
    return jnp.sum(offset**2)


def ellipsoid(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f2, f10 and, with the discus' weights, f11."""
    del offset
    return jnp.sum(land.weights * _oscillated(inner) ** 2)


def rastrigin(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f3 and f15."""
    del offset
    return _rippled(linear(_asymmetric(_oscillated(inner), 0.2), land.second))


def bueche_rastrigin(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f4."""
    del offset
    z = _oscillated(inner)
    uneven = jnp.arange(z.shape[0]) % 2 == 0
    return _rippled(land.weights * jnp.where((z > 0) & uneven, 10.0, 1.0) * z)


def linear_slope(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f5, flat beyond the minimizer."""
    del inner
    return jnp.sum(land.weights * jnp.maximum(-jnp.sign(land.x_opt) * offset, 0.0))


def attractive_sector(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f6."""
    del offset
    total = jnp.sum(jnp.where(inner * land.x_opt > 0, 1e4, 1.0) * inner**2)
    return root(_oscillated(total), 0.9)


def step_ellipsoid(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f7."""
    del offset
    coarse = jnp.floor(inner + 0.5)
    steps = jnp.where(jnp.abs(inner) > 0.5, coarse, jnp.floor(10.0 * inner + 0.5) / 10.0)
    total = jnp.sum(land.weights * linear(steps, land.second) ** 2)
    return 0.1 * jnp.maximum(jnp.abs(inner[0]) * 1e-4, total)


def _valleys(inner: Vector) -> Float[Array, " n-1"]:
    """The terms of Rosenbrock's sum at z = inner + 1, where z_i^2 - z_(i+1) = d_i (2 + d_i) - d_(i+1)."""
    here, following = inner[:-1], inner[1:]
    return 100.0 * (here * (2.0 + here) - following) ** 2 + here**2


def rosenbrock(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f8 and f9."""
    del land, offset
    return jnp.sum(_valleys(inner))


def bent_cigar(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f12."""
    del offset
    return jnp.sum(land.weights * linear(_asymmetric(inner, 0.5), land.second) ** 2)


def sharp_ridge(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f13."""
    del land, offset
    return inner[0] ** 2 + 100.0 * root(jnp.sum(inner[1:] ** 2), 0.5)


def different_powers(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f14."""
    del land, offset
    size = jnp.abs(inner)
    there = size > 0
    powers = jnp.exp((2.0 + 4.0 * ramp(inner)) * jnp.log(jnp.where(there, size, 1.0)))
    return root(jnp.sum(jnp.where(there, powers, 0.0)), 0.5)


def weierstrass(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f16: the mean of sum_k 2^-k (1 - cos(2 pi 3^k z)), cubed."""
    del offset
    z = linear(_oscillated(inner), land.second)
    # sin^2 of three times the angle, eleven times over: no sines of large angles, and near 0 no digit is lost.
    square = jnp.sin(jnp.pi * (z - jnp.round(z))) ** 2
    total = 2.0 * square
    for k in range(1, 12):
        square = square * (3.0 - 4.0 * square) ** 2
        total += 2.0 ** (1 - k) * square
    return 10.0 * jnp.mean(total) ** 3


def schaffer(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f17 and f18."""
    del offset
    squares = linear(_asymmetric(inner, 0.5), land.second) ** 2
    pairs = squares[:-1] + squares[1:]
    # Both powers, 1/4 and 1/10, from one: transcendental functions are most of the cost.
    twentieth = root(pairs, 0.05)
    return jnp.mean(twentieth**5 * (1.0 + jnp.sin(50.0 * twentieth**2) ** 2)) ** 2


def griewank_rosenbrock(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f19."""
    del land, offset
    s = _valleys(inner)
    return 10.0 * jnp.mean(s / 4000.0 + 2.0 * jnp.sin(s / 2.0) ** 2)


def schwefel(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f20."""
    del land, offset
    z = inner + 100.0 * SCHWEFEL_SHIFT
    size = root(jnp.abs(z), 0.5)
    turn = (inner + _SCHWEFEL_TURN) / (size + SCHWEFEL_ROOT)
    waves = jnp.where(jnp.abs(turn) < 0.25, schwefel_near(turn), SCHWEFEL_OFFSET - z * jnp.sin(size))
    beyond = jnp.maximum(jnp.abs(z) - 500.0, 0.0)
    return 0.01 * (jnp.mean(waves) + jnp.sum(beyond**2))


def gallagher(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f21 and f22: ten minus the highest peak, oscillated and squared."""
    del offset
    # Not one sum over an axis: written out, it is one loop over the peaks, which a CPU runs in vectors.
    axes = zip(inner, land.centers, land.curvatures, strict=True)
    distances = functools.reduce(operator.add, (curvature * (z - center) ** 2 for z, center, curvature in axes))
    # Heights are logarithms in units of the highest, which is 0: at its top expm1 keeps all digits.
    return _oscillated(-10.0 * jnp.expm1(_highest(land.heights - distances))) ** 2


@jax.custom_jvp
def _highest(values: Float[Array, " m"]) -> Scalar:
    return jnp.max(values)


@_highest.defjvp
def _highest_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # That of `max` looks for the value that equals the maximum, and where the values are computed anew, rounded
    # otherwise, it finds none: NaN.
    place = jnp.argmax(primals[0])
    return primals[0][place], tangents[0][place]


def katsuura(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f23."""
    del land, offset
    n, powers = inner.shape[0], 2.0 ** jnp.arange(1, 33, dtype=inner.dtype)[:, None]
    scaled = powers * inner
    rough = jnp.sum(jnp.abs(scaled - jnp.round(scaled)) / powers, axis=0)
    logs = jnp.log1p(jnp.arange(1, n + 1, dtype=inner.dtype) * rough)
    return 10.0 / n**2 * jnp.expm1(10.0 / n**1.2 * jnp.sum(logs))


def lunacek(land: Landscape, offset: Vector, inner: Vector) -> Scalar:
    """f24."""
    n = offset.shape[0]
    s = 1.0 - 0.5 / (math.sqrt(n + 20.0) - 4.1)
    between = 2.5 + math.sqrt((2.5**2 - 1.0) / s)
    near = 2.0 * jnp.sign(land.x_opt) * offset
    funnels = jnp.minimum(jnp.sum(near**2), n + s * jnp.sum((near + between) ** 2))
    return funnels + 20.0 * jnp.sum(jnp.sin(jnp.pi * inner) ** 2)
