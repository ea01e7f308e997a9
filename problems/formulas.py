"""The analytic test functions; `problems.catalog` has their equations, sources and minima.

Every formula is written so that float32 keeps its digits near the minimum and never goes below it; comments say
where the textbook form would lose them.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Vector: TypeAlias = Float[Array, " n"]
Scalar: TypeAlias = Float[Array, ""]

# Schwefel's function has its minimum where its wave, s^2 sin s with s = sqrt(z), is highest: tan s = -s / 2.
SCHWEFEL_ROOT = 20.51752290994169
SCHWEFEL_OPTIMUM = 420.96874635998203  # the root's square
SCHWEFEL_OFFSET = 418.98288727243371  # the wave there

STYBLINSKI_OPTIMUM = -2.903534027771177  # 4 z^3 - 32 z + 5 = 0
STYBLINSKI_MINIMUM = -39.16616570377141  # per coordinate


def ramp(z: Vector) -> Vector:
    """(i - 1) / (n - 1): 0 for the first coordinate, 1 for the last."""
    return jnp.linspace(0.0, 1.0, z.shape[0], dtype=z.dtype)


def root(value: Float[Array, "*shape"], exponent: float) -> Float[Array, "*shape"]:
    """`value ** exponent` of values >= 0, whose derivative at 0 is 0 instead of infinite or NaN."""
    positive = value > 0
    return jnp.where(positive, jnp.where(positive, value, 1.0) ** exponent, 0.0)


def _from(z: Vector, optimum: float) -> Vector:
    """`z - optimum` to the last digit of z, also where z's dtype must round the optimum."""
    nearest = float(np.asarray(optimum, z.dtype))
    # Without the barrier, XLA adds up the two constants and so rounds the optimum again.
    return jax.lax.optimization_barrier(z - nearest) - (optimum - nearest)


def sphere(z: Vector) -> Scalar:
    """Convex, round: the easiest."""
    return jnp.sum(z**2)


def ellipsoid(z: Vector) -> Scalar:
    """Convex, axes from 1 to 1000: condition number 1e6."""
    return jnp.sum(10.0 ** (6.0 * ramp(z)) * z**2)


def discus(z: Vector) -> Scalar:
    """Convex, one coordinate a million times as sensitive as the others."""
    return 1e6 * z[0] ** 2 + jnp.sum(z[1:] ** 2)


def cigar(z: Vector) -> Scalar:
    """Convex, one coordinate a million times less sensitive than the others."""
    return z[0] ** 2 + 1e6 * jnp.sum(z[1:] ** 2)


def different_powers(z: Vector) -> Scalar:
    """Unimodal; coordinates differ the more in sensitivity the nearer the minimum is."""
    return root(jnp.sum(jnp.abs(z) ** (2.0 + 4.0 * ramp(z))), 0.5)


def rosenbrock(z: Vector) -> Scalar:
    """A bent valley: the way down keeps turning. From dimension 4 on there is a second, local minimum."""
    # z_2 - z_1^2 = d_2 - d_1 (2 + d_1) with d = z - 1, which is exact near 1, where z_1^2 itself would be rounded.
    d = z - 1.0
    return jnp.sum(100.0 * (d[1:] - d[:-1] * (2.0 + d[:-1])) ** 2 + d[:-1] ** 2)


def rastrigin(z: Vector) -> Scalar:
    """A bowl full of regular local minima, about 10^n of them."""
    # 10 - 10 cos(2 pi z) = 20 sin^2(pi z), which does not cancel near the minimum.
    return jnp.sum(z**2 + 20.0 * jnp.sin(jnp.pi * z) ** 2)


def ackley(z: Vector) -> Scalar:
    """A nearly flat, rippled plain around one steep funnel."""
    # expm1, and cos(2 pi z) - 1 = -2 sin^2(pi z): the textbook 20 + e - ... is not 0 at 0 in float32.
    funnel = -20.0 * jnp.expm1(-0.2 * root(jnp.mean(z**2), 0.5))
    return funnel - np.e * jnp.expm1(-2.0 * jnp.mean(jnp.sin(jnp.pi * z) ** 2))


