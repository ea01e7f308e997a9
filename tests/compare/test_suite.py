"""Records, running times and COCO's files: equal to what COCO's own programs make of the same evaluations."""

import contextlib
import csv
import dataclasses
import io
import re
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evolve
from evolve.compare.suite import Case, Profiles, Suite, benchmark
from evolve.compare.suite.benchmark import recorded
from evolve.compare.suite.export import lines
from evolve.compare.suite.record import PROFILE, TARGETS, Recorded, moments
from evolve.compare.suite.reference import archive, best_2009
from evolve.compare.suite.runtime import distribution, expected, simulated
from evolve.compare.suite.suite import Log
from evolve.core import Problem
from evolve.core.population import Stored
from evolve.run.whole import Whole
from problems import BBOB

pytestmark = pytest.mark.usefixtures("x64")


class Bowl(Problem):
    """A sphere whose place, depth and condition are numbers; `traced` counts how often a program is made of it."""

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
        return jnp.sum(self.weights * (params - self.center) ** 2) + self.depth


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
    record = told(evolve.RandomSearch(population=8), 3.0, losses)
    flat = losses.ravel()
    hits, gaps = by_hand(flat, 3.0)
    np.testing.assert_array_equal(record.hits, hits)
    np.testing.assert_array_equal(record.gaps, gaps)
    lowest = np.minimum.accumulate(np.where(np.isfinite(flat), flat - 3.0, np.inf))
    np.testing.assert_array_equal(record.bests, lowest[AT - 1])
    np.testing.assert_array_equal(record.losses, flat[AT - 1])
    assert (record.evaluations, record.best) == (480, lowest[-1])


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

    def extra(self, state):
        return 4 * jnp.maximum(0, state.generation - 3)


def test_of_a_growing_population_members_in_use_are_counted():
    losses = np.random.default_rng(0).uniform(size=(6, 8)) * np.logspace(3, -5, 6)[:, None]
    record = told(Doubling(population=8), 0.0, losses)
    used = [*losses[:3, :4].ravel(), *losses[3:].ravel()]
    np.testing.assert_array_equal(record.hits, by_hand(used, 0.0)[0])
    assert record.evaluations == len(used)
    at = AT[len(used) >= AT]
    np.testing.assert_array_equal(record.losses[: len(at)], np.array(used)[at - 1])
    assert np.all(np.isinf(record.bests[len(at) :]))


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
    whole = Whole(suite.cases[0].problem, recorded(suite.cases[0], METHODS["S/NES"], at), 600)
    made = Bowl.traced
    for place, case in enumerate(suite.cases):
        record = whole(case.problem, recorded(case, METHODS["S/NES"], at), case.seed(0))[0].state.record
        np.testing.assert_array_equal(record.hits, profiles.logs["S/NES"].hits[place])
    assert traced < made == Bowl.traced
    case = suite.cases[4]
    result = evolve.run(case.problem, recorded(case, METHODS["S/NES"], at), evaluations=600, seed=case.seed(0))
    np.testing.assert_array_equal(result.state.record.hits, profiles.logs["S/NES"].hits[4])
    assert result.reason == profiles.entries[0].reasons[4] == "final target"
    assert result.evaluations == profiles.entries[0].evaluations[4]
    assert profiles.entries[1].reasons == ("evaluations",) * 6


def test_targets_are_those_of_the_problem():
    np.testing.assert_allclose(TARGETS[PROFILE], BBOB(1, 2).targets, rtol=1e-14)


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


def test_the_files_are_those_of_cocos_logger(found, tmp_path, monkeypatch):
    """From dimension 20 on COCO leaves out the coordinates, so that its files can be compared to the letter."""
    cocoex = pytest.importorskip("cocoex")
    monkeypatch.chdir(tmp_path)
    suite = cocoex.Suite("bbob", "", "dimensions:20 function_indices:1 instance_indices:1-2")
    observer = cocoex.Observer("bbob", "result_folder: theirs algorithm_name: ours")
    texts, trials = [], []
    for problem, ours in zip(suite, [BBOB(1, 20, 1), BBOB(1, 20, 2)], strict=True):
        problem.observe_with(observer)
        steps = np.random.default_rng(0).normal(size=(480, 20)) * np.logspace(1, -5.2, 480)[:, None]
        losses = np.array([problem(np.asarray(ours.x_opt) + step) for step in steps]).reshape(-1, 8)
        problem.free()
        f_opt = float(ours.f_opt)
        record = told(evolve.RandomSearch(population=8), f_opt, losses)
        log = Log.of([record], AT, ["evaluations"])
        assert record.hits[-1] > 0
        texts.append(lines(log, 0, f_opt))
        trials.append(f"{ours.instance}:480|{log.best[0]:.1e}")
    (folder,) = (tmp_path / "exdata").iterdir()
    data = folder / "data_f1"
    theirs = {path.suffix: path.read_text() for path in data.iterdir()}
    dat, tdat, rdat, mdat = ("".join(parts) for parts in zip(*texts, strict=True))
    assert tdat.splitlines() == theirs[".tdat"].splitlines()
    assert (rdat, mdat) == (theirs[".rdat"], theirs[".mdat"])
    # COCO has a hundred targets a decade: ours are among its lines.
    assert set(dat.splitlines()) <= set(theirs[".dat"].splitlines())
    assert dat.splitlines()[-1] == theirs[".dat"].splitlines()[-1]
    index = (folder / "bbobexp_f1.info").read_text().splitlines()
    assert index[2] == f"data_f1/bbobexp_f1_DIM20.dat, {', '.join(trials)}"
    exported = (found[1] / "coco" / "S-NES" / "bbobexp_f1.info").read_text().splitlines()
    assert exported[0] == index[0].replace("DIM = 20", "DIM = 2").replace("'ours'", "'S/NES'")
    assert exported[2].startswith("data_f1/bbobexp_f1_DIM2.dat, 1:")


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
