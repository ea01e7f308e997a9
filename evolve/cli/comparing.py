"""`evolve compare` and `evolve report`: several optimizers on one problem, and what was found."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evolve.cli import folders
from evolve.cli.arguments import Compare, Report
from evolve.cli.errors import RunError, UsageError
from evolve.cli.job import DEFAULT_EVALUATIONS, Named, check_oracle, make_optimizer, make_problem, parse_problem, tuned
from evolve.cli.registry import OPTIMIZERS
from evolve.cli.running import SUMMARY
from evolve.cli.summary import show, wide_console
from evolve.compare import Comparison
from evolve.compare import compare as contest
from evolve.core import Optimizer, Problem

LARGE = 2000  # parameters from which a full covariance matrix is too dear to be compared by default


def compare(command: Compare) -> int:
    """Carry out `evolve compare`; returns the exit status."""
    named = parse_problem(command.problem)
    problem = make_problem(named)
    options = _budget(command, named)
    optimizers = _optimizers(command, named, problem, options["evaluations"])
    folder = folders.claim(command.out, f"compare-{named.settings.get('object', named.name)}")
    try:
        found = contest(problem, optimizers, directory=folder, progress=not command.quiet, title=named.name, **options)
    except OSError as error:
        raise RunError(str(error)) from error
    if not command.quiet:
        _print(found, folder)
    if found.interrupted:
        raise KeyboardInterrupt(f"interrupted; what was finished is in {folder}")
    broken = [entry.name for entry in found.entries if entry.status == "failed"]
    if broken:
        raise RunError(f"{', '.join(broken)} failed; {folder / 'report.html'} has the details.")
    return 0


def report(command: Report) -> int:
    """Carry out `evolve report`; returns the exit status."""
    folder = Path(command.directory)
    if (folder / SUMMARY).exists():
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        show(summary["title"], summary["rows"], folder)
        return 0
    if (folder / "job.json").exists():
        raise UsageError(f"the run in {folder} is not finished; go on with: evolve run --resume {folder}")
    try:
        found = Comparison.load(folder)
        found.save(folder)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    _print(found, folder)
    return 0


def _optimizers(command: Compare, named: Named, problem: Problem, evaluations: int | None) -> dict[str, Optimizer]:
    """Those that were named, or all that suit the problem."""
    if command.optimizers is not None:
        names = [name.strip() for name in command.optimizers.split(",") if name.strip()]
        if not names:
            raise UsageError("--optimizers is empty; give names of evolve list, such as openes,cmaes.")
        chosen = {name: make_optimizer(Named(name, {}), named, evaluations) for name in names}
        for name, optimizer in chosen.items():
            check_oracle(problem, optimizer, name)
        return chosen
    settings = tuned(named, evaluations)
    if settings is not None:
        return dict(settings.optimizers)
    large = sum(map(np.size, jax.tree.leaves(problem.init(jax.random.key(0))))) > LARGE
    names = [name for name in OPTIMIZERS if not (large and name == "cmaes")]
    made = {name: make_optimizer(Named(name, {}), named, evaluations) for name in names}
    return {name: made[name] for name in made if not (problem.host and made[name].oracle == "gradient")}


def _budget(command: Compare, named: Named) -> dict[str, Any]:
    """Budget and seeds: as given, else as tuned for the problem, else the defaults."""
    settings = tuned(named)
    evaluations, seeds = (settings.evaluations, settings.seeds) if settings else (DEFAULT_EVALUATIONS, 3)
    if command.smallest:
        evaluations = settings.smallest if settings else evaluations // 10
    if command.evaluations is not None or command.seconds is not None:
        evaluations = command.evaluations
    return {
        "evaluations": evaluations,
        "seconds": command.seconds,
        "seeds": command.seeds or seeds,
        "seed": command.seed or 0,
    }


def _print(found: Comparison, folder: Path) -> None:
    console = wide_console()
    console.print(found.table(console.width))
    console.print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
