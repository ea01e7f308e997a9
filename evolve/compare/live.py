"""Progress of a comparison: two live lines on a terminal, else one plain line for each optimizer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evolve.compare.entry import Entry
from evolve.compare.table import header, total, trouble
from evolve.compare.words import count, duration, interval, value
from evolve.run.budget import Budget
from evolve.run.progress import Progress

if TYPE_CHECKING:
    import rich.console


class Live:
    """Shows which optimizer runs, how far it is, its loss, and how those before it ended."""

    def __init__(
        self, names: Sequence[str], budget: Budget, show: bool, console: "rich.console.Console | None"
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self.budget, self.width = budget, max(map(len, names))
        self.console = Console(quiet=True) if not show else console or Console()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeElapsedColumn(),
        )
        self.bars = Bars(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.whole = self.bars.add_task("all".ljust(self.width), total=len(names), facts=f"0 of {len(names)}")
        self.names, self.done = names, 0
        self.current = self.bars.add_task("", total=1.0, facts="")

    def begin(self, name: str) -> None:
        """An optimizer starts."""
        self.bars.reset(self.current, description=name.ljust(self.width), total=None, facts="compiling")

    def update(self, progress: Progress, loss: float | None) -> None:
        """A watch point: how much of the budget is spent, by whichever limit is nearest."""
        limits = (self.budget.evaluations, self.budget.generations, self.budget.seconds)
        spent = (progress.evaluations, progress.generation, progress.seconds)
        part = max((done / limit for done, limit in zip(spent, limits, strict=True) if limit), default=None)
        facts = f"{count(progress.evaluations)} forwards" + ("" if loss is None else f"  loss {value(loss)}")
        self.bars.update(self.current, completed=min(part or 0.0, 1.0), total=part and 1.0, facts=facts)

    def part(self, done: int, total: int) -> None:
        """So many of its runs are done."""
        self.bars.update(self.current, completed=done, total=total, facts=f"{done} of {total} runs")

    def end(self, entry: Entry, found: str = "") -> None:
        """An optimizer is done: say how it ended, with its metrics or in the words given."""
        self.done += 1
        self.bars.update(self.whole, completed=self.done, facts=f"{self.done} of {len(self.names)}")
        words = [entry.name.ljust(self.width), *([found] if found else [])]
        for metric in [name for name in ("loss", "accuracy") if name in entry.final]:
            median, ends = interval(entry.spread(metric), metric)
            words.append(f"{header(metric)} {median} {ends}".rstrip())
        words += [duration(total(entry))] if entry.final else []
        words += [note] if (note := trouble(entry)) else []
        self.console.print("  ".join(words), markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> "Live":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()
