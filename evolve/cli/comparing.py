"""`evolve compare`: several optimizers on one problem."""

from typing import Any

import jax
import numpy as np

from evolve.cli import folders, suites
from evolve.cli.arguments import Compare, given
from evolve.cli.errors import RunError, UsageError
from evolve.cli.job import DEFAULT_EVALUATIONS, check_oracle, check_start, make_optimizer, make_problem, tuned
from evolve.cli.naming import Named, parse_problem
from evolve.cli.presets import Contest, Horizon
from evolve.cli.registry import OPTIMIZERS
from evolve.cli.showing import judged, named_ones, show, warn_of_small
from evolve.compare import compare as contest
from evolve.core import Optimizer, Problem
from evolve.core.trees import Params, float_dtype

FULL = ("cmaes", "bipop", "bounded", "integers", "uhcmaes", "maes", "xnes")
LARGE = 2000  # parameters from which a full covariance matrix is too dear to be compared by default


def compare(command: Compare) -> int:
    """Carry out `evolve compare`; returns the exit status."""
    if command.problem in suites.SUITES:
        return suites.compare(command)
    suites.refuse(command)
    with jax.enable_x64(command.x64 or float_dtype() == np.float64):
        named = parse_problem(command.problem)
        problem = make_problem(named)
        options = _budget(command, tuned(named))
        optimizers = _optimizers(command, named, problem, Horizon(options["evaluations"], options["generations"]))
        default = f"compare-{named.settings.get('object', named.name)}"
        with folders.claimed(command.out, default) as folder:
            try:
                shown = {"progress": not command.quiet, "title": named.name}
                found = contest(problem, optimizers, directory=folder, **shown, **options)
            except OSError as error:
                raise RunError(str(error)) from error
    if not command.quiet:
        show(found, folder)
    return judged(found, folder)


def _optimizers(command: Compare, named: Named, problem: Problem, horizon: Horizon) -> dict[str, Optimizer]:
    """Those that were named, or all that suit the problem; says which are too dear for the budget."""
    start, best = check_start(problem, named), tuned(named)
    names = (
        named_ones(command.optimizers) if command.optimizers is not None else best.optimizers if best else OPTIMIZERS
    )
    made = {name: make_optimizer(Named(name, {}), named, horizon) for name in names}
    if command.optimizers is None and best is None:
        made = {name: optimizer for name, optimizer in made.items() if _suits(name, optimizer, problem, start)}
    for name, optimizer in made.items():
        check_oracle(problem, optimizer, name)
    if given(command, "evaluations"):  # the usual ones are enough, and counting takes a while
        warn_of_small(horizon.evaluations, problem, made, start)
    return made


def _suits(name: str, optimizer: Optimizer, problem: Problem, start: Params) -> bool:
    """Whether a method is compared where nobody asked for it."""
    large = sum(map(np.size, jax.tree.leaves(start))) > LARGE
    return not (large and name in FULL) and not (problem.host and optimizer.oracle == "gradient")


def _budget(command: Compare, best: Contest | None) -> dict[str, Any]:
    """Budget and seeds: as given, else as tuned for the problem, else the defaults."""
    limits = {name: getattr(command, name) for name in ("evaluations", "generations", "seconds")}
    said = [name for name in limits if given(command, name)]
    if command.smallest and said:
        raise UsageError(f"--smallest is a budget, and so is --{said[0]}; give one of them.")
    if not said:
        usual, least = (best.evaluations, best.smallest) if best else (DEFAULT_EVALUATIONS, DEFAULT_EVALUATIONS // 10)
        limits["evaluations"] = least if command.smallest else usual
    return limits | {"seeds": command.seeds or (best.seeds if best else 3), "seed": command.seed or 0}
