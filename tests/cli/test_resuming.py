"""`evolve run --resume`: what may be said beside it, and what is remembered."""

import json

import pytest

from evolve.cli import main
from evolve.cli.arguments import Run
from evolve.cli.job import Job
from evolve.cli.naming import Named
from evolve.cli.resuming import resumed
from evolve.run.session import Session

SPHERE = ["run", "sphere:dimension=3", "--optimizer", "cmaes", "--set", "sigma=2"]
JOB = """
[problem]
name = "sphere"
dimension = 3
[optimizer]
name = "cmaes"
sigma = 2.0
[budget]
generations = 1
[run]
out = "a"
save_seconds = 7.5
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.toml").write_text(JOB)


@pytest.fixture
def begun():
    """A run of one generation in the folder `a`."""
    assert main([*SPHERE, "--generations", "1", "--out", "a", "--quiet"]) == 0


AGREE = [
    "sphere:dimension=3",
    "sphere:dimension=3,shift=none",
    "sphere:dimension=3.0 --optimizer cmaes",
    "sphere:dimension=3 --optimizer cmaes --set sigma=2.0 --seed 0 --out ./a",
    "--set sigma=2e0 --set population=none",
    "job.toml",
    "job.toml --out ../{0}/a --optimizer cmaes",
]


@pytest.mark.usefixtures("begun")
def test_the_whole_first_command_may_be_said_again(tmp_path):
    for words in AGREE:
        said = ["run", *words.format(tmp_path.name).split(), "--resume", "a", "--generations", "2", "--quiet"]
        assert main(said) == 0, words
    command = json.loads((tmp_path / "a" / "command.json").read_text())
    assert command["problem"] == {"name": "sphere", "dimension": "3"}
    assert command["budget"] == {"generations": 2}


DIFFER = [
    ("sphere", "sphere: dimension was 3, and 10 is given"),
    ("ackley:dimension=3", "PROBLEM was sphere, and ackley is given"),
    ("sphere:dimension=3,shift=1", "sphere: shift was none, and 1 is given"),
    ("--optimizer openes", "optimizer was cmaes, and openes is given"),
    ("--set sigma=1", "cmaes: sigma was 2, and 1 is given"),
    ("--set population=9", "cmaes: population was none, and 9 is given"),
    ("--seed 1", "seed was 0, and 1 is given"),
    ("--seeds 1", "seeds was none, and 1 is given"),
    ("--x64", "x64 was false, and true is given"),
    ("--out b", "out was a, and b is given"),
    ("job.toml --set sigma=3", "cmaes: sigma was 2, and 3 is given"),
]


@pytest.mark.usefixtures("begun")
def test_what_differs_is_refused_with_what_it_was(tmp_path, capsys):
    before = (tmp_path / "a" / "command.json").read_bytes()
    for words, cure in DIFFER:
        assert main(["run", *words.split(), "--resume", "a"]) == 2, words
        assert cure in capsys.readouterr().err
    assert main(["run", "--resume", "a", "--set", "sgima=2"]) == 2
    assert "did you mean sigma?" in capsys.readouterr().err
    assert (tmp_path / "a" / "command.json").read_bytes() == before


def saved(folder, job):
    folder.mkdir()
    (folder / "command.json").write_text(json.dumps(job.tables()))
    return str(folder)


def test_tuned_settings_and_updates_are_what_they_were(tmp_path):
    tuned = Job(Named("digits", {}), Named("openes", {}), {"evaluations": 640}, {}).settled(x64=False)
    folder = saved(tmp_path / "tuned", tuned)
    assert resumed(Run(resume=folder, set=["sigma=0.07", "population=64"])) == Job.read(tmp_path / "tuned/command.json")
    with pytest.raises(Exception, match=r"sigma was 0\.07, and 0\.05 is given"):
        resumed(Run(resume=folder, set=["sigma=0.05"]))
    update = Job(Named("sphere", {}), Named("openes", {"update": "adam:0.1"}), {"evaluations": 640}, {})
    assert resumed(Run(resume=saved(tmp_path / "own", update), set=["update=adam:0.1"])).optimizer == update.optimizer
    with pytest.raises(Exception, match=r"update was adam:0\.1, and adam:0\.2 is given"):
        resumed(Run(resume=str(tmp_path / "own"), set=["update=adam:0.2"]))


def pauses(monkeypatch, words):
    """The pause between checkpoints that a command asks for."""
    asked = []

    def go(session, watch, watch_every, save_seconds):
        asked.append(save_seconds)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "go", go)
        assert main(["run", *words.split()]) == 130
    return asked[0]


def test_the_pause_between_checkpoints_is_remembered(tmp_path, monkeypatch):
    assert pauses(monkeypatch, "sphere --optimizer cmaes --out b") == 5
    assert pauses(monkeypatch, "job.toml") == 7.5
    assert json.loads((tmp_path / "a" / "command.json").read_text())["run"]["save_seconds"] == 7.5
    assert pauses(monkeypatch, "--resume a") == 7.5
    assert pauses(monkeypatch, "--resume a --save-seconds 3") == 3
    assert pauses(monkeypatch, "--resume a") == 3
    assert pauses(monkeypatch, "sphere --optimizer cmaes --save-seconds 9 --out c") == 9
    assert pauses(monkeypatch, "--resume c") == 9
