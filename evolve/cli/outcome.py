"""How a run ended: answers, what the problem reports of them, and the summary, saved and shown."""

import json
from collections import Counter
from collections.abc import Sequence
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

REPORT_ERROR = "report failed"


def conclude(problem: Problem, results: Sequence[Result], job: Job, folder: Path, quiet: bool) -> str | None:
    """Save all answers, then what the problem reports of them, and show the summary.

    Returns
    -------
    str or None
        Which report failed, if one did; everything else is saved.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    first = int(job.run.get("seed", 0))
    for seed, result in enumerate(results, first):
        stem = "answer" if len(results) == 1 else f"answer-{seed}"
        write_atomically(folder / f"{stem}.safetensors", save(_flat(result.answer)))
    rows = [
        facts(seed, vars(result), _metrics(problem, result.answer, source(job.problem)))
        for seed, result in enumerate(results, first)
    ]
    title = f"{job.problem.name}, {job.optimizer.name}"
    write_atomically(folder / SUMMARY, json.dumps({"title": title, "rows": rows}, indent=2).encode())
    if not quiet:
        show(title, rows, folder)
    failed = next((row for row in rows if REPORT_ERROR in row), None)
    if failed is None:
        return None
    return f"the report of seed {failed['seed']} failed: {failed[REPORT_ERROR]}; the answers are in {folder}"


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
