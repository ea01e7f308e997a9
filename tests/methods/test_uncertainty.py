"""Uncertainty handling: pycma's measurement and treatment, every evaluation counted, and what it is worth."""

import dataclasses
from typing import NamedTuple

import cma
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.programs import ask, init, tell
from laws.tools import Plain, close, compilations

import evolve
from evolve import (
    CMAES,
    CRFMNES,
    LMMAES,
    MAES,
    PGPE,
    SNES,
    XNES,
    Bounded,
    Device,
    Gradient,
    IndependentNoise,
    Integers,
    OpenES,
    Restarts,
    SepCMAES,
    Tolerances,
    UncertaintyHandling,
)
from evolve.core import Stored, wrap
from evolve.methods.uncertainty import rank_change

KEY = jax.random.key(0)
SHORT = Tolerances(maxiter=0.01)  # a run of a few generations


def noisy(x, key):
    return jnp.sum(x**2) + jax.random.normal(key)


def by_pycma(handler, losses, again):
    """pycma's handler, told the losses of a generation, and those of the first members evaluated again."""
    left = [loss for loss in again for _ in range(int(handler.evaluations))]
    handler.indices = lambda fit: np.arange(len(again))
    return handler(list(range(len(losses))), list(losses), lambda x: left.pop(0))


