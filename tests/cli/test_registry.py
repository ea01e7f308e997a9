"""Names and values: nothing that the packages offer is missing, and words become what the signatures ask for."""

import inspect
import re
from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import evolve
import problems
import zeroth
from evolve.cli import main, values
from evolve.cli.arguments import Run
from evolve.cli.errors import UsageError
from evolve.cli.job import Job, make_optimizer
from evolve.cli.naming import Named, parse_problem
from evolve.cli.presets import Horizon
from evolve.cli.registry import OPTIMIZERS, PROBLEMS
from evolve.core import Cosine, Elite, Exponential, Optimizer, Power, Problem, TopPairs, shaping


def offered(package):
    return [getattr(package, name) for name in package.__all__]


def test_every_optimizer_of_the_packages_has_a_name():
    classes = {t for p in (evolve, zeroth) for t in offered(p) if inspect.isclass(t) and issubclass(t, Optimizer)}
    made = {type(entry.factory()) for entry in OPTIMIZERS.values()}
    assert classes <= made


def test_every_analytic_function_has_a_name():
    assert set(problems.FUNCTIONS) <= set(PROBLEMS)


def test_list_has_one_line_each_with_its_source(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, entry in (OPTIMIZERS | PROBLEMS).items():
        line = next(line for line in lines if line.split()[:1] == [name])
        assert entry.description in line
        assert entry.source in line
        own = name in ("csv", "npz", "idx", "python")
        assert own or any(year in entry.source for year in ("19", "20")), f"{name} cites nobody"


def test_a_narrow_list_cuts_no_description_and_no_author(capsys, monkeypatch):
    monkeypatch.setattr("evolve.cli.listing.wide_console", lambda: Console(width=80))
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for entries in (OPTIMIZERS, PROBLEMS):
        begins = [next(i for i, line in enumerate(lines) if line.split()[:1] == [name]) for name in entries]
        for entry, first, last in zip(entries.values(), begins, [*begins[1:], len(lines)], strict=True):
            authors = re.match(r".*?\d{4}|", entry.source).group()
            expected, said = f"{entry.description} {authors}", " ".join(lines[first:last])
            assert not Counter(re.findall(r"\w+", expected)) - Counter(re.findall(r"\w+", said))


def test_a_list_is_made_however_narrow_the_terminal(monkeypatch):
    monkeypatch.setattr("evolve.cli.listing.wide_console", lambda: Console(width=3))
    assert main(["list"]) == 0


@pytest.mark.parametrize("name", [*OPTIMIZERS, *PROBLEMS])
def test_the_whole_source_is_shown_beside_the_settings(capsys, name):
    assert main(["list", name]) == 0
    assert (OPTIMIZERS | PROBLEMS)[name].source in " ".join(capsys.readouterr().out.split())


def test_a_source_may_hold_parentheses():
    assert OPTIMIZERS["maes"].source == "Beyer and Sendhoff 2017, IEEE TEVC 21(5)"


@pytest.mark.parametrize("name", [*OPTIMIZERS, *PROBLEMS])
def test_every_setting_can_be_said_and_is_listed(capsys, name):
    assert main(["list", name]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    for setting in values.parameters((OPTIMIZERS | PROBLEMS)[name].factory):
        assert setting in listed


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_settings_it_is_the_factory_itself(name):
    made = make_optimizer(Named(name, {}), Named("sphere", {}), Horizon())
    expected = OPTIMIZERS[name].factory()
    assert type(made) is type(expected)
    if not isinstance(made, evolve.Gradient):  # an optax transformation is a pair of new functions every time
        assert eqx.tree_equal(made, expected)


SAID = {
    "sigma=0.5": {"sigma": 0.5},
    "sigma=1e-3": {"sigma": 1e-3},
    "sigma=cosine:0.1:0.01:1000": {"sigma": Cosine(0.1, 0.01, 1000.0)},
    "sigma=exponential:1:0.1:50": {"sigma": Exponential(1.0, 0.1, 50.0)},
    "sigma=power:0.5": {"sigma": Power(0.5)},
    "learning_rate=none": {"learning_rate": None},
    "population=64": {"population": 64},
    "shaping=z_score": {"shaping": shaping.z_score},
    "shaping=elite:0.25": {"shaping": Elite(0.25)},
    "shaping=top_pairs:0.5": {"shaping": TopPairs(0.5)},
    "perturbation=gaussian": {"perturbation": evolve.Gaussian()},
    "perturbation=antithetic": {"perturbation": evolve.Antithetic()},
    "perturbation=lowrank:2": {"perturbation": evolve.LowRank(2)},
    "perturbation=lowrank:2:rademacher": {"perturbation": evolve.LowRank(2, evolve.Rademacher())},
    "perturbation=antithetic:lowrank:1": {"perturbation": evolve.Antithetic(evolve.LowRank(1))},
    "perturbation=antithetic:sparse:0.1:rademacher": {
        "perturbation": evolve.Antithetic(evolve.Sparse(0.1, evolve.Rademacher()))
    },
}


@pytest.mark.parametrize("words", SAID)
def test_words_say_what_a_script_would(words):
    key, _, value = words.partition("=")
    made = make_optimizer(Named("openes", {key: value}), Named("sphere", {}), Horizon())
    assert eqx.tree_equal(made, evolve.OpenES(**SAID[words]))


def test_an_update_takes_its_learning_rate():
    made = make_optimizer(Named("mezo", {"update": "sgd:0.25"}), Named("sphere", {}), Horizon())
    gradient = {"w": jnp.asarray([2.0, -4.0])}
    step, _ = made.update.update(gradient, made.update.init(gradient))
    expected, _ = optax.sgd(0.25).update(gradient, optax.sgd(0.25).init(gradient))
    assert eqx.tree_equal(step, expected)


def test_a_problem_in_words_is_the_function_itself():
    job = Job(parse_problem("rastrigin:dimension=4,rotation=2,shift=3,start=0.5"), Named("cmaes", {}), {}, {})
    problem, _ = job.build()
    assert eqx.tree_equal(problem, problems.Function("rastrigin", 4, shift=3, rotation=2, start=0.5))


def test_a_function_of_the_suite_in_words_is_the_problem_itself():
    job = Job(parse_problem("bbob:function=8,dimension=4,instance=3,f_opt=0"), Named("cmaes", {}), {}, {})
    assert eqx.tree_equal(job.build()[0], problems.BBOB(8, 4, 3, f_opt=0))


def test_a_job_file_says_the_same_as_words(tmp_path):
    (tmp_path / "job.toml").write_text(
        '[problem]\nname = "ackley"\ndimension = 3\n'
        '[optimizer]\nname = "openes"\npopulation = 8\nsigma = 0.5\nperturbation = "lowrank:1"\n'
    )
    filed = Job.read(tmp_path / "job.toml")
    words = Run("ackley:dimension=3", "openes", ["population=8", "sigma=0.5", "perturbation=lowrank:1"])
    typed = Job(parse_problem(str(words.problem)), Named("openes", {}), {}, {}).overridden(words)
    assert all(eqx.tree_equal(a, b) for a, b in zip(filed.build(), typed.build(), strict=True))


def test_what_is_written_beside_a_run_reads_back_as_the_same_job(tmp_path):
    import json

    job = Job(
        Named("digits", {"hidden": [16, 8], "batch": 64}),
        Named("openes", {"sigma": 0.1, "perturbation": "antithetic:lowrank:1"}),
        {"evaluations": 500, "target": 0.1},
        {"seed": 0, "x64": False, "horizon": 500},
    )
    (tmp_path / "command.json").write_text(json.dumps(job.tables()))
    again = Job.read(tmp_path / "command.json")
    assert again.tables() == job.tables()
    assert all(eqx.tree_equal(a, b) for a, b in zip(again.build(), job.build(), strict=True))


def test_words_override_a_job_file_even_with_a_zero():
    job = Job(Named("sphere", {}), Named("cmaes", {"sigma": 2.0}), {"evaluations": 50, "target": 0.0}, {"seed": 3})
    new = job.overridden(Run(seed=0, evaluations=70, set=["population=9"]))
    assert new.run["seed"] == 0
    assert new.budget == {"evaluations": 70, "target": 0.0}
    assert new.optimizer.settings == {"sigma": 2.0, "population": "9"}
    assert job.overridden(Run(optimizer="openes")).optimizer == Named("openes", {}), "another method's settings stay"


@pytest.fixture
def table(tmp_path):
    """Two clouds of points, one example a line, classes in the last column."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    points = generator.normal(size=(40, 3)) + 4 * labels[:, None]
    path = tmp_path / "points.csv"
    rows = ("".join(f"{x:.4f}," for x in point) + str(label) for point, label in zip(points, labels, strict=True))
    path.write_text("a,b,c,class\n" + "\n".join(rows))
    return path, points, labels


def test_files_of_examples_become_the_same_problem(table, tmp_path):
    path, points, labels = table
    np.savez(tmp_path / "points.npz", x=points.round(4), y=labels)
    empty = Named("cmaes", {})
    from_csv = Job(parse_problem(f"csv:{path}:target=class,hidden=8-4"), empty, {}, {}).build()[0]
    from_npz = Job(parse_problem(f"npz:{tmp_path / 'points.npz'}:hidden=8-4"), empty, {}, {}).build()[0]
    assert eqx.tree_equal(from_csv, from_npz)
    shapes = [leaf.shape for leaf in jax.tree.leaves(from_csv.init(jax.random.key(0)))]
    assert shapes == [(8,), (3, 8), (4,), (8, 4), (2,), (4, 2)]
    assert not from_csv.noisy, "32 training examples are fewer than a batch of 256, so all are used"


def test_a_users_object_may_be_a_problem_a_maker_or_a_function(tmp_path, monkeypatch):
    (tmp_path / "problems.py").write_text(  # the name of one of our packages, which it must not hide
        "import evolve, jax.numpy as jnp\n"
        "class Bowl(evolve.Problem):\n"
        "    def init(self, key): return jnp.ones(2)\n"
        "    def loss(self, params, key): return jnp.sum(params**2)\n"
        "bowl = Bowl()\n"
        "def height(x): return -jnp.sum(x**2)\n"
    )
    monkeypatch.chdir(tmp_path)
    for words in ("Bowl", "bowl", "height:dimension=2,start=1.0,maximize=true"):
        problem, _ = Job(parse_problem(f"python:problems.py:{words}"), Named("cmaes", {}), {}, {}).build()
        assert isinstance(problem, Problem)
        start = problem.init(jax.random.key(0))
        assert start.shape == (2,)
        assert float(problem.loss(start, jax.random.key(0))) == 2.0


def test_stopping_is_said_by_its_criteria():
    said = Named("cmaes", {"stopping": "tolfun:1e-3:maxiter:2"})
    job = Job(parse_problem("sphere"), said, {}, {})
    assert job.build()[1].stopping == evolve.Tolerances(tolfun=1e-3, maxiter=2.0)
    assert Job(parse_problem("sphere"), Named("cmaes", {"stopping": "none"}), {}, {}).build()[1].stopping is None
    asked = Job(parse_problem("sphere"), Named("snes", {"stopping": "default"}), {}, {})
    assert asked.build()[1].stopping == evolve.Tolerances()
    for words, message in (
        ("tolfan:1", "there is no 'tolfan'; did you mean tolfun"),
        ("tolfun", "tolfun needs a number after a colon"),
        ("tolfun:-1", "tolfun is -1.0; it must be at least 0"),
    ):
        with pytest.raises(UsageError, match=message):
            Job(parse_problem("sphere"), Named("cmaes", {"stopping": words}), {}, {}).build()


def test_restarts_start_between_both_edges_or_neither():
    both = Job(parse_problem("sphere"), Named("bipop", {"low": -4.0, "high": 4.0}), {}, {}).build()[1]
    assert both.start == evolve.Uniform(-4.0, 4.0)
    with pytest.raises(UsageError, match=r"low is -4\.0 and high is None; give both, or none"):
        Job(parse_problem("sphere"), Named("bipop", {"low": -4.0}), {}, {}).build()
