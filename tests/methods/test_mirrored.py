"""Mirrored sampling: pairs, the selection of their winners, and what it is good for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.programs import ask, init, members, start, tell

import evolve
from evolve import CMAES, LMMAES, MAES, Restarts, SepCMAES, Tolerances
from evolve.core.shaping import recombination
from evolve.methods.cma_parameters import parameters
from evolve.methods.mirrored import winners_first


@pytest.mark.usefixtures("x64")
@given(st.lists(st.one_of(st.integers(-3, 3).map(float), st.sampled_from([np.nan, np.inf])), min_size=6, max_size=6))
def test_winners_come_before_all_worse_ones(values):
    losses = np.where(np.isfinite(values), values, np.inf)
    other = losses.reshape(-1, 2)[:, ::-1].reshape(-1)
    worse = losses > other
    ours = np.asarray(jax.jit(winners_first)(losses))
    finite = np.isfinite(losses)
    assert np.array_equal(np.isfinite(ours), finite)
    key = list(zip(worse, losses, strict=True))
    for i in np.flatnonzero(finite):
        for j in np.flatnonzero(finite):
            assert (ours[i] < ours[j]) == (key[i] < key[j])


@pytest.mark.parametrize("kind", [CMAES, SepCMAES, MAES, LMMAES])
def test_members_are_opposite_and_their_number_even(kind):
    optimizer = kind(0.5, mirrored=True)
    state = init(optimizer, np.arange(3.0), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    assert population.size == 8  # 7 by default
    assert population.directions.group == 2
    moves = np.asarray(population.stored)
    np.testing.assert_array_equal(moves[1::2], -moves[::2])
    assert len(np.unique(np.abs(moves[::2]), axis=0)) == 4


@pytest.mark.usefixtures("x64")
def test_the_mean_follows_the_winners_alone():
    """On a linear function every pair has one; their weights are those of eq. 49, in the order of their losses."""
    n, size = 5, 12
    optimizer = CMAES(0.5, size, mirrored=True)
    state = init(optimizer, np.zeros(n), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    x = np.asarray(members(population))
    losses = x[:, 0]
    after = tell(optimizer, state, population, losses)
    winners = [2 * pair + int(losses[2 * pair + 1] < losses[2 * pair]) for pair in range(size // 2)]
    ranked = sorted(winners, key=lambda i: losses[i])
    weights = parameters(n, size, True).tables()[0][: size // 2]
    np.testing.assert_allclose(after.mean, weights @ x[ranked], rtol=1e-12)
    # Without the selection of winners, opposite members attract together.
    plain = np.asarray(jax.jit(recombination)(losses**2, parameters(n, size, True).tables()[0]))
    assert np.min(plain.reshape(-1, 2).sum(axis=1)) < np.max(plain)


@pytest.mark.usefixtures("x64")
def test_sigma_does_not_shrink_where_nothing_is_selected():
    """The bias that pairwise selection removes (2011, section 3): log sigma walks without drift on random losses."""
    optimizer, n, runs = CMAES(1.0, 12, mirrored=True), 6, 100

    def run(seed):
        def generation(state, key):
            draw, chance = jax.random.split(key)
            population = optimizer.ask(state, draw)
            return optimizer.tell(state, population, jax.random.uniform(chance, (12,))), None

        state = optimizer.init(jnp.zeros(n), jax.random.key(0))
        return jnp.log(jax.lax.scan(generation, state, jax.random.split(jax.random.key(seed), 40))[0].sigma)

    logs = np.asarray(jax.jit(jax.vmap(run))(jnp.arange(runs)))
    assert abs(logs.mean()) < 4 * logs.std() / np.sqrt(runs) + 0.1 * logs.std() ** 2 + 0.05


def test_growing_populations_are_mirrored_too():
    optimizer = CMAES(0.5, mirrored=True, stopping=Tolerances(maxiter=0.01))
    state = start(optimizer, np.zeros(3), jax.random.key(0), np.asarray(19), 32, 1.0)
    moves = np.asarray(members(ask(optimizer, state, jax.random.key(1))))
    np.testing.assert_array_equal(moves[1::2], -moves[::2])
    result = evolve.minimize(
        lambda x: jnp.sum(jnp.sin(1e3 * x)), jnp.zeros(3), Restarts(optimizer, "ipop", 2), evaluations=2000
    )
    assert result.reason == "restarts"


def test_an_odd_population_is_refused():
    with pytest.raises(ValueError, match="CMAES: population is 7; antithetic pairs need"):
        CMAES(0.5, 7, mirrored=True)
