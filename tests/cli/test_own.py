"""Problems of the user's own: Python objects and tables, and what is said where they cannot be used."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
from evolve.cli import main
from evolve.cli.job import Job, make_problem
from evolve.cli.naming import Named, parse_problem
from problems import Classification, Regression

FITNESS = """
import evolve
import functools
import jax.numpy as jnp

class Max(evolve.Problem):
    def init(self, key): return jnp.ones(2)
    def loss(self, params, key): return -jnp.sum(params**2)

class Needs(evolve.Problem):
    def __init__(self): raise KeyError("no data here")
    def init(self, key): return jnp.ones(2)
    def loss(self, params, key): return 0.0

class Startless(Max):
    def init(self, key): return [][0]

def make(*args, **kwargs):
    return Max()

def scaled(scale, x):
    return scale * jnp.sum(x**2)

class Callable:
    def __call__(self, x): return jnp.sum(x**2)

half = functools.partial(scaled, 0.5)
bowl = Callable()
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fitness.py").write_text(FITNESS)


def misused(capsys, words):
    assert main(["run", *words.split(), "--optimizer", "cmaes", "--evaluations", "20"]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("name", ["Max", "make"])
@pytest.mark.parametrize("setting", ["maximize", "host"])
def test_a_problem_says_itself_what_is_minimized(tmp_path, capsys, name, setting):
    assert f"leave out {setting}" in misused(capsys, f"fitness.py:{name}:{setting}=true")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["half", "bowl"])
def test_whatever_can_be_called_is_a_function(name):
    problem = make_problem(parse_problem(f"python:fitness.py:{name}:dimension=2,start=2.0"))
    assert float(problem.loss(jnp.full(2, 2.0), jax.random.key(0))) == {"half": 4.0, "bowl": 8.0}[name]


def test_a_maker_may_take_what_it_does_not_need():
    assert isinstance(make_problem(parse_problem("python:fitness.py:make")), evolve.Problem)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("python:fitness.py:Needs", ["fitness.py, line 11: KeyError: 'no data here'"]),
        ("python:fitness.py:Startless", ["fitness.py, line 16: IndexError"]),
        ("python:leaves.py:f", ["leaves.py, line 2: SystemExit: 3", "__main__"]),
        ("leaves:f", ["leaves.py", "SystemExit", "__main__"]),
        ("__main__:x", ["no problem '__main__'"]),
        (":x", ["no problem ''"]),
        ("python:fitness.py:half:dimension=-1", ["dimension is -1", "at least 1"]),
        ("python:fitness.py:half:dimension=0", ["dimension is 0", "at least 1"]),
        ("python:fitness.py:Max:dimension=2", ["start and dimension are for a function"]),
        ("folder", ["no problem 'folder'", "folder"]),
        ("wine.csv", ["csv:wine.csv"]),
        ("wine.csv:target=quality", ["csv:wine.csv"]),
        ("data.npz", ["npz:data.npz"]),
        ("fitness.py", ["fitness.py:NAME"]),
    ],
)
def test_what_cannot_be_used_is_said_and_leaves_no_folder(tmp_path, capsys, words, parts):
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "folder").mkdir()
    said = misused(capsys, words)
    assert [part for part in parts if part not in said] == []
    assert not (tmp_path / "runs").exists()


def test_a_folder_is_no_problem_whatever_else_is_missing(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    assert main(["run", "folder"]) == 2
    assert "it is a folder" in capsys.readouterr().err


def test_a_module_beside_the_user_is_found_and_found_again(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "deep.py").write_text("def f(x): return x @ x\n")
    # A console script's path does not begin with the working directory.
    script = "import sys; sys.path.pop(0); from evolve.cli import main; sys.exit(main(sys.argv[1:]))"
    start = [sys.executable, "-c", script, "run", "mine.deep:f:dimension=2,start=1", "--optimizer", "cmaes"]
    done = subprocess.run([*start, "--generations", "2", "--out", "a"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    again = [sys.executable, "-c", script, "run", "--resume", "../a", "--generations", "4"]
    done = subprocess.run(again, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_job_file_s_module_lies_beside_it(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.toml").write_text(
        '[problem]\nname = "python"\npath = "somewhere"\nobject = "f"\n[optimizer]\nname = "cmaes"\n'
    )
    assert Job.read(tmp_path / "jobs" / "a.toml").problem.settings["path"] == str(tmp_path / "jobs" / "somewhere")


def table(tmp_path, targets, header="a,b,y\n", delimiter=","):
    generator = np.random.default_rng(0)
    points = generator.normal(size=(len(targets), 2))
    rows = (delimiter.join([f"{x:.4f}" for x in point] + [str(y)]) for point, y in zip(points, targets, strict=True))
    (tmp_path / "table.csv").write_text(header + "\n".join(rows) + "\n")


def learned(words=""):
    return make_problem(parse_problem("csv:table.csv" + (f":{words}" if words else "")))


def test_few_whole_numbers_are_classes_and_many_are_numbers(tmp_path, capsys):
    table(tmp_path, np.arange(60) % 3)
    assert learned().dataset.classes == 3
    assert "taken as 3 classes; kind=numbers" in capsys.readouterr().err
    table(tmp_path, np.arange(60) * 1650)
    prices = learned()
    assert isinstance(prices, Regression)
    assert "taken as a number; kind=classes" in capsys.readouterr().err
    assert float(jnp.max(prices.dataset.targets)) > 50_000


def test_the_kind_can_be_said_and_is_then_not_repeated(tmp_path, capsys):
    table(tmp_path, np.arange(60) % 3)
    assert isinstance(learned("kind=numbers"), Regression)
    table(tmp_path, np.arange(60))
    assert learned("kind=classes,held_out=0.01").dataset.classes == 60
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("labels", [(-1, 1), (1, 2), (10, 70)])
def test_labels_are_numbered_in_their_order(tmp_path, labels):
    targets = np.asarray(labels)[np.arange(40) % 2]
    table(tmp_path, targets)
    problem = learned()
    assert isinstance(problem, Classification)
    assert problem.dataset.classes == 2
    table(tmp_path, np.arange(40) % 2)
    np.testing.assert_array_equal(problem.dataset.targets, learned().dataset.targets)
    np.savez(tmp_path / "table.npz", x=np.zeros((40, 2)), y=targets)
    assert make_problem(parse_problem("npz:table.npz")).dataset.classes == 2


def test_header_and_delimiter_can_be_said(tmp_path):
    table(tmp_path, np.arange(40) % 2, header="1;2;3\n", delimiter=";")
    assert len(learned("delimiter=;,header=true,held_out=0.5").dataset.inputs) == 20
    table(tmp_path, np.arange(40) % 2, header="", delimiter="\t")
    assert len(learned("delimiter=tab,header=false,held_out=0.5").dataset.inputs) == 20


def test_settings_of_a_table_survive_being_written_down(tmp_path):
    problem = parse_problem("csv:table.csv:delimiter=;,kind=classes,header=true")
    job = Job(problem, Named("openes", {}), {}, {})
    (tmp_path / "command.json").write_text(json.dumps(job.tables()))
    assert Job.read(tmp_path / "command.json").problem == problem
