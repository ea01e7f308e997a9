"""The small table at the end of a run."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evolve.run import Result


def facts(seed: int, result: Result, metrics: dict[str, float]) -> dict[str, Any]:
    """What is worth knowing of a result, ready for JSON; the problem's report is marked as such."""
    return {
        "seed": seed,
        "loss": result.loss,
        **{f"report: {name}": value for name, value in metrics.items()},
        "generations": result.generations,
        "evaluations": result.evaluations,
        "forward passes": result.forwards,
        "seconds": round(result.seconds, 3),
        "compiling": round(result.compile_seconds, 3),
        "stopped by": result.reason,
        "failed members": result.failed,
        "first error": result.error,
    }


def show(title: str, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Print one row a fact, one column a seed; a host fitness's first traceback; and where everything lies."""
    console = wide_console()
    table = Table(title=escape(title), title_justify="left", show_header=False)
    names = [name for name in rows[0] if name not in ("first error", "seed" if len(rows) == 1 else "")]
    for name in names:
        table.add_row(name, *(_cell(row[name]) for row in rows))
    console.print(table)
    error = next((row["first error"] for row in rows if row["first error"]), None)
    if error:
        console.print(f"The first error of a fitness:\n{error.rstrip()}", markup=False, highlight=False)
    console.print(f"saved in {folder}", markup=False, highlight=False, soft_wrap=True)


def wide_console() -> Console:
    """As wide as the terminal; into a file or a pipe, as wide as lines need be."""
    return Console() if sys.stdout.isatty() else Console(width=500)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
