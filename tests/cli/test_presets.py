"""The tuned contest: it is what the tuning found, and the tuning never saw what is held out."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evolve
import zeroth
from evolve.cli.arguments import Compare
from evolve.cli.comparing import FULL, _budget, _optimizers
from evolve.cli.job import make_optimizer, make_problem, tuned
from evolve.cli.naming import Named
from evolve.cli.presets import BATCH, BUILDERS, CONTESTS, EVALUATIONS, SMALLEST, TUNED, Horizon
from evolve.cli.registry import OPTIMIZERS
from evolve.core import Antithetic, Cosine, Exponential, LowRank
from evolve.run.describe import describe
from problems import Digits

ROOT = Path(__file__).parents[2]
TRIALS = json.loads((ROOT / "benchmarks" / "results" / "tune_digits.json").read_text())["rows"]


@pytest.fixture(scope="module")
def tune_digits():
    """The benchmark's module, which pip does not install."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield importlib.import_module("benchmarks.tune_digits")


def trials(method):
    return [row for row in TRIALS if row["method"] == method]


def sorted_rows(*arrays):
    """The rows of all arrays together, in an order of their own."""
    rows = np.concatenate([np.asarray(array) for array in arrays])
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("method", TUNED)
def test_the_numbers_are_the_winners_of_the_recorded_tuning(tune_digits, method):
    winner = tune_digits.best(trials(method))
    assert winner["loss"] == min(row["loss"] for row in trials(method))
    assert {name: winner[name] for name in TUNED[method]} == TUNED[method]


def test_every_method_was_tuned_with_the_same_effort(tune_digits):
    assert len({len(trials(method)) for method in TUNED}) == 1
    for method in TUNED:
        for number, row in enumerate(trials(method)):
            assert tune_digits.draw(method, number).items() <= row.items()


def test_tuning_splits_hold_the_training_examples_and_no_other(tune_digits):
    training = sorted_rows(Digits().dataset.inputs)
    for problem in tune_digits.splits():
        data = problem.dataset
        np.testing.assert_array_equal(sorted_rows(data.inputs, data.held_inputs), training)


DIGITS = Named("digits", {})
# A full matrix is too large for this network, and these came after the tuning.
UNTUNED = {*FULL, "lmmaes", "snes", "crfmnes", "pgpe", "ars"}


def made(method, horizon, **settings):
    return make_optimizer(Named(method, settings), DIGITS, horizon)


