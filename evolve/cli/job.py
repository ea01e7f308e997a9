"""A job: which problem, which optimizer, how long and from which seed, as words; from a command line or a file.

The same four tables stand in a job file (TOML) and in a run folder's command.json, from which it is resumed.
"""

import dataclasses
import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from evolve.cli import values
from evolve.cli.arguments import Run, given, number, positive, seed_number, whole
from evolve.cli.errors import UsageError, blamed, line_of, unknown
from evolve.cli.naming import Named, absolute, pairs
from evolve.cli.presets import CONTESTS, Contest, Horizon, preset
from evolve.cli.registry import OPTIMIZERS, PROBLEMS, find
from evolve.core import Optimizer, Problem, draws
from evolve.core.trees import Params, as_arrays, check_params
from evolve.run.prepare import check_scalar

DEFAULT_EVALUATIONS = 10_000  # as in `evolve.minimize`

_BUDGET: dict[str, Callable[[str], Any]] = {
    "evaluations": whole,
    "seconds": positive,
    "generations": whole,
    "target": number,
}


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


_RUN: dict[str, Callable[[str], Any]] = {
    "seed": seed_number,
    "seeds": whole,
    "x64": _truth,
    "out": str,
    "save_seconds": positive,
    "horizon": whole,
    "horizon_generations": whole,
}
_TABLES = ("problem", "optimizer", "budget", "run")


@dataclass(frozen=True)
class Job:
    """What `evolve run` runs. `run` holds those of seed, seeds, x64, out, save_seconds and the horizons that are known.

    The horizon is the budget, in evaluations or in generations, that tuned schedules are stretched to. It stays what it
    was when a run is prolonged: a resumed run must follow the schedule that it began with.
    """

    problem: Named
    optimizer: Named
    budget: dict[str, Any]
    run: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Job":
        """From a TOML file, or from a command.json.

        Raises
        ------
        UsageError
            The file is not there or cannot be parsed, or a table, key or value is wrong: named, with the cure.
        """
        tables = _tables(path)
        problem = _named(tables, "problem", path)
        return cls(
            Named(problem.name, absolute(problem, path.parent)),
            _named(tables, "optimizer", path),
            _checked(tables.get("budget", {}), _BUDGET, f"{path}: [budget]"),
            _checked(tables.get("run", {}), _RUN, f"{path}: [run]"),
        )

    def overridden(self, command: Run) -> "Job":
        """With what the command line says in addition; it wins."""
        optimizer = self.optimizer
        if command.optimizer is not None and command.optimizer != optimizer.name:
            optimizer = Named(command.optimizer, {})
        optimizer = Named(optimizer.name, optimizer.settings | pairs(command.set, "--set"))
        said = {name: getattr(command, name) for name in _BUDGET if given(command, name)}
        run = {name: getattr(command, name) for name in _RUN if given(command, name)}
        return Job(self.problem, optimizer, self.budget | said, self.run | run)

    def prolonged(self, said: "Job") -> "Job":
        """With the budgets said now, if any, in place of the old ones, which are spent; and with a new pause."""
        pause = {name: value for name, value in said.run.items() if name == "save_seconds"}
        return dataclasses.replace(self, budget=said.budget or self.budget, run=self.run | pause)

    def settled(self, x64: bool) -> "Job":
        """With everything decided that was left open: budget, horizon and precision."""
        budget = self.budget or {"evaluations": DEFAULT_EVALUATIONS}
        names = {"evaluations": "horizon", "generations": "horizon_generations"}
        horizon = {name: budget[limit] for limit, name in names.items() if limit in budget}
        return dataclasses.replace(self, budget=budget, run={"x64": x64} | horizon | self.run)

    @property
    def horizon(self) -> Horizon:
        """What tuned schedules are stretched to."""
        return Horizon(self.run.get("horizon"), self.run.get("horizon_generations"))

    def tables(self) -> dict[str, Any]:
        """What `read` reads; paths are absolute, so that a run can be resumed from anywhere."""
        named = {"problem": self.problem, "optimizer": self.optimizer}
        settings = {
            table: {"name": one.name} | {name: values.as_text(value) for name, value in one.settings.items()}
            for table, one in named.items()
        }
        return settings | {"budget": self.budget, "run": {k: v for k, v in self.run.items() if k != "out"}}

    def build(self) -> tuple[Problem, Optimizer]:
        """The problem and the optimizer.

        Raises
        ------
        UsageError
            A name, a setting or a value is wrong, or a file cannot be used.
        """
        return make_problem(self.problem), make_optimizer(self.optimizer, self.problem, self.horizon)


