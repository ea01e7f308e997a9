"""Records: what a plain loop over the same losses sees, and the files that COCO's own logger writes of them."""

import dataclasses
from importlib.metadata import version

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
from evolve.compare.suite import Case, Profiles, Suite
from evolve.compare.suite.record import PROFILE, TARGETS, Recorded, moments
from evolve.compare.suite.suite import Log
from evolve.core.population import Stored
from problems import BBOB

pytestmark = pytest.mark.usefixtures("x64")

METHOD = evolve.RandomSearch(population=8)
AT = moments(20, 480)


@eqx.filter_jit
def generation(recorder, state, losses):
    """The state after a generation with these losses; the first where there is no state."""
    key = jax.random.key(0)
    if state is None:
        # A number that takes its type from its neighbours would make a second program.
        return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), recorder.init(jnp.zeros(2), key))
    return recorder.tell(state, recorder.ask(state, key), losses)


def told(method, f_opt, losses):
    """The record of a run whose losses were given, a generation a row."""
    recorder = Recorded(method, jnp.float64(f_opt), jnp.asarray(TARGETS), jnp.asarray(AT))
    state = generation(recorder, None, None)
    for row in losses:
        state = generation(recorder, state, row)
    return jax.device_get(state.record)


def by_hand(values, f_opt):
    """Evaluation and gap at every target."""
    hits, gaps = np.zeros(len(TARGETS), int), np.full(len(TARGETS), np.inf)
    best = np.inf
    for count, value in enumerate(values, 1):
        best = min(best, value - f_opt) if np.isfinite(value) else best
        new = (hits == 0) & (best <= TARGETS)
        hits[new], gaps[new] = count, best
    return hits, gaps


def test_a_record_is_what_a_plain_loop_sees():
    random = np.random.default_rng(0)
    losses = 3.0 + 10.0 ** random.uniform(-1, 1, (60, 8)) * np.logspace(4, -9, 60)[:, None]
    losses[random.uniform(size=losses.shape) < 0.1] = np.nan
    losses[7], losses[20, 3] = np.inf, -np.inf  # a generation that fails as a whole, and a loss that is no number
    record = told(METHOD, 3.0, losses)
    flat = losses.ravel()
    hits, gaps = by_hand(flat, 3.0)
    np.testing.assert_array_equal(record.hits, hits)
    np.testing.assert_array_equal(record.gaps, gaps)
    lowest = np.minimum.accumulate(np.where(np.isfinite(flat), flat - 3.0, np.inf))
    np.testing.assert_array_equal(record.bests, lowest[AT - 1])
    np.testing.assert_array_equal(record.losses, flat[AT - 1])
    assert (record.evaluations, record.best) == (480, lowest[-1])
    assert record.failed == np.sum(~np.isfinite(flat)) > 40


class Blocks(Stored):
    """Members that are drawn four at a time."""

    @property
    def block(self):
        return 4


class Doubling(evolve.RandomSearch):
    """Eight members from the fourth generation on, four before: as a restart with a larger population does it."""

    def ask(self, state, key):
        population, used = super().ask(state, key), jnp.where(state.generation < 3, 4, 8)
        directions = Blocks(population.directions.batch(0, population.size))
        return dataclasses.replace(population, directions=directions, count=used)


def test_of_a_growing_population_members_in_use_are_counted():
    losses = np.random.default_rng(0).uniform(size=(6, 8)) * np.logspace(3, -5, 6)[:, None]
    losses[:, [2, 5]] = np.nan
    record = told(Doubling(population=8), 0.0, losses)
    used = [*losses[:3, :4].ravel(), *losses[3:].ravel()]
    np.testing.assert_array_equal(record.hits, by_hand(used, 0.0)[0])
    assert (record.evaluations, record.failed) == (len(used), 3 + 2 * 3)
    at = AT[len(used) >= AT]
    np.testing.assert_array_equal(record.losses[: len(at)], np.array(used)[at - 1])
    assert np.all(np.isinf(record.bests[len(at) :]))


def test_targets_are_those_of_the_problem():
    np.testing.assert_allclose(TARGETS[PROFILE], BBOB(1, 2).targets, rtol=1e-14)


def test_the_files_are_those_of_cocos_logger(tmp_path, monkeypatch):
    """From dimension 20 on COCO leaves out the coordinates, so that its files can be compared to the letter."""
    cocoex = pytest.importorskip("cocoex")
    monkeypatch.chdir(tmp_path)
    observer = cocoex.Observer("bbob", "result_folder: theirs algorithm_name: ours")
    cases = tuple(Case(1, i, one := BBOB(1, 20, i), float(one.f_opt)) for i in (1, 2))
    records = []
    for problem, case in zip(
        cocoex.Suite("bbob", "", "dimensions:20 function_indices:1 instance_indices:1-2"), cases, strict=True
    ):
        problem.observe_with(observer)
        steps = np.random.default_rng(0).normal(size=(480, 20)) * np.logspace(1, -5.2, 480)[:, None]
        losses = np.array([problem(np.asarray(case.problem.x_opt) + step) for step in steps]).reshape(-1, 8)
        problem.free()
        records.append(told(METHOD, case.f_opt, losses))
        assert records[-1].hits[-1] > 0
    suite = Suite("bbob", 20, {1: "sphere"}, {}, cases)
    profiles = Profiles.begin(suite, {"ours": METHOD}, {})
    (ours,) = dataclasses.replace(profiles, logs={"ours": Log.of(records, AT, ["", ""])}).export(tmp_path)
    (theirs,) = (tmp_path / "exdata").iterdir()
    names = {path.relative_to(theirs) for path in theirs.rglob("*.*")}
    assert {path.relative_to(ours) for path in ours.rglob("*.*")} == names
    for name in names:
        made, known = ((folder / name).read_text().splitlines() for folder in (ours, theirs))
        # Ours says which version's it is, whatever is installed.
        known = [line.replace(f"'{version('coco-experiment')}'", "'2.8.2'") for line in known]
        if name.suffix == ".dat":  # COCO has a hundred targets a decade: ours are among its lines
            assert made == [line for line in known if line in made]
            assert len(made) > 2 * 40
            assert made[-1] == known[-1]
        else:  # the second line of an index is the comment
            assert [*made[:1], *made[2:]] == [*known[:1], *known[2:]], name
            assert name.suffix == ".info" or made[1:2] == known[1:2]
