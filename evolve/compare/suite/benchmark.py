"""`benchmark`: every optimizer on every problem of a suite, each through one compiled program."""

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import jax
import numpy as np

from evolve.compare.contest import check_optimizers, claim, concluded, failed, kept, surroundings
from evolve.compare.entry import Entry
from evolve.compare.live import Live
from evolve.compare.suite.profiles import Profiles
from evolve.compare.suite.record import PROFILE, TARGETS, Recorded, moments
from evolve.compare.suite.suite import Case, Log, Suite
from evolve.core.guards import check_names
from evolve.core.optimizer import Optimizer
from evolve.core.trees import float_dtype
from evolve.run.budget import FAR, Budget, answers
from evolve.run.compiled import numeric
from evolve.run.prepare import seeds_of
from evolve.run.whole import Whole

if TYPE_CHECKING:
    import rich.console


class Options(TypedDict, total=False):
    """The optional arguments of `benchmark`."""

    directory: str | os.PathLike[str] | None
    overwrite: bool
    progress: bool
    console: "rich.console.Console | None"


def benchmark(
    suite: Suite, optimizers: Mapping[str, Optimizer], *, budget: int, seed: int = 0, **options: Unpack[Options]
) -> Profiles:
    """Run every optimizer once on every problem of a suite, and record when it reached which target.

    A run ends at the last target, 10^-8, with the budget, or where the method has nothing more to find. Runs of one
    method are evaluated side by side on the CPU's cores.

    Parameters
    ----------
    suite
        What is searched.
    optimizers
        By the names to show.
    budget
        Forward passes of a run, in multiples of the dimension; a gradient counts as three.
    seed
        Each problem's run has a seed of its own, counted from this one (`Case.seed`).
    directory, overwrite, progress, console
        As of `compare`.

    Raises
    ------
    ValueError, TypeError
        No optimizer, a budget or a seed that cannot be used, double precision that is off, an unknown option.
    FileExistsError, OSError
        As of `compare`.
    """
    check_names("benchmark", options, Options.__annotations__)
    limit = checked(suite, optimizers, budget, seed)
    profiles = Profiles.begin(suite, optimizers, {"budget": {"evaluations": limit}, "seed": seed} | surroundings())
    folder = None if (named := options.get("directory")) is None else Path(named)
    if folder is not None:
        claim(folder, profiles, options.get("overwrite", False))
    start, budgets = time.perf_counter(), Budget(evaluations=limit)
    with Live(list(optimizers), budgets, options.get("progress", True), options.get("console")) as live:
        for entry in profiles.entries:
            live.begin(entry.name)
            ended, log = _outcome(entry, optimizers[entry.name], suite, {"limit": limit, "seed": seed, "live": live})
            profiles = profiles.logged(ended, log, time.perf_counter() - start)
            live.end(ended, profiles.words(ended))
            if folder is not None:
                profiles = kept(profiles, folder, profiles.save_results)
            if profiles.interrupted:
                break
    return profiles if folder is None else concluded(profiles, folder)


def checked(suite: Suite, optimizers: Mapping[str, Optimizer], budget: int, seed: int) -> int:
    """The evaluations of a run, after all that `benchmark` refuses was refused.

    Raises
    ------
    ValueError, TypeError
        See `benchmark`.
    """
    if not suite.cases:
        raise ValueError("benchmark: the suite has no problems; give at least one function and one instance.")
    check_optimizers(suite.cases[0].problem, optimizers)
    seeds_of(seed, 1)
    if float_dtype() != np.float64:
        raise ValueError("benchmark: losses would be float32, which has no digits for 1e-8; run in jax.enable_x64().")
    if not 0 < budget * suite.dimension <= FAR:
        most = FAR // suite.dimension
        raise ValueError(f"benchmark: budget is {budget} times the dimension; give a number from 1 to {most}.")
    return int(budget * suite.dimension)


def _outcome(entry: Entry, optimizer: Optimizer, suite: Suite, shared: dict[str, Any]) -> tuple[Entry, Log | None]:
    """Run one optimizer; what happened, whatever it was."""
    try:
        at, limit = moments(suite.dimension, shared["limit"]), shared["limit"]
        method = numeric(recorded(suite.cases[0], optimizer, at))  # once for all cases
        whole = Whole(suite.cases[0].problem, method, limit, _record)
        start, done = time.perf_counter(), []
        for found in _each(whole, suite, method, shared["seed"]):
            done.append(found)
            shared["live"].part(len(done), len(suite.cases))
        records, ends = zip(*done, strict=True)
        names = ["evaluations", *method.reasons]
        log = Log.of(records, at, [str(names[end]) for end in ends])
        costs = {"seconds": time.perf_counter() - start, "compile_seconds": whole.program.seconds}
        facts = costs | {"memory": whole.program.memory, "failed": tuple(int(record.failed) for record in records)}
        return _ended(entry, log, answers(optimizer), facts), log
    except KeyboardInterrupt:
        return replace(entry, status="interrupted"), None
    except Exception as error:
        return failed(entry, error), None


def recorded(case: Case, optimizer: Optimizer, at: np.ndarray) -> Recorded:
    """A method whose run on a problem is recorded at these evaluations and at COCO's targets."""
    return Recorded(optimizer, np.float64(case.f_opt), TARGETS, at.astype(np.int32))


def _record(state: Any) -> Any:
    return state.record


def _each(whole: Whole, suite: Suite, method: Recorded, seed: int) -> Iterator[Any]:
    """Every case's record and why it ended, in order, computed on all cores.

    An accelerator does one thing at a time; the CPU's programs are small and use one core each. Whoever stops early
    waits for the runs that have begun.
    """

    def one(case: Case) -> Any:
        with jax.enable_x64(True):  # the setting belongs to a thread
            found = whole(case.problem, replace(method, f_opt=np.float64(case.f_opt)), case.seed(seed))
            return jax.device_get(found)

    workers = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(one, suite.cases)
    finally:
        pool.shutdown(cancel_futures=True)


def _ended(entry: Entry, log: Log, cost: int, facts: dict[str, Any]) -> Entry:
    """The entry with what the profiles need: hits of shape (targets, cases), NaN where there is none."""
    hits = np.where(log.hits > 0, log.hits, np.nan).T[PROFILE]
    return replace(
        entry,
        status="finished",
        reasons=log.reasons,
        evaluations=tuple((log.evaluations // cost).tolist()),
        forwards=tuple(log.evaluations.tolist()),
        final={"gap": log.best},
        curves={"hits": hits},
        **facts,
    )
