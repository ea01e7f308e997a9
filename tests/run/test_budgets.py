"""Budgets: each alone and together, exact accounting, reasons, and refusal of what is no budget."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evolve
import problems
import zeroth
from evolve.run import Budget


def sphere(x):
    return jnp.sum(x**2)


SEARCH = evolve.RandomSearch(population=8)
START = jnp.ones(3)


@pytest.mark.parametrize(
    ("limits", "generations", "reason"),
    [
        ({"evaluations": 80}, 10, "evaluations"),
        ({"evaluations": 87}, 10, "evaluations"),
        ({"evaluations": 88}, 11, "evaluations"),
        ({"evaluations": 1e3}, 125, "evaluations"),
        ({"evaluations": np.int32(16)}, 2, "evaluations"),
        ({"evaluations": 1}, 1, "evaluations"),  # smaller than one generation: one is run
        ({"generations": 7}, 7, "generations"),
        ({"generations": 7, "evaluations": 10**400}, 7, "generations"),
        ({"generations": 10**30, "evaluations": 40}, 5, "evaluations"),
        ({"generations": 5, "evaluations": 40}, 5, "evaluations"),
        ({"target": 1e9}, 1, "target"),
        ({"target": 1e9, "generations": 1, "evaluations": 8, "seconds": 1e-9}, 1, "target"),
        ({"target": -1.0, "generations": 3}, 3, "generations"),
        ({"seconds": 1e-9}, 1, "seconds"),
        ({"seconds": 1e9, "generations": 3}, 3, "generations"),
    ],
)
def test_what_is_spent_and_why_it_ends(limits, generations, reason):
    result = evolve.minimize(sphere, START, SEARCH, **limits)
    assert (result.generations, result.reason) == (generations, reason)
    assert result.evaluations == result.forwards == 8 * generations
    assert result.history["evaluations"][-1] == 8 * generations
    assert result.failed == 0


def test_target_ends_at_the_first_generation_that_reaches_it():
    long = evolve.minimize(sphere, START, SEARCH, generations=200)
    target = float(long.history["best"][60])
    first = int(np.argmax(long.history["best"] <= target)) + 1
    result = evolve.minimize(sphere, START, SEARCH, target=target)
    assert (result.generations, result.reason) == (first, "target")
    assert result.loss <= target
    assert result.loss == long.history["best"][first - 1]


def test_target_of_a_noisy_problem_is_a_generations_mean():
    noisy = problems.wrap(lambda x, key: sphere(x) + 0.1 * jax.random.normal(key), START)
    openes = evolve.OpenES(population=16, learning_rate=0.1)
    long = evolve.run(noisy, openes, generations=60)
    target = float(np.min(long.history["mean"]))
    result = evolve.run(noisy, openes, target=target, generations=60)
    assert result.reason == "target"
    assert result.generations == np.argmin(long.history["mean"]) + 1


def test_seconds_are_kept_to_a_watch_point():
    start = time.perf_counter()
    result = evolve.minimize(sphere, START, SEARCH, seconds=0.4)
    elapsed = time.perf_counter() - start - result.compile_seconds
    assert result.reason == "seconds"
    assert 0.4 <= result.seconds < elapsed
    assert result.seconds < 0.4 + 1.0  # no more than a block, however slow the machine


def test_a_gradient_counts_three():
    result = evolve.minimize(sphere, START, evolve.Gradient(optax.sgd(0.1)), evaluations=32)
    assert (result.generations, result.evaluations, result.forwards) == (10, 10, 30)
    assert result.reason == "evaluations"


def test_line_searches_are_counted():
    """Independently: how often the loss is really evaluated."""
    calls = []

    def rosenbrock(x):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    result = evolve.minimize(rosenbrock, -jnp.ones(4), evolve.Gradient(optax.lbfgs()), evaluations=120)
    jax.effects_barrier()
    assert result.evaluations == len(calls)
    assert result.forwards == 3 * result.evaluations == result.history["evaluations"][-1]
    assert result.evaluations > result.generations
    # The last generation began within the budget; only its line search may have gone beyond.
    assert result.history["evaluations"][-2] + 3 <= 120 < result.forwards + 3


def test_evaluations_are_calls():
    calls = []

    def fitness(x):
        calls.append(x)
        return float(np.sum(x**2))

    result = evolve.minimize(fitness, np.ones(3), evolve.CMAES(population=6), evaluations=50, host=True)
    assert len(calls) == result.evaluations == 48


def test_minimize_has_a_default_budget():
    assert evolve.minimize(sphere, START, evolve.RandomSearch(population=1000)).evaluations == 10_000


def test_a_budget_counts_the_whole_run_when_it_is_prolonged(tmp_path):
    options = {"directory": tmp_path / "run"}
    evolve.minimize(sphere, START, zeroth.SPSA(), evaluations=10, **options)
    longer = evolve.minimize(sphere, START, zeroth.SPSA(), evaluations=30, resume=True, **options)
    assert longer.evaluations == 30
    shorter = evolve.minimize(sphere, START, zeroth.SPSA(), evaluations=20, resume=True, **options)
    assert (shorter.evaluations, shorter.reason) == (30, "evaluations")


@pytest.mark.parametrize("name", ["evaluations", "generations", "seconds"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf])
def test_refused_limits(name, value):
    with pytest.raises(ValueError, match=rf"{name} is {value}; it must be positive and finite"):
        evolve.minimize(sphere, START, SEARCH, **{name: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refused_targets(value):
    with pytest.raises(ValueError, match=rf"target is {value}; it must be a finite loss"):
        evolve.minimize(sphere, START, SEARCH, target=value)


@pytest.mark.parametrize("name", ["evaluations", "generations"])
def test_counts_are_whole(name):
    with pytest.raises(ValueError, match=rf"{name} is 2.5; it must be a whole number"):
        evolve.minimize(sphere, START, SEARCH, **{name: 2.5})


@pytest.mark.parametrize("value", ["100", True, [1], 1j])
def test_limits_are_numbers(value):
    with pytest.raises(TypeError, match=r"evaluations is .*; it must be a number"):
        Budget(evaluations=value)


def test_no_budget():
    problem = problems.wrap(sphere, START)
    with pytest.raises(ValueError, match="no budget; give evaluations, generations, seconds or target"):
        evolve.run(problem, SEARCH)
    with pytest.raises(ValueError, match="no budget"):
        evolve.run(problem, SEARCH, evaluations=None, seconds=None)


@pytest.mark.parametrize(("cost", "last"), [(1, 2**31 - 2), (10**20, 1), (10**13, 10**7)])
def test_the_last_generation(cost, last):
    assert Budget(evaluations=10**20).last(cost) == last
