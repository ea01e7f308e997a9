"""What watchers see, and the progress bar."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from evolve.core.trees import Params

WATCH_SECONDS = 0.25  # about how long a block of generations takes between two watch points


@dataclass(frozen=True)
class Progress:
    """A run at a watch point.

    `row` is the newest history row (arrays over seeds where several run at once); `total` the generations that the
    budget allows, if it says; `answer()` computes the answer so far, with a leading axis of seeds where
    several run.
    """

    generation: int
    evaluations: int
    seconds: float
    row: dict[str, Any]
    total: int | None
    answer: Callable[[], Params]


Watcher: TypeAlias = Callable[[Progress], bool | None]  # True asks the run to stop
Every: TypeAlias = int | Callable[[int], int]  # generations between watch points, or the one after a given one


class Pace:
    """How many generations fit between two watch points."""

    def __init__(self, every: Every | None) -> None:
        self.every = every
        self.count = 1 if every is None or callable(every) else every
        self.each = 0.0  # seconds a generation takes

    def until(self, generation: int, limit: float | None, spent: float) -> int:
        """Where the block after a generation ends, `spent` seconds into a run that may take `limit`."""
        until = generation + self.count
        if limit is not None and self.each > 0:
            until = min(until, generation + max(1, int((limit - spent) / self.each)))
        return min(until, max(generation + 1, self.every(generation))) if callable(self.every) else until

    def learn(self, seconds: float, done: int) -> None:
        """Aim at `WATCH_SECONDS`, at most eightfold a time: the first blocks are the slow ones."""
        self.each = seconds / max(1, done)
        if self.every is None or callable(self.every):
            self.count = max(1, min(8 * self.count, int(WATCH_SECONDS / max(self.each, 1e-9))))


class _Bar:
    """A live line; see `progress_bar`."""

    def __init__(self, label: str, console: Any) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Live

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.live = Live(*columns, console=console, transient=True)
        self.task = self.live.add_task(label, total=None, facts="compiling")

    def __call__(self, progress: Progress) -> None:
        import numpy as np

        facts = [f"{progress.evaluations:,} evaluations"]
        facts += [f"{name} {float(np.nanmean(progress.row[name])):.4g}" for name in ("mean",) if name in progress.row]
        self.live.update(self.task, completed=progress.generation, total=progress.total, facts="  ".join(facts))

    def __enter__(self) -> "_Bar":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()


def progress_bar(label: str = "search", console: Any = None) -> _Bar:
    """A watcher that draws a live progress bar: `with progress_bar() as bar: run(..., watch=[bar])`."""
    return _Bar(label, console)
