"""ARS against algorithm 2 of Mania et al. (2018) in NumPy, and evosax given the same members."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.programs import ask, directions, init, program, tell
from methods.nes_tools import after_noise, finite, trace

from evolve import ARS, Antithetic, Exponential, Gaussian, LowRank
from evolve.core import TopPairs

pytestmark = pytest.mark.usefixtures("x64")


def bowl(x):
    return (np.arange(1, x.shape[1] + 1) * (x - 0.3) ** 2).sum(axis=1)


def step(deltas, losses, alpha, b):
    """Steps 5 to 7 of algorithm 2 for rewards -losses; deltas has shape (N, n), losses (N, 2)."""
    plus, minus = -losses[:, 0], -losses[:, 1]
    top = np.argsort(-np.maximum(plus, minus))[:b]
    sigma_r = np.std(np.concatenate([plus[top], minus[top]]))
    return alpha / (b * sigma_r) * sum((plus[k] - minus[k]) * deltas[k] for k in top)


_weigh = program(lambda shaping, losses: shaping(losses))


def weigh(shaping, losses):
    """The weights, on the host."""
    return np.asarray(_weigh(shaping, np.asarray(losses)))


@pytest.mark.parametrize(("fraction", "b"), [(1.0, 6), (0.5, 3), (0.17, 1)])
def test_a_trace_is_the_papers(fraction, b):
    n, size, radius, alpha = 5, 12, 0.1, 0.02
    optimizer, center = ARS(size, radius, alpha, shaping=TopPairs(fraction)), np.linspace(1.0, 2.0, n)
    for before, x, losses, state in trace(optimizer, center, bowl, 150):
        deltas = (x[0::2] - np.asarray(before.center)) / radius
        center = center + step(deltas, losses.reshape(-1, 2), alpha, b)
        np.testing.assert_allclose(state.center, center, rtol=1e-10, atol=1e-11)


def test_a_trace_is_that_of_evosax():
    """Told our members, its pairs in two blocks, the `evosax` package's ARS takes the same steps."""
    algorithms = pytest.importorskip("evosax.algorithms")
    n, size, key = 6, 16, jax.random.key(0)
    blocks = np.concatenate([np.arange(0, size, 2), np.arange(1, size, 2)])
    peer = algorithms.ARS(size, jnp.zeros(n), optax.sgd(0.02), optax.constant_schedule(0.1))
    params = peer.default_params
    other = peer.init(key, jnp.ones(n), params)
    for _, x, losses, state in trace(ARS(size, 0.1, 0.02, shaping=TopPairs(0.5)), np.ones(n), bowl, 120):
        other, _ = peer.tell(key, x[blocks], losses[blocks], other, params)
        np.testing.assert_allclose(state.center, other.mean, rtol=1e-7, atol=1e-8)


def test_the_step_does_not_depend_on_the_radius_and_schedules_are_followed():
    optimizer = ARS(8, Exponential(0.5, 0.05, 3), 0.1)
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    losses = np.random.default_rng(0).normal(size=8)
    for t in range(4):
        population = ask(optimizer, state, jax.random.key(t))
        np.testing.assert_allclose(population.scale, 0.5 * 0.1 ** min(t / 3, 1), rtol=1e-6)
        deltas = np.asarray(directions(population))[0::2]
        told = jax.device_get(tell(optimizer, state, population, losses))
        expected = step(deltas, losses.reshape(-1, 2), 0.1, 4)
        np.testing.assert_allclose(told.center - np.asarray(state.center), expected, rtol=1e-10)
        state = told


def test_low_rank_directions_take_the_same_steps():
    optimizer = ARS(8, 0.1, 0.05, Antithetic(LowRank(1)), TopPairs(0.5))
    state = init(optimizer, np.ones((3, 4)), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    losses = np.random.default_rng(0).normal(size=8)
    deltas = np.asarray(directions(population))[0::2]
    told = tell(optimizer, state, population, losses)
    np.testing.assert_allclose(told.center, 1 + step(deltas, losses.reshape(-1, 2), 0.05, 2), rtol=1e-10)


def test_tied_pairs_share_their_places():
    """Of three pairs one counts, and two are equally good: each counts half, in whatever order they come."""
    one, two, worse = [1.0, 3.0], [5.0, 1.0], [4.0, 9.0]
    weights = weigh(TopPairs(1 / 3), [*one, *two, *worse])
    other = weigh(TopPairs(1 / 3), [*two, *worse, *one])
    np.testing.assert_allclose(other, weights[[2, 3, 4, 5, 0, 1]], rtol=1e-14)
    seen = np.array([*one, *two])
    np.testing.assert_allclose(weights[:4], (seen - seen.mean()) / seen.std() / 2, rtol=1e-14)
    np.testing.assert_array_equal(weights[4:], 0)


def test_failed_pairs_weigh_nothing_even_where_too_few_are_left():
    weights = weigh(TopPairs(1.0), [1.0, 2.0, np.inf, 0.0, 3.0, 7.0])
    seen = np.array([1.0, 2.0, 3.0, 7.0])
    np.testing.assert_allclose(weights[[0, 1, 4, 5]], (seen - seen.mean()) / seen.std() / 2, rtol=1e-14)
    np.testing.assert_array_equal(weights[2:4], 0)
    np.testing.assert_array_equal(weigh(TopPairs(), np.full(4, np.inf)), np.zeros(4))
    np.testing.assert_array_equal(weigh(TopPairs(), np.full(4, 0.1)), np.zeros(4))


@hypothesis.given(power=st.integers(-900, 900), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 99))
def test_neither_the_scale_of_losses_nor_their_level_counts(power, shift, seed):
    """Also where they or their squares would overflow."""
    losses = np.random.default_rng(seed).normal(size=8)
    plain = weigh(TopPairs(0.5), losses)
    scaled = weigh(TopPairs(0.5), np.ldexp(losses, power))
    np.testing.assert_allclose(scaled, plain, rtol=1e-12)
    np.testing.assert_allclose(weigh(TopPairs(0.5), losses + shift), plain, atol=1e-11)


@hypothesis.given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_scaling_start_radius_and_step_scales_the_run(factor, seed):
    plain = trace(ARS(8, 0.1, 0.02), np.ones(4), bowl, 10, seed)
    scaled = trace(ARS(8, 0.1 * factor, 0.02 * factor), factor * np.ones(4), bowl, 10, seed, factor)
    for (_, _, _, one), (_, _, _, other) in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(other.center, one.center * factor, rtol=1e-6)


@pytest.mark.parametrize("how", ["random", "constant"])
@pytest.mark.parametrize(("n", "size"), [(5, 4)])
def test_long_plateaus_leave_the_state_finite(n, size, how):
    state = after_noise(ARS(size, 0.1, 0.02), n, 5000, how=how)
    assert finite(state)
    if how == "constant":
        np.testing.assert_array_equal(state.center, np.ones(n))


def test_options_are_judged_by_name():
    with pytest.raises(
        ValueError, match=r"ARS: perturbation is Gaussian\(\); pairs are compared: wrap it in Antithetic"
    ):
        ARS(perturbation=Gaussian())
    with pytest.raises(ValueError, match="ARS: population is 3"):
        ARS(3)
    with pytest.raises(ValueError, match="TopPairs: fraction is 0"):
        TopPairs(0.0)
    with pytest.raises(ValueError, match=r"TopPairs: 3 losses are no pairs"):
        TopPairs()(jnp.arange(3.0))
