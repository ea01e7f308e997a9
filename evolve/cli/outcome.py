"""How a run ended: answers, what the problem reports of them, and the summary, saved and shown."""

import json
import warnings
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.flax import save  # needs jax alone; unlike NumPy's it knows bfloat16

from evolve.cli.errors import blamed
from evolve.cli.folders import SUMMARY
from evolve.cli.job import Job, source
from evolve.cli.summary import facts, show
from evolve.core import Problem
from evolve.core.trees import as_arrays
from evolve.run import Result
from evolve.run.checkpoint import write_atomically
from evolve.run.session import Unsaved

REPORT_ERROR = "report failed"


@contextmanager
def noticing() -> Generator[list[OSError]]:
    """Collect why the end of a run is not in its folder, which the warning says in words of the Python interface."""
    found: list[OSError] = []
    show = warnings.showwarning

    def notice(message: Warning | str, *where: Any, **more: Any) -> None:
        if isinstance(message, Unsaved):
            found.append(message.error)
        else:
            show(message, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", Unsaved)
        warnings.showwarning = notice
        yield found


def conclude(
    problem: Problem, results: Sequence[Result], job: Job, folder: Path, quiet: bool, lost: list[OSError]
) -> str | None:
    """Save all answers, then what the problem reports of them, and show the summary.

    A folder from which something was `lost` gets no summary: it is to be resumed.

    Returns
    -------
    str or None
        What is not in the folder, or which report failed; everything else is saved.
    """
    first = int(job.run.get("seed", 0))
    for seed, result in enumerate(results, first):
        stem = "answer" if len(results) == 1 else f"answer-{seed}"
        _write(folder / f"{stem}.safetensors", save(_flat(result.answer)), lost)
    rows = [
        facts(seed, vars(result), _metrics(problem, result.answer, source(job.problem)))
        for seed, result in enumerate(results, first)
    ]
    title = f"{job.problem.name}, {job.optimizer.name}"
    if not lost:
        _write(folder / SUMMARY, json.dumps({"title": title, "rows": rows}, indent=2).encode(), lost)
    if not quiet:
        show(title, rows, None if lost else folder)
    if lost:
        cure = f"once it can be written, go on with: evolve run --resume {folder}"
        what = f"{lost[0].strerror or lost[0]}{f': {lost[0].filename}' if lost[0].filename else ''}"
        return f"{folder} is not complete ({what}); {cure}"
    failed = next((row for row in rows if REPORT_ERROR in row), None)
    if failed is None:
        return None
    return f"the report of seed {failed['seed']} failed: {failed[REPORT_ERROR]}; the answers are in {folder}"


def _write(path: Path, content: bytes, lost: list[OSError]) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        lost.append(error)


def _metrics(problem: Problem, answer: Any, file: str) -> dict[str, Any]:
    """The problem's report of an answer; what went wrong in it takes the place of what it did not say.

    A host problem gets NumPy arrays, as its loss does.
    """
    found: dict[str, Any] = {}
    try:
        report = problem.report(answer if problem.host else as_arrays(answer))
        for name, value in report.items():
            if np.ndim(value) == 0:
                found[f"report: {name}"] = _number(name, value)
    except Exception as error:  # the user's code: the search was fine, and its answers must not be lost
        found[REPORT_ERROR] = blamed(error, file)
    return found


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}, which is no number") from None


def _flat(params: Any) -> dict[str, Any]:
    """Parameters by their path in the tree, such as `layer_0.w`; where that would name two leaves, as Python has it."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") or "answer" for path, _ in leaves]
    if max(Counter(names).values(), default=0) > 1:
        names = [jax.tree_util.keystr(path) for path, _ in leaves]
    return {name: jax.numpy.asarray(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}
