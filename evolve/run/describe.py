"""A problem or an optimizer in words: what must be equal for a checkpoint to belong to a run."""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

_DEPTH = 100  # what is nested deeper than anyone writes makes itself anew whenever it is looked into


def describe(thing: Any) -> str:
    """Structure and numbers, with shapes and checksums in place of arrays, and without addresses in memory.

    Functions go by their name and by what they close over (so that `optax.adam(0.1)` is not `optax.adam(0.2)`), not
    by their code: correcting one does not orphan its runs. What holds itself is "..." where it is met again.
    """
    return _words(thing, ())


def _words(thing: Any, within: tuple[int, ...]) -> str:
    """One value; `within` are the identities of what it is found in."""
    if isinstance(thing, (str, bool, int, float, complex, type(None))):
        return repr(thing)
    if isinstance(thing, (np.ndarray, np.generic, jax.Array)):
        return _array(thing)
    if id(thing) in within or len(within) == _DEPTH:
        return "..."
    within = *within, id(thing)
    if isinstance(thing, Mapping):
        return "{" + ", ".join(f"{key!r}: {_words(value, within)}" for key, value in thing.items()) + "}"
    if isinstance(thing, (list, tuple)) and type(thing) in (list, tuple):
        return "(" + ", ".join(_words(item, within) for item in thing) + ")"
    return _name(thing) + _inside(thing, within)


def _name(thing: Any) -> str:
    """The name of a function or class, or of the class of anything else."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _inside(thing: Any, within: tuple[int, ...]) -> str:
    """What records, named tuples, partial and nested functions hold; nothing for others."""
    if isinstance(thing, type):
        return ""
    if dataclasses.is_dataclass(thing):
        parts = {field.name: getattr(thing, field.name, None) for field in dataclasses.fields(thing)}
    elif isinstance(thing, tuple):
        parts = getattr(thing, "_asdict", dict[str, Any])() or dict(enumerate(thing))  # pyright: ignore[reportUnknownVariableType]
    elif hasattr(thing, "func") and hasattr(thing, "keywords"):
        parts = {"func": thing.func, "args": thing.args, **thing.keywords}
    else:
        parts = _closed_over(thing)
    return "(" + ", ".join(f"{name}={_words(value, within)}" for name, value in parts.items()) + ")" if parts else ""


def _closed_over(thing: Any) -> dict[str, Any]:
    """The variables of a nested function, the defaults of any, and the owner of a bound method."""
    function = getattr(thing, "__func__", thing)
    owner = getattr(thing, "__self__", None)
    parts: dict[str, Any] = {"self": owner} if isinstance(owner, eqx.Module) else {}
    if type(owner).__module__.startswith("optax."):  # MultiSteps; an object of the user's may count or remember
        parts = dict(vars(owner))
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            parts[name] = cell.cell_contents
        except ValueError:  # a variable that has not been set yet
            parts[name] = None
    defaults = getattr(function, "__defaults__", None)
    return parts | ({"defaults": defaults} if defaults else {})


def _array(array: Any) -> str:
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    array = np.asarray(array)
    if array.ndim == 0:
        return repr(array.item())
    return f"{array.dtype}{list(array.shape)}:{zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"
