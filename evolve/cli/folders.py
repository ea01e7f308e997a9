"""Folders that runs and comparisons write to: new ones, never somebody's old results."""

import itertools
import re
from pathlib import Path

from evolve.cli.errors import UsageError

_MARKS = ("command.json", "job.json", "results.json")  # of a run, a run by script, a comparison


def claim(given: str | None, default: str) -> Path:
    """Create the folder that was asked for, or the first free of runs/DEFAULT, runs/DEFAULT-2, ...

    Raises
    ------
    UsageError
        It holds results already, is a file, or cannot be created.
    """
    try:
        if given is None:
            return _numbered(Path("runs") / re.sub(r"[^\w.-]+", "-", default))
        path = Path(given)
        if any((path / mark).exists() for mark in _MARKS):
            raise UsageError(
                f"--out {path} already holds results; choose another folder, or go on with --resume {path}."
            )
        path.mkdir(parents=True, exist_ok=True)
        return path
    except OSError as error:
        raise UsageError(f"the folder {error.filename} cannot be created ({error.strerror}).") from error


def _numbered(path: Path) -> Path:
    for number in itertools.count(1):
        numbered = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            numbered.mkdir(parents=True)
            return numbered
        except FileExistsError:
            continue
    raise AssertionError  # count never ends
