"""Bounds: pycma's map, and a method that does not notice it."""

import cma
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cma.transformations import BoxConstraintsLinQuadTransformation

import evolve
from evolve import CMAES, Bounded, OpenES, Restarts, Tolerances, Uniform
from evolve.core import Stored
from evolve.methods.bounded import Box

EDGES = [(-1.0, 2.0), (0.0, 0.01), (-np.inf, 3.0), (5.0, np.inf), (-np.inf, np.inf), (-1e6, -1e3), (1e3, 1e3 + 1)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("low", "high"), EDGES)
def test_the_map_is_pycmas(low, high):
    theirs = BoxConstraintsLinQuadTransformation([[low, high]])
    middle = np.clip(0.0, low, high)
    width = high - low if np.isfinite(high - low) else 10.0
    x = np.concatenate([middle + width * np.linspace(-7.3, 7.1, 2001), np.array([low, high])[np.isfinite([low, high])]])
    box = Box(jnp.asarray(low), jnp.asarray(high))
    ours = np.asarray(box(jnp.asarray(x)))
    np.testing.assert_allclose(ours, [theirs([point])[0] for point in x], rtol=0, atol=1e-9 * np.max(np.abs(x)))
    assert np.all((ours >= low) & (ours <= high))
    back = np.asarray(box.inverse(jnp.asarray(ours)))
    np.testing.assert_allclose(back, [theirs.inverse([y])[0] for y in ours], rtol=0, atol=1e-6 * width)
    np.testing.assert_allclose(box(jnp.asarray(back)), ours, rtol=0, atol=1e-9 * np.max(np.abs(x)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("optimizer", [CMAES(0.5, 8), Restarts(CMAES(0.5, 8, stopping=Tolerances(maxiter=0.01)))])
def test_a_bounded_run_is_one_of_the_function_behind_the_map(optimizer):
    low, high = {"a": jnp.array([-0.5, 0.2, -jnp.inf]), "b": 0.3}, {"a": 0.6, "b": 2.0}
    start = {"a": jnp.array([0.1, 0.4, -2.0]), "b": jnp.array([[1.0, 0.5]])}

    def loss(x):
        return jnp.sum((x["a"] - jnp.arange(3.0)) ** 2) + jnp.sum((x["b"] + 1) ** 2)

    box = Bounded(optimizer, low, high)._box(evolve.core.Geometry.of(start))
    inside = evolve.minimize(loss, start, Bounded(optimizer, low, high), evaluations=800)
    behind = evolve.minimize(lambda x: loss(box(x)), box.inverse(start), optimizer, evaluations=800)
    np.testing.assert_allclose(inside.history["best"], behind.history["best"], rtol=1e-9)
    for one, other, a, b in zip(
        *map(jax.tree.leaves, (inside.answer, box(behind.answer), box.low, box.high)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-7)
        assert np.all((one >= a) & (one <= b))


@pytest.mark.usefixtures("x64")
def test_an_optimum_on_an_edge_is_found_as_pycma_finds_it():
    def loss(x):
        return jnp.sum((x - jnp.array([2.0, 0.5, -3.0])) ** 2)

    result = evolve.minimize(loss, jnp.full(3, 0.5), Bounded(CMAES(0.3), 0.0, 1.0), evaluations=2000)
    np.testing.assert_allclose(result.answer, [1.0, 0.5, 0.0], atol=1e-6)
    theirs, _ = cma.fmin2(lambda x: float(loss(x)), 3 * [0.5], 0.3, {"bounds": [0, 1], "verbose": -9, "seed": 1})
    np.testing.assert_allclose(result.answer, theirs, atol=1e-5)


def test_members_from_elsewhere_are_taken_back_through_the_map():
    optimizer = Bounded(CMAES(0.3, 8), -1.0, 1.0)
    state = optimizer.init(jnp.zeros(3), jax.random.key(0))
    population = optimizer.ask(state, jax.random.key(1))
    losses = jnp.arange(8.0)
    foreign = evolve.core.Population.of(population.members(), population.geometry, population.key)
    assert isinstance(foreign.directions, Stored)
    one, other = (optimizer.tell(state, each, losses) for each in (population, foreign))
    np.testing.assert_allclose(one.inner.mean, other.inner.mean, atol=1e-6)


def test_any_method_and_restarts_within():
    low, high = -2.0, 3.0
    many = Restarts(Bounded(CMAES(1.0, stopping=Tolerances(maxiter=0.01)), low, high), "bipop", 2, Uniform(-9.0, 9.0))
    for optimizer in (Bounded(OpenES(16, 0.5, 0.5), low, high), many):
        state = optimizer.init(jnp.full(4, 2.9), jax.random.key(0))
        members = optimizer.ask(state, jax.random.key(1)).members()
        assert np.all((members >= low) & (members <= high))
        result = evolve.minimize(lambda x: -jnp.sum(x), jnp.full(4, 2.9), optimizer, evaluations=600)
        assert np.all((result.answer >= low) & (result.answer <= high))


@pytest.mark.parametrize(
    ("low", "high", "start", "message"),
    [
        (0.0, 1.0, 2.0, r"Bounded: 3 value\(s\) of the start"),
        (1.0, 1.0, 1.0, "low is 1.0 where high is 1.0"),
        (np.zeros(2), 1.0, 1.0, "Bounded: low does not fit the parameters"),
    ],
)
def test_bounds_and_starts_that_do_not_fit_are_refused(low, high, start, message):
    with pytest.raises(ValueError, match=message):
        Bounded(CMAES(), low, high).init(jnp.full(3, start), jax.random.key(0))


def test_gradients_are_refused():
    with pytest.raises(ValueError, match="Bounded: Gradient learns from gradients"):
        Bounded(evolve.Gradient(optax.sgd(0.1)), 0.0)
