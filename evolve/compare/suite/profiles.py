"""What came of a suite: expected running times, runtime profiles, table, plots, report, and COCO's files."""

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evolve.compare.comparison import Comparison
from evolve.compare.entry import Entry
from evolve.compare.suite.record import PROFILE, TARGETS
from evolve.compare.suite.reference import best_2009
from evolve.compare.suite.runtime import expected, simulated
from evolve.compare.suite.suite import Log, Suite
from evolve.compare.words import count
from evolve.core.optimizer import Optimizer
from evolve.run.checkpoint import write_atomically

if TYPE_CHECKING:
    import rich.table

ALL = "all functions"


@dataclass(frozen=True)
class Profiles(Comparison):
    """Several optimizers on a suite of problems.

    `facts` hold `suite`, `dimension`, `functions` (names by numbers, as strings), `instances`, `groups`, `cases` (pairs
    of function and instance) and their `minima`. The entries' curves hold `hits`, of shape (targets, cases): forward
    passes until a target was reached first, NaN where it never was. The 51 targets are 10^2 to 10^-8, five a decade.

    logs
        By name, what was recorded. Not saved; `export` writes it.
    """

    logs: dict[str, Log] = field(default_factory=dict[str, Log], repr=False)

    @classmethod
    def begin(cls, suite: Suite, optimizers: Mapping[str, Optimizer], facts: dict[str, Any]) -> "Profiles":
        """Nothing has run yet."""
        cases = [[case.function, case.instance] for case in suite.cases]
        facts = {
            "suite": suite.name,
            "dimension": suite.dimension,
            "functions": {str(number): name for number, name in suite.functions.items()},
            "instances": sorted({instance for _, instance in cases}),
            "groups": {name: list(numbers) for name, numbers in suite.groups.items()},
            "cases": cases,
            "minima": [case.f_opt for case in suite.cases],
            **facts,
        }
        entries = tuple(Entry.of(name, optimizer) for name, optimizer in optimizers.items())
        return cls(f"{suite.name}, dimension {suite.dimension}", facts, entries)

    @property
    def metrics(self) -> list[str]:
        """None of one problem."""
        return []

    @property
    def dimension(self) -> int:
        """The number of coordinates."""
        return self.facts["dimension"]

    @property
    def minima(self) -> list[float]:
        """Of the losses, case by case."""
        return self.facts["minima"]

    @property
    def functions(self) -> dict[int, str]:
        """Names of the functions by their numbers."""
        return {int(number): name for number, name in self.facts["functions"].items()}

    @property
    def groups(self) -> dict[str, list[int]]:
        """Numbers of functions by the names of their groups, all of them first; groups that have none are left out."""
        known = self.functions
        found = {name: [f for f in numbers if f in known] for name, numbers in self.facts["groups"].items()}
        return {ALL: list(known)} | {name: numbers for name, numbers in found.items() if numbers}

    @property
    def targets(self) -> np.ndarray:
        """Gaps, in descending order, shape (51,)."""
        return TARGETS[PROFILE]

    def runs(self, entry: Entry, function: int) -> tuple[np.ndarray, np.ndarray]:
        """Hits, shape (targets, runs), and lengths, shape (runs,), of the runs on a function."""
        chosen = np.array([number == function for number, _ in self.facts["cases"]])
        return entry.curves["hits"][:, chosen], np.asarray(entry.forwards, float)[chosen]

    @cached_property
    def erts(self) -> dict[str, np.ndarray]:
        """Expected running times in forward passes, by name, shape (functions, targets); infinite without a success."""
        found = [entry for entry in self.entries if entry.final]
        return {entry.name: np.stack([expected(*self.runs(entry, f)) for f in self.functions]) for entry in found}

    @cached_property
    def reference(self) -> np.ndarray | None:
        """Those of the best algorithms of BBOB 2009; None where cocopp is not installed or lacks the dimension."""
        return best_2009(self.dimension, self.functions, self.targets) if self.facts["suite"] == "bbob" else None

    def times(self, entry: Entry, functions: list[int]) -> np.ndarray:
        """Running times with simulated restarts, over the dimension: of every function, target and sample."""
        draws = [
            simulated(*self.runs(entry, function), np.random.default_rng([self.facts["seed"], function]))
            for function in functions
        ]
        return np.stack(draws) / self.dimension

    def solved(self, entry: Entry, functions: list[int] | None = None) -> tuple[float, float]:
        """Fractions of the functions' runs that reached the last target, and of their pairs with all targets."""
        chosen = [functions is None or number in functions for number, _ in self.facts["cases"]]
        reached = np.isfinite(entry.curves["hits"][:, chosen])
        return float(reached[-1].mean()), float(reached.mean())

    def words(self, entry: Entry) -> str:
        """How many problems were solved, in a few words."""
        if not entry.final:
            return ""
        runs = len(self.facts["cases"])
        solved, pairs = self.solved(entry)
        return f"solved {round(solved * runs)} of {runs}, {100 * pairs:.0f} % of the targets"

    def ranked(self) -> list[Entry]:
        """Most targets reached first; what has no result comes last."""

        def key(entry: Entry) -> tuple[Any, ...]:
            return not entry.final, -self.solved(entry)[1] if entry.final else 0.0

        return sorted(self.entries, key=key)

    def rows(self) -> list[dict[str, Any]]:
        """One plain dict for each optimizer, function and target: `ert`, None where it is infinite, and successes."""
        rows: list[dict[str, Any]] = []
        for entry in [entry for entry in self.ranked() if entry.final]:
            for function, times in zip(self.functions, self.erts[entry.name], strict=True):
                good = np.isfinite(self.runs(entry, function)[0])
                for target, ert, reached in zip(self.targets, times, good, strict=True):
                    row = {"optimizer": entry.name, "function": function, "target": float(target)}
                    row |= {"ert": float(ert) if np.isfinite(ert) else None, "successes": int(reached.sum())}
                    rows.append(row | {"runs": len(reached)})
        return rows

    def _table(self, wide: bool) -> "rich.table.Table":
        from evolve.compare.suite.tables import overview

        return overview(self, wide)

    def heading(self) -> str:
        """Suite, problems and budget in a line."""
        budget, runs = self.facts["budget"]["evaluations"], len(self.facts["instances"])
        words = f"{len(self.functions)} functions, {runs} instance{'s' if runs > 1 else ''} each"
        return f"{self.title}: {words}, up to {count(budget)} evaluations a run"

    def plot(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write profiles: one figure to a file (.png, .svg, .pdf), or one a file into a folder.

        Returns
        -------
        list of Path
            The files written: in a folder `overview.png`, and `profile_GROUP.png` for all functions and each group.
        """
        from evolve.compare.suite.plots import save_profiles

        return save_profiles(self, Path(path))

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write one HTML file that needs nothing beside it."""
        from evolve.compare.suite.report import page

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page(self).encode())
        return path

    def export(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write COCO's files into a folder for each optimizer, to be read by `cocopp`.

        Returns
        -------
        list of Path
            The folders. Optimizers without a log have none: those that failed, and all of a comparison that was loaded.
        """
        from evolve.compare.suite.export import write

        return [write(self, name, Path(folder)) for name in self.logs]

    def save_rows(self, folder: Path) -> Path:
        """Write `rows` as ert.csv; an infinite time is an empty cell."""
        rows, text = self.rows(), io.StringIO()
        writer = csv.DictWriter(text, rows[0] if rows else ["optimizer"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(folder / "ert.csv", text.getvalue().encode())
        return folder / "ert.csv"

    @property
    def pages(self) -> Any:
        """Profiles, report, expected running times, and COCO's files in the folder `coco`."""
        return *super().pages, self.save_rows, lambda folder: self.export(folder / "coco")

    def logged(self, entry: Entry, log: Log | None, elapsed: float) -> "Profiles":
        """With an entry in the place of the one of its name, and its log."""
        kept = self.logs | ({} if log is None else {entry.name: log})
        after = self.having(entry, [], elapsed)
        return replace(self, facts=after.facts, entries=after.entries, logs=kept)