def test_all_kinds_compete_on_the_network_of_2410_parameters():
    shapes = jax.eval_shape(make_problem(DIGITS).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2410
    assert CONTESTS["digits"].seeds == 3
    assert set(CONTESTS["digits"].optimizers) == set(TUNED) == set(BUILDERS) == set(OPTIMIZERS) - UNTUNED


def by_hand(method, budget):
    """What the tuning measured, written out."""
    numbers = TUNED[method]
    steps = budget / numbers.get("population", 2 * numbers.get("chains", 0) or 3)
    first = {name: numbers.get(name, 0.0) for name in ("sigma", "step", "temperature", "learning_rate")}
    rate = Cosine(first["learning_rate"], 0.0, steps)
    decay = optax.cosine_decay_schedule(first["learning_rate"], budget // 3)
    search = optax.scale_by_zoom_linesearch(40, initial_guess_strategy="one")
    return {
        "openes": lambda: evolve.OpenES(64, 0.07, rate, Antithetic(LowRank(1)), weight_decay=0.047),
        "sepcmaes": lambda: evolve.SepCMAES(sigma=0.17, population=128),
        "genetic": lambda: evolve.GeneticAlgorithm(
            64, parents=32, sigma=Exponential(0.031, 0.031 * 0.055, steps), crossover=1.0
        ),
        "annealing": lambda: evolve.SimulatedAnnealing(
            Exponential(0.011, 0.011 * 0.33, steps), Exponential(0.00031, 0.00031 / 100, steps), 1, reevaluate=True
        ),
        "random": lambda: evolve.RandomSearch(64, 0.25),
        "spsa": lambda: zeroth.SPSA(16, 0.0044, 0.093, stability=0.039 * budget / 16),
        "mezo": lambda: zeroth.MeZO(16, 0.0018, rate),
        "sgd": lambda: evolve.Gradient(optax.sgd(decay, momentum=0.9)),
        "adam": lambda: evolve.Gradient(optax.adam(decay)),
        "lbfgs": lambda: evolve.Gradient(optax.lbfgs(memory_size=3, linesearch=search)),
    }[method]()


@pytest.mark.parametrize("budget", [SMALLEST, EVALUATIONS])
@pytest.mark.parametrize("method", TUNED)
def test_what_competes_is_what_was_tuned(method, budget):
    expected = describe(by_hand(method, budget))
    assert describe(made(method, Horizon(budget))) == expected
    assert describe(BUILDERS[method](budget, **TUNED[method])) == expected
    if budget == EVALUATIONS:
        command = Compare("digits")
        limits = _budget(command, tuned(DIGITS))
        horizon = Horizon(limits["evaluations"], limits["generations"])
        chosen = _optimizers(command, DIGITS, make_problem(DIGITS), horizon)
        assert describe(chosen[method]) == expected


@pytest.mark.parametrize("evaluations", [SMALLEST, EVALUATIONS])
@pytest.mark.parametrize(
    ("method", "option", "last"),
    [("openes", "learning_rate", 0), ("mezo", "learning_rate", 0), ("genetic", "sigma", 1), ("annealing", "step", 1)],
)
def test_schedules_end_with_the_budget(evaluations, method, option, last):
    optimizer = made(method, Horizon(evaluations))
    first = TUNED[method][option]
    size = 2 * optimizer.chains if method == "annealing" else optimizer.population
    generations = -(-evaluations // size)
    start, halfway, end = (getattr(optimizer, option)(jnp.int32(t)) for t in (0, generations // 2, generations))
    np.testing.assert_allclose(start, first, rtol=1e-6)
    np.testing.assert_allclose(end, last and first * TUNED[method]["shrink"], rtol=1e-5, atol=1e-9)
    assert end < halfway < start


def test_generations_are_steps_and_the_smaller_budget_counts():
    assert made("openes", Horizon(None, 50)).learning_rate.steps == 50
    assert made("openes", Horizon(6400, 50)).learning_rate.steps == 50
    assert made("openes", Horizon(6400, 500)).learning_rate.steps == 100


@pytest.mark.parametrize(
    ("method", "option"),
    [("openes", "learning_rate"), ("mezo", "learning_rate"), ("genetic", "sigma"), ("annealing", "step")],
)
def test_without_a_number_of_steps_rates_stay_as_they_begin(method, option):
    assert getattr(made(method, Horizon()), option) == TUNED[method][option]


def test_steps_follow_from_the_population_that_is_used():
    assert made("openes", Horizon(EVALUATIONS), population="256").learning_rate.steps == EVALUATIONS / 256
    assert made("annealing", Horizon(6400), chains="4").step.steps == 800
    assert made("annealing", Horizon(6400), chains="4", reevaluate="false").step.steps == 1600


def test_a_setting_of_adam_keeps_the_tuned_rate_and_its_schedule():
    expected = optax.adam(optax.cosine_decay_schedule(0.00015, 100), b2=0.99)
    assert describe(made("adam", Horizon(300), b2="0.99").transformation) == describe(expected)
    constant = made("adam", Horizon(300), learning_rate="0.5").transformation
    assert describe(constant) == describe(optax.adam(0.5)), "what is given counts as it is"


def test_an_update_of_ones_own_leaves_the_tuned_rate_and_decay_out():
    optimizer = made("openes", Horizon(300), update="adam:0.01")
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.sigma) == (None, 0.0, 0.07)


def test_a_problem_is_the_tuned_one_by_its_settings_said_or_not():
    same = {"batch": str(BATCH), "hidden": "32", "seed": 0}
    assert tuned(DIGITS) is tuned(Named("digits", same)) is CONTESTS["digits"]
    assert tuned(Named("digits", {"batch": "64"})) is None
    assert tuned(Named("digits", {"hidden": "32-32"})) is None
    assert tuned(Named("sphere", {})) is None
