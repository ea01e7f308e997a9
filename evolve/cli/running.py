"""`evolve run`: a job, live, saved as it goes."""

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evolve.cli import folders
from evolve.cli.arguments import Run
from evolve.cli.errors import RunError, UsageError, blamed, exhausted, line_of
from evolve.cli.folders import COMMAND
from evolve.cli.job import Job, check_oracle, check_start, source
from evolve.cli.naming import Named, parse_problem
from evolve.cli.outcome import conclude, noticing
from evolve.cli.registry import OPTIMIZERS, PROBLEMS
from evolve.cli.resuming import resumed
from evolve.cli.values import parameters
from evolve.core import Problem
from evolve.core.trees import float_dtype
from evolve.run import Progress, Result, progress_bar
from evolve.run.api import search
from evolve.run.checkpoint import write_atomically
from evolve.run.options import SAVE_SECONDS


def run(command: Run) -> int:
    """Carry out `evolve run`; returns the exit status."""
    job = resumed(command) if command.resume is not None else _new(command)
    with jax.enable_x64(job.run.get("x64", False)):
        problem, optimizer = job.build()
        check_oracle(problem, optimizer, job.optimizer.name)
        check_start(problem, job.problem)
        with _folder(command, job) as folder, noticing() as lost:
            results = _search(problem, optimizer, job, folder, command)
            failure = conclude(problem, results, job, folder, command.quiet, lost)
    if any(result.reason == "interrupted" for result in results):
        raise KeyboardInterrupt(f"interrupted; {failure}" if lost else _interrupted(folder))
    _check(results)
    if failure is not None:
        raise RunError(failure)
    return 0


def _new(command: Run) -> Job:
    """The job of the words, or of the file that they name."""
    if command.problem is None:
        raise UsageError("name a PROBLEM or a JOB.toml, or --resume DIR; see evolve list.")
    if command.problem.endswith(".toml"):
        job = Job.read(Path(command.problem)).overridden(command)
    else:
        problem = parse_problem(command.problem)
        if command.optimizer is None:
            raise UsageError("--optimizer NAME is missing; see evolve list.")
        job = Job(problem, Named(command.optimizer, {}), {}, {}).overridden(command)
    return job.settled(x64=float_dtype() == np.float64)


@contextmanager
def _folder(command: Run, job: Job) -> Generator[Path]:
    """The run's folder with the command in it, before anything is computed: a kill at any moment can be resumed."""
    default = f"{job.problem.settings.get('object', job.problem.name)}-{job.optimizer.name}"
    old = None if command.resume is None else Path(command.resume)
    claim = folders.claimed(job.run.get("out"), default) if old is None else folders.held(old)
    with claim as new:
        folder = new or Path(str(old))
        try:
            write_atomically(folder / COMMAND, json.dumps(job.tables(), indent=2).encode())
        except OSError as error:
            raise UsageError(f"the folder {folder} cannot be written ({error.strerror}).") from error
        yield folder


def _search(problem: Problem, optimizer: Any, job: Job, folder: Path, command: Run) -> list[Result]:
    options: Any = {"directory": folder, **job.budget}
    options["save_seconds"] = job.run.get("save_seconds", SAVE_SECONDS)
    # A run that was killed before it began has no job.json yet.
    options["resume"] = command.resume is not None and (folder / "job.json").exists()
    try:
        live = not command.quiet and sys.stdout.isatty()
        with progress_bar(f"{job.problem.name}, {job.optimizer.name}") if live else nullcontext() as bar:
            options["watch"] = [_Forget(folder), *([bar] if bar else [])]
            return search(problem, optimizer, job.run.get("seed", 0), job.run.get("seeds"), options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interrupted(folder)) from None
    except Exception as error:
        raise _failure(error, job, folder) from error


class _Forget:
    """A watcher that removes what says how the run ended before it was resumed.

    The first call is the right moment: the resumption was accepted by then, and nothing new is saved yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Path | None = folder

    def __call__(self, progress: Progress) -> None:
        del progress
        if self.folder is not None:
            folders.forget_end(self.folder)
            self.folder = None


def _failure(error: Exception, job: Job, folder: Path) -> Exception:
    """What to raise: a sentence for what users can cause, the error itself for what only we can."""
    file = source(job.problem)
    if isinstance(error.__cause__, _UNTRACEABLE):
        error = error.__cause__  # its cure is said here in words of the command line
    if line_of(error, file) is not None:
        hint = "; for a function that JAX cannot trace, set host=true" if isinstance(error, _UNTRACEABLE) else ""
        return RunError(blamed(error, file) + hint)
    if (words := exhausted(error)) is not None:
        return RunError(f"{words}; take {_smaller(job)} (run folder: {folder})")
    if isinstance(error, (OSError, ValueError, TypeError)):
        sentence = str(error).strip().partition("\n")[0].rstrip(".")
        return RunError(f"{sentence} (run folder: {folder})")
    return error


def _smaller(job: Job) -> str:
    """What to make smaller where memory is short."""
    table = {"population": "a smaller population", "chains": "fewer chains", "batch": "a smaller batch"}
    factories = OPTIMIZERS[job.optimizer.name].factory, PROBLEMS[job.problem.name].factory
    cures = [table[name] for factory in factories for name in parameters(factory) if name in table]
    cures += ["fewer seeds"] if job.run.get("seeds", 1) > 1 else []
    return " or ".join(filter(None, (", ".join(cures), "a smaller problem")))


_UNTRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


def _check(results: Sequence[Result]) -> None:
    """Refuse to call a search that found nothing a success."""
    broken = next((result for result in results if not np.isfinite(result.loss)), None)
    if broken is not None:
        last = f"; the first said: {broken.error.strip().splitlines()[-1]}" if broken.error else ""
        raise RunError(f"no member had a finite loss ({broken.failed} failed{last})")


def _interrupted(folder: Path) -> str:
    return f"interrupted; go on with: evolve run --resume {folder}"
