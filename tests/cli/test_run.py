"""`evolve run`, `compare` and `report`: what is computed, saved, resumed and shown."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import evolve
from evolve.cli import main
from evolve.cli.arguments import Compare
from evolve.cli.comparing import _budget, _optimizers
from evolve.cli.job import Job
from evolve.cli.naming import Named, parse_problem
from evolve.cli.presets import CONTESTS, Horizon
from evolve.compare import Comparison
from problems import Digits, Function

SPHERE = ["run", "sphere:dimension=3", "--optimizer", "cmaes", "--set", "sigma=2"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())["rows"]


def history(folder):
    """All but the times."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_it_runs_what_a_script_would(tmp_path, capsys):
    assert main([*SPHERE, "--evaluations", "300", "--seed", "5"]) == 0
    folder = tmp_path / "runs" / "sphere-cmaes"
    result = evolve.run(Function("sphere", 3), evolve.CMAES(sigma=2.0), seed=5, evaluations=300)
    assert summary(folder)[0]["loss"] == result.loss
    np.testing.assert_array_equal(load_file(folder / "answer.safetensors")["answer"], result.answer)
    shown = capsys.readouterr().out
    for words in (f"{result.loss:.6g}", "report: distance", "evaluations", "runs/sphere-cmaes"):
        assert words in shown


def test_several_seeds_are_several_answers(tmp_path):
    assert main([*SPHERE, "--evaluations", "300", "--seed", "4", "--seeds", "2", "--out", "two", "--quiet"]) == 0
    alone = evolve.run(Function("sphere", 3), evolve.CMAES(sigma=2.0), seed=4, seeds=2, evaluations=300)
    for seed, result in zip((4, 5), alone, strict=True):
        answer = load_file(tmp_path / "two" / f"answer-{seed}.safetensors")["answer"]
        np.testing.assert_array_equal(answer, result.answer)
    assert [row["seed"] for row in summary(tmp_path / "two")] == [4, 5]


def test_old_results_are_never_overwritten(tmp_path, capsys):
    for _ in range(2):
        assert main([*SPHERE, "--generations", "2", "--quiet"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["sphere-cmaes", "sphere-cmaes-2"]
    before = (tmp_path / "runs" / "sphere-cmaes" / "command.json").read_bytes()
    assert main([*SPHERE, "--out", "runs/sphere-cmaes", "--seed", "9"]) == 2
    assert "--resume runs/sphere-cmaes" in capsys.readouterr().err
    assert (tmp_path / "runs" / "sphere-cmaes" / "command.json").read_bytes() == before


def test_precision_is_kept_by_a_resumed_run(tmp_path):
    assert main([*SPHERE, "--generations", "5", "--x64", "--out", "double", "--quiet"]) == 0
    assert main(["run", "--resume", "double", "--generations", "9", "--quiet"]) == 0
    assert main([*SPHERE, "--generations", "9", "--x64", "--out", "whole", "--quiet"]) == 0
    answers = [load_file(tmp_path / name / "answer.safetensors")["answer"] for name in ("double", "whole")]
    assert answers[0].dtype == np.float64
    np.testing.assert_array_equal(*answers)
    assert not jax.config.read("jax_enable_x64")


def test_a_prolonged_run_is_the_longer_run_and_remembers(tmp_path):
    assert main([*SPHERE, "--evaluations", "200", "--out", "short", "--quiet"]) == 0
    assert main(["run", "--resume", "short", "--evaluations", "400", "--quiet"]) == 0
    assert main([*SPHERE, "--evaluations", "400", "--out", "long", "--quiet"]) == 0
    answer = (tmp_path / "long" / "answer.safetensors").read_bytes()
    assert (tmp_path / "short" / "answer.safetensors").read_bytes() == answer
    assert history(tmp_path / "short") == history(tmp_path / "long")
    # Once more, finished and without a word about budgets: nothing changes.
    assert main(["run", "--resume", "short", "--quiet"]) == 0
    assert (tmp_path / "short" / "answer.safetensors").read_bytes() == answer


def test_a_tuned_schedule_ends_with_the_first_budget_even_if_the_run_is_prolonged():
    words = {"evaluations": 640}
    job = Job(Named("digits", {}), Named("openes", {}), words, {}).settled(x64=False)
    longer = Job(job.problem, job.optimizer, {"evaluations": 6400}, job.run)
    for one in (job, longer):
        optimizer = one.build()[1]
        assert optimizer.learning_rate.steps * optimizer.population == 640


def test_a_fitness_that_always_raises_fails_the_run_and_says_why(tmp_path, capsys):
    (tmp_path / "fitness.py").write_text("def f(x):\n    raise RuntimeError('no luck')\n")
    words = "run python:fitness.py:f:dimension=2,host=true --optimizer cmaes --evaluations 12"
    assert main(words.split()) == 1
    captured = capsys.readouterr()
    assert "12 failed; the first said: RuntimeError: no luck" in captured.err
    assert captured.err.count("finite loss") == 1, "and no warning says it too"
    assert "fitness.py" in captured.out
    assert "line 2" in captured.out


LONG = ["run", "ellipsoid:dimension=300", "--optimizer", "sepcmaes", "--generations", "12000", "--quiet"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*LONG, "--out", str(folder)]) == 0
    return folder


def began(folder):
    """Whether a checkpoint after the start is there."""
    return any(int(path.stem.split("-")[1]) > 0 for path in folder.glob("checkpoint-*.json"))


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_stopped_run_resumes_bit_for_bit(uninterrupted, tmp_path, sent, status):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "evolve.cli", *LONG, "--save-seconds", "0.01", "--out", str(folder)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    until = time.monotonic() + 60
    while not began(folder) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert len(history(folder)) < len(history(uninterrupted)), "it was not stopped half way"
    if sent == signal.SIGINT:
        assert f"--resume {folder}" in said
        assert "Traceback" not in said
        assert summary(folder)[0]["stopped by"] == "interrupted"
    assert main(["run", "--resume", str(folder), "--quiet"]) == 0
    assert history(folder) == history(uninterrupted)
    answers = [(one / "answer.safetensors").read_bytes() for one in (folder, uninterrupted)]
    assert answers[0] == answers[1]


def test_a_run_killed_before_it_began_can_be_resumed(tmp_path):
    assert main([*SPHERE, "--generations", "3", "--out", "whole", "--quiet"]) == 0
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "command.json").write_bytes((tmp_path / "whole" / "command.json").read_bytes())
    assert main(["run", "--resume", "killed", "--quiet"]) == 0
    answers = [(tmp_path / name / "answer.safetensors").read_bytes() for name in ("killed", "whole")]
    assert answers[0] == answers[1]


