"""What stands in front of every optimizer: names of options, shapes of numbers and random keys are refused early."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a misspelt option, which would otherwise be no option at all.

    Raises
    ------
    TypeError
        A name is not known: the message gives the one that may be meant, and all there are.
    """
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}? Known" if near else "known"
            raise TypeError(f"{owner}: there is no option {name!r}; {meant} are {', '.join(known)}.")


def check_options(made: type, given: Iterable[str]) -> None:
    """Refuse names that a class does not take.

    Raises
    ------
    TypeError
        See `check_names`.
    """
    given = list(given)
    if given:  # looking at the class takes a while
        known = list(inspect.signature(made.__init__).parameters.values())[1:]
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in known):
            check_names(made.__name__, given, [parameter.name for parameter in known])


def check_key(owner: str, key: Any) -> None:
    """Refuse what is no random key: one of `jax.random.key`, or of `jax.random.PRNGKey`.

    Raises
    ------
    TypeError
        Naming what it is, and the cure.
    """
    array = isinstance(key, (jax.Array, np.ndarray))
    new = array and key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not (new or (array and key.ndim == 1 and key.dtype == np.uint32)):
        raise TypeError(f"{owner}: the key is {what(key)}; give a random key, such as jax.random.key(0).")


def what(thing: Any) -> str:
    """In a few words: a number itself, of an array type and shape, of anything else the class."""
    if isinstance(thing, (int, float, type(None))):
        return repr(thing)
    if isinstance(thing, (jax.Array, np.ndarray)):
        return f"an array of {thing.dtype}, shape {thing.shape}"
    return f"of class {type(thing).__name__}"


def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """An optimizer's method whose second argument is a random key, after the check of that and of `sigma`.

    An optimizer of which a field has an axis of its own is fine as such: `vmap` takes it off.
    """

    @functools.wraps(method)
    def checked(self: Any, *args: Any, **named: Any) -> Any:
        name = type(self).__name__
        for key in args[1:2] or [named[place] for place in named if place == "key"]:
            check_key(f"{name}.{method.__name__}", key)
        if shape := getattr(getattr(self, "sigma", None), "shape", ()):
            cure = "; for one per coordinate see stds" if hasattr(self, "stds") else ""
            raise ValueError(f"{name}: sigma has shape {shape}; it must be one number{cure}.")
        return method(self, *args, **named)

    return checked