@pytest.mark.usefixtures("x64")
def test_the_measurement_is_pycmas():
    """Given the same losses: one program for every population and theta."""
    measure, rng = jax.jit(rank_change), np.random.default_rng(0)
    for size, theta in [(2, 0.5), (3, 1.0), (8, 0.5), (8, 0.2), (8, 0.0), (41, 0.3), (41, 1.0)]:
        handler = cma.NoiseHandler(5, epsilon=0)
        handler.theta = theta
        for t in range(20):
            losses = rng.normal(size=size)
            again = losses[:2] + (t // 5 % 2) * rng.normal(size=2)
            before = handler.noiseS
            by_pycma(handler, losses, again)
            padded = np.concatenate([losses, np.full(41 - size, np.inf)])
            change = measure(padded, again, size, theta)
            np.testing.assert_allclose(before + 0.3 * (change - before), handler.noiseS, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_treatment_is_pycmas():
    """Given the same losses: s, the number of evaluations, and what standard deviations are multiplied by."""
    n, size, copies, rng = 5, 8, 3, np.random.default_rng(0)
    optimizer = UncertaintyHandling(SNES(0.5, size), 4, copies)
    handler = cma.NoiseHandler(n, [1, 1, 4], np.mean, epsilon=0)
    state = init(optimizer, np.ones(n), KEY)
    population, start = ask(optimizer, state, KEY), state.inner
    own, seen = ask(optimizer.optimizer, start, KEY), []
    for t in range(60):
        losses = rng.normal(size=size)
        again = losses[:copies] + (t // 15 % 2) * rng.normal(size=copies)
        factor = by_pycma(handler, losses, again)
        means = np.concatenate([(losses[:copies] + again) / 2, losses[copies:]])
        expected = tell(optimizer.optimizer, start, own, means)
        state = tell(optimizer, state, population, np.concatenate([losses, again]))
        np.testing.assert_allclose(state.noise, handler.noiseS, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(state.repeats, handler.evaluations, rtol=1e-12)
        close(state.inner, eqx.tree_at(lambda s: s.sigma, expected, expected.sigma * factor), 1e-12)
        seen.append(float(state.repeats))
        state = eqx.tree_at(lambda s: s.inner, state, start)
    assert min(seen) == 1 < max(seen)


@pytest.mark.usefixtures("x64")
def test_equal_losses_are_no_noise_and_failed_members_say_nothing():
    def measure(losses, again):
        return float(jax.jit(rank_change)(np.asarray(losses), np.asarray(again), 10, 0.5))

    losses = np.random.default_rng(1).normal(size=10)
    some = measure(losses, losses[[1, 0, 2]])
    assert measure(np.zeros(10), np.zeros(3)) < 0
    without = losses.copy()
    without[2] = np.inf
    assert np.isnan(measure(np.full(10, np.inf), np.zeros(3)))
    for third in (np.inf, 0.0):
        assert np.isfinite(measure(without, [losses[1], losses[0], third]))
    # Members beyond those in use are not there.
    padded = np.concatenate([losses, np.full(6, np.inf)])
    np.testing.assert_allclose(measure(padded, losses[[1, 0, 2]]), some, rtol=1e-12)


def test_it_ends_nearer_to_the_optimum_than_without():
    """The sphere under noise of a constant standard deviation 1, at equal evaluations."""
    problem, plain = IndependentNoise(wrap(noisy, np.full(8, 3.0))), CMAES(1.0, stopping=None)

    def solve(optimizer):
        results = evolve.run(problem, optimizer, seeds=8, evaluations=6000)
        assert all(5000 < result.evaluations <= 6000 for result in results)
        return results, np.median([np.linalg.norm(result.answer) for result in results])

    (_, without), (results, handled) = solve(plain), solve(UncertaintyHandling(plain, 100))
    assert handled < 0.7 * without
    # Neither the limit nor a constant compiles anything, however many evaluations that makes.
    before = len(compilations)
    assert solve(UncertaintyHandling(plain, 3, widening=0.0))[1] > handled
    assert len(compilations) == before
    # Each seed has a number of evaluations of its own, whoever its neighbours are.
    here, there = results[1], evolve.run(problem, UncertaintyHandling(plain, 100), seed=1, seeds=8, evaluations=6000)[0]
    for name in ("evaluations", "repeats", "sigma"):
        np.testing.assert_array_equal(here.history[name], there.history[name])
    assert here.generations != results[0].generations


def counting():
    """A host fitness that is all noise, and the list of its calls."""
    calls = []

    def fitness(x, words):
        calls.append(tuple(words))
        return float(np.random.default_rng(words).normal())

    return wrap(fitness, np.zeros(3), host=True), calls


def test_every_evaluation_is_counted_and_has_noise_of_its_own():
    problem, calls = counting()
    optimizer = Restarts(UncertaintyHandling(CMAES(stopping=SHORT), 3, growth=20.0), "ipop", 1)
    result = evolve.run(problem, optimizer, evaluations=900)
    # The last call is of the answer, at a fixed key.
    assert len(calls) - 1 == len(set(calls[:-1])) == result.evaluations == result.forwards
    assert result.evaluations <= 900
    assert set(result.history["run"]) == {0, 1}
    assert np.max(result.history["repeats"]) == 3
    assert result.failed == 0


def test_generations_that_fail_are_counted_too():
    """They cost what the others do, also where members are evaluated several times."""
    calls = []

    def fitness(x, words):
        calls.append(x)
        return float(np.random.default_rng(words).normal()) if len(calls) < 900 else np.nan

    optimizer = UncertaintyHandling(CMAES(0.5, stopping=None), growth=20.0)
    result = evolve.run(wrap(fitness, np.zeros(4), host=True), optimizer, evaluations=2000)
    assert len(calls) - 1 == result.evaluations <= 2000
    assert np.max(result.history["repeats"]) > 3
    # Where nothing is seen nothing is said about noise.
    late = result.history["generation"] > np.argmax(result.history["failed"] > 0) + 1
    assert len(set(result.history["repeats"][late])) == 1


class Normal(NamedTuple):
    """Parameters of the user's own, of which one is called as deviations are."""

    mu: jax.Array
    sigma: jax.Array


@pytest.mark.parametrize(
    "method",
    [CMAES(0.5, 8), SNES(0.5, 8), PGPE(8, 0.5), Restarts(CMAES(0.5, 8), "ipop"), OpenES(8, 0.5)],
    ids=lambda method: type(method).__name__,
)
def test_parameters_that_are_called_sigma_are_none_of_the_methods(method):
    optimizer = UncertaintyHandling(method)
    state = init(optimizer, Normal(jnp.ones(2), jnp.full(2, 3.0)), KEY)
    wide = eqx.filter_jit(lambda state: optimizer.widened(state, jnp.asarray(2.0)))(state)
    close(optimizer.answer(wide), optimizer.answer(state), 0)
    before, after = (ask(optimizer, each, KEY).members() for each in (state, wide))
    stays = isinstance(method, OpenES)  # its radius is an option
    for x, y, mean in zip(before, after, Normal(1.0, 3.0), strict=True):
        np.testing.assert_allclose(y - mean, (x - mean) * (1 if stays else 2), rtol=1e-5, atol=1e-6)
    if isinstance(method, Restarts):
        close(wide.inner.origin, state.inner.origin, 0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("method", [CMAES, SNES, XNES, CRFMNES, PGPE, SepCMAES, LMMAES, MAES, Restarts, Integers])
def test_deviations_are_widened_until_one_is_a_third_of_the_box(method):
    """Or as wide as it began where that is more; however small they have become in between, and however large."""
    start = np.array([0.0, -2.0, 3.0])

    @eqx.filter_jit
    def widths(low, high, factors):
        bounded = method if method is Integers else Bounded
        inside = bounded(CMAES(0.5) if method in (Restarts, Integers) else method(sigma=0.5), low, high)
        optimizer = UncertaintyHandling(Restarts(inside) if method is Restarts else inside)
        state = optimizer.init(start, KEY)
        states = [state, *(state := optimizer.widened(state, factor) for factor in factors)]
        return [optimizer.deviations(each) for each in states]

    narrow, wide, one_sided = np.full(3, 1.0), np.full(3, 9.0), np.array([np.inf, 9.0, 90.0])
    for width in (narrow, wide, one_sided, np.array([1.0, 9.0, 9.0]), np.array([1.7, 1.6, 1.65])):
        factors = np.array([1.2, 4.0, 100.0, 0.01, 3.0, 1e4])
        first, *found = widths(np.zeros(3) + start - width / 9, start + width * 8 / 9, factors)
        assert np.all((first > 0.45) & (first < 0.75))  # CR-FM-NES begins aslant
        most, before = np.maximum(width / 3, first), first
        for factor, after in zip(factors, found, strict=True):
            allowed = max(1.0, np.min(most / before))
            np.testing.assert_allclose(after, before * min(factor, allowed), rtol=1e-12)
            before = after


def test_deviations_that_the_method_widens_are_left_to_it():
    optimizer = Bounded(CMAES(0.5), 0.0, 1.0)
    state = init(optimizer, np.full(2, 0.5), KEY)
    far = eqx.tree_at(lambda state: state.inner.sigma, state, jnp.float32(50.0))
    assert optimizer.widened(far, jnp.asarray(2.0)).inner.sigma == 50.0


def test_a_restart_that_begins_narrow_is_widened_as_far_as_others():
    """As the small populations of BIPOP do."""
    optimizer = Bounded(CMAES(0.5), 0.0, 1.0)
    for spread, most in ((0.01, 1 / 3), (1.0, 0.5)):
        state = optimizer.start(jnp.full(3, 0.5), KEY, jnp.asarray(14), 14, spread)
        np.testing.assert_allclose(optimizer.deviations(state), 0.5 * spread, rtol=1e-6)
        wide = optimizer.widened(state, jnp.asarray(1e3))
        np.testing.assert_allclose(optimizer.deviations(wide), most, rtol=1e-6)


def test_restarts_within_a_box_are_widened_as_far_as_the_first_run():
    optimizer = Bounded(Restarts(CMAES(0.5)), 0.0, 1.0)
    state = init(optimizer, np.full(3, 0.5), KEY)
    narrow = eqx.tree_at(lambda state: state.inner.inner.sigma, state, jnp.full_like(state.inner.inner.sigma, 0.01))
    np.testing.assert_allclose(optimizer.deviations(optimizer.widened(narrow, jnp.asarray(1e3))), 0.5, rtol=1e-6)


@pytest.mark.parametrize("method", [CMAES, SepCMAES])
def test_deviations_that_overflow_are_no_number_of_a_box_without_an_edge(method):
    optimizer = UncertaintyHandling(Bounded(method(0.5, stds=1e5), 0.0, np.inf))
    state = init(optimizer, np.ones(2, np.float32), KEY)
    far = eqx.tree_at(lambda state: state.inner.inner.sigma, state, jnp.float32(5e34))
    np.testing.assert_allclose(optimizer.widened(far, jnp.asarray(1.2)).inner.inner.sigma, 6e34, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_within_a_box_it_arrives_where_it_does_without():
    """Of twenty seeds eight ended anywhere when deviations grew beyond the box, where all losses are alike."""
    problem = wrap(lambda x, key: jnp.sum(x**2) * (1 + 0.5 * jax.random.normal(key)), 2 * np.ones(5))
    optimizer = UncertaintyHandling(Bounded(CMAES(0.5), -3.0, 3.0))
    results = evolve.run(problem, optimizer, evaluations=5000, seeds=20)
    assert np.quantile([np.sum(result.answer**2) for result in results], 0.9) < 1e-2


@pytest.mark.parametrize(
    "inside", [lambda method: method, lambda method: Restarts(Bounded(method, -1e9, 1e9), "same", 0)]
)
def test_deviations_that_it_widens_are_no_reason_to_stop(inside):
    """As in pycma's `fmin2`; where it widens nothing, growing ones are the method's own."""
    still = Tolerances(tolstagnation=0.0)
    optimizer = UncertaintyHandling(inside(CMAES(1e-3, stopping=still)), 1)
    noise = evolve.minimize(lambda x, key: jax.random.normal(key), jnp.zeros(3), optimizer, evaluations=2500)
    assert noise.reason == "evaluations"
    assert noise.history["sigma"][-1] > 2e3 * 1e-3
    slope = evolve.minimize(
        lambda x: x[0], jnp.zeros(3), dataclasses.replace(optimizer, widening=0.0), evaluations=2500
    )
    assert slope.reason in ("tolfacupx", "restarts")


class Whole(Plain):
    """One that puts stored members in the place of those that are drawn."""

    def ask(self, state, key):
        population = super().ask(state, key)
        stored = Stored(population.directions.batch(0, population.size))
        return dataclasses.replace(population, directions=stored)


def test_noise_is_seen_also_where_a_wrapper_has_replaced_the_members():
    within = Restarts(UncertaintyHandling(CMAES(0.5, 6)), "ipop", 2)
    measured = []
    for optimizer in (within, Whole(within)):
        state = init(optimizer, np.ones(3), jax.random.key(0))
        population = ask(optimizer, state, jax.random.key(1))
        losses = np.asarray(jax.random.normal(jax.random.key(2), (population.size,)))
        after = tell(optimizer, state, population, losses)
        measured.append((after.inner if optimizer is within else after.inner.inner).noise)
    np.testing.assert_array_equal(measured[0], measured[1])
    assert measured[0] != 0


def test_a_growing_population_has_its_copies_behind_its_members():
    """Where the members in use end within a block, at its edge, and where the copies reach into the next."""
    optimizer, problem = UncertaintyHandling(CMAES(0.5), reevaluated=3), wrap(lambda x: jnp.sum(x**2), jnp.ones(3))

    @jax.jit
    def asked(size):
        state = optimizer.start(jnp.ones(3), KEY, size, 14, 1.0)
        population = optimizer.ask(state, KEY)
        assert (population.size, population.least) == (21, 7)
        weights = jnp.where(population.in_use, jnp.arange(21.0), 0.0)
        one_by_one = jax.lax.map(population.member, jnp.arange(21))
        moved = population.center + population.scale * population.combine(weights)
        own = optimizer.optimizer.ask(state.inner, KEY).members()
        losses = Device().evaluate(problem, population, KEY)
        return population.used, population.members(), one_by_one, own, weights, moved, population.center, losses

    for size in (7, 9, 13, 14):
        used, members, one_by_one, own, weights, moved, center, losses = asked(size)
        assert used == size + 3
        np.testing.assert_allclose(members[:size], own[:size], rtol=1e-6)
        np.testing.assert_array_equal(members[size:used], members[:3])
        np.testing.assert_allclose(one_by_one[:used], members[:used], rtol=1e-6)
        np.testing.assert_allclose(moved, center + weights @ (members - center), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(losses[:used], np.sum(members[:used] ** 2, axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: UncertaintyHandling(Gradient(optax.sgd(0.1))),
            "Gradient learns from gradients",
        ),
        (lambda: UncertaintyHandling(UncertaintyHandling(CMAES())), "handles uncertainty already; wrap it once"),
        (lambda: UncertaintyHandling(CMAES(), 0.5), "most is 0.5; it must lie in"),
        (lambda: UncertaintyHandling(CMAES(), theta=2.0), r"theta is 2.0; it must lie in \[0, 1\]"),
        (lambda: UncertaintyHandling(CMAES(), reevaluated=0), "reevaluated is 0; it must be at least 1"),
    ],
)
def test_misuse_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_more_members_again_than_there_are_is_refused():
    with pytest.raises(ValueError, match="reevaluated is 9; there are only 7 members"):
        evolve.minimize(noisy, jnp.zeros(3), UncertaintyHandling(CMAES(), reevaluated=9), generations=1)
