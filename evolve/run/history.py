"""The history of a run: one row a recorded generation, whatever blocks the generations came in."""

import json
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

# The first columns; what the method reports comes after them.
COLUMNS = ("generation", "evaluations", "seconds", "loss", "mean", "best", "failed")

Row = Mapping[str, np.ndarray]


def stride(generation: Any) -> Any:
    """Generations between history rows: 1 up to 1,000, then 10 up to 10,000, and so on.

    A history is thus at most about 900 rows a decade, and depends on nothing but the generation.
    """
    xp = np if isinstance(generation, (int, np.integer)) else jnp
    places = xp.asarray([10**k for k in range(3, 10)])
    return 10 ** xp.sum(generation > places).astype(np.int32)


def exact(values: Any) -> np.ndarray:
    """Integers as int64, floats as float64: what JSON gives back too, so that a resumed history is the same."""
    array = np.asarray(values)
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float64)


def strict(value: Any) -> Any:
    """Lists, dicts and numbers as strict JSON can hold them: NaN as null, infinities as words, all else as it is."""
    if isinstance(value, dict):
        return {name: strict(item) for name, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _loose(value: Any) -> Any:
    """What `strict` was given. NaN and Infinity as Python's own JSON writes them have become numbers already."""
    if isinstance(value, list):
        return [_loose(item) for item in value]
    return math.nan if value is None else float(value) if isinstance(value, str) else value


class History:
    """Columns of shape (rows, seeds), and what each seed looks like now, off the grid of rows too.

    Every seed counts its own generations: one that has stopped repeats its last row in the rows of the others.
    """

    def __init__(self, single: bool) -> None:
        self.single = single
        self.columns: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.columns.get("generation", ()))

    def joined(self, rows: Row) -> "History":
        """A history of its own with further rows."""
        both = History(self.single)
        old = self.columns
        names = sorted(rows, key=lambda name: COLUMNS.index(name) if name in COLUMNS else len(COLUMNS))
        both.columns = {name: np.concatenate([old[name], rows[name]]) if old else rows[name] for name in names}
        return both

    def of(self, seed: int, newest: Row) -> dict[str, np.ndarray]:
        """One seed's columns, shape (rows,): its own generations, up to its own last one, on the grid or not."""
        rows = self.joined({name: values[None] for name, values in newest.items()}).columns
        one = {name: values[:, seed] for name, values in rows.items()}
        before = np.maximum.accumulate(np.concatenate([[0], one["generation"][:-1]]))
        return {name: values[one["generation"] > before] for name, values in one.items()}

    def lines(self, first: int = 0) -> bytes:
        """Rows from `first` on, one JSON object a line; numbers for a single run, lists over the seeds of several.

        A NaN is null, an infinity "Infinity" or "-Infinity".
        """
        columns = {name: values[first:, 0] if self.single else values[first:] for name, values in self.columns.items()}
        rows = [
            {name: values[i].tolist() for name, values in columns.items()} for i in range(max(0, len(self) - first))
        ]
        return "".join(json.dumps(strict(row), allow_nan=False) + "\n" for row in rows).encode()

    def tail(self, newest: Row) -> bytes:
        """The line of the last generation, if the grid has none for it."""
        known = self.columns["generation"][-1] if len(self) else 0
        if np.all(known == newest["generation"]):
            return b""
        return self.joined({name: values[None] for name, values in newest.items()}).lines(len(self))

    @classmethod
    def read(cls, text: bytes, single: bool) -> "History":
        """What `lines` wrote, up to the first row that is damaged."""
        rows: list[dict[str, np.ndarray]] = []
        for line in text.splitlines(keepends=True):
            try:
                row = {name: exact(_loose(value)).reshape(-1) for name, value in json.loads(line).items()}
            except (ValueError, TypeError, AttributeError):
                break
            if not line.endswith(b"\n") or (rows and _outline(row) != _outline(rows[0])):
                break
            rows.append(row)
        history = cls(single)
        history.columns = {name: np.stack([row[name] for row in rows]) for name in (rows[0] if rows else ())}
        return history


def _outline(row: Row) -> list[Any]:
    return [(name, values.shape, values.dtype) for name, values in row.items()]
