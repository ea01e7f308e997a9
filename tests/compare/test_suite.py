"""Records, running times and COCO's files: equal to what COCO's own programs make of the same evaluations."""

import contextlib
import csv
import dataclasses
import io
import re
import warnings
from operator import attrgetter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evolve
from evolve.compare.suite import Case, Profiles, Suite, benchmark
from evolve.compare.suite.benchmark import recorded
from evolve.compare.suite.record import PROFILE, TARGETS, moments
from evolve.compare.suite.reference import archive, best_2009
from evolve.compare.suite.runtime import distribution, expected, simulated
from evolve.core import Problem
from evolve.run.whole import Whole

pytestmark = pytest.mark.usefixtures("x64")


class Bowl(Problem):
    """A sphere whose place, depth and condition are numbers, and which ends at an edge far from all of them.

    `traced` counts how often a program is made of it.
    """

    center: jax.Array
    depth: jax.Array
    weights: jax.Array
    traced = 0

    @property
    def noisy(self):
        return False

    def init(self, key):
        return jax.random.uniform(key, (2,), minval=-4.0, maxval=4.0)

    def loss(self, params, key):
        Bowl.traced += 1
        loss = jnp.sum(self.weights * (params - self.center) ** 2) + self.depth
        return jnp.where(params[0] < 4.5, loss, jnp.nan)


def bowls(functions=(1, 2), instances=(1, 2, 3)):
    cases = []
    for function in functions:
        for instance in instances:
            center, depth = jnp.array([0.3 * instance, -1.0]), 10.0 * instance
            cases.append(
                Case(function, instance, Bowl(center, jnp.asarray(depth), jnp.array([1.0, 10.0**function])), depth)
            )
    names = {function: f"bowl <{function}>" for function in functions}
    return Suite("bbob", 2, names, {"round": (1,), "long & thin": (2,)}, tuple(cases))


METHODS = {"S/NES": evolve.SNES(population=8, sigma=2.0), "sgd": evolve.Gradient(optax.sgd(0.002))}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with jax.enable_x64(True):
        folder = tmp_path_factory.mktemp("suite") / "bowls"
        return benchmark(bowls(), METHODS, budget=300, directory=folder, progress=False), folder


