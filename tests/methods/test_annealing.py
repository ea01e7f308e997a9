"""Simulated annealing against the closed forms of Metropolis sampling and of replica exchange."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.programs import answer, ask, init, members, status, tell
from scipy.stats import binomtest, kstest, norm

from evolve import SimulatedAnnealing

CURVATURE = 3.0


def loss(x):
    """a x^2 of members with one number each."""
    return CURVATURE * (x**2).sum(axis=-1)


@eqx.filter_jit
def walk(optimizer, key, generations):
    """The state after some generations from 0."""

    def body(t, state):
        population = optimizer.ask(state, jax.random.fold_in(key, t))
        return optimizer.tell(state, population, loss(population.members()))

    return jax.lax.fori_loop(0, generations, body, optimizer.init(jnp.zeros(1), key))


@pytest.mark.parametrize("reevaluate", [False, True])
def test_the_stationary_distribution_is_boltzmanns(reevaluate):
    """exp(-a x^2 / T) is N(0, T / 2a)."""
    temperature = 0.7
    deviation = np.sqrt(temperature / (2 * CURVATURE))
    optimizer = SimulatedAnnealing(2.4 * deviation, temperature, 10_000, reevaluate=reevaluate)
    state = walk(optimizer, jax.random.key(0), 60)
    places = np.asarray(state.current)[:, 0]
    assert places.var() == pytest.approx(deviation**2, rel=4 * np.sqrt(2 / len(places)))
    assert kstest(places, norm(0, deviation).cdf).pvalue > 1e-3


@pytest.mark.parametrize("exchange", [False, True])
def test_each_rung_of_the_ladder_samples_its_own_temperature(exchange):
    """Chain c runs at temperature * ladder^c, the first the coldest; exchange keeps every rung's distribution."""
    optimizer = SimulatedAnnealing(0.5, 0.2, 4, 2.0, exchange)
    states = eqx.filter_jit(eqx.filter_vmap(lambda seed: walk(optimizer, jax.random.key(seed), 81)))(np.arange(5000))
    for chain in range(4):
        places, variance = np.asarray(states.current)[:, chain, 0], 0.2 * 2.0**chain / (2 * CURVATURE)
        assert places.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / len(places)))
        assert kstest(places, norm(0, np.sqrt(variance)).cdf).pvalue > 1e-3
        # A state never loses its own loss on the way.
        np.testing.assert_allclose(np.asarray(states.losses)[:, chain], CURVATURE * places**2, rtol=1e-5, atol=1e-7)
    first = jax.tree.map(lambda x: x[0], jax.device_get(states))
    assert status(optimizer, first)["temperature"] == pytest.approx(0.2)


def test_a_chain_s_moves_do_not_decide_their_own_acceptance():
    """On a tree of two leaves every chain is Boltzmann's: mean 0, variance T, whatever key its moves came from."""
    optimizer = SimulatedAnnealing(1.5, 1.0, 4)

    def body(t, carry):
        state, total, squares = carry
        population = optimizer.ask(state, jax.random.fold_in(jax.random.key(3), t))
        members = population.members()
        losses = (members["a"] ** 2 + members["b"] ** 2) / 2
        state = optimizer.tell(state, population, losses)
        places = jnp.stack([state.current["a"], state.current["b"]])
        return state, total + places, squares + places**2

    zeros, steps = np.zeros((2, 4), np.float32), 40_000
    start = init(optimizer, {"a": np.float32(0.0), "b": np.float32(0.0)}, jax.random.key(0))
    _, total, squares = jax.jit(lambda s: jax.lax.fori_loop(0, steps, body, (s, zeros, zeros)))(start)
    np.testing.assert_allclose(np.asarray(total) / steps, 0, atol=0.08)
    np.testing.assert_allclose(np.asarray(squares) / steps, 1, atol=0.08)


def test_a_whole_number_as_ladder():
    temperatures = SimulatedAnnealing(0.1, 1.0, 64, ladder=2)._temperatures(jnp.int32(0))
    np.testing.assert_allclose(temperatures, 2.0 ** np.arange(64))


@pytest.mark.parametrize("climb", [-1.0, 0.0, 0.1, 0.5, 2.0])
def test_the_chance_of_acceptance(climb):
    """min(1, exp(-climb / T)); what is not accepted stays."""
    optimizer = SimulatedAnnealing(1.0, 0.4, 20_000)
    state = init(optimizer, np.zeros(1), jax.random.key(0))
    state = eqx.tree_at(lambda s: s.losses, state, np.full(20_000, 5.0, np.float32))
    population = ask(optimizer, state, jax.random.key(1))
    after = jax.device_get(tell(optimizer, state, population, np.full(20_000, 5.0 + climb)))
    moved = (after.current != np.asarray(state.current))[:, 0]
    np.testing.assert_array_equal(after.current[moved], np.asarray(members(population))[moved])
    np.testing.assert_allclose(after.losses, np.where(moved, 5.0 + climb, 5.0), rtol=1e-6)
    assert float(after.accepted) == pytest.approx(moved.mean(), abs=1e-4)
    if climb <= 0:
        assert moved.all()
    else:
        assert binomtest(int(moved.sum()), len(moved), np.exp(-climb / 0.4)).pvalue > 1e-3


