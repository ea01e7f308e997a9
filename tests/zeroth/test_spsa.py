"""SPSA against Spall's formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.programs import answer, ask, directions, init, members, tell

from evolve import Antithetic, Rademacher
from evolve.core import Exponential
from zeroth import SPSA

pytestmark = pytest.mark.usefixtures("x64")

START = np.array([1.0, -2.0, 0.5])


def loss(x):
    """Not quadratic, so that a two-sided difference is not exact."""
    return np.sum(x**4 + x[..., :1] * x, axis=-1)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.602, 0.101), (1.0, 1 / 6)])
def test_the_gains_are_spalls(alpha, gamma):
    """a_k = a / (k + 1 + A)^alpha and c_k = c / (k + 1)^gamma (Spall 1998, section III)."""
    a, big_a, c = 0.16, 50.0, 0.3
    optimizer = SPSA(2, c, a / (1 + big_a) ** alpha, stability=big_a, alpha=alpha, gamma=gamma)
    for k in (0, 1, 7, 1000):
        np.testing.assert_allclose(optimizer.rate(jnp.int32(k)), a / (k + 1 + big_a) ** alpha, rtol=1e-6)
        np.testing.assert_allclose(optimizer.radius(jnp.int32(k)), c / (k + 1) ** gamma, rtol=1e-6)


@pytest.mark.parametrize("pairs", [1, 4])
def test_steps_are_spalls(pairs):
    """The estimate has coordinates (y+ - y-) / (2 c_k delta_i), averaged over the pairs (Spall 1992, section III)."""
    optimizer = SPSA(2 * pairs, 0.2, 0.01, stability=10.0)
    state, x = init(optimizer, START, jax.random.key(0)), START
    for k in range(5):
        population = ask(optimizer, state, jax.random.key(k))
        delta = np.asarray(directions(population))[::2]
        np.testing.assert_array_equal(np.abs(delta), 1.0)
        c, a = float(optimizer.radius(jnp.int32(k))), float(optimizer.rate(jnp.int32(k)))
        probes = np.asarray(members(population))
        np.testing.assert_allclose(probes[0::2], x + c * delta, rtol=1e-12)
        np.testing.assert_allclose(probes[1::2], x - c * delta, rtol=1e-12)
        rise = loss(x + c * delta) - loss(x - c * delta)
        x = x - a * np.mean(rise[:, None] / (2 * c * delta), axis=0)
        state = tell(optimizer, state, population, loss(probes))
        np.testing.assert_allclose(answer(optimizer, state), x, rtol=1e-10)


def test_schedules_and_updates_of_ones_own_replace_the_gains():
    optimizer = SPSA(2, Exponential(0.5, 0.05, 2), Exponential(0.1, 0.001, 2))
    for k in range(4):
        np.testing.assert_allclose(optimizer.radius(jnp.int32(k)), 0.5 * 0.1 ** min(k / 2, 1), rtol=1e-6)
        np.testing.assert_allclose(optimizer.rate(jnp.int32(k)), 0.1 * 0.01 ** min(k / 2, 1), rtol=1e-6)
    optimizer = SPSA(2, 0.1, update=optax.sgd(0.25))
    state = init(optimizer, START, jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    delta = np.asarray(directions(population))[0]
    after = tell(optimizer, state, population, np.array([3.0, 1.0]))
    np.testing.assert_allclose(answer(optimizer, after), START - 0.25 * (3.0 - 1.0) / (2 * 0.1) * delta, rtol=1e-12)


def test_the_estimates_bias_is_of_order_c_squared():
    """Over all eight sign vectors the mean estimate of a cubic is its gradient plus O(c^2) (Spall 1992, lemma 1)."""
    optimizer = SPSA(4096, 0.1, update=optax.sgd(1.0))
    state = init(optimizer, START, jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(3))
    after = tell(optimizer, state, population, loss(np.asarray(members(population))))
    estimate = START - np.asarray(answer(optimizer, after))
    gradient = 4 * START**3 + START[0]
    gradient[0] += START.sum()
    spread = 2 * np.abs(gradient).sum() / np.sqrt(2048)
    np.testing.assert_allclose(estimate, gradient, atol=4 * spread + 0.1**2 * 4 * np.abs(START).sum())


def test_a_negative_stability_is_refused():
    with pytest.raises(ValueError, match=r"SPSA: stability is -1\.0; it must be at least 0"):
        SPSA(stability=-1.0)
    with pytest.raises(ValueError, match="SPSA: population is 3; antithetic pairs need an even number"):
        SPSA(3, perturbation=Antithetic(Rademacher()))