def make_problem(problem: Named) -> Problem:
    """What its factory makes of its settings."""
    return values.build(find(PROBLEMS, "problem", problem.name).factory, problem.settings, problem.name)


def make_optimizer(optimizer: Named, problem: Named, horizon: Horizon) -> Optimizer:
    """The optimizer with its settings; those not given are as tuned for the problem, if they were."""
    factory = find(OPTIMIZERS, "optimizer", optimizer.name).factory
    return values.called(factory, **settings_of(optimizer, problem, horizon))


def settings_of(optimizer: Named, problem: Named, horizon: Horizon) -> dict[str, Any]:
    """What the optimizer's factory is given: the settings, read, and those that were tuned for the problem."""
    factory, best = find(OPTIMIZERS, "optimizer", optimizer.name).factory, tuned(problem)
    given = values.read(factory, optimizer.settings, optimizer.name)
    if best is None or optimizer.name not in best.optimizers:
        return given
    return preset(optimizer.name, best.optimizers[optimizer.name], horizon, given)


def check_start(problem: Problem, named: Named) -> Params:
    """Refuse a start that cannot be searched from or a loss that is none, before a folder is made; returns the start.

    Raises
    ------
    UsageError
        Says what is wrong; of a user's own problem, with file and line.
    """
    try:
        params = as_arrays(problem.init(draws.key(0)))
        check_params(params, "init")
    except Exception as error:
        file = source(named)
        if line_of(error, file) is None and not isinstance(error, (ValueError, TypeError)):
            raise
        raise UsageError(f"{named.name} cannot be started: {blamed(error, file)}.") from error
    if named.name == "python" and not problem.host:
        _check_loss(problem, params, named)
    return params


def _check_loss(problem: Problem, params: Params, named: Named) -> None:
    """Refuse a loss of the user's own that is no floating-point scalar. One that fails is for the run to explain."""
    try:
        loss = jax.eval_shape(problem.loss, params, draws.key(0))
    except Exception:  # the user's code
        return
    try:
        check_scalar(loss)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{named.settings['object']} in {source(named)}: {error}") from error


def source(problem: Named) -> str:
    """The file of a user's own Python object; of others the file or nothing."""
    path = Path(str(problem.settings.get("path", "")))
    return getattr(sys.modules.get(path.name), "__file__", None) or str(path)


def check_oracle(problem: Problem, optimizer: Optimizer, name: str) -> None:
    """Refuse a gradient method for a fitness that has no gradient.

    Raises
    ------
    UsageError
        Names the method.
    """
    if problem.host and optimizer.oracle == "gradient":
        raise UsageError(f"{name} needs gradients, which a host fitness cannot give; take a method that needs losses.")


def tuned(problem: Named) -> Contest | None:
    """The contest of a problem if one was tuned for it with the settings that it has, given or by default."""
    best = CONTESTS.get(problem.name)
    if best is None:
        return None
    factory = PROBLEMS[problem.name].factory
    usual = {name: p.default for name, p in values.parameters(factory).items()}
    same = usual | values.read(factory, problem.settings, problem.name) == usual | best.problem
    return best if same else None


def _tables(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        tables: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}.") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not isinstance(tables, dict):
        raise UsageError(f"{path} is damaged: it holds no tables ({', '.join(_TABLES)}).")
    for name, table in tables.items():
        if name not in _TABLES:
            raise unknown(f"{path} has no table", name, _TABLES)
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} must be a table, [{name}].")
    return tables


def _named(tables: dict[str, Any], table: str, path: Path) -> Named:
    settings = dict(tables.get(table, {}))
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(
            f'{path}: [{table}] needs a name, such as name = "{"digits" if table == "problem" else "openes"}".'
        )
    return Named(name, settings)


def _checked(table: dict[str, Any], readers: dict[str, Callable[[str], Any]], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name not in readers:
            raise unknown(f"{where} has no key", name, readers)
        try:
            found[name] = readers[name](values.as_text(value))
        except ValueError as error:
            raise UsageError(f"{where} {name}: {error}.") from None
    return found