@pytest.fixture(scope="module")
def cocopp():
    """COCO's post-processing, which talks and warns a lot."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return pytest.importorskip("cocopp")


@contextlib.contextmanager
def quietly():
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def test_a_gradient_counts_as_three_and_its_loss_is_known_after_the_first(found):
    profiles, _ = found
    log, entry = profiles.logs["sgd"], profiles.entries[1]
    hits = log.hits[log.hits > 0]
    assert len(hits)
    assert np.all(hits % 3 == 1)
    assert entry.forwards == tuple(3 * count for count in entry.evaluations) == (600,) * 6


def test_a_case_is_the_run_of_its_seed_through_one_program(found):
    suite, (profiles, _) = bowls(), found
    at, traced = moments(2, 600), Bowl.traced
    whole = Whole(suite.cases[0].problem, recorded(suite.cases[0], METHODS["S/NES"], at), 600, attrgetter("record"))
    made = Bowl.traced
    for place, case in enumerate(suite.cases):
        record = whole(case.problem, recorded(case, METHODS["S/NES"], at), case.seed(0))[0]
        np.testing.assert_array_equal(record.hits, profiles.logs["S/NES"].hits[place])
    assert traced < made == Bowl.traced
    case = suite.cases[4]
    recorder = recorded(case, METHODS["S/NES"], at)
    result, other = evolve.run(case.problem, recorder, evaluations=600, seed=case.seed(0), seeds=2)
    np.testing.assert_array_equal(result.state.record.hits, profiles.logs["S/NES"].hits[4])
    alone = whole(case.problem, recorder, case.seed(0) + 1)[0]
    np.testing.assert_array_equal(other.state.record.hits, alone.hits)
    assert result.reason == profiles.entries[0].reasons[4] == "final target"
    assert result.evaluations == profiles.entries[0].evaluations[4]
    assert result.failed == profiles.entries[0].failed[4] > 0
    assert profiles.entries[1].reasons == ("evaluations",) * 6


@pytest.mark.parametrize("runs", [1, 5])
def test_running_times_equal_cocos(cocopp, runs):
    random = np.random.default_rng(runs)
    lengths = random.integers(100, 1000, runs).astype(float)
    hits = np.ceil(random.uniform(0, 1, (6, runs)) * lengths)
    hits[random.uniform(size=hits.shape) < 0.4] = np.nan
    hits[0], hits[1, 1:] = np.nan, np.nan
    hits[1, 0] = 7.0
    ert, times = expected(hits, lengths), simulated(hits, lengths, np.random.default_rng(0))
    for row, mean, drawn in zip(hits, ert, times, strict=True):
        good = np.isfinite(row)
        theirs = cocopp.toolsstats.sp(np.where(good, row, lengths), issuccessful=good)[0]
        np.testing.assert_allclose(mean, theirs, rtol=1e-14)
        if not good.any():
            assert np.all(np.isinf(drawn))
            continue
        np.random.seed(0)
        other = cocopp.toolsstats.drawSP(row[good], lengths[~good], [50], 20000)[1]
        many = simulated(row[None], lengths, np.random.default_rng(0)) if good.all() else _many(row, lengths)
        np.testing.assert_allclose(np.quantile(many, [0.1, 0.5, 0.9]), np.quantile(other, [0.1, 0.5, 0.9]), rtol=0.1)
        np.testing.assert_allclose(np.mean(many), mean, rtol=0.05)


def _many(row, lengths):
    return np.concatenate([simulated(row[None], lengths, np.random.default_rng(k))[0] for k in range(150)])


def test_a_distribution_is_the_fraction_reached():
    times = np.random.default_rng(0).integers(1, 50, (4, 30)).astype(float)
    times[times > 40] = np.inf
    x, y = distribution(times)
    np.testing.assert_allclose(y, [(times <= at).mean() for at in x])
    assert distribution(np.full(3, np.inf))[0].size == 0


def test_the_reference_is_cocopps(cocopp):
    with quietly():
        cocopp.genericsettings.verbose = 0
        from cocopp import bestalg

        theirs = bestalg.load_reference_algorithm("refalgs/best2009-bbob.tar.gz", force=True)
    ours = best_2009(5, range(1, 25), TARGETS[PROFILE])
    np.testing.assert_array_equal(ours, [theirs[5, function].detERT(TARGETS[PROFILE]) for function in range(1, 25)])


def test_without_cocopp_there_is_no_reference(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert archive() is None
    assert best_2009(5, [1], TARGETS) is None


def test_cocopp_reads_the_export_and_finds_the_same_times(found, cocopp):
    profiles, folder = found
    for name, path in (("S/NES", "S-NES"), ("sgd", "sgd")):
        with quietly():
            sets = {one.funcId: one for one in cocopp.load(str(folder / "coco" / path))}
        entry = next(entry for entry in profiles.entries if entry.name == name)
        assert sets.keys() == profiles.functions.keys()
        for place, function in enumerate(profiles.functions):
            assert sets[function].instancenumbers == [1, 2, 3]
            np.testing.assert_array_equal(sets[function].detEvals(profiles.targets), profiles.runs(entry, function)[0])
            np.testing.assert_allclose(sets[function].detERT(profiles.targets), profiles.erts[name][place], rtol=1e-14)
    assert np.isfinite(profiles.erts["S/NES"][:, -1]).all()
    assert np.isinf(profiles.erts["sgd"][:, -1]).all()


def test_a_saved_suite_is_the_same_again(found, tmp_path):
    profiles, folder = found
    loaded = Profiles.load(folder)
    assert loaded.rows() == profiles.rows()
    assert str(loaded) == str(profiles)
    assert "S/NES" in str(loaded)
    assert loaded.export(tmp_path) == []
    loaded.report(tmp_path / "report.html")
    assert (folder / "report.html").read_bytes() == (tmp_path / "report.html").read_bytes()
    pictures = {"overview.png", "profile_all.png", "profile_round.png", "profile_long_thin.png"}
    assert {path.name for path in folder.iterdir()} == {"results.json", "report.html", "ert.csv", "coco"} | pictures
    with open(folder / "ert.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 51
    solved = [row for row in rows if float(row["target"]) == 1e-8 and row["optimizer"] == "S/NES"]
    assert [row["successes"] for row in solved] == ["3", "3"]
    text = (folder / "report.html").read_text()
    assert not re.search(r"https?:|//\w|\ssrc=|@import|<script|<link|<iframe", text)
    assert "bowl &lt;1&gt;" in text
    assert "bowl <1>" not in text


def test_what_cannot_be_run_is_said_beforehand(tmp_path):
    with pytest.raises(ValueError, match="no problems; give at least one"):
        benchmark(dataclasses.replace(bowls(), cases=()), METHODS, budget=10)
    with pytest.raises(ValueError, match="budget is 0 times the dimension; give a number from 1 to"):
        benchmark(bowls(), METHODS, budget=0)
    with pytest.raises(ValueError, match="no optimizer to compare"):
        benchmark(bowls(), {}, budget=10)
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"run in jax\.enable_x64"):
        benchmark(bowls(), METHODS, budget=10)


def test_an_optimizer_that_fails_is_reported_and_the_others_run():
    class Broken(evolve.RandomSearch):
        def learn(self, state, population, losses):
            raise RuntimeError("no luck")

    methods = {"broken": Broken(), "sgd": METHODS["sgd"]}
    profiles = benchmark(bowls(), methods, budget=300, progress=False)
    assert [entry.status for entry in profiles.entries] == ["failed", "finished"]
    assert "no luck" in str(profiles)
    assert [entry.name for entry in profiles.ranked()] == ["sgd", "broken"]
