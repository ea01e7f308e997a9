"""What `evolve compare` was asked for, and what it shows in the end, of one problem or of a suite."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evolve.cli.errors import RunError, UsageError
from evolve.cli.summary import wide_console
from evolve.compare import Comparison
from evolve.compare.entry import LOSS
from evolve.core import Optimizer, Problem
from evolve.core.trees import Params
from evolve.run.budget import forwards


def show(found: Comparison, folder: Path) -> None:
    """Print the table, and where the report lies."""
    console = wide_console()
    console.print(found.table(console.width))
    console.print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def judged(found: Comparison, folder: Path) -> int:
    """The exit status, or why it went wrong.

    Raises
    ------
    KeyboardInterrupt, RunError
        Says what happened, and where what there is lies.
    """
    if found.interrupted:
        raise KeyboardInterrupt(f"interrupted; what was finished is in {folder}")
    unsaved: OSError | None = getattr(found, "unsaved", None)
    if unsaved is not None:
        raise RunError(f"{folder} could not be written ({unsaved}): what is there is not complete.")
    broken = [entry.name for entry in found.entries if entry.status == "failed"]
    if broken:
        raise RunError(f"{', '.join(broken)} failed; {folder / 'report.html'} has the details.")
    # Of a suite it is known by how much the minimum was missed.
    losses = [entry.final[LOSS if LOSS in entry.final else "gap"] for entry in found.entries]
    if not np.isfinite(np.concatenate(losses)).any():
        raise RunError(f"no optimizer had a finite loss; {folder / 'report.html'} has the details.")
    return 0


def warn_of_small(
    evaluations: int | None, problem: Problem, optimizers: Mapping[str, Optimizer], start: Params
) -> None:
    """Say on stderr which optimizers cannot keep to a budget: one generation is always run."""
    if evaluations is None:
        return
    costs: dict[str, int] = {}
    for name, optimizer in optimizers.items():
        with contextlib.suppress(Exception):  # it will fail in its turn, and say why
            costs[name] = _cost(problem, optimizer, start)
    dear = [f"{name} ({cost:,})" for name, cost in costs.items() if cost > evaluations]
    if dear:
        what = f"a budget of {evaluations:,} forward passes is less than one generation of {', '.join(dear)}"
        print(f"evolve: {what}; one is run all the same.", file=sys.stderr)


def _cost(problem: Problem, optimizer: Optimizer, start: Params) -> int:
    """Forward passes of the first generation, at least."""

    def first() -> Any:
        key = jax.random.key(0)
        return optimizer.ask(optimizer.init(start, key), key)

    return jax.eval_shape(first).least * forwards(problem, optimizer)


def named_ones(text: str) -> list[str]:
    """The names in `--optimizers A,B,C`.

    Raises
    ------
    UsageError
        There is none, or one stands there twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("--optimizers is empty; give names of evolve list, such as openes,cmaes.")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--optimizers names {name} {names.count(name)} times; once is enough.")
    return names
