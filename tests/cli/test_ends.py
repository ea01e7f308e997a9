"""How runs end: answers and reports, resuming, folders used again, and what is shown later."""

import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
from evolve.cli import folders, main
from evolve.cli.outcome import _flat
from evolve.compare import Comparison
from evolve.run.directory import RunDirectory
from problems import Function

SPHERE = ["run", "sphere:dimension=3", "--optimizer", "cmaes", "--set", "sigma=2"]
REPORTS = """
import evolve, jax.numpy as jnp

class Raises(evolve.Problem):
    def init(self, key): return jnp.ones(2)
    def loss(self, params, key): return jnp.sum(params**2)
    def report(self, params):
        raise IndexError("no held-out data")

class Talks(Raises):
    def report(self, params):
        return {"first": 1.5, "word": "hello", "last": 2.5}

class Mute(Raises):
    def report(self, params):
        return None
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports.py").write_text(REPORTS)


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes most of the time of saving; here nobody looks at the pictures."""
    monkeypatch.setattr(Comparison, "plot", lambda self, path: [])
    monkeypatch.setattr(Comparison, "report", lambda self, path: path)


def rows(folder):
    return json.loads((folder / "summary.json").read_text())["rows"]


def end(folder):
    """What says how a run ended."""
    names = {path.name for path in folder.iterdir()}
    return {name for name in names if name in ("summary.json", "result.json") or name.startswith("answer")}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Raises", "reports.py, line 8: IndexError: no held-out data"),
        ("Talks", "word is 'hello', which is no number"),
        ("Mute", "AttributeError"),
    ],
)
def test_a_report_that_fails_loses_nothing_else(tmp_path, capsys, name, words):
    command = ["run", f"reports.py:{name}", "--optimizer", "cmaes", "--seeds", "2", "--generations", "3"]
    assert main([*command, "--out", "a"]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert "seed 0" in captured.err
    assert words in captured.out
    assert end(tmp_path / "a") == {"summary.json", "result.json", "answer-0.safetensors", "answer-1.safetensors"}
    for row in rows(tmp_path / "a"):
        assert words in row["report failed"]
        assert np.isfinite(row["loss"])
    assert main(["report", "a"]) == 0
    assert words in capsys.readouterr().out


def test_leaves_of_one_name_are_all_kept():
    tree = {"a.b": jnp.zeros(1), "a": {"b": jnp.ones(2)}}
    assert sorted(leaf.shape for leaf in _flat(tree).values()) == [(1,), (2,)]
    assert set(_flat({"a": {"b": jnp.ones(2)}})) == {"a.b"}


def damage(folder, name, text):
    (folder / name).write_text(text)


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"title": "a", "rows": []}', '{"title": "a", "rows": [3]}'])
def test_a_damaged_summary_is_said(tmp_path, capsys, text):
    assert main([*SPHERE, "--generations", "1", "--out", "a", "--quiet"]) == 0
    damage(tmp_path / "a", "summary.json", text)
    assert main(["report", "a"]) == 2
    assert "summary.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", '{"format": 1, "title": "a", "facts": {}, "entries": []}'])
def test_a_damaged_comparison_is_said(tmp_path, capsys, text):
    damage(tmp_path, "results.json", text)
    assert main(["report", "."]) == 2
    assert "results.json" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[1]", "3", "null"])
def test_a_damaged_command_is_said(tmp_path, capsys, text):
    assert main([*SPHERE, "--generations", "1", "--out", "a", "--quiet"]) == 0
    damage(tmp_path / "a", "command.json", text)
    assert main(["run", "--resume", "a"]) == 2
    assert "command.json is damaged" in capsys.readouterr().err


def test_report_shows_a_script_s_run(tmp_path, capsys):
    options = {"generations": 3, "directory": tmp_path / "script"}
    results = evolve.run(Function("sphere", 3), evolve.CMAES(), seed=4, seeds=2, **options)
    assert main(["report", "script"]) == 0
    shown = capsys.readouterr().out
    for words in (f"{results[0].loss:.6g}", f"{results[1].loss:.6g}", "generations", "stopped by", "4"):
        assert words in shown
    damage(tmp_path / "script", "result.json", '{"results": [{}]}')
    assert main(["report", "script"]) == 2
    assert "result.json is damaged" in capsys.readouterr().err
    (tmp_path / "script" / "result.json").unlink()
    assert main(["report", "script"]) == 2
    said = capsys.readouterr().err
    assert "not finished" in said
    assert "resume=True" in said
    assert "--resume" not in said


