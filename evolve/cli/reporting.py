"""`evolve report`: what a run or a comparison found."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from evolve.cli.arguments import Report
from evolve.cli.errors import UsageError
from evolve.cli.folders import COMMAND, SUMMARY
from evolve.cli.showing import show as show_comparison
from evolve.cli.summary import facts, show
from evolve.compare import Comparison
from evolve.compare.suite import Profiles
from evolve.run.history import History

_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, IndexError)


def report(command: Report) -> int:
    """Carry out `evolve report`; returns the exit status."""
    folder = Path(command.directory)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder." if folder.exists() else f"there is no folder {folder}.")
    if (folder / SUMMARY).exists():
        _summary(folder)
    elif (folder / COMMAND).exists():
        raise UsageError(f"{_standing(folder)}; go on with: evolve run --resume {folder}")
    elif (folder / "result.json").exists():
        _result(folder)
    elif (folder / "job.json").exists():
        cure = f"the script that made it goes on with evolve.run(..., directory={str(folder)!r}, resume=True)"
        raise UsageError(f"{_standing(folder)}; {cure}.")
    elif (folder / "results.json").exists():
        _comparison(folder)
    else:
        raise UsageError(f"{folder} is neither a run nor a comparison{_held(folder)}.")
    return 0


def _standing(folder: Path) -> str:
    """Where a run that is not finished stood, by the last row of its history and its newest checkpoint."""
    saved = max((int(path.stem.rpartition("-")[2]) for path in folder.glob("checkpoint-*.json")), default=0)
    path = folder / "history.jsonl"
    row = {name: values[-1] for name, values in History.read(_bytes(path), single=True).columns.items()}
    stood = "its start"
    if {"generation", "evaluations", "best"} <= row.keys():
        spent, best = int(np.max(row["evaluations"])), float(np.min(row["best"]))
        stood = f"generation {np.max(row['generation']):,} ({spent:,} evaluations, best {best:.6g})"
    return f"the run in {folder} is not finished: it stood at {stood}, and is saved up to generation {saved:,}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # killed before there was one
        return b""


def _held(folder: Path) -> str:
    """What a folder holds that could be reported."""
    words: list[str] = []
    for kind, signs in (("runs", (COMMAND, "job.json")), ("comparisons", ("results.json",))):
        names = {file.parent.name for sign in signs for file in folder.glob(f"*/{sign}")}
        words += [f"{kind}: {', '.join(sorted(names))}"] if names else []
    return f" (it holds {'; '.join(words)})" if words else ""


def _summary(folder: Path) -> None:
    """A run of `evolve run`."""
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        title, rows = str(summary["title"]), [dict(row) for row in summary["rows"]]
        if not rows:
            raise ValueError("it has no rows")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    show(title, rows, folder)


def _result(folder: Path) -> None:
    """A run that a script made: it has no summary, but the same facts."""
    path = folder / "result.json"
    try:
        results: list[Any] = json.loads(path.read_text(encoding="utf-8"))["results"]
        job = folder / "job.json"
        first = json.loads(job.read_text(encoding="utf-8"))["seed"] if job.exists() else 0
        rows = [
            facts(seed, result | {"loss": _number(result["loss"])}, {}) for seed, result in enumerate(results, first)
        ]
        if not rows:
            raise ValueError("it has no results")
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read ({error.strerror}).") from error
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    show("a script's run", rows, folder)


def _number(value: Any) -> float:
    """As strict JSON holds it: NaN as null, infinities as words."""
    return float("nan") if value is None else float(value)


def _comparison(folder: Path) -> None:
    try:
        found = Comparison.load(folder)
        found = Profiles.load(folder) if "suite" in found.facts else found
        found.save(folder)
        show_comparison(found, folder)
    except OSError as error:
        raise UsageError(str(error)) from error
    except ValueError as error:  # as `load` says it
        raise UsageError(str(error)) from error
    except _DAMAGED as error:
        raise _damaged(folder / "results.json", error) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is damaged ({type(error).__name__}: {error}).")
