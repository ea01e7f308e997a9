"""The user's own problems: files of examples, and Python objects."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from evolve.cli.errors import unknown
from evolve.core import Problem, wrap
from problems import Classification, Dataset, Regression, mlp, read_csv, read_idx, read_npz


def csv(
    path: Path,
    target: str = "-1",
    hidden: Sequence[int] = (32,),
    batch: int | None = 256,
    held_out: float = 0.2,
    seed: int = 0,
) -> Problem:
    """A table of your own, learned by a perceptron: classes if the target column holds whole numbers.

    Parameters
    ----------
    path
        The file: one example a line, numbers only, with or without a header.
    target
        The column to predict: its name, or its place from 0, negative from the end.
    hidden
        Widths of the hidden layers.
    batch
        How many examples one loss averages; none, or where there are fewer: all.
    held_out, seed
        The part held out for the report, and the seed of that split.
    """
    place = int(target) if target.removeprefix("-").isdecimal() else target
    return _learning(Dataset.split(*read_csv(path, place), held_out, seed).standardized(), hidden, batch)


def npz(
    path: Path,
    inputs: str = "x",
    targets: str = "y",
    hidden: Sequence[int] = (32,),
    batch: int | None = 256,
    held_out: float = 0.2,
) -> Problem:
    """A NumPy archive of your own, learned by a perceptron: classes if the targets are integers.

    Parameters
    ----------
    path
        The file, as `numpy.savez(path, x=..., y=...)` writes it.
    inputs, targets
        Names of its two arrays, shapes (n, ...) and (n,).
    hidden, batch, held_out
        As for `csv`.
    """
    return _learning(Dataset.split(*read_npz(path, inputs, targets), held_out).standardized(), hidden, batch)


def idx(
    images: Path, labels: Path, hidden: Sequence[int] = (32,), batch: int | None = 256, held_out: float = 0.2
) -> Problem:
    """Images and labels of your own in the IDX format of MNIST, learned by a perceptron.

    Parameters
    ----------
    images, labels
        The two files, plain or gzipped.
    hidden, batch, held_out
        As for `csv`.
    """
    return _learning(Dataset.split(*read_idx(images, labels), held_out), hidden, batch)


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
        Its file, or the dotted name of a module that can be imported.
    object
        What it is called there.
    dimension, start
        For a plain function of parameters, or of parameters and a key: how many numbers they are, and the one
        that each starts at. Without a dimension it is given a scalar.
    maximize
        The function is a fitness: higher is better.
    host
        The function is plain Python that JAX cannot trace.
    """
    loaded = _load(path) if path.suffix == ".py" else _imported(str(path))
    if not hasattr(loaded, object):
        raise unknown(f"{path} has no object", object, [n for n in vars(loaded) if not n.startswith("_")])
    found = getattr(loaded, object)
    if start is None and dimension is None:
        return _made(found, object)
    if not inspect.isroutine(found):
        raise TypeError(f"{object} is {type(found).__name__}; start and dimension are for a function of parameters.")
    first = 0.0 if start is None else start
    x0 = jnp.asarray(first) if dimension is None else jnp.full(dimension, first)
    return wrap(found, x0, maximize=maximize, host=host)


def _made(found: Any, name: str) -> Problem:
    """A problem, or what a class or function without required parameters makes."""
    if isinstance(found, Problem):
        return found
    if not callable(found):
        raise TypeError(f"{name} is {type(found).__name__}, neither a Problem nor a function.")
    needed = [p.name for p in inspect.signature(found).parameters.values() if p.default is p.empty]
    if needed:
        raise ValueError(f"{name} needs ({', '.join(needed)}); a function of parameters needs dimension= and start=.")
    make: Callable[[], Any] = found
    problem = make()
    if not isinstance(problem, Problem):
        raise TypeError(f"{name}() is {type(problem).__name__}, not a Problem.")
    return problem


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ValueError(f"module {module} cannot be imported: {type(error).__name__}: {error}.") from error


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
    sys.path.append(str(path.parent))  # last, so that what the file imports beside itself hides nothing
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} cannot be loaded: {type(error).__name__}: {error}.") from error
    return module


def _learning(dataset: Dataset, hidden: Sequence[int], batch: int | None) -> Problem:
    examples = len(dataset.inputs)
    size = None if batch is None or batch >= examples else batch
    inputs = int(np.prod(dataset.inputs.shape[1:]))
    if dataset.classes is None:
        return Regression(dataset, mlp((inputs, *hidden, int(np.prod(dataset.targets.shape[1:])))), size)
    return Classification(dataset, mlp((inputs, *hidden, dataset.classes)), size)
