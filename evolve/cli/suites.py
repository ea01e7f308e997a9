"""`evolve compare bbob`: a whole suite of problems instead of one."""

from typing import Any

import jax
import numpy as np

from evolve.cli import folders, values
from evolve.cli.arguments import Compare, given
from evolve.cli.errors import RunError, UsageError
from evolve.cli.registry import OPTIMIZERS, find
from evolve.cli.showing import judged, named_ones, show, warn_of_small
from evolve.compare.suite import Case, Suite, benchmark
from evolve.compare.suite.benchmark import checked
from evolve.core import Optimizer, draws
from problems import BBOB, BBOB_FUNCTIONS

SUITES = ("bbob",)
BUDGET, SMALLEST = 2_000, 100  # multiples of the dimension
DIMENSION, INSTANCES = 10, (1, 2, 3, 4, 5)
_OWN = ("dimension", "functions", "instances", "budget")

# Minimizers lie in [-5, 5]^n, most of them in [-4, 4]^n, where runs start: a fifth of the range is a usual first step.
SETTINGS: dict[str, dict[str, Any]] = {
    "bipop": {"sigma": 2.0, "low": -4.0, "high": 4.0},
    **{name: {"sigma": 2.0} for name in ("cmaes", "sepcmaes", "xnes", "snes", "crfmnes", "random")},
}
DEFAULT = ("bipop", "cmaes", "sepcmaes", "xnes", "lbfgs", "random")


def compare(command: Compare) -> int:
    """Carry out `evolve compare bbob`; returns the exit status."""
    _check(command)
    budget = SMALLEST if command.smallest else command.budget or BUDGET
    with jax.enable_x64(True):
        suite = bbob(command.dimension or DIMENSION, command.functions, command.instances or INSTANCES)
        optimizers, seed = _optimizers(command), command.seed or 0
        try:  # before a folder is made
            checked(suite, optimizers, budget, seed)
        except ValueError as error:
            raise UsageError(str(error)) from error
        first = suite.cases[0].problem
        warn_of_small(budget * suite.dimension, first, optimizers, first.init(draws.key(0)))
        with folders.claimed(command.out, "compare-bbob") as folder:
            try:
                progress = not command.quiet
                found = benchmark(suite, optimizers, budget=budget, seed=seed, directory=folder, progress=progress)
            except OSError as error:
                raise RunError(str(error)) from error
    if not command.quiet:
        show(found, folder)
    return judged(found, folder)


def refuse(command: Compare) -> None:
    """Say so where an option of a suite was given for one problem.

    Raises
    ------
    UsageError
        Names the option.
    """
    said = [name for name in _OWN if given(command, name)]
    if said:
        raise UsageError(f"--{said[0]} is an option of the suite bbob, not of {command.problem}; leave it out.")


def bbob(dimension: int, functions: tuple[int, ...] | None, instances: tuple[int, ...]) -> Suite:
    """The suite, or some functions of it.

    Raises
    ------
    UsageError
        A dimension, function or instance that it does not have.
    """
    chosen = range(1, len(BBOB_FUNCTIONS) + 1) if functions is None else functions
    groups: dict[str, tuple[int, ...]] = {}
    for number, row in enumerate(BBOB_FUNCTIONS, 1):
        groups[row.group] = (*groups.get(row.group, ()), number)
    try:
        made = [(number, instance, BBOB(number, dimension, instance)) for number in chosen for instance in instances]
    except ValueError as error:
        raise UsageError(str(error)) from error
    cases = tuple(Case(number, instance, one, float(np.asarray(one.f_opt))) for number, instance, one in made)
    return Suite("bbob", dimension, {number: BBOB_FUNCTIONS[number - 1].name for number in chosen}, groups, cases)


def _check(command: Compare) -> None:
    words = {"seeds": "its repetitions are --instances", **dict.fromkeys(("evaluations", "seconds", "generations"), "")}
    for name, cure in words.items():
        if given(command, name):
            cure = cure or "its budget is --budget, in multiples of the dimension"
            raise UsageError(f"--{name} is no option of the suite bbob: {cure}.")
    if command.smallest and command.budget is not None:
        raise UsageError("--smallest is a budget, and so is --budget; give one of them.")


def _optimizers(command: Compare) -> dict[str, Optimizer]:
    names = DEFAULT if command.optimizers is None else named_ones(command.optimizers)
    factories = {name: find(OPTIMIZERS, "optimizer", name).factory for name in names}
    return {name: values.called(factory, **SETTINGS.get(name, {})) for name, factory in factories.items()}
