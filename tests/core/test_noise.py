"""Noise: what each evaluation draws from is a function of (key, member, repeat), on devices and on the host."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
from evolve import Antithetic, Averaged, CommonRandomNumbers, Device, Gaussian, IndependentNoise, RandomSearch, Workers
from evolve.core import Drawn, Geometry, Population, wrap

KEY = jax.random.key(3)
SIZE = 14  # in chunks of 4 the last overlaps the one before
START = jnp.arange(1.0, 4.0)


def noisy(x, key):
    return jnp.sum(x**2) + jax.random.normal(key)


def on_host(x, words):
    return float(np.sum(x**2) + np.random.default_rng(words).normal())


PROBLEM, HOST = wrap(noisy, START), wrap(on_host, np.asarray(START), host=True)


@jax.jit
def draws(keys):
    return jax.vmap(jax.random.normal)(keys)


def folded(key, count):
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


@eqx.filter_jit
def evaluate_one(problem, params, key):
    return problem.loss(params, key)


@eqx.filter_jit
def evaluate(backend, problem, population):
    return backend.evaluate(problem, population, KEY)


def around():
    geometry = Geometry.of(START)
    directions = Drawn.of(Antithetic(Gaussian()), KEY, geometry, SIZE)
    return Population(geometry.working(START), jnp.asarray(0.5), directions, KEY, geometry, SIZE)


def noise(backend, problem, population=None):
    """Losses less what they would be without noise."""
    population = around() if population is None else population
    clean = jax.vmap(lambda x: jnp.sum(x**2))(population.members())
    losses = (
        backend.evaluate(problem, population, KEY)
        if isinstance(backend, Workers)
        else evaluate(backend, problem, population)
    )
    return np.asarray(losses) - np.asarray(clean)


@pytest.mark.parametrize(("aggregate", "reduce"), [("mean", np.mean), ("median", np.median)])
def test_an_average_is_over_keys_of_its_own(aggregate, reduce):
    expected = jnp.sum(START**2) + reduce(draws(folded(KEY, 6)))
    for chunk in (None, 4, 100):
        loss = evaluate_one(Averaged(PROBLEM, 6, aggregate, chunk), START, KEY)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize(("aggregate", "reduce"), [("mean", np.mean), ("median", np.median)])
def test_an_average_on_the_host_too(aggregate, reduce):
    seen, words = [], np.asarray(jax.random.key_data(KEY))
    problem = wrap(lambda x, words: seen.append(words) or on_host(x, words), START, host=True)
    loss = Averaged(problem, 5, aggregate).loss(np.asarray(START), words)
    assert len({tuple(each) for each in seen} | {tuple(words)}) == 6
    assert all(each.dtype == words.dtype and each.shape == words.shape for each in seen)
    assert loss == reduce([on_host(np.asarray(START), each) for each in seen])


def test_a_repeat_that_is_no_scalar_or_fails_is_not_averaged_away():
    with pytest.raises(ValueError, match=r"the loss has shape \(3,\)"):
        evolve.run(Averaged(wrap(lambda x, key: x, START), 3), RandomSearch(4), generations=1)
    workers, host = Workers(), wrap(lambda x, words: np.ones(3), START, host=True)
    assert np.all(np.isnan(workers.evaluate(Averaged(host, 3), around(), KEY)))
    assert "shape (3,)" in (workers.first_error or "")
    odd = wrap(lambda x, key: jnp.where(jax.random.normal(key) > 0, jnp.nan, 0.0), START)
    assert jnp.isnan(Averaged(odd, 20, "median").loss(START, KEY))


@pytest.mark.parametrize("problem", [PROBLEM, HOST], ids=["device", "host"])
def test_common_random_numbers_make_one_function_of_it(problem):
    fixed = CommonRandomNumbers(Averaged(problem, 3), seed=7)
    own = jax.random.key(7)
    key = np.asarray(jax.random.key_data(own)) if problem.host else own
    point = np.asarray(START)
    assert fixed.loss(point, "ignored") == fixed.problem.loss(point, key)
    assert fixed.loss(point, None) != CommonRandomNumbers(Averaged(problem, 3), seed=8).loss(point, None)
    if problem.host:
        return
    result = evolve.run(fixed, RandomSearch(8), generations=3)
    np.testing.assert_allclose(result.loss, np.min(result.history["loss"]))
    np.testing.assert_allclose(result.loss, fixed.loss(result.answer, None), rtol=1e-6)
    assert (result.evaluations, result.forwards) == (24, 72)


def test_independent_noise_is_the_members_whatever_the_chunk():
    """Of antithetic pairs, too; a part is what a device of several evaluates."""
    expected = draws(folded(KEY, SIZE))
    problem, population = IndependentNoise(PROBLEM), around()
    for backend in (Device(chunk=4), Device(), Workers()):
        np.testing.assert_allclose(noise(backend, problem), expected, atol=1e-5)
    part = eqx.filter_jit(Device().part)(problem, population, KEY, 6, 4)
    np.testing.assert_allclose(part, evaluate(Device(), problem, population)[6:10], rtol=1e-6)


def test_wrappers_compose():
    averaged = [IndependentNoise(Averaged(PROBLEM, 3)), Averaged(IndependentNoise(PROBLEM), 3)]
    expected = [np.mean(draws(folded(key, 3))) for key in folded(KEY, SIZE)]
    for problem in averaged:
        np.testing.assert_allclose(noise(Device(chunk=4), problem), expected, atol=1e-5)


@pytest.mark.parametrize("repeats", [1, 5])
def test_a_population_may_ask_for_repeats(repeats):
    """Each has a key of its own, for every member; the program does not know how many there are."""
    population = dataclasses.replace(around(), repeats=jnp.asarray(repeats))
    expected = np.mean([draws(folded(key, SIZE)) for key in folded(KEY, repeats)], axis=0)
    for backend in (Device(chunk=4), Workers()):
        np.testing.assert_allclose(noise(backend, PROBLEM, population), expected, atol=1e-5)
    assert population.evaluations == SIZE * repeats


def test_seeds_have_noise_of_their_own_and_every_repeat_is_a_forward_pass():
    problem = IndependentNoise(Averaged(Averaged(PROBLEM, 2), 3))
    here, there = (evolve.run(problem, RandomSearch(4), seed=seed, seeds=2, evaluations=100) for seed in (0, 1))
    for result in (*here, *there):
        assert (result.evaluations, result.forwards, result.reason) == (16, 96, "evaluations")
        assert result.history["evaluations"][-1] == 96
    np.testing.assert_array_equal(here[1].history["loss"], there[0].history["loss"])
    assert not np.any(here[0].history["loss"] == here[1].history["loss"])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Averaged(wrap(jnp.sum, START), 3), ValueError, "Averaged: the problem is Wrapped.* no noise"),
        (lambda: IndependentNoise(CommonRandomNumbers(PROBLEM)), ValueError, "put CommonRandomNumbers outermost"),
        (lambda: CommonRandomNumbers(IndependentNoise(PROBLEM)), ValueError, "take one of the two"),
        (lambda: CommonRandomNumbers(PROBLEM, -1), ValueError, "seed is -1; it must be at least 0"),
        (lambda: Averaged(PROBLEM, 0), ValueError, "Averaged: repeats is 0; it must be at least 1"),
        (lambda: Averaged(PROBLEM, 2, chunk=0), ValueError, "chunk is 0; it must be at least 1"),
        (lambda: Averaged(PROBLEM, 2, "mode"), ValueError, "'mean' or 'median'"),
        (lambda: Averaged(noisy, 2), TypeError, "which is no Problem; wrap a function of"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_misuse_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
