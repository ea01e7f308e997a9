"""Members from elsewhere: pycma's limit on them, what they teach, and an elite that is never lost."""

import dataclasses

import cma
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.programs import ask, directions, host, init, inject, members, start, tell
from laws.tools import close

import evolve
from evolve import CMAES, LMMAES, MAES, SNES, Bounded, Integers, Restarts, SepCMAES, UncertaintyHandling
from evolve.backend import Device
from evolve.core import Stored, wrap
from evolve.methods.gather import weigh
from evolve.methods.injection import injected

pytestmark = pytest.mark.usefixtures("x64")


@host
def looked(population):
    """Thirteen members in other ways than all at once: one by one, as a sum, and by their losses."""
    one_by_one = jax.lax.map(population.member, jnp.arange(population.size))
    combined = population.combine(jnp.zeros(population.size).at[:13].set(jnp.linspace(-1.0, 1.0, 13)))
    problem = wrap(lambda x: jnp.sum(x**2), jnp.ones(3))
    return one_by_one, combined, Device().evaluate(problem, population, jax.random.key(0))


@pytest.mark.parametrize("kind", [CMAES, MAES])
@pytest.mark.parametrize("far", [0.1, 3.0, 1e6, 1e100])
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


@pytest.mark.parametrize("optimizer", [CMAES(0.5, 8), SepCMAES(0.5, 8), MAES(0.5, 8), LMMAES(0.5, 8)], ids=str)
def test_one_that_is_not_finite_loses_nothing(optimizer):
    """The drawn member stays in its place; in single precision, where squares overflow early, far ones are moved."""
    with jax.enable_x64(False):
        state = init(optimizer, np.zeros(2, np.float32), jax.random.key(0))
        population = ask(optimizer, state, jax.random.key(1))
        rows = np.array([[np.nan, 1.0], [1e25, 1e25], [0.1, 0.2], [np.inf, 0.0]], np.float32)
        mixed = inject(optimizer, state, population, rows)
        drawn, found = (np.asarray(members(each)) for each in (population, mixed))
        np.testing.assert_array_equal(found[[*range(5), 7]], drawn[[*range(5), 7]])
        np.testing.assert_allclose(found[5:7], [2 * [0.5 * (np.sqrt(2) + 1) / np.sqrt(2)], [0.1, 0.2]], rtol=1e-5)
        losses = np.sum(found**2, axis=1)
        after = tell(optimizer, state, mixed, losses)
        same = dataclasses.replace(population, directions=Stored(np.asarray(directions(mixed))))
        assert after.generation == 1
        np.testing.assert_allclose(after.mean, tell(optimizer, state, same, losses).mean, rtol=1e-5)


