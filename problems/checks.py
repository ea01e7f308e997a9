"""Checks of what the user gives, shared by the problems and the readers."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike


def as_integer(value: Any) -> int | None:
    """An integer of any library as Python's own; None for everything else.

    A boolean is no integer here: `True` where a number is asked for is a slip, not a 1.
    """
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def is_label(targets: np.ndarray) -> bool:
    """Whether targets are class labels: integers or booleans."""
    return targets.dtype == bool or bool(jnp.issubdtype(targets.dtype, jnp.integer))


def check_examples(inputs: ArrayLike, targets: ArrayLike, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets as NumPy arrays, refused with what was found and the cure if they are no examples.

    Raises
    ------
    ValueError
        An array has no axis or no example, lengths disagree, or a value is not finite.
    TypeError
        An array is not numeric.
    """
    arrays = np.asarray(inputs), np.asarray(targets)
    for what, array in zip(("inputs", "targets"), arrays, strict=True):
        if not (is_label(array) or jnp.issubdtype(array.dtype, jnp.floating)):
            raise TypeError(f"{where} {what} are {array.dtype}; they must be real numbers: encode them first.")
        if array.ndim == 0 or array.size == 0:
            raise ValueError(f"{where} {what} have shape {array.shape}; there must be at least one example.")
    if len(arrays[0]) != len(arrays[1]):
        raise ValueError(
            f"{where} there are {len(arrays[0])} inputs but {len(arrays[1])} targets; each input needs one."
        )
    for what, array in zip(("inputs", "targets"), arrays, strict=True):
        _refuse(array, ~np.isfinite(array), f"{where} {what}", "non-finite value(s)", "remove or replace them.")
    return arrays


def check_storable(inputs: ArrayLike, targets: ArrayLike, where: str) -> tuple[np.ndarray, np.ndarray]:
    """As `check_examples`; refuses also what JAX's arrays, which may be narrower than NumPy's, cannot hold.

    Raises
    ------
    ValueError
        As for `check_examples`; a float would become infinite, an integer another one. Labels are kept as
        int32, the rest in its own dtype, of which x64 decides whether it may have 64 bits.
    TypeError
        An array is not numeric.
    """
    arrays = check_examples(inputs, targets, where)
    labelled = is_label(arrays[1])
    cures = "scale them, or turn on jax_enable_x64.", "number the classes from 0."
    for what, array, label in zip(("inputs", "targets"), arrays, (False, labelled), strict=True):
        dtype = np.dtype(np.int32) if label else jax.dtypes.canonicalize_dtype(array.dtype)
        _refuse(array, _beyond(array, dtype), f"{where} {what}", f"value(s) beyond {dtype.name}", cures[label])
    return arrays


def _beyond(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Which finite values a dtype of the same kind cannot hold."""
    if array.dtype == bool:
        return np.zeros(array.shape, bool)
    if is_label(array):
        info = jnp.iinfo(dtype)
        return (array < int(info.min)) | (array > int(info.max))
    with np.errstate(over="ignore"):
        return ~np.isfinite(array.astype(dtype))


def _refuse(array: np.ndarray, bad: np.ndarray, where: str, fault: str, cure: str) -> None:
    """Raise if any value is bad: how many there are, and the first with its place."""
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{where} hold {int(bad.sum())} {fault}, the first {array[first]} at index {first}; {cure}")
