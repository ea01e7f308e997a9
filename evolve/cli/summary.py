"""The small table at the end of a run."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def facts(seed: int, result: Mapping[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """What is worth knowing of a result, ready for JSON, with what the problem reports of its answer.

    The result is given by the names of its fields; result.json has them too.
    """
    return {
        "seed": seed,
        "loss": result["loss"],
        **metrics,
        "generations": result["generations"],
        "evaluations": result["evaluations"],
        "forward passes": result["forwards"],
        "seconds": round(result["seconds"], 3),
        "compiling": round(result["compile_seconds"], 3),
        "stopped by": result["reason"],
        "failed members": result["failed"],
        "first error": result["error"],
    }


def show(title: str, rows: Sequence[dict[str, Any]], folder: Path | None) -> None:
    """Print one row a fact, one column a seed; a host fitness's first traceback; and the folder, if it is whole."""
    console = wide_console()
    table = Table(title=escape(title), title_justify="left", show_header=False)
    names = dict.fromkeys(name for row in rows for name in row)  # one seed's report may have failed
    for name in names:
        if name not in ("first error", "seed" if len(rows) == 1 else ""):
            table.add_row(name, *(escape(_cell(row.get(name, ""))) for row in rows))
    console.print(table)
    error = next((row["first error"] for row in rows if row.get("first error")), None)
    if error:
        console.print(f"The first error of a fitness:\n{error.rstrip()}", markup=False, highlight=False)
    if folder is not None:
        console.print(f"saved in {folder}", markup=False, highlight=False, soft_wrap=True)


def wide_console() -> Console:
    """As wide as the terminal; into a file or a pipe, as wide as lines need be."""
    return Console() if sys.stdout.isatty() else Console(width=500)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