def test_report_says_where_unfinished_runs_stood(tmp_path, capsys):
    several = [*SPHERE, "--seeds", "2", "--generations", "1500", "--set", "stopping=none", "--quiet"]
    assert main([*several, "--out", "runs/a"]) == 0
    best = min(row["loss"] for row in rows(tmp_path / "runs" / "a"))
    history = tmp_path / "runs" / "a" / "history.jsonl"
    (tmp_path / "runs" / "a" / "summary.json").unlink()
    assert main(["report", "runs/a"]) == 2
    assert f"stood at generation 1,500 (10,500 evaluations, best {best:.6g}), and is" in capsys.readouterr().err
    history.write_bytes(b"".join(history.read_bytes().splitlines(keepends=True)[:1040]) + b'{"gen')
    assert main(["report", "runs/a"]) == 2
    said = capsys.readouterr().err
    assert "stood at generation 1,400 (9,800 evaluations" in said
    assert "saved up to generation 1,500; go on with: evolve run --resume runs/a" in said
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "command.json").write_bytes((tmp_path / "runs" / "a" / "command.json").read_bytes())
    assert main(["report", "runs/b"]) == 2
    assert "stood at its start, and is saved up to generation 0" in capsys.readouterr().err
    assert main(["report", "runs"]) == 2
    assert "runs is neither a run nor a comparison (it holds runs: a, b)." in capsys.readouterr().err


def test_a_resumed_run_forgets_its_old_end_once_it_goes_on(tmp_path, monkeypatch, capsys):
    assert main([*SPHERE, "--generations", "3", "--out", "a", "--quiet"]) == 0
    before = end(tmp_path / "a")
    assert before == {"summary.json", "result.json", "answer.safetensors"}
    # Refused: the folder stays as it is.
    command = tmp_path / "a" / "command.json"
    good = command.read_text()
    command.write_text(good.replace('"sigma": "2"', '"sigma": "3"'))
    assert main(["run", "--resume", "a", "--generations", "9"]) == 1
    assert end(tmp_path / "a") == before
    command.write_text(good)
    # Accepted, then stopped by a failure that leaves no time to say how it ended.
    monkeypatch.setattr("evolve.cli.running.conclude", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    monkeypatch.setattr(RunDirectory, "finish", lambda *_: None)
    assert main(["run", "--resume", "a", "--generations", "9", "--quiet"]) == 130
    assert end(tmp_path / "a") == set()
    capsys.readouterr()
    assert main(["report", "a"]) == 2
    said = capsys.readouterr().err
    assert "not finished: it stood at generation 9 (63 evaluations, best " in said
    assert "saved up to generation 9; go on with: evolve run --resume a\n" in said


def test_a_budget_given_on_resuming_replaces_all_that_there_was(tmp_path):
    assert main([*SPHERE, "--evaluations", "70", "--target", "-1", "--out", "a", "--quiet"]) == 0
    assert main(["run", "--resume", "a", "--generations", "50", "--quiet"]) == 0
    assert rows(tmp_path / "a")[0]["generations"] == 50
    stored = json.loads((tmp_path / "a" / "command.json").read_text())
    assert stored["budget"] == {"generations": 50}
    assert stored["run"]["horizon"] == 70
    assert "horizon_generations" not in stored["run"]


def test_resuming_by_seconds_goes_on(tmp_path):
    endless = [*SPHERE, "--set", "stopping=none"]
    assert main([*endless, "--evaluations", "70", "--out", "a", "--quiet"]) == 0
    assert main(["run", "--resume", "a", "--seconds", "0.3", "--quiet"]) == 0
    assert rows(tmp_path / "a")[0]["stopped by"] == "seconds"


BROKEN = "import jax.numpy as jnp\ndef f(x):\n    return x if x[0] > 0 else -x\n"
MENDED = "import jax.numpy as jnp\ndef f(x):\n    return jnp.sum(x**2)\n"


def test_a_folder_without_a_finished_generation_is_used_again(tmp_path, capsys):
    command = ["run", "mine.py:f:dimension=2", "--optimizer", "cmaes", "--generations", "3", "--out", "a", "--quiet"]
    (tmp_path / "mine.py").write_text(BROKEN)
    assert main(command) == 1
    assert "set host=true" in capsys.readouterr().err
    (tmp_path / "mine.py").write_text(MENDED)
    assert main(command) == 0
    assert main(command) == 2
    assert "already holds results" in capsys.readouterr().err


def test_a_script_s_folder_is_never_used_again(tmp_path, capsys):
    evolve.run(Function("sphere", 3), evolve.CMAES(), generations=1, directory=tmp_path / "a")
    for path in [*(tmp_path / "a").glob("checkpoint-0000000001*"), tmp_path / "a" / "result.json"]:
        path.unlink()
    assert main([*SPHERE, "--out", "a"]) == 2
    said = capsys.readouterr().err
    assert "already holds results" in said
    assert "--resume" not in said


def test_two_commands_never_share_a_folder(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    with folders.held(tmp_path / "a"):
        assert main([*SPHERE, "--generations", "1", "--out", "a"]) == 2
        assert "another run is at work in a" in capsys.readouterr().err
        assert list((tmp_path / "a").iterdir()) == []
    assert main([*SPHERE, "--generations", "1", "--out", "a", "--quiet"]) == 0
    with folders.held(tmp_path / "a"):
        assert main(["run", "--resume", "a", "--generations", "2"]) == 2
        assert "another run is at work in a" in capsys.readouterr().err


def test_a_killed_command_lets_its_folder_go(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from evolve.cli import folders\nwith folders.held(Path('.')):\n"
    )
    program += "    print('held', flush=True); time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    with folders.held(tmp_path):
        pass


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "words", ["compare sphere --optimizers random --evaluations 64", "run sphere --optimizer random"]
)
def test_a_folder_in_use_is_refused_with_advice_that_fits(tmp_path, capsys, words):
    compared = ["compare", "sphere", "--optimizers", "random", "--evaluations", "64", "--seeds", "1", "--quiet"]
    assert main([*compared, "--out", "a"]) == 0
    assert main([*words.split(), "--out", "a"]) == 2
    said = capsys.readouterr().err
    assert "already holds results; choose another folder." in said
    assert "--resume" not in said


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ("--smallest --evaluations 50", "--smallest is a budget, and so is --evaluations"),
        ("--smallest --generations 5", "--smallest is a budget, and so is --generations"),
        ("--optimizers random,random", "names random 2 times"),
    ],
)
def test_what_contradicts_itself_is_said(tmp_path, capsys, words, cure):
    assert main(["compare", "sphere", *words.split()]) == 2
    assert cure in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("undrawn")
