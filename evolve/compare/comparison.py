"""A comparison's outcome: rows, table, plots, report, and the folder that holds them."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.compare.entry import LOSS, Entry, higher_is_better, plain
from evolve.compare.table import UNBOUNDED, fits, rich_table, row
from evolve.compare.words import count, duration, value
from evolve.run.checkpoint import write_atomically
from evolve.run.result import Result

if TYPE_CHECKING:
    import rich.table

FORMAT = 1
_NAME = "results.json"


@dataclass(frozen=True)
class Comparison:
    """Several optimizers on one problem, each from the same starts with the same data and budget.

    title
        The problem's name.
    facts
        What was compared, and on what: `problem` in words, `seed`, `seeds`, `budget`, `versions`, `device`, `x64`,
        `started` (ISO 8601) and `elapsed` (seconds, everything included).
    entries
        One an optimizer, in the order given.
    results
        By name, what `run` returned: one a seed. Not saved.
    unsaved
        Why the folder that `compare` was given does not hold all of it; None if it does.
    """

    title: str
    facts: dict[str, Any]
    entries: tuple[Entry, ...]
    results: dict[str, list[Result]] = field(default_factory=dict[str, list[Result]], repr=False)
    unsaved: OSError | None = field(default=None, repr=False, compare=False)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it early."""
        return any(entry.status == "interrupted" for entry in self.entries)

    @property
    def metrics(self) -> list[str]:
        """What tables and plots show: the loss, and the held-out accuracy or, without one, the whole report."""
        found = list(dict.fromkeys(name for entry in self.entries for name in entry.final))
        others = [name for name in found if name != LOSS and not name.startswith("train_")]
        return [LOSS, *(["accuracy"] if "accuracy" in others else others)]

    def ranked(self) -> list[Entry]:
        """Best first: by held-out accuracy where there is one, then by loss; what has no result comes last."""

        def key(entry: Entry) -> tuple[Any, ...]:
            medians: list[float] = []
            for metric in ("accuracy", LOSS) if "accuracy" in self.metrics else (LOSS,):
                found = entry.spread(metric)
                median = float("inf") if found is None else float(found.median)
                medians.append(-median if found is not None and higher_is_better(metric) else median)
            return not entry.final, *medians

        return sorted(self.entries, key=key)

    def rows(self) -> list[dict[str, Any]]:
        """One plain dict an optimizer, best first: medians over seeds, with `..._range` beside each metric."""
        return [row(entry) for entry in self.ranked()]

    def table(self, width: int | None = None) -> "rich.table.Table":
        """A `rich` table, best first: `rich.print(comparison.table())`; `width` is the terminal's if not given."""
        from rich.console import Console

        wide = self._table(wide=True)
        return wide if fits(wide, width or Console().width) else self._table(wide=False)

    def _table(self, wide: bool) -> "rich.table.Table":
        return rich_table(self.ranked(), self.metrics, self.heading(), wide)

    def heading(self) -> str:
        """Problem, budget and seeds in a line."""
        limits = {name: limit for name, limit in self.facts["budget"].items() if limit is not None}
        words = {"evaluations": "forward passes a seed", "generations": "generations"}
        budget = [count(limits[name]) + f" {word}" for name, word in words.items() if name in limits]
        budget += [duration(limits["seconds"]) + " an optimizer"] if "seconds" in limits else []
        budget += [f"a loss of {value(limits['target'])}"] if "target" in limits else []
        seeds = self.facts["seeds"]
        return f"{self.title}: {' or '.join(budget)}, {seeds} seed{'s' if seeds > 1 else ''}"

    def plot(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write curves: one figure to a file (.png, .svg, .pdf), or one a file into a folder.

        Returns
        -------
        list of Path
            The files written: in a folder `overview.png`, `loss_evaluations.png`, `loss_seconds.png`, and likewise for
            each further metric.
        """
        from evolve.compare.plots import save_plots

        return save_plots(self, Path(path))

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write one HTML file that needs nothing beside it."""
        from evolve.compare.report import page

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page(self).encode())
        return path

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write results.json, report.html and the PNG curves; files of the same names are replaced."""
        folder = self.save_results(folder)
        for write in self.pages:
            write(folder)
        return folder

    @property
    def pages(self) -> tuple[Callable[[Path], Any], ...]:
        """What a folder holds beside results.json: functions that write it there."""
        return self.plot, lambda folder: self.report(folder / "report.html")

    def save_results(self, folder: str | os.PathLike[str]) -> Path:
        """Write results.json only: strict JSON, from which everything else can be made again."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, "title": self.title, "facts": plain(self.facts)}
        content["entries"] = [entry.to_json() for entry in self.entries]
        write_atomically(folder / _NAME, json.dumps(content, allow_nan=False).encode())
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Comparison":
        """Read a folder that `save` wrote.

        Raises
        ------
        FileNotFoundError
            It holds no results.json.
        ValueError
            The file is no comparison, or one of another version's format.
        """
        path = Path(folder) / _NAME
        if not path.exists():
            raise FileNotFoundError(f"{folder} holds no comparison (no {_NAME}).")
        try:
            found = json.loads(path.read_bytes())
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']}, this version reads {FORMAT}")
            return cls(found["title"], found["facts"], tuple(Entry.from_json(entry) for entry in found["entries"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a comparison that can be read: {error}.") from error

    def having(self, entry: Entry, results: list[Result], elapsed: float) -> "Comparison":
        """With an entry in the place of the one of its name, so many seconds after the start."""
        entries = tuple(entry if old.name == entry.name else old for old in self.entries)
        kept = self.results | ({entry.name: results} if results else {})
        return replace(self, facts=self.facts | {"elapsed": elapsed}, entries=entries, results=kept)

    def __str__(self) -> str:
        from rich.console import Console

        # Into a file or a pipe, lines are as long as they need be.
        width = Console().width if sys.stdout.isatty() else UNBOUNDED
        console = Console(width=width, color_system=None)
        with console.capture() as captured:
            console.print(self.table(width))
        return captured.get()