def test_generations_and_chains_toss_coins_of_their_own():
    """What is accepted now says nothing about what is accepted next, here or next door."""
    optimizer = SimulatedAnnealing(1.0, 1.0, 10_000)
    state = init(optimizer, np.zeros(1), jax.random.key(0))
    state = eqx.tree_at(lambda s: s.losses, state, np.zeros(10_000, np.float32))
    tosses = []
    for t in (1, 2):
        population = ask(optimizer, state, jax.random.key(t))
        after = tell(optimizer, state, population, np.full(10_000, np.log(2.0)))
        tosses.append(np.asarray(after.losses) > 0)
    for one, other in ((tosses[0], tosses[1]), (tosses[0][1:], tosses[0][:-1])):
        assert binomtest(int(np.sum(one & other)), len(one), 0.25).pvalue > 1e-3


LADDER = SimulatedAnnealing(1.0, 1.0, 4, 2.0, True)


@eqx.filter_jit
@eqx.filter_vmap(in_axes=(None, 0))
def unaccepted(state, seed):
    """States and losses of the chains after a generation in which no proposal is accepted."""
    population = LADDER.ask(state, jax.random.key(seed))
    after = LADDER.tell(state, population, jnp.full(4, 1e30))
    return after.current[:, 0], after.losses


def exchanged(losses, generation, seeds):
    """Where the states of four chains go when no proposal is accepted, for many keys."""
    state = init(LADDER, np.zeros(1), jax.random.key(0))
    labels = np.arange(4, dtype=np.float32)[:, None]
    fields = (labels, losses.astype(np.float32), np.int32(generation))
    state = eqx.tree_at(lambda s: (s.current, s.losses, s.generation), state, fields)
    return map(np.asarray, unaccepted(state, np.arange(seeds)))


@pytest.mark.parametrize(("generation", "pairs"), [(0, [(0, 1), (2, 3)]), (1, [(1, 2)])])
def test_exchange_only_permutes_and_keeps_detailed_balance(generation, pairs):
    """Neighbours swap with chance min(1, exp((1/T_i - 1/T_j)(E_i - E_j))), even and odd pairs in turn."""
    losses = np.array([1.0, 2.0, 2.5, 0.5])
    labels, after = exchanged(losses, generation, 4000)
    np.testing.assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(4), (4000, 1)))
    np.testing.assert_allclose(after, losses[labels.astype(int)])
    swapped = {pair: (labels[:, pair[0]] == pair[1]) & (labels[:, pair[1]] == pair[0]) for pair in pairs}
    still = {place for place in range(4)} - {place for pair in pairs for place in pair}
    assert all(np.all(labels[:, place] == place) for place in still)
    for (i, j), happened in swapped.items():
        chance = min(1.0, np.exp((1 / 2.0**i - 1 / 2.0**j) * (losses[i] - losses[j])))
        assert binomtest(int(happened.sum()), 4000, chance).pvalue > 1e-3
        assert np.all(happened | ((labels[:, i] == i) & (labels[:, j] == j)))


def test_with_reevaluation_an_offset_of_a_whole_generation_changes_nothing(x64):
    """The loss of an old minibatch says little about a new one: old and new are compared on the same."""
    optimizer = SimulatedAnnealing(0.3, 0.2, 8, 1.5, True, True)
    states = [init(optimizer, np.ones(2), jax.random.key(0))] * 2
    offsets = np.random.default_rng(0).normal(scale=50, size=12)
    for t, offset in enumerate(offsets):
        told = []
        for state, added in zip(states, (0.0, offset), strict=True):
            population = ask(optimizer, state, jax.random.key(t))
            x = np.asarray(members(population))
            np.testing.assert_array_equal(x[:8], state.current)
            told.append(tell(optimizer, state, population, loss(x) + added))
        states = told
        np.testing.assert_array_equal(states[0].current, states[1].current)
        np.testing.assert_array_equal(*[answer(optimizer, state) for state in states])
    # The answer is where the best chain stands, not the luckiest point ever visited.
    current = np.asarray(states[0].current)
    np.testing.assert_array_equal(answer(optimizer, states[0]), current[np.argmin(loss(current))])


def test_the_answer_is_the_best_point_that_any_chain_visited():
    optimizer = SimulatedAnnealing(0.5, 10.0, 4)
    state, seen = init(optimizer, np.ones(2, np.float32), jax.random.key(0)), []
    for t in range(8):
        population = ask(optimizer, state, jax.random.key(t))
        x = np.asarray(members(population))
        losses = loss(x)
        seen += list(zip(losses, x, strict=True))
        state = tell(optimizer, state, population, losses)
        # A lower loss is always accepted, so the best proposal has been visited.
        np.testing.assert_array_equal(answer(optimizer, state), min(seen, key=lambda pair: pair[0])[1])


def test_many_chains_start_as_fast_as_few():
    """The start is spread over the chains by one operation, not by one for each chain."""
    few, many = (SimulatedAnnealing(chains=chains) for chains in (4, 4000))
    programs = [jax.make_jaxpr(lambda x, o=o: o.init(x, jax.random.key(0)))(jnp.zeros(3)) for o in (few, many)]
    assert len(str(programs[0])) > 0.9 * len(str(programs[1]))