def test_compare_takes_generations_and_double_precision(tmp_path):
    command = "compare sphere:dimension=2 --optimizers random --generations 4 --x64 --seeds 1 --out a --quiet"
    assert main(command.split()) == 0
    found = Comparison.load(tmp_path / "a")
    assert found.facts["x64"] is True
    assert found.facts["budget"] == {"evaluations": None, "generations": 4, "seconds": None}
    assert "float64" not in str(jnp.zeros(1).dtype)


def test_a_comparison_that_was_not_saved_is_no_success(tmp_path, capsys, monkeypatch):
    from evolve.cli import comparing

    def full(*args, **options):
        found = evolve.compare(*args, **(options | {"directory": None}))
        object.__setattr__(found, "unsaved", OSError(28, "No space left on device"))
        return found

    monkeypatch.setattr(comparing, "contest", full)
    command = "compare sphere:dimension=2 --optimizers random --generations 4 --seeds 1 --out a --quiet"
    assert main(command.split()) == 1
    assert "No space left on device" in capsys.readouterr().err


def test_a_warning_is_a_sentence(capsys, monkeypatch):
    def warn(_):
        warnings.warn("the disk\nis slow.", stacklevel=1)
        return 0

    monkeypatch.setattr("evolve.cli.program._dispatch", warn)
    before = warnings.showwarning
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "evolve: the disk is slow.\n"
    assert warnings.showwarning is before


FULL = "RESOURCE_EXHAUSTED: Out of memory allocating 241236230384 bytes."


