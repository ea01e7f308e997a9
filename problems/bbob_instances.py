"""The instances of BBOB: minimizers, minima, rotations and peaks, equal to COCO's (Hansen et al. 2009, RR-6829).

One code serves known numbers, in NumPy, and traced ones, in JAX: `xp` is the namespace. All of it computes in float64,
whatever the precision of the run, so that every precision searches the same landscape.
"""

import functools
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from evolve.core.trees import float_dtype
from problems.bbob_catalog import BBOB_FUNCTIONS, FORMULAS
from problems.bbob_functions import SCHWEFEL_SHIFT, Landscape
from problems.bbob_random import Namespace, normals, order, quotient, rotations, uniforms

PEAKS = 101

# The seeds of larger ones leave the range of the generator.
LAST_INSTANCE = 200000

# The functions whose seeds are those of another: 4 has the minimizer of 3, 18 that of 17.
_SEEDS = np.array([{4: 3, 18: 17}.get(number, number) for number in range(1, 25)])
_FORMULAS = np.array([FORMULAS.index(row.formula) for row in BBOB_FUNCTIONS])
_WEIGHTS = np.array([row.weights for row in BBOB_FUNCTIONS])
_PENALTIES = np.array([row.penalty for row in BBOB_FUNCTIONS])
_MATRICES = np.array(
    [[["IRQ".index(m[0]), m[1], "IRQ".index(m[2])] for m in (row.first, row.second)] for row in BBOB_FUNCTIONS]
)


def instantiate(function: Any, instance: Any, dimension: int) -> tuple[tuple[Any, ...], Landscape]:
    """Function, instance and formula as arrays, and the landscape; numbers may be traced, and are then not checked."""
    if not any(isinstance(number, jax.core.Tracer) for number in (function, instance)):
        formula, made = _build(function, instance, dimension, np)
        known = tuple(np.asarray(number, np.int32) for number in (function, instance, formula))
        leaves = {name: np.asarray(leaf, float_dtype()) for name, leaf in made.items()}
        numbers, leaves = jax.device_put((known, leaves))  # all at once: a suite has many
        return numbers, Landscape(**leaves)
    with jax.enable_x64(True):
        formula, made = _build(jnp.int64(function), jnp.int64(instance), dimension, jnp)
    leaves = {name: jnp.asarray(leaf, float_dtype()) for name, leaf in made.items()}
    return tuple(jnp.asarray(number, jnp.int32) for number in (function, instance, formula)), Landscape(**leaves)


def _build(function: Any, instance: Any, n: int, xp: Namespace) -> tuple[Any, dict[str, Any]]:
    row = function - 1
    seed = xp.asarray(_SEEDS)[row] + 10000 * instance
    peaked = xp is not np or 21 <= function <= 22  # known not to be, it needs fewer numbers
    long = uniforms(xp.stack([seed, seed + 1000000]), max(2 * n * n, PEAKS * n if peaked else 0), xp)
    q, r = rotations(long, n, xp)
    x_opt = _minimizer(function, long[0], long[1], q, xp)
    heights, centers, curvatures = _peaks(function, seed, long[0], q, x_opt, xp)
    first, second = (_matrix(xp.asarray(_MATRICES)[row, place], r, q, xp) for place in (0, 1))
    return xp.asarray(_FORMULAS)[row], dict(
        f_opt=_minimum(seed, xp),
        x_opt=x_opt,
        # Transposed: a landscape multiplies from the right.
        first=_scaled(function, first, x_opt, xp).T,
        second=second.T,
        weights=_weights(function, n, xp),
        penalty=xp.asarray(_PENALTIES)[row] / xp.where(function == 16, n, 1),
        heights=heights,
        centers=centers,
        curvatures=curvatures,
    )


def _minimum(seed: Any, xp: Namespace) -> Any:
    """A Cauchy number with two decimals, in [-1000, 1000]."""
    over, under = normals(uniforms(xp.stack([seed, seed + 1]), 2, xp), 1, xp)[:, 0]
    return xp.clip(quotient(xp.floor(10000.0 * over / under + 0.5), 100.0, xp), -1000.0, 1000.0)


