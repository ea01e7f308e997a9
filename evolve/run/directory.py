"""A run's folder: job.json, history.jsonl, checkpoints, result.json."""

import json
import os
import platform
import zlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evolve.run.checkpoint import load_checkpoint, save_checkpoint, write_atomically

PACKAGES = ("evolve-search", "jax", "jaxlib", "numpy", "equinox", "optax", "quax")


class RunDirectory:
    """Where a run keeps everything that resuming and reporting need.

    Raises
    ------
    FileExistsError
        The folder holds a run, and this is not a resumption.
    FileNotFoundError
        A resumption, and the folder holds no run.
    OSError
        It cannot be created or written; said before any work is done.
    """

    def __init__(self, path: str | os.PathLike[str], job: dict[str, Any], *, resume: bool) -> None:
        self.path = Path(path)
        self.job = job
        self.history = self.path / "history.jsonl"
        described = self.path / "job.json"
        if described.exists() and not resume:
            raise FileExistsError(f"{self.path} already holds a run; resume it, or choose another folder.")
        if resume and not described.exists():
            raise FileNotFoundError(f"{self.path} holds no run to resume (no job.json).")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not resume:
                write_atomically(described, json.dumps(job | {"versions": versions()}, indent=2).encode())
            with open(self.history, "ab"):
                pass
        except OSError as error:
            raise type(error)(
                error.errno, f"the run's folder cannot be written ({error.strerror})", str(path)
            ) from error

    def append(self, rows: dict[str, np.ndarray]) -> None:
        """Add history rows, one JSON object a line."""
        if not rows or not len(rows["generation"]):
            return
        count = len(rows["generation"])
        lines = [json.dumps({name: _json(values[i]) for name, values in rows.items()}) for i in range(count)]
        with open(self.history, "a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
            file.flush()

    def save(self, generation: int, carry: Any, facts: dict[str, Any]) -> None:
        """Checkpoint the carry, and how much of the history belongs to it."""
        with open(self.history, "rb+") as file:
            os.fsync(file.fileno())
        length = self.history.stat().st_size
        save_checkpoint(self.path, generation, carry, facts | {"history": length, "fingerprint": fingerprint(self.job)})

    def load(self, like: Any) -> tuple[Any, dict[str, Any], dict[str, np.ndarray]] | None:
        """The carry, the facts and the history of the newest good checkpoint; None to start over.

        History written after that checkpoint is cut off: it will be written again.
        """
        found = load_checkpoint(self.path, like, fingerprint(self.job))
        if found is None:
            os.truncate(self.history, 0)
            return None
        carry, facts = found
        os.truncate(self.history, facts["history"])
        rows = [json.loads(line) for line in self.history.read_text(encoding="utf-8").splitlines()]
        return (
            carry,
            facts,
            {name: _column(name, [row[name] for row in rows]) for name in (rows[0] if rows else {})},
        )

    def finish(self, outcome: dict[str, Any]) -> None:
        """Write result.json."""
        write_atomically(self.path / "result.json", json.dumps(outcome, indent=2).encode())


def versions() -> dict[str, str]:
    """Of Python and the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def fingerprint(job: dict[str, Any]) -> str:
    """What must be equal for a checkpoint to be ours; budgets may differ, so that a run can be prolonged."""
    return json.dumps({name: job[name] for name in ("problem", "optimizer", "seed", "seeds", "x64")}, sort_keys=True)


def describe(thing: Any) -> str:
    """A problem or an optimizer in words: its structure, numbers, and shapes and checksums of its arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(thing)
    parts = [f"{jax.tree_util.keystr(path)}={_leaf(leaf)}" for path, leaf in leaves]
    return f"{type(thing).__module__}.{type(thing).__qualname__}({', '.join(parts)}; {_outline(thing)})"


def _outline(thing: Any) -> str:
    """Static fields, without the addresses that functions print."""
    names = getattr(type(thing), "__dataclass_fields__", {})
    static = {name: getattr(thing, name) for name, field in names.items() if field.metadata.get("static")}
    return ", ".join(f"{name}={_static(value)}" for name, value in static.items())


def _static(value: Any) -> str:
    if isinstance(value, (str, int, float, bool, type(None))):
        return repr(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(_static(item) for item in value) + ")"  # pyright: ignore[reportUnknownVariableType]
    return getattr(value, "__qualname__", type(value).__qualname__)


def _leaf(leaf: Any) -> str:
    if isinstance(leaf, (bool, int, float)) or callable(leaf):
        return _static(leaf)
    array = np.asarray(leaf)
    if array.ndim == 0:
        return repr(array.item())
    return f"{array.dtype}{list(array.shape)}:{zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"


def _json(value: Any) -> Any:
    """A number or a list of them; JSON's own readers take NaN and Infinity as Python writes them."""
    return np.asarray(value).tolist()


def _column(name: str, values: list[Any]) -> np.ndarray:
    kind = np.int64 if name in ("generation", "evaluations", "failed", "extra") else np.float64
    return np.asarray(values, kind)
