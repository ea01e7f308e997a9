"""Plain Python fitness: serial, on threads and on processes; a member that fails, fails alone."""

import concurrent.futures
import multiprocessing
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
from evolve import Device, OpenES, Workers, minimize
from evolve.core import Problem, wrap

SIZE = 6
MEMBERS = {"x": np.arange(SIZE * 2.0, dtype=np.float32).reshape(SIZE, 2), "s": np.arange(SIZE, dtype=np.float32)}
WORDS = np.asarray(jax.random.key_data(jax.random.key(4)))


# At module level: a process pool pickles them.
def sphere(params):
    return float(np.sum(params["x"] ** 2) + params["s"])


def noisy(params, words):
    return float(params["s"] + np.random.default_rng(words).normal())


def breaks_on_odd(params):
    if params["s"] % 2:
        raise RuntimeError(f"member {int(params['s'])} fell over")
    return sphere(params)


EXPECTED = [sphere({"x": x, "s": s}) for x, s in zip(MEMBERS["x"], MEMBERS["s"], strict=True)]


def evaluate(function, workers):
    return workers.losses(wrap(function, None, host=True), MEMBERS, WORDS, SIZE)


@pytest.fixture(scope="module")
def processes():
    # Not forked: JAX's threads would be copied mid-air.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


@pytest.fixture(scope="module")
def threads():
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.fixture(params=["serial", "threads", "processes"])
def workers(request):
    return Workers(None if request.param == "serial" else request.getfixturevalue(request.param))


def test_losses_come_in_the_order_of_the_members(workers):
    losses = evaluate(sphere, workers)
    assert losses.dtype == np.float64
    np.testing.assert_array_equal(losses, EXPECTED)
    assert workers.first_error is None


def test_the_key_comes_as_words_for_numpy(workers):
    noise = np.random.default_rng(WORDS).normal()
    np.testing.assert_allclose(evaluate(noisy, workers), MEMBERS["s"] + noise, rtol=1e-6)


def test_a_member_that_raises_fails_alone_and_the_first_traceback_is_kept(workers):
    losses = evaluate(breaks_on_odd, workers)
    np.testing.assert_array_equal(losses, [EXPECTED[i] if i % 2 == 0 else np.nan for i in range(SIZE)])
    assert "member 1 fell over" in workers.first_error
    assert "breaks_on_odd" in workers.first_error  # a traceback, with the place
    assert "member 3" not in workers.first_error
    kept = workers.first_error
    evaluate(breaks_on_odd, workers)
    assert workers.first_error == kept


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), r"the loss has shape (3,); return a scalar"),
        ([1.0], r"the loss has shape (1,); return a scalar"),
        (1 + 2j, "the loss is complex128; return a real number"),
        ("low", "the loss is <U3; return a real number"),
        (None, "return a real number"),
        (True, "the loss is bool; return a real number"),
    ],
)
def test_what_is_no_real_number_fails_the_member(value, message):
    workers = Workers()
    losses = evaluate(lambda p: value if p["s"] == 2 else sphere(p), workers)
    np.testing.assert_array_equal(losses, [np.nan if i == 2 else EXPECTED[i] for i in range(SIZE)])
    assert message in workers.first_error