def _minimizer(function: Any, drawn: Any, other: Any, q: Any, xp: Namespace) -> Any:
    n = q.shape[0]

    def on_grid(uniform: Any) -> Any:
        place = quotient(8.0 * xp.floor(1e4 * uniform[:n]), 1e4, xp) - 4.0
        return xp.where(place == 0, -1e-5, place)

    usual, even = on_grid(drawn), np.arange(n) % 2 == 0
    others = {
        4: xp.where(even, xp.abs(usual), usual),
        5: xp.where(usual < 0, -5.0, 5.0),
        8: 0.75 * usual,
        9: _middle(q, xp) / _widening(n),
        12: on_grid(other),
        19: _middle(q, xp) / _widening(n),
        20: xp.where(drawn[:n] < 0.5, -0.5, 0.5) * SCHWEFEL_SHIFT,
        21: 0.8 * (10.0 * drawn[:n] - 5.0),
        22: 0.8 * (9.8 * drawn[:n] - 4.9),
        24: xp.where(normals(drawn, n, xp) < 0, -1.25, 1.25),
    }
    return functools.reduce(lambda so_far, number: xp.where(function == number, others[number], so_far), others, usual)


def _middle(q: Any, xp: Namespace) -> Any:
    """Where Q x is 1/2 in every coordinate: Q^T/2, but Q is orthogonal to 2e-13 only, as COCO's is."""
    near = q.sum(0) / 2.0
    return near + (0.5 - q @ near) @ q


def _widening(n: int) -> float:
    return max(1.0, np.sqrt(n) / 8.0)


def _matrix(recipe: Any, r: Any, q: Any, xp: Namespace) -> Any:
    n = q.shape[0]
    left, right = (xp.where(recipe[p] == 1, r, xp.where(recipe[p] == 2, q, np.eye(n))) for p in (0, 2))
    return (left * 10.0 ** (recipe[1] * np.linspace(0.0, 1.0, n))) @ right


def _scaled(function: Any, first: Any, x_opt: Any, xp: Namespace) -> Any:
    """The first map with what a few functions have besides: a factor, mirrored axes, neighbours mixed."""
    n = x_opt.shape[0]
    wide = (function == 8) | (function == 9) | (function == 19)
    mixed = xp.where(function == 20, first @ (np.eye(n) + 0.25 * np.eye(n, k=-1)), first)
    mirrored = xp.where((function == 20) | (function == 24), 2.0 * xp.sign(x_opt), 1.0)
    return mixed * mirrored * xp.where(wide, _widening(n), 1.0) * xp.where(function == 20, 100.0, 1.0)


def _weights(function: Any, n: int, xp: Namespace) -> Any:
    usual = 10.0 ** (xp.asarray(_WEIGHTS)[function - 1] * np.linspace(0.0, 1.0, n))
    is_first = np.arange(n) == 0
    discus, cigar = np.where(is_first, 1e6, 1.0), np.where(is_first, 1.0, 1e6)
    return xp.where(function == 11, discus, xp.where(function == 12, cigar, usual))


def _peaks(function: Any, seed: Any, drawn: Any, q: Any, x_opt: Any, xp: Namespace) -> tuple[Any, Any, Any]:
    """Gallagher's, in the coordinates of `inner`, where the highest is at 0; those that f22 lacks are out of sight."""
    n, many, index = q.shape[0], function == 21, np.arange(PEAKS)
    if xp is np and not 21 <= function <= 22:
        return np.zeros(PEAKS), np.zeros((n, PEAKS)), np.zeros((n, PEAKS))
    count, span = xp.where(many, PEAKS, 21), xp.where(many, 10.0, 9.8)
    shuffled = order(xp.where(index[:-1] < count - 1, drawn[: PEAKS - 1], 2.0 + index[:-1]), xp)
    # The definition has the largest condition, which sqrt(1000) is not; COCO computes it so.
    highest = xp.where(many, np.sqrt(1000.0), 1000.0)
    conditions = xp.concatenate([xp.reshape(highest, 1), 1000.0 ** (shuffled / (count - 2.0))])
    ranks = order(uniforms(seed + 1000 * index, n, xp), xp)
    curvatures = conditions[:, None] ** (ranks / (n - 1.0) - 0.5) * (0.5 / n)
    places = (span * drawn[: PEAKS * n] - span / 2.0).reshape(PEAKS, n) * np.where(index == 0, 0.8, 1.0)[:, None]
    heights = xp.log(xp.where(index == 0, 1.0, (1.1 + 8.0 * (index - 1.0) / (count - 2.0)) / 10.0))
    seen, needed = index < count, (function == 21) | (function == 22)
    made = xp.where(seen, heights, -1e30), q @ (places - x_opt).T, xp.where(seen, curvatures.T, 0.0)
    return tuple(xp.where(needed, part, 0.0) for part in made)
