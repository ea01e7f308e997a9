"""Schedules against closed forms and optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evolve.core import Cosine, Exponential, Linear, Power
from evolve.core.schedule import at
from zeroth import SPSA

TIMES = jnp.arange(0, 250, 7)


def values(schedule):
    return jax.vmap(schedule)(TIMES)


def test_power_is_spalls_gain_sequence():
    """a_k = a / (k + 1 + A)^alpha and c_k = c / (k + 1)^gamma (Spall 1998)."""
    a, A, alpha, c, gamma = 0.16, 100.0, 0.602, 0.05, 0.101
    k = np.asarray(TIMES, np.float64)
    np.testing.assert_allclose(values(Power(a / (1 + A) ** alpha, 1 + A, alpha)), a / (k + 1 + A) ** alpha, rtol=1e-5)
    np.testing.assert_allclose(values(Power(c, 1.0, gamma)), c / (k + 1) ** gamma, rtol=1e-5)


def test_spsa_follows_spalls_gain_sequences():
    a, A, alpha, c, gamma = 0.16, 50.0, 0.7, 0.05, 0.2
    spsa = SPSA(sigma=c, learning_rate=a / (1 + A) ** alpha, stability=A, alpha=alpha, gamma=gamma)
    k = np.asarray(TIMES, np.float64)
    np.testing.assert_allclose(values(spsa.rate), a / (k + 1 + A) ** alpha, rtol=1e-5)
    np.testing.assert_allclose(values(spsa.radius), c / (k + 1) ** gamma, rtol=1e-5)


@pytest.mark.parametrize(
    ("ours", "oracle"),
    [
        (Linear(0.5, 0.1, 100), optax.linear_schedule(0.5, 0.1, 100)),
        (Cosine(0.5, 0.1, 100), optax.cosine_decay_schedule(0.5, 100, alpha=0.2)),
        (Exponential(0.5, 0.1, 100), optax.exponential_decay(0.5, 100, 0.2, end_value=0.1)),
    ],
)
def test_against_optax(ours, oracle):
    np.testing.assert_allclose(values(ours), jax.vmap(oracle)(TIMES), rtol=1e-5)


@pytest.mark.parametrize("kind", [Linear, Cosine, Exponential])
def test_from_initial_to_final_and_then_still(kind):
    schedule = kind(2.0, 0.25, 40)
    seen = [float(schedule(jnp.asarray(t))) for t in (0, 40, 41, 10**6)]
    np.testing.assert_allclose(seen, [2.0, 0.25, 0.25, 0.25], rtol=1e-6)


@pytest.mark.parametrize("kind", [Linear, Cosine, Exponential])
def test_halfway(kind):
    middle = {Linear: 0.625, Cosine: 0.625, Exponential: 0.5}[kind]
    np.testing.assert_allclose(kind(1.0, 0.25, 10)(jnp.asarray(5)), middle, rtol=1e-6)


def test_at_takes_numbers_arrays_and_functions():
    generation = jnp.asarray(3)
    assert float(at(0.5, generation)) == 0.5
    assert float(at(jnp.asarray(0.5), generation)) == 0.5
    assert float(at(lambda t: 2.0 * t, generation)) == 6.0


def test_numbers_of_a_schedule_can_be_swept():
    starts = jnp.asarray([1.0, 2.0, 4.0])
    swept = jax.vmap(lambda start: Exponential(start, 0.5, 10)(jnp.asarray(5)))(starts)
    np.testing.assert_allclose(swept, np.sqrt(np.asarray(starts) * 0.5), rtol=1e-6)


@pytest.mark.parametrize("number", [2, 2.0, lambda t: 2, lambda t: 2.0, np.int32(2), optax.constant_schedule(2)])
def test_every_number_comes_as_a_floating_point_array(number):
    value = at(number, jnp.int32(3))
    assert value == 2.0
    assert jnp.issubdtype(value.dtype, jnp.floating)