def test_one_that_is_no_opposite_takes_nothing_from_the_other_of_a_pair():
    """The best drawn member attracts as it would without pairs, where the elite is in the place of its opposite."""
    losses = np.array([1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0])
    optimizer = CMAES(0.5, 8, mirrored=True)
    state = init(optimizer, np.ones(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    mixed = injected(state, population, np.full((1, 3), 0.9), 1).directions
    told = jnp.asarray(np.where(np.arange(8) == 1, 0.5, losses))
    p = optimizer._constants(3, 8)
    (weights, shape), _ = weigh(mixed, told, p, True)
    (plain, _), _ = weigh(None, told, p, False)
    np.testing.assert_allclose(weights[:2], plain[:2], rtol=1e-12)
    assert shape[0] > 0
    (paired, _), _ = weigh(population.directions, jnp.asarray(losses), p, True)
    assert np.all((np.asarray(paired) > 0) == (np.arange(8) % 2 == 0))


def test_an_injected_member_teaches_as_a_drawn_one_does():
    """Members that were drawn, injected into another population, lead to the same state."""
    for optimizer in (CMAES(0.5, 8, active=False), MAES(0.5, 8)):
        state = init(optimizer, np.ones(3), jax.random.key(0))
        drawn = ask(optimizer, state, jax.random.key(1))
        x = np.asarray(members(drawn))
        injected = inject(optimizer, state, ask(optimizer, state, jax.random.key(2)), x)
        one, other = (tell(optimizer, state, each, np.sum(x**2, axis=1)) for each in (drawn, injected))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", [CMAES(0.5, 8), CMAES(0.5, 8, diagonal=True)], ids=["full", "diagonal"])
def test_it_teaches_what_it_teaches_pycma(optimizer):
    """Where it is bad it makes no variance smaller; in every other generation it is the worst."""
    n = 4
    options = {"CMA_diagonal": True} if optimizer.diagonal else {}
    peer = cma.CMAEvolutionStrategy(n * [1.0], 0.5, {"popsize": 8, "verbose": -9, **options})
    if not optimizer.diagonal:
        peer.sm.C, peer.sm.B, peer.sm.D = np.eye(n), np.eye(n), np.ones(n)  # it begins a little off the identity
    state = init(optimizer, np.ones(n), jax.random.key(0))
    for t in range(40):
        population = ask(optimizer, state, jax.random.key(t))
        drawn = np.asarray(members(population))
        x = drawn[:2].mean(axis=0)
        mixed = inject(optimizer, state, population, x[None])
        told = np.asarray(members(mixed))
        losses = np.sum(10.0 ** np.arange(n) * told**2, axis=1)
        losses[-1] = losses.max() + 1 if t % 2 else losses[-1]
        peer.ask(1)  # brings the decomposition up to date
        peer._injected_solutions_archive[told[-1]] = {"iteration": t, "index": 0, "counter": t}
        peer.tell(list(told), list(losses), check_points=False)
        same = dataclasses.replace(population, directions=Stored(np.asarray(directions(mixed))))
        other = tell(optimizer, state, same, losses)
        state = tell(optimizer, state, mixed, losses)
        np.testing.assert_allclose(state.mean, peer.mean, rtol=1e-8)
        scales = peer.sigma_vec.scaling * np.ones(n)
        covariance = np.outer(scales, scales) * (np.eye(n) if optimizer.diagonal else peer.sm.C)
        np.testing.assert_allclose(_covariance(state), covariance, rtol=1e-7, atol=1e-9)
        bad = np.sum(losses <= losses[-1]) > 4
        assert bad != np.allclose(_covariance(state), _covariance(other), rtol=1e-9)


def _covariance(state):
    return state.shape.covariance if hasattr(state.shape, "covariance") else np.diag(state.shape.scales**2)


@pytest.mark.parametrize("options", [{}, {"elitist": True}], ids=["plain", "elitist"])
@pytest.mark.parametrize("kind", [CMAES, SepCMAES, MAES])
def test_a_population_that_grows_learns_from_it_what_another_does(kind, options):
    """Thirteen members in use of forty-eight, the last two of them injected; told the same directions."""
    n, size, block = 3, 13, 8
    optimizer, plain = kind(0.5, block, **options), kind(0.5, size, **options)
    counted = start(optimizer, np.ones(n), jax.random.key(0), np.asarray(size), 6 * block, 1.0)
    state = init(plain, np.ones(n), jax.random.key(0))
    for t in range(12):
        x = np.linspace(0.5, 1.5, 2 * n).reshape(2, n) * 0.8**t
        mixed = inject(optimizer, counted, ask(optimizer, counted, jax.random.key(t)), x)
        assert (mixed.size, mixed.count, mixed.least, mixed.directions.group) == (6 * block, size, block, 1)
        own = ask(plain, state, jax.random.key(t))
        kept = np.asarray(directions(ask(optimizer, counted, jax.random.key(t))))[:size]
        own = inject(plain, state, dataclasses.replace(own, directions=Stored(kept)), x)
        told = np.asarray(members(mixed))
        np.testing.assert_allclose(told[:size], members(own), rtol=1e-9)
        one_by_one, combined, evaluated = looked(mixed)
        np.testing.assert_allclose(one_by_one[:size], told[:size], rtol=1e-12)
        rows = np.asarray(directions(mixed))[:size]
        np.testing.assert_allclose(combined, np.linspace(-1.0, 1.0, size) @ rows, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(evaluated[:size], np.sum(told[:size] ** 2, axis=1), rtol=1e-9)
        losses = np.sum(10.0 ** np.arange(n) * told**2, axis=1) + 5 * (t % 3 > 0)
        counted = tell(optimizer, counted, mixed, np.where(np.arange(6 * block) < size, losses, np.inf))
        state = tell(plain, state, own, losses[:size])
        for name in ("mean", "sigma", "path_sigma", "path_c"):
            np.testing.assert_allclose(getattr(counted, name), getattr(state, name), rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(counted.shape.deviations, state.shape.deviations, rtol=1e-8)
        if options:
            assert float(counted.elite.loss) == float(state.elite.loss)


WRAPPED = {
    "bounded": Bounded(CMAES(0.5, 8), -3.0, 3.0),
    "integers": Integers(CMAES(0.5, 8), -3.0, 3.0, {"a": 0.25, "b": 0.0}),
    "uncertainty": UncertaintyHandling(CMAES(0.5, 8)),
    "same": Restarts(CMAES(0.5, 8), "same"),
    "bipop": Restarts(CMAES(0.5, 8), "bipop", 3),
    "together": Restarts(UncertaintyHandling(Bounded(CMAES(0.5, 8), -3.0, 3.0)), "ipop", 3),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_pass_members_on(name):
    """They are evaluated where they are, the others as they were, and what is learned is what the method learns."""
    optimizer, first = WRAPPED[name], {"a": jnp.zeros(2), "b": jnp.zeros(())}
    state = init(optimizer, first, jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    x = {"a": np.array([[0.25, -0.5], [0.5, 0.25]]), "b": np.array([0.3, -0.2])}
    mixed = inject(optimizer, state, population, x)
    before, after = (members(each) for each in (population, mixed))
    for leaf in ("a", "b"):
        np.testing.assert_allclose(after[leaf][6:8], x[leaf], rtol=1e-12)
        np.testing.assert_array_equal(after[leaf][:6], before[leaf][:6])
        np.testing.assert_array_equal(after[leaf][8:], before[leaf][8:])
    assert (mixed.size, mixed.least) == (population.size, population.least)
    losses = np.where(np.arange(mixed.size) == 7, -9.0, np.arange(mixed.size))
    told = tell(optimizer, state, mixed, losses)
    moved = optimizer.answer(told)
    toward = np.append(x["a"][1], x["b"][1])
    assert np.append(moved["a"], moved["b"]) @ toward > 0.2 * toward @ toward
    with pytest.raises(ValueError, match=r"\.inject: there are 9 members for a population of 8"):
        optimizer.inject(state, population, jax.tree.map(lambda leaf: jnp.zeros((9, *leaf.shape)), first))


@pytest.mark.parametrize("inside", [lambda method: method, lambda method: Bounded(method, -9.0, 9.0)])
def test_members_may_be_injected_one_after_another(inside):
    """All of them stand in the population, and teach what they teach together."""
    optimizer = inside(CMAES(0.5, 8))
    state = init(optimizer, np.zeros(2), jax.random.key(0))
    drawn, rows = ask(optimizer, state, jax.random.key(1)), np.array([[-0.25, 0.5], [0.25, 0.25]])
    twice = inject(optimizer, state, inject(optimizer, state, drawn, rows[1:]), rows[:1])
    once = inject(optimizer, state, drawn, rows)
    np.testing.assert_allclose(members(twice), members(once), rtol=1e-6)
    np.testing.assert_allclose(members(twice)[-2:], rows, rtol=1e-6)
    losses = np.sum(members(once) ** 2, axis=1)
    close(tell(optimizer, state, twice, losses), tell(optimizer, state, once, losses), 1e-5)
    with pytest.raises(ValueError, match="there are 9 members for a population of 8"):
        optimizer.inject(state, twice, jnp.zeros((7, 2)))


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
    for wrapped in (optimizer, Bounded(optimizer, -9.0, 9.0)):
        state = init(wrapped, np.ones(3), jax.random.key(0))
        population = ask(wrapped, state, jax.random.key(1))
        for shape in ((3,), (), (0, 3), (1, 4), (2, 3, 1)):
            with pytest.raises(ValueError, match=r"\.inject: members have shape .*; give \(count, 3\), one or more"):
                wrapped.inject(state, population, jnp.ones(shape))
        with pytest.raises(ValueError, match=r"\.inject: the members are .*; give a tree alike"):
            wrapped.inject(state, population, {"a": jnp.ones((1, 3))})
    alone = SNES()
    with pytest.raises(TypeError, match=r"SNES\.inject: it learns from its own members alone"):
        alone.inject(alone.init(jnp.ones(3), jax.random.key(0)), population, jnp.ones((1, 3)))
    for regime in ("same", "ipop"):
        again = evolve.minimize(lambda x: jnp.sum(x**2), jnp.ones(3), Restarts(optimizer, regime, 1), evaluations=9000)
        assert again.reason == "restarts"
