"""The analytic test functions as a table: equation, source, domain and known minimum of each.

Every formula is written so that float32 keeps its digits near the minimum; comments say where the textbook
form would lose them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Vector: TypeAlias = Float[Array, " n"]
Scalar: TypeAlias = Float[Array, ""]


@dataclass(frozen=True)
class Formula:
    """One row of the table.

    Attributes
    ----------
    value
        The function itself, vector of shape (n,) to scalar.
    equation
        What it computes; i runs over 1..n.
    source
        Where it was published.
    domain
        Standard search interval of every coordinate, (low, high).
    optimum
        Every coordinate of the minimizer.
    minimum
        The minimal value, per dimension.
    least
        The smallest dimension for which it is defined.
    """

    value: Callable[[Vector], Scalar]
    equation: str
    source: str
    domain: tuple[float, float]
    optimum: float = 0.0
    minimum: float = 0.0
    least: int = 1


def _ramp(z: Vector) -> Vector:
    """(i - 1) / (n - 1): 0 for the first coordinate, 1 for the last."""
    return jnp.linspace(0.0, 1.0, z.shape[0], dtype=z.dtype)


def _root(value: Float[Array, "*shape"], exponent: float) -> Float[Array, "*shape"]:
    """`value ** exponent` of values >= 0, whose derivative at 0 is 0 instead of infinite or NaN."""
    positive = value > 0
    return jnp.where(positive, jnp.where(positive, value, 1.0) ** exponent, 0.0)


def sphere(z: Vector) -> Scalar:
    """Convex, round: the easiest."""
    return jnp.sum(z**2)


def ellipsoid(z: Vector) -> Scalar:
    """Convex, axes from 1 to 1000: condition number 1e6."""
    return jnp.sum(10.0 ** (6.0 * _ramp(z)) * z**2)


def discus(z: Vector) -> Scalar:
    """Convex, one coordinate a million times as sensitive as the others."""
    return 1e6 * z[0] ** 2 + jnp.sum(z[1:] ** 2)


def cigar(z: Vector) -> Scalar:
    """Convex, one coordinate a million times less sensitive than the others."""
    return z[0] ** 2 + 1e6 * jnp.sum(z[1:] ** 2)


def different_powers(z: Vector) -> Scalar:
    """Unimodal; coordinates differ the more in sensitivity the nearer the minimum is."""
    return _root(jnp.sum(jnp.abs(z) ** (2.0 + 4.0 * _ramp(z))), 0.5)


def rosenbrock(z: Vector) -> Scalar:
    """A bent valley: the way down keeps turning. From dimension 4 on there is a second, local minimum."""
    return jnp.sum(100.0 * (z[1:] - z[:-1] ** 2) ** 2 + (1.0 - z[:-1]) ** 2)


def rastrigin(z: Vector) -> Scalar:
    """A bowl full of regular local minima, about 10^n of them."""
    # 10 - 10 cos(2 pi z) = 20 sin^2(pi z), which does not cancel near the minimum.
    return jnp.sum(z**2 + 20.0 * jnp.sin(jnp.pi * z) ** 2)


def ackley(z: Vector) -> Scalar:
    """A nearly flat, rippled plain around one steep funnel."""
    # expm1, and cos(2 pi z) - 1 = -2 sin^2(pi z): the textbook 20 + e - ... is not 0 at 0 in float32.
    funnel = -20.0 * jnp.expm1(-0.2 * _root(jnp.mean(z**2), 0.5))
    return funnel - np.e * jnp.expm1(-2.0 * jnp.mean(jnp.sin(jnp.pi * z) ** 2))


def griewank(z: Vector) -> Scalar:
    """A wide bowl with product ripples, which fade as the dimension grows."""
    places = jnp.arange(1, z.shape[0] + 1, dtype=z.dtype)
    return 1.0 + jnp.sum(z**2) / 4000.0 - jnp.prod(jnp.cos(z / jnp.sqrt(places)))


def schwefel(z: Vector) -> Scalar:
    """Separable, the best minimum near a corner and far from the second best.

    Beyond [-500, 500] the published formula falls without bound. Here each coordinate keeps its value at the
    border there, plus the square of the distance to it.
    """
    inside = jnp.clip(z, -500.0, 500.0)
    waves = SCHWEFEL_OFFSET - inside * jnp.sin(_root(jnp.abs(inside), 0.5))
    return jnp.sum(waves + (z - inside) ** 2)


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
    return 0.5 * jnp.sum(z**4 - 16.0 * z**2 + 5.0 * z)


def schaffer(z: Vector) -> Scalar:
    """Rings of ripples, finer and finer towards the minimum."""
    squares = z[:-1] ** 2 + z[1:] ** 2
    rings = _root(squares, 0.25) * (1.0 + jnp.sin(50.0 * _root(squares, 0.1)) ** 2)
    return jnp.mean(rings) ** 2


def step(z: Vector) -> Scalar:
    """A sphere in steps of one: flat nearly everywhere, so its gradient is zero and says nothing."""
    return jnp.sum(jnp.floor(z + 0.5) ** 2)


# The maximum of z sin(sqrt(z)) in [-500, 500], at z = 420.9687...
SCHWEFEL_OFFSET = 418.98288727243380

_BBOB = "Hansen, Finck, Ros & Auger (2009), Real-parameter black-box optimization benchmarking"

FUNCTIONS: dict[str, Formula] = {
    "sphere": Formula(sphere, "sum z_i^2", "De Jong (1975), F1", (-5.12, 5.12)),
    "ellipsoid": Formula(ellipsoid, "sum 10^(6 (i-1)/(n-1)) z_i^2", f"{_BBOB}, f2 and f10", (-5.0, 5.0)),
    "discus": Formula(discus, "10^6 z_1^2 + sum_(i>1) z_i^2", f"{_BBOB}, f11", (-5.0, 5.0)),
    "cigar": Formula(cigar, "z_1^2 + 10^6 sum_(i>1) z_i^2", f"{_BBOB}, f12, unbent", (-5.0, 5.0)),
    "different_powers": Formula(different_powers, "sqrt(sum |z_i|^(2 + 4 (i-1)/(n-1)))", f"{_BBOB}, f14", (-5.0, 5.0)),
    "rosenbrock": Formula(
        rosenbrock,
        "sum_(i<n) 100 (z_(i+1) - z_i^2)^2 + (1 - z_i)^2",
        "Rosenbrock (1960), The Computer Journal 3; chained form, Dixon & Mills (1994)",
        (-5.0, 10.0),
        optimum=1.0,
        least=2,
    ),
    "rastrigin": Formula(
        rastrigin,
        "sum z_i^2 + 10 (1 - cos(2 pi z_i))",
        "Rastrigin (1974); n-dimensional form, Mühlenbein, Schomisch & Born (1991)",
        (-5.12, 5.12),
    ),
    "ackley": Formula(
        ackley,
        "20 + e - 20 exp(-0.2 sqrt(mean z_i^2)) - exp(mean cos(2 pi z_i))",
        "Ackley (1987); n-dimensional form, Bäck (1996)",
        (-32.768, 32.768),
    ),
    "griewank": Formula(
        griewank,
        "1 + sum z_i^2 / 4000 - prod cos(z_i / sqrt(i))",
        "Griewank (1981), Journal of Optimization Theory and Applications 34",
        (-600.0, 600.0),
    ),
    "schwefel": Formula(
        schwefel,
        "sum 418.9828... - z_i sin(sqrt |z_i|), penalized beyond +-500",
        "Schwefel (1981), problem 2.26",
        (-500.0, 500.0),
        optimum=420.968746359982,
    ),
    "levy": Formula(
        levy,
        "sin^2(pi w_1) + sum_(i<n) (w_i - 1)^2 (1 + 10 sin^2(pi w_i + 1))"
        " + (w_n - 1)^2 (1 + sin^2(2 pi w_n)), w = 1 + (z - 1) / 4",
        "Levy & Montalvo (1985); this form, Laguna & Martí (2005)",
        (-10.0, 10.0),
        optimum=1.0,
    ),
    "zakharov": Formula(
        zakharov,
        "sum z_i^2 + (sum i z_i / 2)^2 + (sum i z_i / 2)^4",
        "Zakharov; Chelouah & Siarry (2000), Journal of Heuristics 6",
        (-5.0, 10.0),
    ),
    "styblinski_tang": Formula(
        styblinski_tang,
        "sum (z_i^4 - 16 z_i^2 + 5 z_i) / 2",
        "Styblinski & Tang (1990), Neural Networks 3",
        (-5.0, 5.0),
        optimum=-2.903534027771177,
        minimum=-39.16616570377142,
    ),
    "schaffer": Formula(
        schaffer,
        "(mean_(i<n) s^(1/2) (1 + sin^2(50 s^(1/5))))^2, s = sqrt(z_i^2 + z_(i+1)^2)",
        f"Schaffer, Caruana, Eshelman & Das (1989), F7; n-dimensional form, {_BBOB}, f17 without its asymmetries",
        (-100.0, 100.0),
        least=2,
    ),
    "step": Formula(step, "sum floor(z_i + 1/2)^2", "Yao, Liu & Lin (1999), IEEE TEC 3, f6", (-100.0, 100.0)),
}
