"""A comparison is fair, measures what `run` finds, and loses nothing when something breaks."""

import errno
import io
import os
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import evolve
from evolve.compare import Comparison, compare
from evolve.compare.probe import POINTS
from evolve.core import Problem, wrap
from evolve.core.estimator import Estimator
from evolve.run import run
from zeroth import MeZO

SEEDS, BUDGET = 3, 600


class Noisy(Problem):
    """A noisy bowl whose report has a training loss, an accuracy and something that is no scalar."""

    def init(self, key):
        return {"x": 1.0 + jax.random.normal(key, (4,))}

    def loss(self, params, key):
        return jnp.sum(jnp.square(params["x"] - 0.1 * jax.random.normal(key, (4,))))

    def report(self, params):
        loss = jnp.sum(params["x"] ** 2)
        return {"train_loss": loss, "loss": 2 * loss, "accuracy": jnp.exp(-loss), "each": params["x"]}


class Broken(Estimator):
    """Cannot learn."""

    def learn(self, state, population, losses):
        raise RuntimeError("it broke here\nand said more")


OPTIMIZERS = {
    "OpenAI-ES": evolve.OpenES(population=8, learning_rate=0.05),
    "MeZO": MeZO(learning_rate=0.05),
    "SGD": evolve.Gradient(optax.sgd(0.05)),
}


def quietly(problem, optimizers, **options):
    return compare(problem, optimizers, **{"seeds": SEEDS, "progress": False} | options)


