"""A problem or an optimizer in words: what must be equal for a checkpoint to belong to a run."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

_ARRAYS = np.ndarray, np.generic, jax.Array
_PLAIN = str, bool, int, float, complex, type(None), *_ARRAYS
_DEPTH = 100  # what is nested deeper than anyone writes makes itself anew whenever it is looked into


def describe(thing: Any) -> str:
    """Structure and numbers, with shapes and checksums in place of arrays, and without addresses in memory.

    Functions go by their name and by what they close over (so that `optax.adam(0.1)` is not `optax.adam(0.2)`), not
    by their code: correcting one does not orphan its runs. What holds itself is "..." where it is met again.
    """
    return _words(thing, ())


def _words(thing: Any, within: tuple[int, ...]) -> str:
    """One value; `within` are the identities of what it is found in."""
    if isinstance(thing, _PLAIN):
        return _array(thing) if isinstance(thing, _ARRAYS) else repr(thing)
    if id(thing) in within or len(within) == _DEPTH:
        return "..."
    within = *within, id(thing)
    if _is_container(thing):
        return _items(thing, lambda value: _words(value, within))
    parts = ", ".join(f"{name}={_words(value, within)}" for name, value in _parts(thing).items())
    return _name(thing) + (f"({parts})" if parts else "")


def outline(thing: Any) -> str:
    """`describe` for readers, in a line or two: what was called with which numbers, as far as that can be told.

    Names lose their modules and None goes without saying. Of an optax transformation it is the update; a function
    goes by the one that it is nested in, and says what all functions nested there close over.
    """
    return _outline(thing, ())


def _outline(thing: Any, within: tuple[int, ...]) -> str:
    if isinstance(thing, _PLAIN) or id(thing) in within or len(within) == _DEPTH:
        return _words(thing, within)
    if isinstance(thing, optax.GradientTransformation):
        return _outline(thing.update, within)
    within = *within, id(thing)
    if _is_container(thing):
        return _items(thing, lambda value: _outline(value, within))
    parts = {name: value for name, value in _merged(thing).items() if value is not None and name != "defaults"}
    said = {name: _outline(value, within) for name, value in parts.items()}
    words = [f"{name}={word}" for name, word in said.items()]
    name = _scope(thing).rpartition(".")[2]
    if len(words) == 1 and isinstance(thing, FunctionType):
        (only,), (word,) = parts.values(), said.values()
        if name == "with_extra_args_support":  # optax wraps whatever is chained
            return word
        words = [word[1:-1] if isinstance(only, tuple) else word]
    return name + (f"({', '.join(words)})" if words else "")


def _is_container(thing: Any) -> bool:
    """A plain one: named tuples are records."""
    return isinstance(thing, Mapping) or type(thing) in (list, tuple)


def _items(thing: Any, say: Callable[[Any], str]) -> str:
    """What a container holds, each of it said."""
    if isinstance(thing, Mapping):
        return "{" + ", ".join(f"{key!r}: {say(value)}" for key, value in thing.items()) + "}"  # pyright: ignore[reportUnknownVariableType]
    return "(" + ", ".join(map(say, thing)) + ")"


def _merged(thing: Any, within: tuple[int, ...] = ()) -> dict[str, Any]:
    """What it holds, and in place of functions that are nested where it is, what they hold."""
    found, within = dict[str, Any](), (*within, id(thing))
    for name, value in _parts(thing).items():
        nested = isinstance(value, FunctionType) and "<locals>" in value.__qualname__
        if nested and _scope(value) == _scope(thing):
            found = found if id(value) in within else _merged(value, within) | found
        elif not nested or _parts(value):
            found[name] = value
    return found


def _scope(thing: Any) -> str:
    """Its name, or that of the function that it is nested in."""
    return _name(thing).partition(".<locals>")[0]


def _name(thing: Any) -> str:
    """The name of a function or class, or of the class of anything else."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _parts(thing: Any) -> dict[str, Any]:
    """What records, named tuples, partial and nested functions hold; nothing of others."""
    if isinstance(thing, type):
        return {}
    if dataclasses.is_dataclass(thing):
        return {field.name: getattr(thing, field.name, None) for field in dataclasses.fields(thing)}
    if isinstance(thing, tuple):
        numbered: dict[str, Any] = {str(i): value for i, value in enumerate(thing)}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return getattr(thing, "_asdict", dict[str, Any])() or numbered
    if hasattr(thing, "func") and hasattr(thing, "keywords"):
        return {"func": thing.func, "args": thing.args, **thing.keywords}
    return _closed_over(thing)


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
