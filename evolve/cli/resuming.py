"""`evolve run --resume`: the job of a folder, taken up as it was begun."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evolve.cli import values
from evolve.cli.arguments import Run
from evolve.cli.errors import UsageError
from evolve.cli.folders import COMMAND
from evolve.cli.job import Job, settings_of
from evolve.cli.naming import Named, parse_problem
from evolve.cli.registry import OPTIMIZERS, PROBLEMS, Entry, find

# Of the table [run], what makes a run another one, and what is meant where nothing is said.
_FIXED = {"seed": 0, "seeds": None, "x64": False, "horizon": None, "horizon_generations": None}

Difference = tuple[str, Any, Any]  # an option, its value there and here


def resumed(command: Run) -> Job:
    """The job of a run's folder, with the budgets and the pause between checkpoints that are said now.

    Raises
    ------
    UsageError
        The folder holds no run of this command, or an option says otherwise than the run was begun with.
    """
    folder = Path(str(command.resume))
    if not (folder / COMMAND).exists():
        made = "made by a script" if (folder / "job.json").exists() else "no run's folder"
        raise UsageError(f"--resume {folder}: it is {made} (there is no {COMMAND} in it).")
    saved = Job.read(folder / COMMAND)
    said = _said(command, saved)
    for option, there, here in _differences(saved, said, folder):
        what = f"{option} was {values.as_text(there)}, and {values.as_text(here)} is given"
        raise UsageError(f"--resume {folder} takes up a run as it was, only its budgets may change: {what}.")
    return saved.prolonged(said)


def _said(command: Run, saved: Job) -> Job:
    """What the words say, or the file that they name. Problem and optimizer may be left out."""
    if command.problem is not None and command.problem.endswith(".toml"):
        return Job.read(Path(command.problem)).overridden(command)
    problem = saved.problem if command.problem is None else parse_problem(command.problem)
    return Job(problem, Named(saved.optimizer.name, {}), {}, {}).overridden(command)


def _differences(saved: Job, said: Job, folder: Path) -> Iterator[Difference]:
    """What was said otherwise. A problem is said as a whole, its defaults included; of an optimizer each setting."""
    names = {"PROBLEM": (saved.problem, said.problem), "optimizer": (saved.optimizer, said.optimizer)}
    for what, (there, here) in names.items():
        if there.name != here.name:
            yield what, there.name, here.name
            return
    usual = _defaults(PROBLEMS, saved.problem)
    there, here = (usual | _read(PROBLEMS, job.problem) for job in (saved, said))
    yield from _unlike(saved.problem, said.problem, there, here)
    tuned = settings_of(saved.optimizer, saved.problem, saved.horizon)
    there, here = _defaults(OPTIMIZERS, saved.optimizer) | tuned, _read(OPTIMIZERS, said.optimizer)
    yield from _unlike(saved.optimizer, said.optimizer, there, here)
    for name, here in said.run.items():
        if name in _FIXED and here != (there := saved.run.get(name, _FIXED[name])):
            yield name, there, here
    out = Path(said.run.get("out", folder))
    if out.resolve() != folder.resolve():
        yield "out", folder, out


def _unlike(saved: Named, said: Named, there: dict[str, Any], here: dict[str, Any]) -> Iterator[Difference]:
    """Settings whose values differ, unless their words are the same: an update is made anew from the same words."""
    for name, value in here.items():
        before, now = saved.settings.get(name, there[name]), said.settings.get(name, value)
        if there[name] != value and values.as_text(before) != values.as_text(now):
            yield f"{said.name}: {name}", before, now


def _defaults(table: dict[str, Entry], named: Named) -> dict[str, Any]:
    factory = find(table, "name", named.name).factory
    return {name: parameter.default for name, parameter in values.parameters(factory).items()}


def _read(table: dict[str, Entry], named: Named) -> dict[str, Any]:
    return values.read(find(table, "name", named.name).factory, named.settings, named.name)
