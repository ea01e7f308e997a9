"""`run` and `minimize`: what users call."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack, overload

from evolve.backend import Backend, Workers
from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem, wrap
from evolve.core.trees import Params
from evolve.run.budget import Budget
from evolve.run.directory import RunDirectory
from evolve.run.progress import Watcher
from evolve.run.result import Result
from evolve.run.session import Session

SAVE_SECONDS = 5.0  # at least this long between two checkpoints


class Options(TypedDict, total=False):
    """The optional arguments of `run`, in its own order."""

    evaluations: int | None
    generations: int | None
    seconds: float | None
    target: float | None
    backend: Backend | Workers | None
    watch: Sequence[Watcher]
    watch_every: int | None
    directory: str | os.PathLike[str] | None
    resume: bool
    save_seconds: float


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

    Parameters
    ----------
    problem, optimizer
        What is searched, and how.
    seed
        Decides everything that is drawn: the start, the directions, the minibatches.
    seeds
        Run seeds seed ... seed + seeds - 1 at once, by `vmap`, and return a list of results.
    evaluations
        Forward passes to spend, at least one generation's; an evaluation with its gradient counts three.
    generations, seconds, target
        Further limits. Seconds leave compiling out and are looked at between blocks of generations. The target is
        a loss: of the best member, or of a generation's mean where the problem is noisy.
    backend
        Where losses are computed: `Device()` by default, `Workers()` for a host fitness.
    watch
        Called with a `Progress` about four times a second, or every `watch_every` generations; one that returns
        True ends the run.
    directory
        A folder for configuration, history and checkpoints, one every `save_seconds` and one at the end.
    resume
        Go on from the newest good checkpoint in `directory`, bit for bit; the budgets given now count.

    Returns
    -------
    Result
        Or a list of them, with `seeds`. Ctrl-C ends the run with what there is, and reason "interrupted".

    Raises
    ------
    ValueError, TypeError
        A budget, a start or a loss that cannot be used: named, before any work is done.
    OSError
        The folder cannot be written: said before any work is done.
    """
    budget = Budget(*(options.get(name) for name in ("evaluations", "generations", "seconds", "target")))
    watch_every, directory, resume = options.get("watch_every"), options.get("directory"), options.get("resume", False)
    if seeds is not None and seeds < 1:
        raise ValueError(f"run: seeds is {seeds}; it must be at least 1.")
    if watch_every is not None and watch_every < 1:
        raise ValueError(f"run: watch_every is {watch_every}; it must be at least 1.")
    session = Session(problem, optimizer, seed, seeds, budget, options.get("backend"))
    folder = None
    if directory is not None:
        folder = RunDirectory(directory, session.job(), resume=resume)
        if resume:
            session.restore(folder)
    elif resume:
        raise ValueError("run: resume needs the directory of the run to go on with.")
    return session.go(options.get("watch", ()), watch_every, folder, options.get("save_seconds", SAVE_SECONDS))


def minimize(
    function: Callable[..., Any],
    x0: Params,
    optimizer: Optimizer,
    *,
    maximize: bool = False,
    host: bool = False,
    seed: int = 0,
    **options: Unpack[Options],
) -> Result:
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
        Of `run`: `evaluations`, `seconds`, `target`, `backend`, `directory`, ... `evaluations` is 10,000 if
        no budget is given.

    Returns
    -------
    Result
        `result.answer` and `result.loss` are the best seen.
    """
    if not any(options.get(name) is not None for name in ("evaluations", "generations", "seconds", "target")):
        options["evaluations"] = 10_000
    return run(wrap(function, x0, maximize=maximize, host=host), optimizer, seed=seed, **options)
