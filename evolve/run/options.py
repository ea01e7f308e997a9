"""The options of a run, and what is wrong with one."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Required, TypedDict

from evolve.backend import Backend, Workers
from evolve.core.guards import check_names
from evolve.run.progress import Every, Watcher

SAVE_SECONDS = 5.0  # at least this long between two checkpoints


class Options(TypedDict, total=False):
    """The optional arguments of `run`, in its own order."""

    evaluations: int | None
    generations: int | None
    seconds: float | None
    target: float | None
    backend: Backend | Workers | None
    watch: Sequence[Watcher] | Watcher
    watch_every: Every | None
    directory: str | os.PathLike[str] | None
    resume: bool
    save_seconds: float


class Seeds(Options):
    """The same of several seeds at once."""

    seeds: Required[int]


def check(options: Options) -> None:
    """Refuse names that `run` does not know, and values that make no sense.

    Raises
    ------
    ValueError, TypeError
        The message names the option, and says what it may be.
    """
    check_names("run", options, Options.__annotations__)
    every, pause = options.get("watch_every"), options.get("save_seconds", SAVE_SECONDS)
    if every is not None and not callable(every) and (not isinstance(every, int) or every < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"run: watch_every is {every}; it must be a whole number of at least 1, or a function.")
    if not pause >= 0:
        raise ValueError(f"run: save_seconds is {pause}; it must be at least 0.")
    if options.get("resume") and options.get("directory") is None:
        raise ValueError("run: resume needs the directory of the run to go on with.")


def watchers(watch: Any) -> Sequence[Watcher]:
    """Of the option `watch`: functions, or one.

    Raises
    ------
    TypeError
        It is neither.
    """
    several: Any = [watch] if callable(watch) else list(watch) if isinstance(watch, Iterable) else [watch]
    if not all(map(callable, several)):
        raise TypeError(f"run: watch is {watch!r}; give a function of a Progress, or a list of them.")
    return several
