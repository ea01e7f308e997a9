"""Bounds: pycma's map, and a method that does not notice it."""

import cma
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cma.transformations import BoxConstraintsLinQuadTransformation
from laws.programs import ask, init, members, tell

import evolve
from evolve import CMAES, Bounded, OpenES, Restarts, Tolerances, Uniform
from evolve.core import Stored
from evolve.methods.bounded import Box

SHORT = Tolerances(maxiter=0.01)  # a run of a few generations
EDGES = [(-1.0, 2.0), (0.0, 0.01), (-np.inf, 3.0), (5.0, np.inf), (-np.inf, np.inf), (-1e6, -1e3), (1e3, 1e3 + 1)]
image = jax.jit(lambda box, x: box(x))
source = jax.jit(lambda box, x: box.inverse(x))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("low", "high"), EDGES)
def test_the_map_is_pycmas(low, high):
    theirs = BoxConstraintsLinQuadTransformation([[low, high]])
    middle = np.clip(0.0, low, high)
    width = high - low if np.isfinite(high - low) else 10.0
    edges = np.where(np.isfinite([low, high]), [low, high], middle)
    x = np.concatenate([middle + width * np.linspace(-7.3, 7.1, 2001), edges])
    box = Box(np.asarray(low), np.asarray(high))
    ours = np.asarray(image(box, x))
    np.testing.assert_allclose(ours, [theirs([point])[0] for point in x], rtol=0, atol=1e-9 * np.max(np.abs(x)))
    assert np.all((ours >= low) & (ours <= high))
    back = np.asarray(source(box, ours))
    np.testing.assert_allclose(back, [theirs.inverse([y])[0] for y in ours], rtol=0, atol=1e-6 * width)
    np.testing.assert_allclose(image(box, back), ours, rtol=0, atol=1e-9 * np.max(np.abs(x)))


def test_numbers_that_no_dtype_can_double_are_mapped_to_finite_ones():
    far = 0.97 * np.finfo(np.float32).max * np.array([-1, 1], np.float32)
    for low, high in ((-np.inf, 10.0), (-10.0, np.inf), (-10.0, 10.0)):
        inside = Box(jnp.float32(low), jnp.float32(high))(jnp.asarray(far))
        assert np.all(np.isfinite(inside))
        assert np.all((inside >= low) & (inside <= high))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("optimizer", [CMAES(0.5, 8), Restarts(CMAES(0.5, 8, stopping=SHORT), restarts=3)])
def test_a_bounded_run_is_one_of_the_function_behind_the_map(optimizer):
    low, high = {"a": np.array([-0.5, 0.2, -np.inf]), "b": 0.3}, {"a": 0.6, "b": 2.0}
    start = {"a": np.array([0.1, 0.4, -2.0]), "b": np.array([[1.0, 0.5]])}

    def loss(x):
        return jnp.sum((x["a"] - jnp.arange(3.0)) ** 2) + jnp.sum((x["b"] + 1) ** 2)

    box = Bounded(optimizer, low, high)._box(evolve.core.Geometry.of(start))
    inside = evolve.minimize(loss, start, Bounded(optimizer, low, high), evaluations=800)
    behind = evolve.minimize(lambda x: loss(box(x)), source(box, start), optimizer, evaluations=800)
    np.testing.assert_allclose(inside.history["best"], behind.history["best"], rtol=1e-9)
    for one, other, a, b in zip(
        *map(jax.tree.leaves, (inside.answer, image(box, behind.answer), box.low, box.high)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-7)
        assert np.all((one >= a) & (one <= b))


@pytest.mark.usefixtures("x64")
def test_an_optimum_on_an_edge_is_found_as_pycma_finds_it():
    def loss(x):
        return ((x - np.array([2.0, 0.5, -3.0])) ** 2).sum()

    result = evolve.minimize(loss, np.full(3, 0.5), Bounded(CMAES(0.3), 0.0, 1.0), evaluations=2000)
    np.testing.assert_allclose(result.answer, [1.0, 0.5, 0.0], atol=1e-6)
    theirs, _ = cma.fmin2(loss, 3 * [0.5], 0.3, {"bounds": [0, 1], "verbose": -9, "seed": 1})
    np.testing.assert_allclose(result.answer, theirs, atol=1e-5)


def test_members_from_elsewhere_are_taken_back_through_the_map():
    optimizer = Bounded(CMAES(0.3, 8), -1.0, 1.0)
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    foreign = evolve.core.Population.of(members(population), population.geometry, population.key)
    assert isinstance(foreign.directions, Stored)
    one, other = (tell(optimizer, state, each, np.arange(8.0)) for each in (population, foreign))
    np.testing.assert_allclose(one.inner.mean, other.inner.mean, atol=1e-6)


def test_any_method_and_restarts_within():
    low, high, start = -2.0, 3.0, np.full(3, 2.9, np.float32)
    many = Restarts(Bounded(CMAES(1.0, stopping=SHORT), low, high), "bipop", 2, Uniform(-9.0, 9.0))
    for optimizer in (Bounded(OpenES(16, 0.5, 0.5), low, high), many):
        state = init(optimizer, start, jax.random.key(0))
        x = np.asarray(members(ask(optimizer, state, jax.random.key(1))))
        assert np.all((x >= low) & (x <= high))
        result = evolve.minimize(lambda x: -jnp.sum(x), start, optimizer, evaluations=600)
        assert np.all((result.answer >= low) & (result.answer <= high))


@pytest.mark.parametrize(
    ("low", "high", "start", "message"),
    [
        (0.0, 1.0, 2.0, r"Bounded: 3 value\(s\) of the start"),
        (1.0, 1.0, 1.0, "low is 1.0 where high is 1.0"),
        (1.0, 1.0 + 1e-12, 1.0, "low is 1.0 where high is 1.0"),  # in the start's precision
        (np.zeros(2), 1.0, 1.0, "Bounded: low does not fit the parameters"),
        ([0.0, 0.0, 0.0], 1.0, 1.0, r"Bounded: low does not fit .* it is \[0.0, 0.0, 0.0\]; give a number, an array"),
        (0.0, None, 1.0, r"Bounded: high does not fit .* it is None; .*; -jnp.inf and jnp.inf are no edge\."),
    ],
)
def test_bounds_and_starts_that_do_not_fit_are_refused(low, high, start, message):
    with pytest.raises(ValueError, match=message):
        Bounded(CMAES(), low, high).init(jnp.full(3, start), jax.random.key(0))


def test_gradients_are_refused():
    with pytest.raises(ValueError, match="Bounded: Gradient learns from gradients"):
        Bounded(evolve.Gradient(optax.sgd(0.1)), 0.0)
