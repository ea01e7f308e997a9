"""A run's folder: job.json, history.jsonl, checkpoints, result.json."""

import contextlib
import json
import os
import platform
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evolve.run.checkpoint import CheckpointError, differences, load_checkpoint, save_checkpoint, write_atomically
from evolve.run.history import History, strict
from evolve.run.lock import Lock

PACKAGES = ("evolve-search", "jax", "jaxlib", "numpy", "equinox", "optax", "quax")
# Must be equal for a checkpoint to be ours; budgets may differ, so that a run can be prolonged.
IDENTITY = ("problem", "optimizer", "seed", "seeds", "x64")


class RunDirectory:
    """Where a run keeps everything that resuming and reporting need; a context manager that locks it until it ends.

    The history on disk counts only as far as a checkpoint says; what a kill left behind it is cut off. Rows that the
    disk has no room for keep no checkpoint from being saved: without them a run can go on, without it work is lost.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    job
        The run's configuration.
    resume
        Whether it holds a run already, and must.

    Raises
    ------
    FileExistsError
        The folder holds a run, and this is not a resumption.
    FileNotFoundError
        A resumption, and the folder holds no run.
    BlockingIOError
        Another process, or another run of this one, is at work in the folder.
    CheckpointError
        A resumption, and the folder holds a run of another problem, optimizer, seed or precision.
    OSError
        It cannot be created or written; said before any work is done.
    """

    def __init__(self, path: str | os.PathLike[str], job: Mapping[str, Any], *, resume: bool) -> None:
        self.path = Path(path)
        self.run = {name: job[name] for name in IDENTITY}
        self.history, self.result = self.path / "history.jsonl", self.path / "result.json"
        self.job = self.path / "job.json"
        self.resumed = resume
        self._described = {**job, "versions": versions()}
        self._outdated = False
        self._written = 0, 0  # rows of the history on disk, and their bytes
        self._lock = Lock(self.path)
        try:
            self._open()
        except OSError as error:
            self._lock.release()
            raise _explained(error, self.path) from error
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def begin(self, carry: Any, facts: Mapping[str, Any]) -> None:
        """Checkpoint the start: whether the disk holds one is known before any work is done.

        Raises
        ------
        OSError
            It does not; the folder then holds no run.
        """
        try:
            self.save(0, carry, facts, History(single=True))
        except OSError as error:
            self.abandon()
            raise _explained(error, self.path) from error

    def abandon(self) -> None:
        """The run could not begin: a new one may take its folder."""
        if not self.resumed:
            self.job.unlink(missing_ok=True)

    def save(self, generation: int, carry: Any, facts: Mapping[str, Any], history: History) -> None:
        """Checkpoint the carry, and how much of the history belongs to it.

        Raises
        ------
        OSError
            The disk is full or the folder cannot be written; the checkpoints before are untouched. Where it is the
            history alone that does not fit, the error names it, and the next call tries its rows again.
        """
        rows, length = self._written
        text, error = history.lines(rows), None
        try:
            self._write(length, text)
            rows, length = len(history), length + len(text)
        except OSError as full:
            error = type(full)(full.errno, full.strerror, str(self.history))
            with contextlib.suppress(OSError):  # room for the checkpoint
                self._write(length, b"")
        own = {"run": self.run, "history": length, "lost": len(history) - rows}
        save_checkpoint(self.path, generation, carry, {**facts, **own})
        self._written = rows, length
        if error is not None:
            raise error

    def load(self, like: Any, single: bool) -> tuple[Any, dict[str, Any], History] | None:
        """The carry, the facts and the history of the newest good checkpoint; None to start over.

        History written after that checkpoint is cut off: it will be written again. One that is damaged loses its
        rows with a warning, for only the checkpoint decides what the run computes. The result of an end before goes.

        Raises
        ------
        CheckpointError
            There are checkpoints, and every one is corrupt or foreign; or there are none, and work was done.
        """
        found = load_checkpoint(self.path, like, self.run)
        if found is None:
            self._check_unbegun()
        length, lost = (found[1].get(name, 0) if found else 0 for name in ("history", "lost"))
        text = self.history.read_bytes()[:length]
        history = History.read(text, single)
        good = sum(map(len, text.splitlines(keepends=True)[: len(history)]))
        if good < length:
            warnings.warn(
                f"{self.history} is damaged: only its first {len(history)} rows can be read; the run goes on.",
                stacklevel=2,
            )
        if lost:
            warnings.warn(
                f"{self.history} lacks {lost} rows that the disk had no room for; the run goes on.", stacklevel=2
            )
        # Should the run be killed from here on, the result would be one of fewer generations than the checkpoints.
        self.result.unlink(missing_ok=True)
        if self._outdated:
            self._describe()
        self._write(good, b"")
        self._written = len(history), good
        return None if found is None else (*found, history)

    def finish(self, outcome: Mapping[str, Any], tail: bytes) -> None:
        """Write result.json, and the last row of the history where the grid has none: resuming will cut it off."""
        self._write(self._written[1], tail)
        write_atomically(self.result, json.dumps(strict(dict(outcome)), indent=2, allow_nan=False).encode())

    def _open(self) -> None:
        """Lock the folder, and begin a run in it or check that the one there is ours."""
        if self.resumed and not self.job.exists():
            raise FileNotFoundError(f"{self.path} holds no run to resume (no job.json).")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        if self.resumed:
            self._outdated = self._is_outdated()
        elif self.job.exists():
            raise FileExistsError(f"{self.path} already holds a run; pass resume=True, or choose another folder.")
        else:
            self.history.write_bytes(b"")
            self._describe()
        with open(self.history, "ab"):
            pass

    def _describe(self) -> None:
        write_atomically(self.job, json.dumps(self._described, indent=2).encode())

    def _is_outdated(self) -> bool:
        """Whether job.json must be written anew, it being corrupt or of another JAX.

        Checkpoints say whose run it is too, but reading them comes later.
        """
        try:
            there: Any = json.loads(self.job.read_bytes())
            if not isinstance(there, dict) or not self.run.keys() <= there.keys():
                raise ValueError("it describes no run")
        except ValueError as error:
            warnings.warn(f"{self.job} is corrupt ({error}); the checkpoints decide.", stacklevel=6)
            return True
        if other := differences(there, self.run):
            raise CheckpointError(f"{self.path} holds a foreign run ({other}).")
        found, now = there.get("versions"), self._described["versions"]["jax"]
        before = found.get("jax", now) if isinstance(found, dict) else now
        if before != now:
            what = f"{self.path} holds a run of jax {before}, and this is jax {now}"
            warnings.warn(f"{what}: it goes on, but not bit for bit as it would have.", stacklevel=6)
        return before != now

    def _check_unbegun(self) -> None:
        """Refuse to start over where work was done: a run checkpoints before its first generation."""
        signs = [path.name for path in (self.history, self.result) if path.exists() and path.stat().st_size]
        if signs:
            what = f"{self.path} holds no checkpoint, but {' and '.join(signs)} of work that was done"
            raise CheckpointError(f"{what}; put the checkpoints back, or start anew in another folder.")

    def _write(self, place: int, text: bytes) -> None:
        """Put text at a place of the history, and nothing after it."""
        with open(self.history, "r+b" if self.history.exists() else "w+b") as file:
            file.truncate(place)
            file.seek(place)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _explained(error: OSError, path: Path) -> OSError:
    """The same error, saying what it means; as it is where it says so already."""
    if error.errno is None:
        return error
    return type(error)(error.errno, f"the run's folder cannot be written ({error.strerror})", str(path))


def versions() -> dict[str, str]:
    """Of Python and the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
