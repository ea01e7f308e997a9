"""Folders that runs and comparisons write to: new ones, never somebody's old results."""

import contextlib
import itertools
import os
import re
import sys
from collections.abc import Generator
from pathlib import Path

from evolve.cli.errors import UsageError

COMMAND, SUMMARY = "command.json", "summary.json"
_ENDS = (SUMMARY, "answer*.safetensors", "result.json")  # what says how a run ended


@contextlib.contextmanager
def claimed(given: str | None, default: str) -> Generator[Path]:
    """The folder that was asked for, or the first free of runs/DEFAULT, runs/DEFAULT-2, ...; ours alone meanwhile.

    A folder that holds no finished generation is emptied of what a run left there, and used again.

    Raises
    ------
    UsageError
        It holds results already, another process is at work in it, it is a file, or it cannot be created.
    """
    try:
        path = _numbered(Path("runs") / re.sub(r"[^\w.-]+", "-", default)) if given is None else Path(given)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {error.filename} cannot be created ({error.strerror}).") from error
    with held(path):
        if _holds_results(path):
            resume = f", or go on with: evolve run --resume {path}" if (path / COMMAND).exists() else ""
            raise UsageError(f"--out {path} already holds results; choose another folder{resume}.")
        for left in (COMMAND, "job.json", "history.jsonl", "checkpoint-*"):
            remove(path, left)
        yield path


@contextlib.contextmanager
def held(path: Path) -> Generator[None]:
    """Keep other processes of this command out of a folder; a process that dies lets it go.

    A run has a lock of its own, but only once it begins: before that the folder is looked into and emptied.

    Raises
    ------
    UsageError
        Another one is at work there.
    """
    if sys.platform == "win32":  # no lock that dies with its process
        yield
        return
    import fcntl

    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"the folder {path} cannot be read ({error.strerror}).") from error
    try:
        # Where a network's file system knows no locks, there are none.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"another run is at work in {path}; wait for it, or choose another folder.") from None
        yield
    finally:
        os.close(folder)


def forget_end(path: Path) -> None:
    """Remove what says how a run ended: it goes on."""
    for end in _ENDS:
        remove(path, end)


def remove(path: Path, pattern: str) -> None:
    """Remove the files of a folder that match a pattern."""
    for file in path.glob(pattern):
        file.unlink(missing_ok=True)


def _holds_results(path: Path) -> bool:
    """Whether there is anything that would be lost: a comparison, a script's run, or a finished generation."""
    by_script = (path / "job.json").exists() and not (path / COMMAND).exists()
    generations = (file.stem.rpartition("-")[2] for file in path.glob("checkpoint-*.json"))
    ended = any(any(path.glob(end)) for end in ("results.json", *_ENDS))
    return by_script or ended or any(not text.isdecimal() or int(text) > 0 for text in generations)


def _numbered(path: Path) -> Path:
    for number in itertools.count(1):
        numbered = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            numbered.mkdir(parents=True)
            return numbered
        except FileExistsError:
            continue
    raise AssertionError  # count never ends
