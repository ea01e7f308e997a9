"""The tuned contest: it is what the tuning found, and the tuning never saw what is held out."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve.cli.presets import BUILDERS, EVALUATIONS, SMALLEST, TUNED, contest
from evolve.cli.registry import OPTIMIZERS
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


def test_all_kinds_compete_on_the_network_of_2410_parameters():
    found = contest("digits")
    assert found is not None
    shapes = jax.eval_shape(found.problem().init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2410
    assert found.seeds == 3
    assert set(found.optimizers) == set(TUNED) == set(BUILDERS) == set(OPTIMIZERS) - {"cmaes"}


@pytest.mark.parametrize("evaluations", [SMALLEST, EVALUATIONS])
@pytest.mark.parametrize(
    ("method", "option", "last"),
    [("openes", "learning_rate", 0), ("mezo", "learning_rate", 0), ("genetic", "sigma", 1), ("annealing", "step", 1)],
)
def test_schedules_end_with_the_budget(evaluations, method, option, last):
    found = contest("digits", evaluations)
    assert found is not None
    optimizer = found.optimizers[method]
    first = TUNED[method][option]
    size = 2 * optimizer.chains if method == "annealing" else optimizer.population
    generations = -(-evaluations // size)
    start, halfway, end = (getattr(optimizer, option)(jnp.int32(t)) for t in (0, generations // 2, generations))
    np.testing.assert_allclose(start, first, rtol=1e-6)
    np.testing.assert_allclose(end, last and first * TUNED[method]["shrink"], rtol=1e-5, atol=1e-9)
    assert end < halfway < start


def test_nothing_is_tuned_for_other_problems():
    assert contest("sphere") is None