def griewank(z: Vector) -> Scalar:
    """A wide bowl with product ripples, which fade as the dimension grows."""
    places = jnp.arange(1, z.shape[0] + 1, dtype=z.dtype)
    angles = z / jnp.sqrt(places)
    # 1 - prod c_i = sum (1 - c_i) prod_(j<i) c_j, with 1 - cos a = 2 sin^2(a / 2): nothing cancels near 0.
    before = jnp.cumprod(jnp.roll(jnp.cos(angles), 1).at[0].set(1.0))
    return jnp.sum(z**2) / 4000.0 + jnp.sum(2.0 * jnp.sin(angles / 2.0) ** 2 * before)


def schwefel(z: Vector) -> Scalar:
    """Separable, the best minimum near a corner and far from the second best.

    Beyond [-500, 500] the published formula falls without bound. Here each coordinate keeps its value at the
    border there, plus the square of the distance to it.
    """
    inside = jnp.clip(z, -500.0, 500.0)
    size = root(jnp.abs(inside), 0.5)
    far = SCHWEFEL_OFFSET - inside * jnp.sin(size)
    turn = _from(inside, SCHWEFEL_OPTIMUM) / (size + SCHWEFEL_ROOT)
    waves = jnp.where(jnp.abs(turn) < 0.25, schwefel_near(turn), far)
    return jnp.sum(waves + (z - inside) ** 2)


def schwefel_near(turn: Vector) -> Vector:
    """`SCHWEFEL_OFFSET - s^2 sin s` at s = SCHWEFEL_ROOT + turn, |turn| < 1/4, in terms of second order in `turn`."""
    # s^2 sin s = s0^2 sin s0 (1 + turn / s0)^2 (cos turn - 2 / s0 sin turn); its terms of orders 0 and 1 are
    # cancelled by hand. `lag` is turn - sin(turn) by its series, because the leading terms cancel there too.
    ratio, square = turn / SCHWEFEL_ROOT, turn**2
    lag = turn * square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0 * (1.0 - square / 72.0)))
    bend = 2.0 * jnp.sin(turn / 2.0) ** 2 * (1.0 + ratio) ** 2
    slope = ratio * ((4.0 + 2.0 * ratio) * (turn - lag) - turn) - 2.0 * lag
    return SCHWEFEL_OFFSET * (bend + slope / SCHWEFEL_ROOT)


def levy(z: Vector) -> Scalar:
    """Wavy valleys on a bowl."""
    # v = w - 1, by the sines' periods: sin(pi w) itself is not 0 at w = 1 in floating point.
    v = (z - 1.0) / 4.0
    inner = v[:-1] ** 2 * (1.0 + 10.0 * jnp.sin(jnp.pi * v[:-1] + 1.0) ** 2)
    last = v[-1] ** 2 * (1.0 + jnp.sin(2.0 * jnp.pi * v[-1]) ** 2)
    return jnp.sin(jnp.pi * v[0]) ** 2 + jnp.sum(inner) + last


def zakharov(z: Vector) -> Scalar:
    """Unimodal, a plate with one direction of fourth order."""
    tilt = jnp.sum(0.5 * jnp.arange(1, z.shape[0] + 1, dtype=z.dtype) * z)
    return jnp.sum(z**2) + tilt**2 + tilt**4


def styblinski_tang(z: Vector) -> Scalar:
    """Separable with 2^n minima, one in each corner."""
    return styblinski_tang_excess(z) + STYBLINSKI_MINIMUM * z.shape[0]


def styblinski_tang_excess(z: Vector) -> Scalar:
    """The Styblinski-Tang function above its minimum, which is so far below 0 that a sum with it loses digits."""
    # The polynomial minus its minimum has a double root there; the factor that is left of it is positive.
    a = STYBLINSKI_OPTIMUM
    return 0.5 * jnp.sum(_from(z, a) ** 2 * ((z + a) ** 2 + (2.0 * a**2 - 16.0)))


def schaffer(z: Vector) -> Scalar:
    """Rings of ripples, finer and finer towards the minimum."""
    squares = z[:-1] ** 2 + z[1:] ** 2
    rings = root(squares, 0.25) * (1.0 + jnp.sin(50.0 * root(squares, 0.1)) ** 2)
    return jnp.mean(rings) ** 2


def step(z: Vector) -> Scalar:
    """A sphere in steps of one: flat nearly everywhere, so its gradient is zero and says nothing."""
    return jnp.sum(jnp.floor(z + 0.5) ** 2)
