"""`evolve run`: a job, live, saved as it goes."""

import json
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.flax import save  # needs jax alone; unlike NumPy's it knows bfloat16

from evolve.cli import folders
from evolve.cli.arguments import Run, given
from evolve.cli.errors import RunError, UsageError
from evolve.cli.job import Job, Named, check_oracle, parse_problem
from evolve.cli.summary import facts, show
from evolve.core import Problem
from evolve.core.trees import as_arrays, float_dtype
from evolve.run import Result, progress_bar
from evolve.run import run as search
from evolve.run.checkpoint import write_atomically

COMMAND, SUMMARY = "command.json", "summary.json"


def run(command: Run) -> int:
    """Carry out `evolve run`; returns the exit status."""
    job = _resumed(command) if command.resume is not None else _new(command)
    with jax.enable_x64(job.run.get("x64", False)):
        problem, optimizer = job.build()
        check_oracle(problem, optimizer, job.optimizer.name)
        folder = _folder(command, job)
        results = _search(problem, optimizer, job, folder, command)
        return _conclude(problem, results, job, folder, command.quiet)


def _new(command: Run) -> Job:
    """The job of the words, or of the file that they name."""
    if command.problem is None:
        raise UsageError("name a PROBLEM or a JOB.toml, or --resume DIR; see evolve list.")
    if command.problem.endswith(".toml"):
        job = Job.read(Path(command.problem)).overridden(command)
    elif command.optimizer is None:
        raise UsageError("--optimizer NAME is missing; see evolve list.")
    else:
        job = Job(parse_problem(command.problem), Named(command.optimizer, {}), {}, {}).overridden(command)
    return job.settled(x64=float_dtype() == np.float64)


def _resumed(command: Run) -> Job:
    """The job of a run's folder, with the budgets given now."""
    settled = ("problem", "optimizer", "set", "seed", "seeds", "x64", "out")
    fixed = [name for name in settled if given(command, name)]
    if fixed:
        raise UsageError(f"--resume takes up a run as it was: only its budgets may change, not {fixed[0]}.")
    path = Path(str(command.resume)) / COMMAND
    if not path.exists():
        made = "made by a script" if (path.parent / "job.json").exists() else "no run's folder"
        raise UsageError(f"--resume {command.resume}: it is {made} (there is no {COMMAND} in it).")
    return Job.read(path).overridden(command)


def _folder(command: Run, job: Job) -> Path:
    """The run's folder with the command in it, before anything is computed: a kill at any moment can be resumed."""
    default = f"{job.problem.settings.get('object', job.problem.name)}-{job.optimizer.name}"
    resumed = command.resume is not None
    folder = Path(str(command.resume)) if resumed else folders.claim(job.run.get("out"), default)
    try:
        write_atomically(folder / COMMAND, json.dumps(job.tables(), indent=2).encode())
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be written ({error.strerror}).") from error
    return folder


def _search(problem: Problem, optimizer: Any, job: Job, folder: Path, command: Run) -> list[Result]:
    seeds = job.run.get("seeds")
    options: dict[str, Any] = {"seed": job.run.get("seed", 0), "seeds": seeds, "directory": folder, **job.budget}
    if command.save_seconds is not None:
        options["save_seconds"] = command.save_seconds
    # A run that was killed before it began has no job.json yet.
    resume = (folder / "job.json").exists()
    try:
        live = not command.quiet and sys.stdout.isatty()
        with progress_bar(f"{job.problem.name}, {job.optimizer.name}") if live else nullcontext() as bar:
            found: Any = search(problem, optimizer, resume=resume, watch=[bar] if bar else [], **options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interrupted(folder)) from None
    except Exception as error:
        raise _failure(error, job, folder) from error
    return found if seeds is not None else [found]


def _failure(error: Exception, job: Job, folder: Path) -> Exception:
    """What to raise: a sentence for what users can cause, the error itself for what only we can."""
    path = job.problem.settings.get("path", "")
    path = getattr(sys.modules.get(path), "__file__", path)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    sentence = str(error).strip().partition("\n")[0].rstrip(".")
    if lines:
        hint = "; for a function that JAX cannot trace, set host=true" if isinstance(error, _UNTRACEABLE) else ""
        return RunError(f"{path}, line {lines[-1]}: {type(error).__name__}: {sentence}{hint}")
    if isinstance(error, (OSError, ValueError, TypeError)):
        return RunError(f"{sentence} (run folder: {folder})")
    return error


_UNTRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


def _conclude(problem: Problem, results: Sequence[Result], job: Job, folder: Path, quiet: bool) -> int:
    """Save the answers and what the problem reports of them, show the summary, and say how it went."""
    first = int(job.run.get("seed", 0))
    rows: list[dict[str, Any]] = []
    for seed, result in enumerate(results, first):
        stem = "answer" if len(results) == 1 else f"answer-{seed}"
        write_atomically(folder / f"{stem}.safetensors", save(_flat(result.answer)))
        rows.append(facts(seed, result, _metrics(problem, result.answer)))
    title = f"{job.problem.name}, {job.optimizer.name}"
    write_atomically(folder / SUMMARY, json.dumps({"title": title, "rows": rows}, indent=2).encode())
    if not quiet:
        show(title, rows, folder)
    if any(result.reason == "interrupted" for result in results):
        raise KeyboardInterrupt(_interrupted(folder))
    broken = next((result for result in results if not np.isfinite(result.loss)), None)
    if broken is not None:
        last = f"; the first said: {broken.error.strip().splitlines()[-1]}" if broken.error else ""
        raise RunError(f"no member had a finite loss ({broken.failed} failed{last})")
    return 0


def _interrupted(folder: Path) -> str:
    return f"interrupted; go on with: evolve run --resume {folder}"


def _metrics(problem: Problem, answer: Any) -> dict[str, float]:
    """The problem's report of an answer; a host problem gets NumPy arrays, as its loss does."""
    report = problem.report(answer if problem.host else as_arrays(answer))
    return {name: float(value) for name, value in report.items() if np.ndim(value) == 0}


def _flat(params: Any) -> dict[str, Any]:
    """Parameters by their path in the tree, such as `layer_0.w`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator=".") or "answer": jax.numpy.asarray(leaf)
        for path, leaf in leaves
    }