def test_a_script_s_folder_is_not_resumed_by_the_command(tmp_path, capsys):
    evolve.run(Function("sphere", 3), evolve.CMAES(), generations=1, directory=tmp_path / "script")
    assert main(["run", "--resume", "script"]) == 2
    assert "made by a script" in capsys.readouterr().err


def test_report_shows_a_run_as_it_ended(capsys):
    assert main([*SPHERE, "--generations", "3", "--out", "a"]) == 0
    shown = capsys.readouterr().out
    assert main(["report", "a"]) == 0
    assert capsys.readouterr().out == shown


def test_compare_saves_and_report_makes_it_anew(tmp_path, capsys):
    # It has a loss and nothing else: each further metric is drawn in four more pictures.
    (tmp_path / "fitness.py").write_text("def f(x):\n    return (x**2).sum()\n")
    words = "compare python:fitness.py:f:dimension=2 --optimizers random,cmaes --seeds 2 --evaluations 120"
    assert main(words.split()) == 0
    folder = tmp_path / "runs" / "compare-f"
    assert "runs/compare-f/report.html" in capsys.readouterr().out
    found = Comparison.load(folder)
    assert [entry.name for entry in found.entries] == ["random", "cmaes"]
    assert found.facts["seeds"] == 2
    assert found.facts["budget"]["evaluations"] == 120
    files = sorted(path.name for path in folder.iterdir())
    for name in files:
        if name != "results.json":
            (folder / name).unlink()
    assert main(["report", "runs/compare-f"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == files
    assert main([*words.split(), "--out", "runs/compare-f"]) == 2


@pytest.mark.parametrize("words", ["run {} --optimizer random", "compare {} --optimizers random,cmaes"])
def test_an_interrupt_ends_with_130_and_what_there_is(tmp_path, capsys, words):
    (tmp_path / "fitness.py").write_text("def f(x):\n    raise KeyboardInterrupt\n")
    words = words.format("python:fitness.py:f:dimension=2,host=true") + " --evaluations 64 --out stopped"
    assert main(words.split()) == 130
    said = capsys.readouterr().err
    assert "stopped" in said
    assert "Traceback" not in said
    kept = {path.name for path in (tmp_path / "stopped").iterdir()}
    assert {"command.json", "summary.json"} <= kept or {"results.json", "report.html"} <= kept


def test_a_comparison_takes_what_was_tuned():
    command = Compare("digits")
    tuned = CONTESTS["digits"]
    assert _budget(command, tuned) == {
        "evaluations": tuned.evaluations,
        "generations": None,
        "seconds": None,
        "seeds": tuned.seeds,
        "seed": 0,
    }
    assert _budget(Compare("digits", smallest=True), tuned)["evaluations"] == tuned.smallest
    assert _budget(Compare("digits", seconds=3.0), tuned)["evaluations"] is None
    assert list(_optimizers(command, Named("digits", {}), Digits(), Horizon())) == list(tuned.optimizers)


def test_by_default_only_methods_that_suit_the_problem_compete(tmp_path):
    (tmp_path / "fitness.py").write_text("def f(x):\n    return 0.0\n")
    named = parse_problem("python:fitness.py:f:dimension=2001,host=true")
    problem = Job(named, Named("openes", {}), {}, {}).build()[0]
    names = set(_optimizers(Compare("python"), named, problem, Horizon(100)))
    assert {"openes", "sepcmaes", "spsa"} <= names
    assert not {"cmaes", "sgd", "adam", "lbfgs"} & names
