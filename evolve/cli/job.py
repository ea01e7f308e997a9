"""A job: which problem, which optimizer, how long and from which seed, as words; from a command line or a file.

The same four tables stand in a job file (TOML) and in a run folder's command.json, from which it is resumed.
"""

import dataclasses
import importlib.util
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolve.cli import values
from evolve.cli.arguments import Run, given, number, positive, seed_number, whole
from evolve.cli.errors import UsageError, unknown
from evolve.cli.presets import Contest, contest
from evolve.cli.registry import OPTIMIZERS, PROBLEMS, find
from evolve.core import Optimizer, Problem

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
    "horizon": whole,
}
_TABLES = ("problem", "optimizer", "budget", "run")


@dataclass(frozen=True)
class Named:
    """A name of the registry and its settings, in words or as plain values."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What `evolve run` runs. `run` holds those of seed, seeds, x64, out and horizon that were given.

    The horizon is the budget in evaluations that tuned schedules are stretched to. It stays what it was when a run is
    prolonged: a resumed run must follow the schedule that it began with.
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
        try:
            text = path.read_text(encoding="utf-8")
            tables = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except FileNotFoundError as error:
            raise UsageError(f"there is no file {path}.") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
        for name, table in tables.items():
            if name not in _TABLES:
                raise unknown(f"{path} has no table", name, _TABLES)
            if not isinstance(table, dict):
                raise UsageError(f"{path}: {name} must be a table, [{name}].")
        problem = _named(tables, "problem", path)
        problem = Named(problem.name, _absolute(problem, path.parent))
        budget = _checked(tables.get("budget", {}), _BUDGET, f"{path}: [budget]")
        return cls(
            problem,
            _named(tables, "optimizer", path),
            budget,
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

    def settled(self, x64: bool) -> "Job":
        """With everything decided that was left open: budget, horizon and precision."""
        budget = self.budget or {"evaluations": DEFAULT_EVALUATIONS}
        horizon = {"horizon": budget["evaluations"]} if "evaluations" in budget else {}
        return dataclasses.replace(self, budget=budget, run={"x64": x64} | horizon | self.run)

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
        return make_problem(self.problem), make_optimizer(self.optimizer, self.problem, self.run.get("horizon"))


def make_problem(problem: Named) -> Problem:
    """The problem as tuned for comparisons if it has no settings of its own, else as its factory makes it."""
    entry, best = find(PROBLEMS, "problem", problem.name), tuned(problem)
    return values.build(entry.factory, problem.settings, problem.name) if best is None else best.problem()


def make_optimizer(optimizer: Named, problem: Named, evaluations: int | None) -> Optimizer:
    """The optimizer with its settings, which start from those tuned for the problem if there are any."""
    factory, best = find(OPTIMIZERS, "optimizer", optimizer.name).factory, tuned(problem, evaluations)
    base = None if best is None else best.optimizers.get(optimizer.name)
    if base is not None and not optimizer.settings:
        return base
    if base is not None and type(base) is factory:
        changes = values.read(factory, optimizer.settings, optimizer.name)
        return values.called(dataclasses.replace, base, **changes)
    return values.build(factory, optimizer.settings, optimizer.name)


def check_oracle(problem: Problem, optimizer: Optimizer, name: str) -> None:
    """Refuse a gradient method for a fitness that has no gradient.

    Raises
    ------
    UsageError
        Names the method.
    """
    if problem.host and optimizer.oracle == "gradient":
        raise UsageError(f"{name} needs gradients, which a host fitness cannot give; take a method that needs losses.")


def tuned(problem: Named, evaluations: int | None = None) -> Contest | None:
    """What was tuned for a problem as it stands, if anything was, its schedules stretched to a budget."""
    return None if problem.settings else contest(problem.name, evaluations)


_FORMS = {
    "csv": "csv:FILE",
    "npz": "npz:FILE",
    "idx": "idx:IMAGES,LABELS",
    "python": "python:FILE.py:NAME",
}


def parse_problem(text: str) -> Named:
    """`NAME:KEY=VALUE,KEY=VALUE`, `csv:FILE`, `npz:FILE`, `idx:IMAGES,LABELS`, `python:FILE.py:NAME`, `MODULE:NAME`.

    Raises
    ------
    UsageError
        The name is unknown, or what follows it cannot be understood.
    """
    name, *parts = text.split(":")
    settings = pairs(parts.pop().split(","), name) if parts and "=" in parts[-1] else {}
    middle = ":".join(parts)
    if name not in PROBLEMS and middle and ("." in name or importlib.util.find_spec(name)):
        found = {"path": name, "object": middle}
        name = "python"
    elif name == "python" and len(parts) > 1:
        found = {"path": ":".join(parts[:-1]), "object": parts[-1]}
    elif name == "idx" and middle.count(",") == 1:
        found = dict(zip(("images", "labels"), middle.split(","), strict=True))
    elif name in ("csv", "npz") and middle:
        found = {"path": middle}
    else:
        find(PROBLEMS, "problem", name)
        found: dict[str, str] = {}
        if middle:
            form = _FORMS.get(name, name) + ":KEY=VALUE,KEY=VALUE"
            raise UsageError(f"{text!r} is not of the form {form}; leave out what you do not need.")
    problem = Named(name, found | settings)
    return Named(name, _absolute(problem, Path.cwd()))


def pairs(words: list[str], where: str) -> dict[str, str]:
    """KEY=VALUE words.

    Raises
    ------
    UsageError
        One has no `=`.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{where}: {word!r} is not of the form KEY=VALUE.")
        found[name.strip()] = value.strip()
    return found


def _named(tables: dict[str, Any], table: str, path: Path) -> Named:
    settings = dict(tables.get(table, {}))
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(
            f'{path}: [{table}] needs a name, such as name = "{"digits" if table == "problem" else "openes"}".'
        )
    return Named(name, settings)


def _absolute(problem: Named, folder: Path) -> dict[str, Any]:
    """Files are looked up beside the job file, or from the working directory, and stay found from elsewhere."""
    known = values.parameters(find(PROBLEMS, "problem", problem.name).factory)
    files = [name for name in problem.settings if name in known and known[name].annotation is Path]
    if problem.name == "python":  # a module's dotted name is no file
        files = [name for name in files if str(problem.settings[name]).endswith(".py")]
    return problem.settings | {name: str((folder / problem.settings[name]).absolute()) for name in files}


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