@pytest.fixture(scope="module")
def noisy():
    return quietly(Noisy(), OPTIMIZERS, seed=5, evaluations=BUDGET)


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes most of the time of saving; here nobody looks at the pictures."""
    monkeypatch.setattr(Comparison, "plot", lambda self, path: [])
    monkeypatch.setattr(Comparison, "report", lambda self, path: path)


report = jax.jit(Noisy().report)


def reported(result, metric):
    return float(report(result.answer)[metric])


@eqx.filter_jit
def mean_loss(loss, params):
    """Over the fixed keys of the measurement."""
    return jnp.mean(jax.vmap(lambda key: loss(params, key))(jax.random.split(jax.random.key(0), 8)))


def test_medians_and_ranges_are_numpys_over_reports_of_the_answers(noisy):
    rows = {row["optimizer"]: row for row in noisy.rows()}
    for name, results in noisy.results.items():
        for metric, source in (("loss", "train_loss"), ("accuracy", "accuracy"), ("held_out_loss", "loss")):
            values = [reported(result, source) for result in results]
            assert rows[name][metric] == pytest.approx(np.median(values), rel=1e-5)
            assert rows[name][f"{metric}_range"] == pytest.approx([min(values), max(values)], rel=1e-5)
        assert rows[name]["forwards"] == np.median([result.forwards for result in results])
        assert "each" not in rows[name]


def test_rows_are_ranked_by_accuracy(noisy):
    accuracies = [row["accuracy"] for row in noisy.rows()]
    assert accuracies == sorted(accuracies, reverse=True)
    assert noisy.metrics == ["loss", "accuracy"]


def test_everyone_spends_the_same_budget_and_a_gradient_counts_three(noisy):
    costs = {"OpenAI-ES": 8, "MeZO": 2, "SGD": 3}
    for name, results in noisy.results.items():
        for result in results:
            assert BUDGET - costs[name] < result.forwards <= BUDGET
            assert result.forwards == result.evaluations * (3 if name == "SGD" else 1)


def test_a_comparison_finds_what_run_finds(noisy):
    """Measuring on the way, and blocks of other lengths, change no bit."""
    for name, optimizer in OPTIMIZERS.items():
        alone = run(Noisy(), optimizer, seed=5, seeds=SEEDS, evaluations=BUDGET)
        for ours, theirs in zip(noisy.results[name], alone, strict=True):
            np.testing.assert_array_equal(ours.answer["x"], theirs.answer["x"])


def test_everyone_starts_at_the_same_places():
    still = {
        "es": evolve.OpenES(population=4, update=optax.sgd(0.0)),
        "gradient": evolve.Gradient(optax.sgd(0.0)),
    }
    found = quietly(Noisy(), still, seed=2, generations=2)
    starts = {tuple(np.ravel([result.answer["x"] for result in results])) for results in found.results.values()}
    assert len(starts) == 1
    assert len(set(*starts)) == SEEDS * 4  # ... and each seed at its own


def test_everyone_sees_the_same_data_in_the_same_order():
    def data(params, key):
        return jax.random.normal(key) + 0.0 * jnp.sum(params)

    optimizers = {"MeZO": MeZO(), "SGD": evolve.Gradient(optax.sgd(0.05))}
    found = quietly(wrap(data, jnp.ones(2)), optimizers, generations=5)
    one, other = ([result.history["mean"] for result in results] for results in found.results.values())
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert len(np.unique(np.round(one, 5))) == SEEDS * 5  # ... and never the same twice


def test_curves_are_the_reports_of_the_answers_at_those_evaluations(noisy):
    entry = next(entry for entry in noisy.entries if entry.name == "OpenAI-ES")
    spent = entry.curves["evaluations"]
    place = len(spent) // 2
    again = run(Noisy(), OPTIMIZERS["OpenAI-ES"], seed=5, seeds=SEEDS, generations=int(spent[place, 0]) // 8)
    for metric, source in (("loss", "train_loss"), ("accuracy", "accuracy")):
        np.testing.assert_allclose(entry.curves[metric][place], [reported(r, source) for r in again], rtol=1e-5)
        np.testing.assert_array_equal(entry.curves[metric][-1], entry.final[metric])


def test_curves_are_evenly_spaced_on_a_logarithmic_axis():
    found = quietly(Noisy(), {"MeZO": MeZO()}, evaluations=20_000)
    (spent,) = (np.median(entry.curves["evaluations"], axis=1) for entry in found.entries)
    assert 20 < len(spent) <= POINTS + 1
    assert spent[0] == 2
    assert spent[-1] == 20_000
    ratios = spent[1:] / spent[:-1]
    wanted = (20_000 / 2) ** (1 / (POINTS - 1))
    late = ratios[spent[:-1] > 200][:-1]  # early ones are rounded to whole generations, the last is what is left
    np.testing.assert_allclose(late, wanted, rtol=0.02)


def test_a_noisy_loss_without_report_is_averaged_over_fixed_keys():
    def loss(params, key):
        return jnp.sum(params**2) + jax.random.normal(key)

    found = quietly(wrap(loss, jnp.ones(3)), {"SGD": evolve.Gradient(optax.sgd(0.01))}, generations=3)
    wanted = [mean_loss(loss, result.answer) for result in found.results["SGD"]]
    np.testing.assert_allclose(found.entries[0].final["loss"], wanted, rtol=1e-5)


def test_measuring_counts_neither_as_evaluations_nor_as_seconds():
    calls = []

    class Slow(Problem):
        noisy = False
        host = True

        def init(self, key):
            return jnp.ones(2)

        def loss(self, params, key):
            calls.append("loss")
            return float(np.sum(params**2))

        def report(self, params):
            time.sleep(0.05)
            calls.append("report")
            return {"distance": np.linalg.norm(params)}

    found = quietly(Slow(), {"MeZO": MeZO()}, seeds=1, generations=20)
    (entry,) = found.entries
    assert calls.count("loss") == 40 == entry.forwards[0]
    assert calls.count("report") >= 10
    assert entry.seconds + 0.05 * calls.count("report") < found.facts["elapsed"]
    np.testing.assert_allclose(entry.final["loss"], entry.final["distance"] ** 2, rtol=1e-5)


def test_one_that_fails_does_not_lose_the_others(noisy, tmp_path):
    found = quietly(Noisy(), {"bad": Broken(), **OPTIMIZERS, "worse": Broken()}, seed=5, evaluations=BUDGET)
    timeless = [{n: v for n, v in row.items() if "seconds" not in n} for row in found.rows()]
    assert timeless[:3] == [{n: v for n, v in row.items() if "seconds" not in n} for row in noisy.rows()]
    assert [row["optimizer"] for row in timeless[3:]] == ["bad", "worse"]
    assert {row["status"] for row in timeless[3:]} == {"failed"}
    assert {row["error"] for row in timeless[3:]} == {"RuntimeError: it broke here"}
    assert "said more" in found.entries[0].traceback
    assert "it broke here" in str(found)
    assert "it broke here" in found.report(tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("where", ["loss", "report"])
def test_ctrl_c_keeps_what_there_is(tmp_path, where):
    calls = [0]
    moment = {"loss": 30, "report": 14}[where]  # while the second optimizer runs

    class Interrupted(Problem):
        noisy = False
        host = True

        def init(self, key):
            return jnp.ones(2)

        def loss(self, params, key):
            return self.count("loss", float(np.sum(params**2)))

        def report(self, params):
            return self.count("report", {})

        def count(self, name, value):
            calls[0] += name == where
            if name == where and calls[0] == moment:
                raise KeyboardInterrupt
            return value

    several = {name: MeZO(learning_rate=0.01) for name in ("first", "second", "third")}
    found = quietly(Interrupted(), several, seeds=1, generations=10, directory=tmp_path)
    assert [entry.status for entry in found.entries] == ["finished", "interrupted", "not run"]
    assert found.interrupted
    assert found.entries[1].final["loss"] < 2.0
    assert Comparison.load(tmp_path).rows() == found.rows()
    assert "not run" in str(found)


def test_saying_what_cannot_be_compared(tmp_path):
    problem = Noisy()
    for wrong, words in (
        ({"optimizers": {}}, "there is no optimizer"),
        ({"seeds": 0}, "seeds is 0"),
        ({"evaluations": None}, "no budget"),
        ({"evaluations": -1}, "evaluations is -1"),
    ):
        given = {"optimizers": OPTIMIZERS, "evaluations": 10} | wrong
        with pytest.raises(ValueError, match=words):
            quietly(problem, given.pop("optimizers"), **given)
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(FileExistsError, match="already holds a comparison"):
        quietly(problem, OPTIMIZERS, generations=1, directory=tmp_path)
    with pytest.raises(OSError, match="cannot be written"):
        quietly(problem, OPTIMIZERS, generations=1, directory=tmp_path / "results.json")
    assert (tmp_path / "results.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"directroy": "x"}, r"compare: there is no option 'directroy'; did you mean directory\?"),
        ({"watch": ()}, r"there is no option 'watch'; known are evaluations"),
        ({"backend": "gpu"}, r"backend is 'gpu'; give Device\(\)"),
        ({"seeds": "5"}, "seeds is '5'; they must be integers"),
        ({"target": "low"}, "target is 'low'; it must be a number"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(wrong, words):
    with pytest.raises(TypeError, match=words):
        quietly(Noisy(), OPTIMIZERS, **{"evaluations": 10} | wrong)
    with pytest.raises(TypeError, match=r"is no Problem; wrap a function with problems\.wrap"):
        quietly(lambda x: x, OPTIMIZERS, evaluations=10)


@pytest.mark.parametrize(
    ("optimizers", "words"),
    [
        ([evolve.CMAES()], "optimizers is of class list; give a dict of names and optimizers"),
        (evolve.CMAES(), "optimizers is of class CMAES; give a dict of names and optimizers"),
        ({"A": evolve.CMAES}, r"compare: 'A' is the class CMAES; make one: CMAES\(\.\.\.\)"),
        ({"A": optax.adam(0.1)}, r"compare: 'A' is an optax optimizer; wrap it: Gradient\(optax\.adam\(0\.1\)\)"),
        ({"A": "cmaes"}, r"compare: 'A' is 'cmaes', which is no Optimizer; give CMAES\(\), say"),
    ],
)
def test_what_is_no_dict_of_optimizers_is_refused(optimizers, words):
    with pytest.raises(TypeError, match=words):
        quietly(Noisy(), optimizers, evaluations=10)


@pytest.mark.parametrize("host", [False, True])
def test_a_report_that_is_no_dict_is_named(host):
    class Mute(Noisy):
        @property
        def host(self):
            return host

        def loss(self, params, key):
            return params["x"].sum()

        def report(self, params):
            return None

    (entry,) = quietly(Mute(), {"A": evolve.RandomSearch(4)}, seeds=1, generations=1).entries
    assert entry.error == "TypeError: Mute.report returned NoneType; it must return a dict of numbers."


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("alone", [False, True])
def test_a_target_ends_each_seed_where_it_is_reached(alone, tmp_path):
    problem = wrap(lambda x: jnp.sum(x**2), lambda key: 3 * jax.random.normal(key, (2,)))
    optimizers = {"SGD": evolve.Gradient(optax.sgd(0.02))}
    budget = {"target": 0.01} | ({} if alone else {"evaluations": 3000})
    said = io.StringIO()
    found = quietly(problem, optimizers, **budget, directory=tmp_path, progress=True, console=Console(file=said))
    (entry,) = found.entries
    assert entry.reasons == ("target",) * SEEDS
    assert len(set(entry.forwards)) == SEEDS
    assert (entry.final["loss"] <= 0.01).all()
    first, last = min(entry.forwards), max(entry.forwards)
    furthest = entry.curves["evaluations"].max(axis=1)
    assert ((furthest > first) & (furthest < last)).any()  # those that go on are still measured
    assert "a loss of 0.01" in found.heading()
    assert Comparison.load(tmp_path).facts["budget"]["target"] == 0.01


SCALE = 1.0


def test_a_loss_that_changed_is_measured_anew(monkeypatch):
    problem = wrap(lambda x: SCALE * jnp.sum(x**2), jnp.ones(2))
    still = {"SGD": evolve.Gradient(optax.sgd(0.0))}
    for scale in (1.0, 3.0):
        monkeypatch.setitem(globals(), "SCALE", scale)
        found = quietly(problem, still, generations=2)
        np.testing.assert_allclose(found.entries[0].final["loss"], 2 * scale)


@pytest.mark.parametrize("trained", [False, True])
def test_a_report_in_plain_python_is_called_as_it_is(trained):
    class Plain(Noisy):
        def report(self, params):
            mean = float(np.asarray(params["x"]).mean())
            return {"mean": mean, "each": np.asarray(params["x"])} | ({"train_loss": mean**2} if trained else {})

    found = quietly(Plain(), OPTIMIZERS, seed=5, evaluations=60)
    assert {entry.status for entry in found.entries} == {"finished"}
    for entry in found.entries:
        answers = [result.answer["x"] for result in found.results[entry.name]]
        np.testing.assert_allclose(entry.final["mean"], np.mean(answers, axis=1), rtol=1e-5)
        losses = [mean_loss(Noisy().loss, {"x": answer}) for answer in answers]
        expected = entry.final["mean"] ** 2 if trained else losses
        np.testing.assert_allclose(entry.final["loss"], expected, rtol=1e-5)
        assert len(entry.curves["mean"]) > 2


def failing(monkeypatch, *, after, times=10**9):
    """A disk that is full from the call of fsync after `after` ones on, for so many calls."""
    real, calls = os.fsync, []

    def fsync(number):
        calls.append(number)
        if after < len(calls) <= after + times:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_disk_that_fills_up_loses_nothing(tmp_path, monkeypatch):
    failing(monkeypatch, after=1)
    with pytest.warns(UserWarning, match=r"cannot be written .*No space left.*goes on in memory") as said:
        found = quietly(Noisy(), OPTIMIZERS, evaluations=60, directory=tmp_path)
    assert len(said) == 1
    assert found.unsaved.errno == errno.ENOSPC
    assert {entry.status for entry in found.entries} == {"finished"}


def test_a_disk_that_recovers_holds_everything_in_the_end(tmp_path, monkeypatch):
    failing(monkeypatch, after=1, times=1)
    with pytest.warns(UserWarning, match="goes on in memory"):
        found = quietly(Noisy(), OPTIMIZERS, evaluations=60, directory=tmp_path)
    assert found.unsaved is None
    assert Comparison.load(tmp_path).rows() == found.rows()
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("broken", ["plot", "report"])
def test_what_cannot_be_drawn_loses_nothing(tmp_path, monkeypatch, broken):
    def fail(*_):
        raise ZeroDivisionError("no picture")

    monkeypatch.setattr(Comparison, broken, fail)
    with pytest.warns(
        UserWarning, match=r"lacks pictures \(ZeroDivisionError: no picture\); its results\.json is whole"
    ):
        found = quietly(Noisy(), OPTIMIZERS, evaluations=60, directory=tmp_path)
    assert found.unsaved is None
    assert Comparison.load(tmp_path).rows() == found.rows()
    assert (tmp_path / "overview.png").exists() == (broken != "plot")
    assert (tmp_path / "report.html").exists() == (broken != "report")


def test_a_console_that_is_no_terminal_gets_one_line_an_optimizer():
    said = io.StringIO()
    compare(
        Noisy(),
        {"[one]": MeZO(), "two": Broken()},
        seeds=1,
        generations=2,
        console=Console(file=said, width=20, force_terminal=False),
    )
    first, second = said.getvalue().splitlines()
    assert first.startswith("[one]")
    assert "accuracy" in first
    assert second == "two    failed: RuntimeError: it broke here"
