"""`compare`: run one optimizer after the other, and lose nothing when one fails or the user has enough."""

import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import jax

from evolve.backend import Backend, Workers
from evolve.compare.comparison import Comparison
from evolve.compare.entry import Entry
from evolve.compare.live import Live
from evolve.compare.probe import Probe
from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem
from evolve.core.trees import float_dtype
from evolve.run import Budget, Result, run
from evolve.run.describe import describe
from evolve.run.directory import versions

if TYPE_CHECKING:
    import rich.console


class Options(TypedDict, total=False):
    """The optional arguments of `compare`."""

    evaluations: int | None
    generations: int | None
    seconds: float | None
    backend: Backend | Workers | None
    directory: str | os.PathLike[str] | None
    overwrite: bool
    title: str | None
    progress: bool
    console: "rich.console.Console | None"


def compare(
    problem: Problem,
    optimizers: Mapping[str, Optimizer],
    *,
    seeds: int = 5,
    seed: int = 0,
    **options: Unpack[Options],
) -> Comparison:
    """Run every optimizer on a problem from the same starts, with the same data in the same order and one budget.

    An optimizer that fails is reported as failed, and the others run. Ctrl-C keeps what there is.

    Parameters
    ----------
    problem
        What is searched. Its `report` is measured along the way, and never seen by an optimizer.
    optimizers
        By the names to show.
    seeds
        How many, at least 1: seed ... seed + seeds - 1, all at once, the same for every optimizer.
    evaluations
        Forward passes that each seed of each optimizer may spend; a gradient counts as three.
    seconds
        Wall-clock for all seeds of one optimizer together, compiling and measuring left out.
    generations
        A limit of another kind: how much it costs depends on the population.
    backend
        Of `run`.
    directory
        A folder for results.json (written again after every optimizer), report.html and PNG curves.
    overwrite
        Whether the folder may already hold a comparison, which is then replaced.
    title
        What to call the problem.
    progress, console
        Whether to show progress, and on which `rich` console: live on a terminal, else a line for each optimizer.

    Raises
    ------
    ValueError, TypeError
        No optimizer, no budget, or one that cannot be used.
    FileExistsError
        The folder holds a comparison.
    OSError
        The folder cannot be written; like the others, said before any work is done.
    """
    budget = Budget(*(options.get(name) for name in ("evaluations", "generations", "seconds")))
    _check(problem, optimizers, seeds)
    comparison = _begin(problem, optimizers, options.get("title"), {"seed": seed, "seeds": seeds, "budget": budget})
    directory, start = options.get("directory"), time.perf_counter()
    if directory is not None:
        _claim(Path(directory), comparison, options.get("overwrite", False))
    with Live(list(optimizers), budget, options.get("progress", True), options.get("console")) as live:
        for entry in comparison.entries:
            live.begin(entry.name)
            probe = Probe(problem, budget)
            shared = {"seed": seed, "seeds": seeds, "backend": options.get("backend")}
            entry, results = _outcome(entry, optimizers[entry.name], probe, live, shared)
            comparison = comparison.having(entry, results, time.perf_counter() - start)
            live.end(entry)
            if directory is not None:
                comparison.save_results(directory)
            if comparison.interrupted:
                break
    if directory is not None:
        comparison.save(directory)
    return comparison


def _outcome(
    entry: Entry, optimizer: Optimizer, probe: Probe, live: Live, shared: dict[str, Any]
) -> tuple[Entry, list[Result]]:
    """Run one optimizer; what happened, whatever it was."""
    try:
        results = run(
            probe.problem,
            optimizer,
            watch=[probe, lambda progress: live.update(progress, probe.loss)],
            watch_every=probe.next,
            **vars(probe.budget),
            **shared,
        )
        ended = entry.ended(results, probe.finish(results))
        stopped = probe.stopped or "interrupted" in ended.reasons
        return (replace(ended, status="interrupted") if stopped else ended), results
    except KeyboardInterrupt:
        return replace(entry, status="interrupted"), []
    except Exception as error:
        words = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return replace(entry, status="failed", error=words, traceback=traceback.format_exc()), []


def _check(problem: Problem, optimizers: Mapping[str, Optimizer], seeds: int) -> None:
    if not isinstance(problem, Problem):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"compare: {problem!r} is no Problem; wrap a function with evolve.core.wrap.")
    if not optimizers:
        raise ValueError("compare: there is no optimizer to compare; give at least one.")
    if seeds < 1:
        raise ValueError(f"compare: seeds is {seeds}; it must be at least 1.")
    for name, optimizer in optimizers.items():
        if not isinstance(optimizer, Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"compare: {name!r} is {optimizer!r}, which is no Optimizer; give an instance.")


def _begin(
    problem: Problem, optimizers: Mapping[str, Optimizer], title: str | None, given: dict[str, Any]
) -> Comparison:
    """Nothing has run yet."""
    device = jax.devices()[0]
    budget = {name: limit for name, limit in vars(given["budget"]).items() if name != "target"}
    facts = given | {
        "budget": budget,
        "problem": describe(problem),
        "versions": versions(),
        "device": f"{device.device_kind} ({os.cpu_count()} cores)" if device.platform == "cpu" else device.device_kind,
        "x64": str(float_dtype()) == "float64",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "elapsed": 0.0,
    }
    entries = tuple(Entry.of(name, optimizer) for name, optimizer in optimizers.items())
    return Comparison(title or _title(problem), facts, entries)


def _title(problem: Problem) -> str:
    """A function's or a class's name."""
    own = getattr(problem, "name", None) or getattr(getattr(problem, "function", None), "__name__", "<")
    return type(problem).__name__ if not isinstance(own, str) or own.startswith("<") else own


def _claim(folder: Path, comparison: Comparison, overwrite: bool) -> None:
    """Create the folder and prove that it can be written, before any work is done."""
    if (folder / "results.json").exists() and not overwrite:
        raise FileExistsError(f"{folder} already holds a comparison; choose another folder, or pass overwrite=True.")
    try:
        comparison.save_results(folder)
    except OSError as error:
        words = f"the comparison's folder cannot be written ({error.strerror})"
        raise type(error)(error.errno, words, str(folder)) from error
