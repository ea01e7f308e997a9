"""Files of examples of the user's own, learned by a perceptron."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from evolve.core import Problem
from problems import Classification, Dataset, Regression, mlp, read_csv, read_idx, read_npz

_HEADERS = {"auto": None, "true": True, "false": False}


def csv(
    path: Path,
    target: str = "-1",
    hidden: Sequence[int] = (32,),
    batch: int | None = 256,
    held_out: float = 0.2,
    seed: int = 0,
    kind: Literal["auto", "classes", "numbers"] = "auto",
    header: Literal["auto", "true", "false"] = "auto",
    delimiter: str = ",",
) -> Problem:
    """A table of your own, learned by a perceptron: classes if the target column holds few whole numbers.

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
    kind
        What the target is. auto: classes if its values are whole numbers and at most 20 of them differ, or one for
        every ten examples; said when it is read. Classes are numbered from 0 in the order of their values, so that
        -1 and 1 become 0 and 1.
    header
        Whether the first line names the columns. auto: it does if none of its cells is a number.
    delimiter
        The character between two cells, or tab; a comma by default.
    """
    place = int(target) if target.removeprefix("-").isdecimal() else target
    mark = "\t" if delimiter == "tab" else delimiter
    inputs, targets = read_csv(path, place, header=_HEADERS[header], delimiter=mark)
    if kind == "auto":
        kind = _decided(path, targets)
    targets = np.unique(targets, return_inverse=True)[1] if kind == "classes" else targets.astype(np.float64)
    return _learning(Dataset.split(inputs, targets, held_out, seed).standardized(), hidden, batch)


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
        Names of its two arrays, shapes (n, ...) and (n,). Classes are numbered as for `csv`.
    hidden, batch, held_out
        As for `csv`.
    """
    examples, wanted = read_npz(path, inputs, targets)
    return _learning(Dataset.split(examples, _numbered(wanted), held_out).standardized(), hidden, batch)


def idx(
    images: Path, labels: Path, hidden: Sequence[int] = (32,), batch: int | None = 256, held_out: float = 0.2
) -> Problem:
    """Images and labels of your own in the IDX format of MNIST, learned by a perceptron.

    Parameters
    ----------
    images, labels
        The two files, plain or gzipped. Classes are numbered as for `csv`.
    hidden, batch, held_out
        As for `csv`.
    """
    examples, wanted = read_idx(images, labels)
    return _learning(Dataset.split(examples, _numbered(wanted), held_out), hidden, batch)


def _decided(path: Path, targets: np.ndarray) -> Literal["classes", "numbers"]:
    """Classes or numbers, from the data alone; says which on stderr, for either may be wrong."""
    values = len(np.unique(targets))
    if targets.dtype.kind == "i" and values <= max(20, len(targets) / 10):
        chosen, words = "classes", f"{values} classes; kind=numbers learns it as a number"
    else:
        chosen, words = "numbers", f"a number; kind=classes learns its {values} values as classes"
    print(f"evolve: {path}: the target column is taken as {words}.", file=sys.stderr)
    return chosen


def _numbered(targets: np.ndarray) -> np.ndarray:
    """Labels as 0, 1, ... in the order of their values; targets that are no labels as they are."""
    labels = targets.ndim == 1 and targets.dtype.kind in "iub"
    return np.unique(targets, return_inverse=True)[1] if labels else targets


def _learning(dataset: Dataset, hidden: Sequence[int], batch: int | None) -> Problem:
    examples = len(dataset.inputs)
    size = None if batch is None or batch >= examples else batch
    inputs = int(np.prod(dataset.inputs.shape[1:]))
    if dataset.classes is None:
        return Regression(dataset, mlp((inputs, *hidden, int(np.prod(dataset.targets.shape[1:])))), size)
    return Classification(dataset, mlp((inputs, *hidden, dataset.classes)), size)
