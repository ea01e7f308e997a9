"""`run` and `minimize`: what users call."""

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Unpack, cast, overload

from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem, wrap
from evolve.core.trees import Params
from evolve.run.budget import Budget
from evolve.run.directory import RunDirectory
from evolve.run.options import SAVE_SECONDS, Options, Seeds, check, watchers
from evolve.run.prepare import prepare
from evolve.run.result import Result
from evolve.run.session import Session

LIMITS = ("evaluations", "generations", "seconds", "target")


@overload
def run(
    problem: Problem,
    optimizer: Optimizer,
    *,
    seed: int = 0,
    seeds: None = None,
    **options: Unpack[Options],
) -> Result: ...
@overload
def run(
    problem: Problem,
    optimizer: Optimizer,
    *,
    seed: int = 0,
    seeds: int,
    **options: Unpack[Options],
) -> list[Result]: ...
def run(
    problem: Problem,
    optimizer: Optimizer,
    *,
    seed: int = 0,
    seeds: int | None = None,
    **options: Unpack[Options],
) -> Result | list[Result]:
    """Run an optimizer on a problem until the first budget is spent.

    A run in which no member had a finite loss ends like any other, and a UserWarning says so.

    Parameters
    ----------
    problem, optimizer
        What is searched, and how.
    seed
        Decides everything that is drawn: the start, the directions, the minibatches.
    seeds
        Run seeds seed ... seed + seeds - 1 in one program, and return a list of results. They run side by side where
        the device's memory allows, else in turn.
    evaluations
        Forward passes to spend; an evaluation with its gradient counts three, an average each of its repeats. No
        generation is begun that would go beyond, but one is always run. Line searches, whose length nobody knows
        beforehand, may.
    generations, seconds, target
        Further limits. Seconds leave compiling out and are looked at between blocks of generations. The target is
        a loss: of the best member, or of a generation's mean where the problem is noisy.
    backend
        Where losses are computed: `Device()` by default, `Workers()` for a host fitness.
    watch
        Functions, or one, called with a `Progress` about four times a second, or every `watch_every` generations; one
        that returns True ends the run. A function as `watch_every` says, after a generation, which later one must be
        watched too.
    directory
        A folder for configuration, history and checkpoints: one before the first generation, one every
        `save_seconds` and one at the end. Should the disk fail in between, a warning says so, the run goes on in
        memory, and the next checkpoint is tried all the same.
    resume
        Go on from the newest good checkpoint in `directory`, bit for bit; the budgets given now count, for the
        whole run.

    Returns
    -------
    Result
        Or a list of them, with `seeds`. Ctrl-C ends the run with what there is, and reason "interrupted": the start,
        if it is still compiling. While the start is drawn, the loss traced and the folder opened, before anything
        is compiled, it is raised as KeyboardInterrupt; the folder is then free for another run, or can be resumed.

    Raises
    ------
    ValueError, TypeError
        A budget, a start or a loss that cannot be used: named, before any work is done.
    OSError
        The folder cannot be written, holds a run already (FileExistsError), holds none to resume
        (FileNotFoundError), or another process is at work in it (BlockingIOError): said before any work is done.
    CheckpointError
        The folder to resume from holds a run of another problem, optimizer, seed or precision, or no checkpoint
        in it is whole, or none is left of work that was done.
    """
    results = search(problem, optimizer, seed, seeds, options)
    _warn_of_failure(results, seed, seeds)
    return results[0] if seeds is None else results


@overload
def minimize(
    function: Callable[..., Any],
    x0: Params,
    optimizer: Optimizer,
    *,
    maximize: bool = False,
    host: bool = False,
    seed: int = 0,
    **options: Unpack[Options],
) -> Result: ...
@overload
def minimize(
    function: Callable[..., Any],
    x0: Params,
    optimizer: Optimizer,
    *,
    maximize: bool = False,
    host: bool = False,
    seed: int = 0,
    **options: Unpack[Seeds],
) -> list[Result]: ...
def minimize(
    function: Callable[..., Any],
    x0: Params,
    optimizer: Optimizer,
    *,
    maximize: bool = False,
    host: bool = False,
    seed: int = 0,
    **options: Any,
) -> Result | list[Result]:
    """Minimize a function of parameters, or of parameters and a key.

    Parameters
    ----------
    function
        A JAX function, or any Python function with `host=True`.
    x0
        The start: any pytree of floats.
    optimizer
        How to search.
    maximize
        The function is a fitness; the result's losses are minus it.
    seed
        Decides everything that is drawn.
    host
        The function is plain Python, evaluated by `Workers` (pass `backend=Workers(executor)` for a pool).
    **options
        Of `run`: `evaluations`, `seconds`, `target`, `seeds`, `backend`, `directory`, ... `evaluations` is 10,000 if
        no budget is given.

    Returns
    -------
    Result
        `result.answer` and `result.loss` are the best seen. With `seeds`, a list of such results.
    """
    if all(options.get(name) is None for name in LIMITS):
        options["evaluations"] = 10_000
    seeds: int | None = options.pop("seeds", None)
    results = search(wrap(function, x0, maximize=maximize, host=host), optimizer, seed, seeds, cast(Options, options))
    _warn_of_failure(results, seed, seeds)
    return results[0] if seeds is None else results


def search(problem: Problem, optimizer: Optimizer, seed: int, seeds: int | None, options: Options) -> list[Result]:
    """`run` for callers that say themselves what failed: one result a seed, no warning."""
    check(options)
    watch, directory = watchers(options.get("watch", ())), options.get("directory")
    budget = Budget(*(options.get(name) for name in LIMITS))
    task, carry, workers = prepare(problem, optimizer, seed, seeds, budget, options.get("backend"))
    session = Session(task, carry, workers, seed, budget)
    resume, pause = options.get("resume", False), options.get("save_seconds", SAVE_SECONDS)
    with nullcontext() if directory is None else RunDirectory(directory, session.job(), resume=resume) as folder:
        if folder is not None:
            session.settle(folder)
        return session.go(watch, options.get("watch_every"), pause)


def _warn_of_failure(results: Sequence[Result], seed: int, seeds: int | None) -> None:
    """Say once in which seeds no member had a finite loss: a bug in the fitness, more often than not."""
    barren = {
        place: result
        for place, result in enumerate(results, seed)
        if result.generations and not math.isfinite(result.history["best"][-1])
    }
    if not barren:
        return
    named = [*map(str, barren)][:10] + ["..."] * (len(barren) > 10)
    whose = "" if seeds is None else f" of seed{'s' * (len(barren) > 1)} {', '.join(named)}"
    error = results[0].error
    said = f"; the first said: {error.strip().splitlines()[-1].rstrip('.')}" if error else ""
    failed = f"{sum(result.failed for result in barren.values())} failed{said}"
    # The caller of `run` or `minimize`.
    warnings.warn(f"run: no member{whose} had a finite loss ({failed}); what is answered is the start.", stacklevel=3)
