"""Every example runs and finds what it promises; own-fitness ones stay within 30 lines."""

import json
import re
import runpy
from pathlib import Path

import pytest

from evolve.cli import main

EXAMPLES = Path(__file__).parent.parent / "examples"

# What a script prints after "loss" or "fitness", and between which values it must lie.
SCRIPTS = {
    "minimize": ("loss", 0.0, 1e-6),
    "ask_tell": ("loss", 0.0, 1e-6),
    "run_problem": ("held-out accuracy", 0.94, 1.0),
    "compare_methods": None,
    "fitness_jax": ("loss", 0.0, 0.02),
    "fitness_python": ("loss", 0.0, 0.05),
    # The chances themselves are the best shares (Kelly 1956): sum p log(p odds) = 0.0813.
    "fitness_maximize": ("fitness", 0.0812, 0.0813),
    "own_problem": ("loss", 0.0, 0.01),
    "flax_model": ("held-out accuracy", 0.94, 1.0),
    "equinox_model": ("held-out accuracy", 0.94, 1.0),
}

# Job files: options that cut the budget, and what the loss must be below.
JOBS = {
    "digits_openes": (["--evaluations", "30000"], 0.25),
    "rastrigin": (["--seeds", "1"], 1e-4),
    "ellipsoid_sepcmaes": ([], 1e-8),
    "rosenbrock_annealing": ([], 0.1),
    "pid_own_fitness": ([], 0.05),
}


def test_none_is_forgotten():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SCRIPTS)
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == set(JOBS)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if SCRIPTS[name]])
def test_script(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    word, low, high = SCRIPTS[name]
    found = re.search(rf"{word} (-?[\d.]+(e[+-]?\d+)?)", capsys.readouterr().out)
    assert found is not None
    assert low <= float(found[1]) <= high


def test_compare_methods(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES / "compare_methods.py"), run_name="__main__")
    ranked = [entry.name for entry in names["comparison"].ranked()]
    assert ranked[0] == "CMA-ES", "a rotated, rugged function of ten dimensions is its home"
    shown = capsys.readouterr().out
    assert all(name in shown for name in ranked)
    assert (tmp_path / "runs" / "compare-ackley" / "report.html").exists()


@pytest.mark.parametrize("name", JOBS)
def test_job(name, tmp_path):
    options, loss = JOBS[name]
    assert main(["run", str(EXAMPLES / f"{name}.toml"), *options, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]
    assert max(row["loss"] for row in rows) <= loss


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name.startswith(("fitness", "own", "flax", "equinox"))])
def test_an_own_fitness_takes_at_most_30_lines(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 30
