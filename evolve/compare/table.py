"""The table of a comparison, for programs and for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evolve.compare.entry import LOSS, Entry, higher_is_better
from evolve.compare.words import count, duration, interval, size

if TYPE_CHECKING:
    import rich.table


def row(entry: Entry) -> dict[str, Any]:
    """Plain numbers: medians over seeds; `seconds` with compiling, bytes of `memory`, both of all seeds at once."""
    metrics: dict[str, Any] = {}
    for metric in entry.final:
        low, median, high = entry.spread(metric) or (None, None, None)
        metrics |= {metric: _number(median), f"{metric}_range": [_number(low), _number(high)]}
    return {
        "optimizer": entry.name,
        "family": entry.family,
        "status": entry.status,
        "error": entry.error,
        "evaluations": _median(entry.evaluations),
        "forwards": _median(entry.forwards),
        "failed": _median(entry.failed),
        "seconds": total(entry),
        "compile_seconds": entry.compile_seconds,
        "memory": entry.memory,
        **metrics,
    }


def total(entry: Entry) -> float | None:
    """Seconds with compiling."""
    return None if entry.seconds is None else entry.seconds + (entry.compile_seconds or 0.0)


def header(metric: str) -> str:
    """A metric's name in a table or on an axis."""
    names = {LOSS: "final loss", "accuracy": "held-out accuracy"}
    return names.get(metric, metric.replace("_", " "))


def cells(entry: Entry) -> list[str]:
    """Name, evaluations, forward passes, seconds, seconds of compiling, memory."""
    numbers = (_median(entry.evaluations), _median(entry.forwards))
    counts = ["–" if number is None else count(number) for number in numbers]
    return [entry.name, *counts, duration(total(entry)), duration(entry.compile_seconds), size(entry.memory)]


HEADERS = ("optimizer", "evaluations", "forwards", "seconds", "compiling", "memory")
_NARROW = ("optimizer", "evals", "forward\npasses", "seconds\n(compile)", "memory")
UNBOUNDED = 1 << 20  # columns, where no terminal sets a limit


def leaders(entries: Sequence[Entry], metric: str) -> list[str]:
    """The names of those with the best median."""
    medians = {entry.name: float(found.median) for entry in entries if (found := entry.spread(metric))}
    finite = [median for median in medians.values() if np.isfinite(median)]
    if not finite:
        return []
    best = max(finite) if higher_is_better(metric) else min(finite)
    return [name for name, median in medians.items() if median == best]


def fits(table: "rich.table.Table", width: int) -> bool:
    """Whether so many columns can show all of a table, with no line broken or cut."""
    from rich.console import Console

    return Console(width=UNBOUNDED).measure(table).maximum <= width


def rich_table(entries: Sequence[Entry], metrics: Sequence[str], title: str, wide: bool) -> "rich.table.Table":
    """For a terminal; see `Comparison.table`. In a narrow one ranges stand below their medians."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    troubles = [f"{entry.name} {trouble(entry)}" for entry in entries if trouble(entry)]
    table = Table(
        title=escape(title),
        caption=escape("\n".join(troubles)) or None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1 if wide else 0),
    )
    for place, name in enumerate(HEADERS if wide else _NARROW):
        # In a terminal that is narrower still, a name goes on below instead of being cut.
        table.add_column(name, justify="right" if place else "left", no_wrap=bool(place), overflow="fold", min_width=5)
    metrics = metrics if wide else metrics[:2]
    for metric in metrics:
        table.add_column(header(metric) if wide else header(metric).replace(" ", "\n"), justify="right", no_wrap=True)
    best = {metric: leaders(entries, metric) for metric in metrics}
    for entry in entries:
        shown: list[str] = []
        for metric in metrics:
            median, ends = interval(entry.spread(metric), metric)
            style = "bold green" if entry.name in best[metric] else "bold"
            between = " " if wide or not ends else "\n"
            shown.append(f"[{style}]{median}[/]{between}[dim]{escape(ends)}[/]" if entry.final else entry.status)
        facts = cells(entry) if wide else _stacked(cells(entry))
        table.add_row(*map(escape, facts), *shown, style=None if entry.final else "dim")
    return table


def _stacked(facts: list[str]) -> list[str]:
    """Compiling below the seconds that it is a part of."""
    name, evaluations, forwards, seconds, compiling, memory = facts
    return [name, evaluations, forwards, f"{seconds}\n({compiling})", memory]


def trouble(entry: Entry) -> str | None:
    """What the reader should know about an entry, in words; None if all went well."""
    if entry.status != "finished":
        return entry.status + (f": {entry.error}" if entry.error else "")
    if any(entry.failed):
        lost = f": {entry.error}" if entry.error else ""
        return f"had {count(sum(entry.failed))} members with a loss that is not finite{lost}"
    return None


def _median(values: Sequence[int]) -> float | None:
    return float(np.median(values)) if values else None


def _number(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
