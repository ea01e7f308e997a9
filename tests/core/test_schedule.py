"""Schedules against closed forms and optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evolve
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


REFUSED = [
    (lambda: evolve.OpenES(sigma=Cosine(0.1, -0.01, 10)), r"OpenES: sigma is Cosine\(.*; its ends must be positive"),
    (lambda: evolve.OpenES(sigma=Linear(0.0, 0.0, 10)), r"sigma is Linear\(.*; its ends must be .*, or one 0"),
    (lambda: evolve.OpenES(learning_rate=Power(-0.1)), r"learning_rate is Power\(.*; its ends must be positive"),
    (lambda: evolve.SimulatedAnnealing(step=Linear(np.inf, 0.1, 9)), "step is .*; its ends must be"),
    (lambda: evolve.GeneticAlgorithm(sigma=Cosine(np.float32(0.1), np.nan, 9)), "sigma is .*; its ends must be"),
    (lambda: evolve.GeneticAlgorithm(crossover=Linear(0.5, 1.5, 9)), r"crossover is .*; it must lie in \[0, 1\]"),
    (lambda: evolve.OpenES(weight_decay=Linear(0.1, -0.1, 9)), "weight_decay is .*; it must be at least 0"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_a_schedule_is_judged_by_both_its_ends(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_end_that_is_no_number_is_named():
    with pytest.raises(TypeError, match=r"OpenES: an end of sigma is .*; it must be a number"):
        evolve.OpenES(sigma=Cosine(1.0, "0.1", 10))


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_a_schedule_may_grow_from_nothing_or_cool_to_nothing(kind):
    for ends in ((0.0, 0.1), (0.1, 0.0)):
        assert evolve.OpenES(learning_rate=kind(*ends, 10)).learning_rate.ends == ends
    jax.vmap(lambda end: evolve.OpenES(sigma=kind(end, 0.0, 10)).radius(jnp.asarray(0)))(jnp.asarray([0.1, 0.2]))
