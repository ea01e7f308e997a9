"""Members from elsewhere: pycma's limit on them, what they teach, and an elite that is never lost."""

import dataclasses

import cma
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.programs import ask, init, inject, members, tell

import evolve
from evolve import CMAES, MAES, Restarts
from evolve.core import Stored

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("kind", [CMAES, MAES])
@pytest.mark.parametrize("far", [0.1, 3.0, 1e6])
def test_a_member_is_where_pycma_would_put_it(kind, far):
    n, sigma = 4, 0.5
    optimizer, stds = kind(sigma, 8, stds=np.array([1.0, 2.0, 0.5, 1.0])), np.array([1.0, 2.0, 0.5, 1.0])
    state = init(optimizer, np.ones(n), jax.random.key(0))
    x = 1 + far * np.array([[1.0, -2.0, 0.3, 0.0], [0.0, 0.0, 0.1, 0.0]])
    population = ask(optimizer, state, jax.random.key(1))
    drawn, found = (np.asarray(members(each)) for each in (population, inject(optimizer, state, population, x)))
    peer = cma.CMAEvolutionStrategy(n * [1.0], sigma, {"CMA_stds": stds, "verbose": -9})
    peer.sm.C, peer.sm.B, peer.sm.D = np.eye(n), np.eye(n), np.ones(n)  # it begins a little off the identity
    theirs = [peer.repair_genotype(each.copy(), copy_if_changed=True) for each in x]
    np.testing.assert_allclose(found[-2:], theirs, rtol=1e-6)
    np.testing.assert_array_equal(found[:-2], drawn[:-2])


def test_an_injected_member_teaches_as_a_drawn_one_does():
    """Members that were drawn, injected into another population, lead to the same state."""
    for optimizer in (CMAES(0.5, 8), MAES(0.5, 8)):
        state = init(optimizer, np.ones(3), jax.random.key(0))
        drawn = ask(optimizer, state, jax.random.key(1))
        x = np.asarray(members(drawn))
        injected = inject(optimizer, state, ask(optimizer, state, jax.random.key(2)), x)
        one, other = (tell(optimizer, state, each, np.sum(x**2, axis=1)) for each in (drawn, injected))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_an_elite_is_told_until_a_better_one_is_found():
    optimizer, plain = CMAES(0.5, 8, elitist=True), CMAES(0.5, 8)
    state = init(optimizer, np.ones(3), jax.random.key(0))
    best = np.inf
    for t in range(20):
        population = ask(optimizer, state, jax.random.key(t))
        losses = np.sum(np.asarray(members(population)) ** 2, axis=1) + 10 * (t % 3 > 0)
        # What it learns is what a method without an elite learns of the population that holds it.
        expected = losses.copy()
        mixed = population
        if best < losses.min():
            worst = int(np.argmax(losses))
            order = np.r_[np.delete(np.arange(8), worst), worst]
            last = dataclasses.replace(population, directions=Stored(np.asarray(population.stored)[order]))
            mixed = inject(plain, state, last, np.asarray(state.elite.vector)[None])
            expected = np.r_[losses[order][:-1], best]
        after = tell(optimizer, state, population, losses)
        other = tell(plain, state, mixed, expected)
        np.testing.assert_allclose(after.mean, other.mean, rtol=1e-10)
        np.testing.assert_allclose(after.shape.covariance, other.shape.covariance, rtol=1e-9, atol=1e-12)
        best = min(best, losses.min())
        assert float(after.elite.loss) == best
        state = after


def test_misuse_is_refused():
    optimizer = CMAES(0.5, 8, elitist=True)
    state = init(optimizer, np.ones(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    with pytest.raises(ValueError, match=r"CMAES\.inject: there are 9 members for a population of 8"):
        optimizer.inject(state, population, jnp.ones((9, 3)))
    with pytest.raises(ValueError, match="with elitist=True the population cannot grow"):
        Restarts(optimizer).init(jnp.ones(3), jax.random.key(0))
    same = evolve.minimize(lambda x: jnp.sum(x**2), jnp.ones(3), Restarts(optimizer, "same", 1), evaluations=5000)
    assert same.reason == "restarts"
