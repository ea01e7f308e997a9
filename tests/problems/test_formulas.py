"""The formulas against their textbook forms in NumPy: far from the minimum, and near it in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from problems import FUNCTIONS

NAMES = sorted(FUNCTIONS)


def _levy(x):
    w = 1 + (x - 1) / 4
    middle = np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2))
    return np.sin(np.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)


def _ackley(x):
    return -20 * np.exp(-0.2 * np.sqrt(np.mean(x**2))) - np.exp(np.mean(np.cos(2 * np.pi * x))) + 20 + np.e


def _zakharov(x):
    tilt = sum(0.5 * (i + 1) * value for i, value in enumerate(x))
    return sum(x**2) + tilt**2 + tilt**4


def _schaffer(x):
    s = [np.hypot(x[i], x[i + 1]) for i in range(len(x) - 1)]
    return np.mean([np.sqrt(r) + np.sqrt(r) * np.sin(50 * r**0.2) ** 2 for r in s]) ** 2


# Written from the literature in its own form, coordinate by coordinate where that is the paper's way.
TEXTBOOK = {
    "sphere": lambda x: sum(v * v for v in x),
    "ellipsoid": lambda x: sum(10 ** (6 * i / (len(x) - 1)) * v**2 for i, v in enumerate(x)),
    "discus": lambda x: 1e6 * x[0] ** 2 + sum(v**2 for v in x[1:]),
    "cigar": lambda x: x[0] ** 2 + 1e6 * sum(v**2 for v in x[1:]),
    "different_powers": lambda x: np.sqrt(sum(abs(v) ** (2 + 4 * i / (len(x) - 1)) for i, v in enumerate(x))),
    "rosenbrock": scipy.optimize.rosen,
    "rastrigin": lambda x: 10 * len(x) + sum(v**2 - 10 * np.cos(2 * np.pi * v) for v in x),
    "ackley": _ackley,
    "griewank": lambda x: 1 + sum(x**2) / 4000 - np.prod([np.cos(v / np.sqrt(i + 1)) for i, v in enumerate(x)]),
    "schwefel": lambda x: 418.98288727243369 * len(x) - sum(v * np.sin(np.sqrt(abs(v))) for v in x),
    "levy": _levy,
    "zakharov": _zakharov,
    "styblinski_tang": lambda x: sum(v**4 - 16 * v**2 + 5 * v for v in x) / 2,
    "schaffer": _schaffer,
    "step": lambda x: sum(np.floor(v + 0.5) ** 2 for v in x),
}


@functools.cache
def _compiled(function):
    return jax.jit(jax.vmap(function))


def _over(function, points):
    """One compiled call: op by op, each operation would be compiled alone."""
    return np.asarray(_compiled(function)(points))


def _values(name, points):
    return _over(FUNCTIONS[name].value, points)


def _points(name, dimension, count=20):
    low, high = FUNCTIONS[name].domain
    return np.random.default_rng(dimension).uniform(low, high, (count, dimension))


def _around_the_optimum(name, distance):
    """Points of float32, in 10 dimensions."""
    steps = np.random.default_rng(0).uniform(-distance, distance, (50, 10))
    return (FUNCTIONS[name].optimum + steps).astype(np.float32)


def test_every_function_has_a_textbook_formula():
    assert set(TEXTBOOK) == set(FUNCTIONS)


@pytest.mark.parametrize("dimension", [2, 7])
@pytest.mark.parametrize("name", NAMES)
def test_float64_equals_the_textbook(name, dimension):
    points = _points(name, dimension)
    with jax.enable_x64(True):
        found = _values(name, points)
        assert found.dtype == jnp.float64
        scale = np.abs(found).max()
        np.testing.assert_allclose(found, [TEXTBOOK[name](x) for x in points], rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"step"}))
def test_float32_equals_the_textbook(name):
    points = _points(name, 10).astype(np.float32)
    found = _values(name, points)
    assert found.dtype == jnp.float32
    want = [TEXTBOOK[name](x.astype(np.float64)) for x in points]
    np.testing.assert_allclose(found, want, rtol=2e-5)


@pytest.mark.parametrize("distance", [1e-1, 1e-3])
@pytest.mark.parametrize("name", NAMES)
def test_float32_keeps_its_digits_near_the_minimum(name, distance):
    points = _around_the_optimum(name, distance)
    found = _over(FUNCTIONS[name].gap, points)
    assert found.dtype == np.float32
    want = np.array([TEXTBOOK[name](x) for x in points.astype(np.float64)]) - 10 * FUNCTIONS[name].minimum
    # Of the textbook's own digits, twelve cancel for Schwefel's function at 1e-3.
    np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_float32_equals_float64_as_near_as_it_gets(name, compiled):
    """Compiled or not: XLA may fuse, and so round less, or reorder, and so round more."""
    gap = FUNCTIONS[name].gap
    for distance in (1e-2, 1e-4, 1e-6):
        points = _around_the_optimum(name, distance)
        found = _over(gap, points) if compiled else jax.vmap(gap)(jnp.asarray(points))
        assert np.all(found >= 0)
        with jax.enable_x64(True):
            want = _over(gap, points.astype(np.float64))
        assert want.dtype == np.float64
        np.testing.assert_allclose(found, want, rtol=5e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_value_is_the_gap_above_the_minimum(name):
    formula = FUNCTIONS[name]
    points = np.concatenate([_around_the_optimum(name, 1e-4), _points(name, 10).astype(np.float32)])
    gap, least = _over(formula.gap, points), np.float32(10 * formula.minimum)
    assert np.all(gap >= 0)
    assert np.all(_values(name, points) >= least)
    np.testing.assert_allclose(_values(name, points), gap + least, rtol=1e-6)


def test_schwefel_is_smooth_where_its_two_forms_meet():
    with jax.enable_x64(True):
        root = np.sqrt(FUNCTIONS["schwefel"].optimum)
        for turn in (-0.25, 0.25):
            points = (root + turn * (1 + np.array([[-1e-9], [1e-9]]))) ** 2
            np.testing.assert_allclose(
                _values("schwefel", points), [TEXTBOOK["schwefel"](x) for x in points], rtol=1e-12
            )


def test_schwefel_cannot_be_undercut_outside_its_domain():
    points = np.random.default_rng(0).uniform(-3000, 3000, (20000, 2))
    assert _values("schwefel", points).min() > 0
    border = np.array([[500.0, -500.0]])
    np.testing.assert_allclose(_values("schwefel", border), _values("schwefel", border * (1 + 1e-6)), rtol=1e-4)


def test_step_is_flat_within_a_cell():
    points = np.array([[0.49, -0.5, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    np.testing.assert_array_equal(_values("step", points), [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(_over(jax.grad(FUNCTIONS["step"].value), points + 0.2), np.zeros((3, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_complete(name):
    formula = FUNCTIONS[name]
    assert formula.equation
    assert formula.source
    assert formula.domain[0] < formula.optimum < formula.domain[1]
    assert formula.value.__doc__
