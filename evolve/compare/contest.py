"""`compare`: run one optimizer after the other, and lose nothing when one fails or the user has enough."""

import os
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import jax

from evolve.backend import Backend, Workers
from evolve.compare.comparison import Comparison
from evolve.compare.entry import Entry
from evolve.compare.live import Live
from evolve.compare.probe import Probe
from evolve.core.guards import check_names
from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem
from evolve.core.trees import float_dtype
from evolve.run import Budget, Result
from evolve.run.api import search
from evolve.run.describe import outline
from evolve.run.directory import versions
from evolve.run.prepare import check_backend, check_optimizer, seeds_of

if TYPE_CHECKING:
    import rich.console


C = TypeVar("C", bound=Comparison)


class Options(TypedDict, total=False):
    """The optional arguments of `compare`."""

    evaluations: int | None
    generations: int | None
    seconds: float | None
    target: float | None
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
    target
        A loss at which a seed ends; see `run`.
    backend
        Of `run`.
    directory
        A folder for results.json (written again after every optimizer), report.html and PNG curves. Should the disk
        fail on the way, a warning says so, all goes on in memory, and the comparison's `unsaved` holds the error.
    overwrite
        Whether the folder may already hold a comparison, which is then replaced.
    title
        What to call the problem.
    progress, console
        Whether to show progress, and on which `rich` console: live on a terminal, else a line for each optimizer.

    Raises
    ------
    ValueError, TypeError
        No optimizer, no budget, or one that cannot be used; an option that is not known.
    FileExistsError
        The folder holds a comparison.
    OSError
        The folder cannot be written; like the others, said before any work is done.
    """
    check_names("compare", options, Options.__annotations__)
    budget = Budget(*(options.get(name) for name in ("evaluations", "generations", "seconds", "target")))
    check_optimizers(problem, optimizers)
    several, backend = seeds_of(seed, seeds), options.get("backend")
    check_backend(problem, backend)
    given = {"seed": seed, "seeds": len(several), "budget": budget}
    comparison = _begin(problem, optimizers, options.get("title"), given)
    folder = None if (named := options.get("directory")) is None else Path(named)
    if folder is not None:
        claim(folder, comparison, options.get("overwrite", False))
    start = time.perf_counter()
    with Live(list(optimizers), budget, options.get("progress", True), options.get("console")) as live:
        for entry in comparison.entries:
            live.begin(entry.name)
            shared: dict[str, Any] = {"live": live, "seeds": several, "backend": backend}
            entry, results = _outcome(entry, optimizers[entry.name], Probe(problem, budget), **shared)
            comparison = comparison.having(entry, results, time.perf_counter() - start)
            live.end(entry)
            if folder is not None:
                comparison = kept(comparison, folder, comparison.save_results)
            if comparison.interrupted:
                break
    return comparison if folder is None else concluded(comparison, folder)


def kept(comparison: C, folder: Path, save: Callable[[Path], Any]) -> C:
    """Save. A disk that fails now does not end the comparison: all is in memory, and the next save tries again."""
    try:
        save(folder)
    except OSError as error:
        if comparison.unsaved is None:
            cure = "the comparison goes on in memory and is what `compare` returns"
            warnings.warn(f"compare: {folder} cannot be written ({error}); {cure}.", stacklevel=4)
        return replace(comparison, unsaved=error)
    return replace(comparison, unsaved=None)


def concluded(comparison: C, folder: Path) -> C:
    """Save all. What cannot be drawn is no reason to lose what was measured."""

    def pages(folder: Path) -> None:
        for save in comparison.pages:
            try:
                save(folder)
            except OSError:
                raise
            except Exception as error:
                what = f"compare: {folder} lacks pictures ({type(error).__name__}: {error})"
                warnings.warn(f"{what}; its results.json is whole.", stacklevel=5)

    saved = kept(comparison, folder, comparison.save_results)
    return saved if saved.unsaved is not None else kept(saved, folder, pages)


def _outcome(
    entry: Entry, optimizer: Optimizer, probe: Probe, live: Live, seeds: range, backend: Backend | Workers | None
) -> tuple[Entry, list[Result]]:
    """Run one optimizer; what happened, whatever it was."""
    try:
        watch = [probe, lambda progress: live.update(progress, probe.loss)]
        options: Any = {"watch": watch, "watch_every": probe.next, "backend": backend, **vars(probe.budget)}
        results = search(probe.problem, optimizer, seeds[0], len(seeds), options)
        ended = entry.ended(results, probe.finish(results))
        stopped = probe.stopped or "interrupted" in ended.reasons
        return (replace(ended, status="interrupted") if stopped else ended), results
    except KeyboardInterrupt:
        return replace(entry, status="interrupted"), []
    except Exception as error:
        return failed(entry, error), []


def failed(entry: Entry, error: Exception) -> Entry:
    """With what is raised just now."""
    words = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return replace(entry, status="failed", error=words, traceback=traceback.format_exc())


def check_optimizers(problem: Problem, optimizers: Mapping[str, Optimizer]) -> None:
    """Refuse what is no problem, no optimizer, or none at all.

    Raises
    ------
    ValueError, TypeError
        The message names it.
    """
    if not isinstance(problem, Problem):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"compare: {problem!r} is no Problem; wrap a function with problems.wrap.")
    if not isinstance(optimizers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(optimizers).__name__
        raise TypeError(f"compare: optimizers is of class {kind}; give a dict of names and optimizers.")
    if not optimizers:
        raise ValueError("compare: there is no optimizer to compare; give at least one.")
    for name, optimizer in optimizers.items():
        check_optimizer(f"compare: {name!r}", optimizer)


def _begin(
    problem: Problem, optimizers: Mapping[str, Optimizer], title: str | None, given: dict[str, Any]
) -> Comparison:
    """Nothing has run yet."""
    budget = {name: limit for name, limit in vars(given["budget"]).items() if (name, limit) != ("target", None)}
    facts = given | {"budget": budget, "problem": outline(problem)} | surroundings()
    entries = tuple(Entry.of(name, optimizer) for name, optimizer in optimizers.items())
    return Comparison(title or _title(problem), facts, entries)


def surroundings() -> dict[str, Any]:
    """Where and when: facts of every comparison."""
    device = jax.devices()[0]
    return {
        "versions": versions(),
        "device": f"{device.device_kind} ({os.cpu_count()} cores)" if device.platform == "cpu" else device.device_kind,
        "x64": str(float_dtype()) == "float64",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "elapsed": 0.0,
    }


def _title(problem: Problem) -> str:
    """A function's or a class's name."""
    own = getattr(problem, "name", None) or getattr(getattr(problem, "function", None), "__name__", "<")
    return type(problem).__name__ if not isinstance(own, str) or own.startswith("<") else own


def claim(folder: Path, comparison: Comparison, overwrite: bool) -> None:
    """Create the folder and prove that it can be written, before any work is done."""
    if (folder / "results.json").exists() and not overwrite:
        raise FileExistsError(f"{folder} already holds a comparison; choose another folder, or pass overwrite=True.")
    try:
        comparison.save_results(folder)
    except OSError as error:
        words = f"the comparison's folder cannot be written ({error.strerror})"
        raise type(error)(error.errno, words, str(folder)) from error
