"""Misuse: exit status 2, a sentence that names the mistake and the cure, and never a traceback."""

import pytest

from evolve.cli import main

FITNESS = """
import evolve
import jax.numpy as jnp

def bowl(x):
    return jnp.sum(x**2)

def broken(x):
    return x if x[0] > 0 else -x

def vector(x):
    return x**2

def whole(x):
    return jnp.sum(x > 0)

def pair(x):
    return jnp.sum(x), x

class Flat(evolve.Problem):
    def init(self, key): return jnp.ones(2)
    def loss(self, params, key): return params

number = 3
"""

JOB = """
[problem]
name = "sphere"
dimension = 3
[optimizer]
name = "cmaes"
sigma = 2.0
[budget]
evaluations = 50
[run]
seed = 3
"""


@pytest.fixture
def complaint(tmp_path, monkeypatch, capsys):
    """What a misused command says, in a folder of its own that must stay as it was."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fitness.py").write_text(FITNESS)
    (tmp_path / "syntax.py").write_text("def f(:")

    def complain(words):
        before = sorted(tmp_path.rglob("*.json"))
        assert main(words.split()) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert sorted(tmp_path.rglob("*.json")) == before, "misuse left a folder behind"
        # The parser breaks lines to fit a box.
        return " ".join(captured.err.replace("│", " ").split())

    return complain


UNKNOWN = [
    ("rum sphere", "did you mean run?"),
    ("run spere --optimizer cmaes", "no problem 'spere'; did you mean sphere"),
    ("run spere:dimension=3 --optimizer cmaes", "did you mean sphere"),
    ("run sphere --optimizer cmeas", "no optimizer 'cmeas'; did you mean cmaes"),
    ("run sphere --optimizer zzzzzz", "known are adam, annealing, ars, bipop, bounded, cmaes"),
    ("run sphere --optimizer cmaes --set sgima=1", "cmaes has no setting 'sgima'; did you mean sigma?"),
    ("run sphere:dimenson=3 --optimizer cmaes", "sphere has no setting 'dimenson'; did you mean dimension?"),
    ("run sphere --optimiser cmaes", "--optimizer NAME"),
    ("compare sphere --optimizers cmaes,opnes", "did you mean openes or"),
    ("list rastrgin", "did you mean rastrigin?"),
    (
        "run python:fitness.py:bowll:dimension=2 --optimizer cmaes",
        "fitness.py has no object 'bowll'; did you mean bowl?",
    ),
    ("run sphere --optimizer genetic --set selection=torunament", "it must be truncation or tournament"),
    ("run sphere --optimizer openes --set perturbation=lowrnk:1", "did you mean lowrank"),
    ("run sphere --optimizer openes --set sigma=cosin:1:2:3", "did you mean cosine"),
    ("run sphere --optimizer openes --set shaping=z_scor", "did you mean z_score"),
]


@pytest.mark.parametrize(("words", "cure"), UNKNOWN)
def test_an_unknown_name_is_answered_with_the_nearest(complaint, words, cure):
    assert cure in complaint(words)


BAD = [
    ("run sphere --optimizer cmaes --evaluations 0", ["--evaluations", "'0'", "whole number of at least 1"]),
    ("run sphere --optimizer cmaes --evaluations 1.5", ["--evaluations", "'1.5'", "whole number of at least 1"]),
    ("run sphere --optimizer cmaes --seconds -1", ["--seconds", "'-1'", "above 0"]),
    ("run sphere --optimizer cmaes --seconds inf", ["--seconds", "'inf'", "finite"]),
    ("run sphere --optimizer cmaes --target nan", ["--target", "'nan'", "finite number"]),
    ("run sphere --optimizer cmaes --seed -1", ["--seed", "'-1'", "from 0 to 4294967295"]),
    ("run sphere --optimizer cmaes --set sigma", ["--set", "'sigma'", "KEY=VALUE"]),
    ("run sphere --optimizer cmaes --set sigma=-1", ["sigma is -1", "must be positive"]),
    ("run sphere --optimizer cmaes --set sigma=big", ["cmaes: sigma", "'big'", "must be a finite number"]),
    ("run sphere --optimizer cmaes --set sigma=nan", ["cmaes: sigma", "'nan'", "must be a finite number"]),
    ("run sphere --optimizer cmaes --set sigma=1e400", ["cmaes: sigma", "'1e400'", "must be a finite number"]),
    ("run sphere --optimizer cmaes --set population=9.5", ["population", "'9.5'", "a whole number or none"]),
    ("run sphere --optimizer cmaes --set active=perhaps", ["active", "'perhaps'", "true or false"]),
    ("run sphere --optimizer openes --set population=7", ["population is 7", "even"]),
    ("run sphere --optimizer openes --set sigma=cosine:1:2", ["sigma", "'cosine:1:2'", "cosine:FROM:TO:GENERATIONS"]),
    ("run sphere --optimizer openes --set perturbation=lowrank", ["perturbation", "'lowrank'", "rank after a colon"]),
    ("run sphere --optimizer openes --set perturbation=lowrank:0", ["perturbation", "rank is 0", "at least 1"]),
    ("run sphere --optimizer openes --set perturbation=sparse:2", ["perturbation", "fraction is 2.0", "(0, 1]"]),
    ("run sphere --optimizer openes --set shaping=elite:7", ["shaping", "fraction is 7.0", "(0, 1]"]),
    ("run sphere --optimizer openes --set update=adam", ["update", "'adam'", "learning rate"]),
    ("run sphere --optimizer openes --set update=adam:-1", ["update", "'adam:-1'", "'-1' is not", "above 0"]),
    ("run sphere --optimizer openes --set sigma=cosine:0.1:-0.01:10", ["OpenES: sigma", "final=-0.01", "positive"]),
    ("run sphere --optimizer adam --set learning_rate=-1", ["adam: learning_rate is -1.0", "positive"]),
    ("run sphere --optimizer adam --set learning_rate=cosine:1:-1:9", ["adam: learning_rate", "final=-1.0"]),
    ("run sphere --optimizer adam --set b1=2", ["adam: b1 is 2.0", "[0, 1)"]),
    ("run sphere --optimizer adam --set b2=1", ["adam: b2 is 1.0", "[0, 1)"]),
    ("run sphere --optimizer sgd --set learning_rate=-1", ["sgd: learning_rate is -1.0", "positive"]),
    ("run sphere --optimizer sgd --set momentum=5", ["sgd: momentum is 5.0", "[0, 1)"]),
    ("run sphere --optimizer lbfgs --set memory=0", ["lbfgs: memory is 0", "at least 1"]),
    ("run sphere --optimizer lbfgs --set line_search=0", ["lbfgs: line_search is 0", "at least 1"]),
    ("run sphere:dimension=0 --optimizer cmaes", ["dimension", "at least 1", "0"]),
    ("run sphere:dimension=x --optimizer cmaes", ["sphere: dimension", "'x'", "a whole number"]),
    ("run sphere:3 --optimizer cmaes", ["'sphere:3'", "sphere:KEY=VALUE"]),
    ("run sphere:dimension=3,dimension=4 --optimizer cmaes", ["sphere: dimension is given twice"]),
    ("run sphere --optimizer cmaes --set sigma=1 --set sigma=2", ["--set: sigma is given twice"]),
    ("run csv:a.csv:path=b.csv --optimizer cmaes", ["csv: path is given twice"]),
    ("run idx:images --optimizer cmaes", ["idx:IMAGES,LABELS"]),
    ("run csv --optimizer cmaes", ["csv needs path=", "a file"]),
    ("run csv:none.csv --optimizer cmaes", ["no file", "none.csv"]),
    ("run digits:hidden=a-b --optimizer openes", ["digits: hidden", "'a-b'", "64-32"]),
    ("run digits:batch=5000 --optimizer openes", ["batch is 5000", "1..1437"]),
    ("compare bbob --dimension 1", ["dimension is 1", "at least 2"]),
    ("compare bbob --functions 25", ["function is 25", "from 1 to 24"]),
    ("compare bbob --instances 0-3", ["--instances", "'0-3'", "such as 1-5,8"]),
    ("compare bbob --budget 1e9", ["budget is 1000000000 times the dimension", "from 1 to"]),
]


@pytest.mark.parametrize(("words", "parts"), BAD)
def test_a_bad_value_is_named_with_its_option_and_what_is_allowed(complaint, words, parts):
    said = complaint(words)
    assert [part for part in parts if part not in said] == []


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ("run", "PROBLEM or a JOB.toml"),
        ("run sphere", "--optimizer NAME is missing"),
        ("run none.toml", "no file none.toml"),
        ("run --resume none", "--resume none"),
        ("report none", "there is no folder none"),
        ("report fitness.py", "fitness.py is no folder"),
        ("report .", ". is neither a run nor a comparison."),
        ("report", "DIR"),
        ("compare", "PROBLEM"),
        ("compare sphere --optimizers ,", "--optimizers is empty"),
        ("compare sphere --instances 1-5", "--instances is an option of the suite bbob, not of sphere"),
        ("compare bbob --seeds 5", "its repetitions are --instances"),
        ("compare bbob --evaluations 500", "its budget is --budget, in multiples of the dimension"),
        ("compare bbob --smallest --budget 10", "--smallest is a budget, and so is --budget"),
        ("compare bbob --optimizers cma", "did you mean cmaes"),
        ("compare python:fitness.py:bowl:dimension=2,host=true --optimizers adam", "adam needs gradients"),
        ("run python:fitness.py:bowl:dimension=2,host=true --optimizer adam", "adam needs gradients"),
        ("run python:fitness.py:bowl --optimizer cmaes", "needs dimension= and start="),
        ("run python:fitness.py:number --optimizer cmaes", "neither a Problem nor a function"),
        ("run python:fitness.py:number:dimension=2 --optimizer cmaes", "number is int"),
        ("run python:fitness.py:vector:dimension=2 --optimizer cmaes", "fitness.py: the loss has shape (2,); return"),
        ("run python:fitness.py:vector:dimension=2 --optimizer cmaes", "vector in /"),
        ("run python:fitness.py:whole:dimension=2 --optimizer cmaes", "fitness.py: the loss is int32; return a"),
        ("run python:fitness.py:Flat --optimizer cmaes", "fitness.py: the loss has shape (2,)"),
        ("compare python:fitness.py:pair:dimension=2 --optimizers cmaes", "fitness.py: the loss is a tuple; return"),
        ("run python:none.py:bowl --optimizer cmaes", "no file"),
        ("run python:syntax.py:f --optimizer cmaes", "SyntaxError"),
        ("run python:fitness.py --optimizer cmaes", "python:FILE.py:NAME"),
        ("run no.such.module:bowl --optimizer cmaes", "module no.such.module cannot be imported"),
        ("run sphere --optimizer cmaes --out fitness.py/run", "cannot be created"),
        ("run sphere --optimizer cmaes extra", "extra"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_said(complaint, words, cure):
    assert cure in complaint(words)


@pytest.mark.parametrize(
    ("old", "new", "cure"),
    [
        ("sigma", "sgima", "cmaes has no setting 'sgima'; did you mean sigma?"),
        ("dimension", "dimensions", "did you mean dimension?"),
        ("seed = 3", "sede = 3", "[run] has no key 'sede'; did you mean seed"),
        ("seed = 3", "seed = -3", "[run] seed: '-3' is not a whole number"),
        ("seed = 3", "x64 = 1", "[run] x64: '1' is neither true nor false"),
        ("[budget]", "[bugdet]", "job.toml has no table 'bugdet'; did you mean budget?"),
        ("evaluations = 50", "evaluation = 50", "[budget] has no key 'evaluation'; did you mean evaluations"),
        ("evaluations = 50", "evaluations = 0", "[budget] evaluations: '0' is not a whole number of at least 1"),
        ("evaluations = 50", "evaluations 50", "line 9"),
        ('name = "cmaes"', "", "[optimizer] needs a name"),
        ('name = "cmaes"', 'name = "cmeas"', "did you mean cmaes"),
        ("sigma = 2.0", 'sigma = "big"', "cmaes: sigma is 'big'; it must be a finite number"),
        ("sigma = 2.0", "sigma = true", "cmaes: sigma is 'true'; it must be a finite number"),
        ("sigma = 2.0", "sigma = [1, 2]", "cmaes: sigma"),
    ],
)
def test_a_job_file_is_checked_by_table_and_key(complaint, tmp_path, old, new, cure):
    assert old in JOB
    (tmp_path / "job.toml").write_text(JOB.replace(old, new, 1))
    assert cure in complaint("run job.toml")


def test_a_loss_that_cannot_be_traced_is_found_in_the_users_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fitness.py").write_text(FITNESS)
    assert main(["run", "python:fitness.py:broken:dimension=2", "--optimizer", "cmaes"]) == 1
    said = capsys.readouterr().err
    assert "fitness.py, line 9: TracerBoolConversionError" in said
    assert "host=true" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("words", ["--help", "list --help", "run --help", "compare --help", "report --help"])
def test_help_is_everywhere_and_gives_commands_to_try(capsys, words):
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert "  evolve " in said
    assert "--help" in said
