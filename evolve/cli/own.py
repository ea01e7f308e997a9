"""The user's own Python objects as problems."""

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp

from evolve.cli.errors import blamed, unknown
from evolve.core import Problem, required, wrap


def python(
    path: Path,
    object: str,
    dimension: int | None = None,
    start: float | None = None,
    maximize: bool = False,
    host: bool = False,
) -> Problem:
    """A Python object of your own: a Problem, a function that makes one, or a plain function of parameters.

    Parameters
    ----------
    path
        Its file, or the dotted name of a module, looked for in the working directory, too (in that of a job file).
    object
        What it is called there.
    dimension, start
        For a plain function of parameters, or of parameters and a key: how many numbers they are, and the one
        that each starts at. Without a dimension it is given a scalar.
    maximize
        The function is a fitness: higher is better. A Problem says itself what is minimized.
    host
        The function is plain Python that JAX cannot trace. A Problem says so itself.
    """
    loaded = _load(path) if path.suffix == ".py" else _imported(path)
    if not hasattr(loaded, object):
        raise unknown(f"{path} has no object", object, [n for n in vars(loaded) if not n.startswith("_")])
    found = getattr(loaded, object)
    if start is None and dimension is None:
        return _made(found, object, {"maximize": maximize, "host": host}, getattr(loaded, "__file__", None) or "")
    if isinstance(found, (type, Problem)) or not callable(found):
        raise TypeError(f"{object} is {type(found).__name__}; start and dimension are for a function of parameters.")
    if dimension is not None and dimension < 1:
        raise ValueError(f"{object}: dimension is {dimension}; it must be at least 1.")
    first = 0.0 if start is None else start
    x0 = jnp.asarray(first) if dimension is None else jnp.full(dimension, first)
    return wrap(found, x0, maximize=maximize, host=host)


def look_in(folder: Path | str) -> None:
    """Let modules be found in a folder, too; last, so that what lies there hides nothing."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _made(found: Any, name: str, given: dict[str, bool], file: str) -> Problem:
    """A problem, or what a class or function without required parameters makes."""
    if not callable(found) and not isinstance(found, Problem):
        raise TypeError(f"{name} is {type(found).__name__}, neither a Problem nor a function.")
    needed = [] if isinstance(found, Problem) else _required(found)
    if needed:
        raise ValueError(f"{name} needs ({', '.join(needed)}); a function of parameters needs dimension= and start=.")
    for setting in (setting for setting, said in given.items() if said):
        raise ValueError(
            f"{name} makes or is a Problem: it says itself what is minimized and where; leave out {setting}. "
            "(A function of parameters needs dimension= or start=.)"
        )
    try:
        problem = found if isinstance(found, Problem) else found()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name}() failed: {blamed(error, file)}.") from error
    if not isinstance(problem, Problem):
        raise TypeError(f"{name}() is {type(problem).__name__}, not a Problem.")
    return problem


def _required(function: Any) -> list[str]:
    try:
        return required(function)
    except ValueError:  # a builtin that does not say
        return []


def _imported(path: Path) -> ModuleType:
    """A module by its dotted name, which stands as a file's would: after the folder where it is looked for last."""
    look_in(path.parent)
    module = path.name
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename  # where there is no module, Python's own
        file = "" if last.startswith("<") else last
        raise ValueError(f"module {module} cannot be imported: {_reason(error, file)}.") from error


def _load(path: Path) -> ModuleType:
    """The module of a file, under a name of its own: the user's problems.py must not hide ours."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    name = f"evolve_job_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a process pool finds the functions by this name
    look_in(path.parent)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} cannot be loaded: {_reason(error, str(path))}.") from error
    return module


def _reason(error: BaseException, file: str) -> str:
    cure = "; put what must not run on import under if __name__ == '__main__'" if isinstance(error, SystemExit) else ""
    return f"{blamed(error, file)}{cure}"