@pytest.mark.parametrize(
    ("words", "error", "cure"),
    [
        ("digits --optimizer genetic", jax.errors.JaxRuntimeError(FULL), "a smaller population, a smaller batch or"),
        ("sphere --optimizer annealing", jax.errors.JaxRuntimeError(FULL), "take fewer chains or a smaller problem"),
        ("sphere --optimizer sgd --seeds 3", MemoryError(), "evolve: out of memory; take fewer seeds or"),
        ("sphere --optimizer sgd", MemoryError("Unable to allocate 7 GiB"), "allocate 7 GiB; take a smaller problem"),
    ],
)
def test_memory_that_runs_out_is_a_sentence_with_a_cure(capsys, monkeypatch, words, error, cure):
    def exhausting(*_):
        raise error

    monkeypatch.setattr("evolve.cli.running.search", exhausting)
    assert main(["run", *words.split(), "--out", "a"]) == 1
    said = capsys.readouterr().err
    assert cure in said
    assert "Traceback" not in said
    assert "RESOURCE" not in said


def test_memory_that_runs_out_at_the_start_is_a_sentence_too(tmp_path, capsys, monkeypatch):
    def exhausting(*_):
        raise jax.errors.JaxRuntimeError(FULL)

    monkeypatch.setattr(Function, "init", exhausting)
    for words in ("run sphere --optimizer cmaes", "compare sphere --optimizers cmaes"):
        assert main(words.split()) == 1
        said = "Out of memory allocating 241236230384 bytes; take a smaller problem."
        assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_disk_that_fills_up_is_no_success(tmp_path, capsys, monkeypatch):
    assert main([*SPHERE, "--generations", "20", "--out", "whole", "--quiet"]) == 0
    real, calls = os.fsync, []

    def fsync(number):
        calls.append(number)
        if len(calls) > 5:  # command.json, job.json and the first checkpoint
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert main([*SPHERE, "--generations", "20", "--out", "a"]) == 1
    captured = capsys.readouterr()
    assert "a is not complete (No space left on device); once it can be written, go on with: evolve run --resume a" in (
        captured.err
    )
    assert "`run` returns" not in captured.err
    assert "saved in" not in captured.out
    assert f"{rows(tmp_path / 'whole')[0]['loss']:.6g}" in captured.out
    assert end(tmp_path / "a") == set()
    assert main(["report", "a"]) == 2
    assert "not finished" in capsys.readouterr().err
    assert main(["run", "--resume", "a", "--quiet"]) == 0
    answers = [(tmp_path / name / "answer.safetensors").read_bytes() for name in ("a", "whole")]
    assert answers[0] == answers[1]


def test_a_history_that_does_not_fit_is_no_success(tmp_path, capsys, monkeypatch):
    real = RunDirectory._write

    def write(folder, place, text):
        real(folder, place, b"")
        if text:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "_write", write)
        assert main([*SPHERE, "--generations", "20", "--out", "a"]) == 1
    assert f"a is not complete (No space left on device: {Path('a/history.jsonl')})" in capsys.readouterr().err
    assert (tmp_path / "a" / "checkpoint-0000000020.json").exists()
    assert "answer.safetensors" in end(tmp_path / "a")
    assert "summary.json" not in end(tmp_path / "a")


DIVERGES = """
import jax.numpy as jnp

def nowhere(x):
    return jnp.sum(x) * jnp.nan

def near(x):  # finite at the start and next to it
    return jnp.where(jnp.sum(x**2) < 1e-3, jnp.sum(x**2), jnp.nan)
"""


@pytest.mark.usefixtures("undrawn")
def test_a_comparison_in_which_every_method_diverged_is_no_success(tmp_path, capsys):
    (tmp_path / "diverges.py").write_text(DIVERGES)
    command = "compare diverges.py:{}:dimension=2 --optimizers random,annealing --generations 2 --seeds 2 --quiet"
    assert main([*command.format("nowhere").split(), "--out", "a"]) == 1
    assert "no optimizer had a finite loss; a/report.html has the details" in capsys.readouterr().err
    assert main([*command.format("near").replace("annealing", "mezo").split(), "--out", "b"]) == 0


@pytest.mark.usefixtures("undrawn")
def test_a_budget_below_one_generation_is_said(capsys):
    command = "compare sphere --optimizers cmaes,openes,adam --seeds 1 --quiet --out a --evaluations 10"
    assert main(command.split()) == 0
    said = "a budget of 10 forward passes is less than one generation of openes (256); one is run all the same."
    assert capsys.readouterr().err == f"evolve: {said}\n"
    assert [entry.forwards for entry in Comparison.load("a").entries] == [(10,), (256,), (9,)]
