"""The best of BBOB 2009, a reference curve: the data that the package `cocopp` brings, where it is installed."""

import importlib.util
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float

NAME = "best 2009"
_FILE = "refalgs/best2009-bbob.tar.gz"
DIMENSIONS = (2, 3, 5, 10, 20, 40)


def archive() -> Path | None:
    """The file; None where cocopp is not installed, or does not bring it. Nothing is imported, nothing downloaded."""
    found = importlib.util.find_spec("cocopp")
    places = found.submodule_search_locations if found is not None else None
    paths = [Path(place) / _FILE for place in places or ()]
    return next((path for path in paths if path.is_file()), None)


def best_2009(
    dimension: int, functions: Iterable[int], targets: Float[np.ndarray, " targets"]
) -> Float[np.ndarray, "functions targets"] | None:
    """For every function and target the lowest expected running time of all 31 algorithms, in evaluations.

    Infinite where none reached the target; None where the data is not there or does not have the dimension.
    """
    path = archive()
    if path is None or dimension not in DIMENSIONS:
        return None
    with tarfile.open(path) as packed:
        return np.stack([_read(packed, dimension, function, targets) for function in functions])


def _read(packed: tarfile.TarFile, dimension: int, function: int, targets: np.ndarray) -> np.ndarray:
    """Lines of evaluations and target, hardest last; which algorithm it was, and how often, is not needed."""
    file = packed.extractfile(f"best2009-bbob/bbob-bestalg_f{function:02d}_d{dimension:02d}.dat")
    lines = [] if file is None else file.read().decode().splitlines()
    rows = np.array([line.split()[:2] for line in lines if line and not line.startswith("%")], float)
    # Written with 16 digits: a target may come back as a larger number than it was.
    places = np.argmax(rows[:, 1] <= targets[:, None] * (1 + 1e-9), axis=1)
    reached = rows[-1, 1] <= targets * (1 + 1e-9)
    return np.where(reached, rows[places, 0], np.inf)