@pytest.mark.parametrize("value", [3, np.float16(3), np.int64(3), np.asarray(3.0), np.float32(3)])
def test_every_real_scalar_is_a_loss(value):
    losses = evaluate(lambda p: value, Workers())
    np.testing.assert_array_equal(losses, np.full(SIZE, 3.0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_losses_are_handed_on(value):
    losses = evaluate(lambda p: value if p["s"] == 1 else 0.0, Workers())
    np.testing.assert_array_equal(losses, [0, value, 0, 0, 0, 0])


def test_parameters_come_as_numpy_without_the_members_axis():
    seen = []
    evaluate(lambda p: float(seen.append((type(p["x"]), p["x"].shape, np.ndim(p["s"]))) or 0), Workers())
    assert seen == [(np.ndarray, (2,), 0)] * SIZE


def test_members_out_of_time_fail_and_the_others_count():
    """Two hang until the test lets them go; the generation does not wait for them."""
    release = threading.Event()

    def hangs(p):
        if p["s"] in (1, 4):
            release.wait(30)
        return sphere(p)

    with concurrent.futures.ThreadPoolExecutor(SIZE) as pool:
        workers = Workers(pool, timeout=1.0)
        start = time.monotonic()
        losses = evaluate(hangs, workers)
        took = time.monotonic() - start
        release.set()
    np.testing.assert_array_equal(losses, [np.nan if i in (1, 4) else EXPECTED[i] for i in range(SIZE)])
    assert took < 10  # of 30
    assert "TimeoutError" in workers.first_error


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_must_be_positive(timeout, threads):
    with pytest.raises(ValueError, match=f"Workers: timeout is {timeout} s; it must be positive"):
        Workers(threads, timeout)


def test_a_pool_that_was_shut_down_fails_the_members_and_not_the_run():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    workers = Workers(pool)
    assert np.isnan(evaluate(sphere, workers)).all()
    assert "cannot schedule new futures after shutdown" in workers.first_error


def test_a_worker_that_dies_fails_the_members_and_not_the_run():
    """A process that exits breaks its pool for good: what was not done by then is lost, and nothing else is."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        workers = Workers(pool)
        pool.submit(exit_at_once).exception()
        assert np.isnan(evaluate(sphere, workers)).all()
        assert "BrokenProcessPool" in workers.first_error


def exit_at_once():
    import os

    os._exit(1)


class Mine(Problem):
    """A host problem of a class of its own."""

    @property
    def host(self):
        return True

    def init(self, key):
        return np.ones(3, np.float32)

    def loss(self, params, key):
        return float(np.sum(params**2))


def test_a_run_goes_on_when_members_fail(threads):
    """The search finds the minimum although one member in four raises, and says how many did."""
    calls = iter(range(10**6))

    def flaky(x):
        if next(calls) % 4 == 0:
            raise OSError("the simulator is busy")
        return float(np.sum((x - 1) ** 2))

    result = minimize(flaky, np.zeros(3), evolve.CMAES(sigma=0.3), host=True, evaluations=600, backend=Workers(threads))
    assert result.loss < 1e-3
    assert result.failed == pytest.approx(result.evaluations / 4, abs=1)
    assert "the simulator is busy" in result.error


def test_a_run_outlives_its_pool():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    result = evolve.run(Mine(), evolve.CMAES(), generations=3, backend=Workers(pool))
    assert result.failed == result.evaluations
    np.testing.assert_array_equal(result.answer, np.ones(3))


def test_workers_and_device_evaluate_a_population_alike():
    problem = wrap(lambda x: jnp.sum(x**2), jnp.ones(3))
    optimizer = OpenES(8)
    key = jax.random.key(0)
    population = optimizer.ask(optimizer.init(jnp.ones(3), key), key)
    here, there = (backend.evaluate(problem, population, key) for backend in (Workers(), Device()))
    np.testing.assert_allclose(here, there, rtol=1e-6)
    assert here.dtype == there.dtype


def test_a_device_refuses_a_host_fitness_by_name():
    problem = wrap(lambda x: 0.0, jnp.ones(3), host=True)
    optimizer = OpenES(8)
    population = optimizer.ask(optimizer.init(jnp.ones(3), jax.random.key(0)), jax.random.key(0))
    with pytest.raises(ValueError, match=r"a host fitness is plain Python.*Workers"):
        Device().evaluate(problem, population, jax.random.key(0))


def test_members_that_are_not_in_use_are_not_called():
    """Of a population that may grow from restart to restart, only those of this generation."""
    optimizer = evolve.Restarts(evolve.CMAES(0.5, 4), "ipop", 2)
    seen = []

    def counted(x):
        seen.append(x)
        return float(np.sum(x**2))

    state = jax.jit(optimizer.init)(jnp.ones(3), jax.random.key(0))
    population = jax.jit(optimizer.ask)(state, jax.random.key(1))
    losses = Workers().evaluate(wrap(counted, jnp.ones(3), host=True), population, jax.random.key(2))
    assert len(seen) == 4 < population.size == 16
    np.testing.assert_allclose(losses[:4], [np.sum(x**2) for x in seen], rtol=1e-6)
    np.testing.assert_array_equal(losses[4:], np.inf)
