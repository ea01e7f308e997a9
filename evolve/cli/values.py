"""Values of settings: from the words of a command line or a job file to what a factory's signature asks for."""

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optax

from evolve.cli.arguments import number, positive
from evolve.cli.errors import UsageError, unknown
from evolve.core.perturbation import Antithetic, Gaussian, Law, LowRank, Perturbation, Rademacher, Sparse
from evolve.core.schedule import Cosine, Exponential, Linear, Power
from evolve.core.shaping import Elite, Shaping, TopPairs, centered_ranks, difference, z_score
from evolve.methods import ClipUp, Tolerances

_SCHEDULES = {"cosine": Cosine, "linear": Linear, "exponential": Exponential, "power": Power}
_LAWS = {"gaussian": Gaussian, "rademacher": Rademacher}
_PERTURBATIONS = ("gaussian", "rademacher", "lowrank", "sparse", "antithetic")
_RECORDS = {"elite": Elite, "top_pairs": TopPairs}
_SHAPINGS = {"centered_ranks": centered_ranks, "z_score": z_score, "difference": difference}
_UPDATES = {
    "sgd": optax.sgd,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "rmsprop": optax.rmsprop,
    "lion": optax.lion,
    "clipup": ClipUp,
}


@dataclass(frozen=True)
class Kind:
    """What a setting may be: in words, and how to read it. `read` raises ValueError where it is something else."""

    allowed: str
    read: Callable[[str], Any]


def parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The settings that a factory takes, by name."""
    return dict(inspect.signature(factory).parameters)


def read(factory: Callable[..., Any], given: dict[str, Any], where: str) -> dict[str, Any]:
    """Settings as a factory takes them, from text or from the plain values of TOML and JSON.

    Raises
    ------
    UsageError
        A setting is unknown, or its value is not allowed: names it, and the cure.
    """
    known = parameters(factory)
    for name in given:
        if name not in known:
            raise unknown(f"{where} has no setting", name, known)
    return {name: _value(f"{where}: {name}", known[name].annotation, value) for name, value in given.items()}


def build(factory: Callable[..., Any], given: dict[str, Any], where: str) -> Any:
    """Call a factory with settings in words.

    Raises
    ------
    UsageError
        As in `read`; or a setting is missing, or the factory refuses a value.
    """
    values, known = read(factory, given, where), parameters(factory)
    missing = [name for name, p in known.items() if p.default is p.empty and name not in given]
    if missing:
        raise UsageError(f"{where} needs {missing[0]}=..., {kind(known[missing[0]].annotation).allowed}.")
    return called(factory, **values)


def called(factory: Callable[..., Any], *args: Any, **values: Any) -> Any:
    """What the factory makes; its own refusal becomes a sentence for the command line.

    Raises
    ------
    UsageError
        The factory raised what bad values raise.
    """
    try:
        return factory(*args, **values)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error


def _value(where: str, annotation: Any, given: Any) -> Any:
    wanted, text = kind(annotation), as_text(given)
    try:
        return wanted.read(text)
    except ValueError as error:
        detail = "" if str(error).startswith(repr(text)) else f" ({error})"
        raise UsageError(f"{where} is {text!r}{detail}; it must be {wanted.allowed}.") from None


def as_text(given: Any) -> str:
    """A plain value as it would be typed."""
    if given is None or isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, (list, tuple)):
        return "-".join(as_text(item) for item in given)  # pyright: ignore[reportUnknownVariableType]
    return getattr(given, "__name__", str(given))  # a function, less its address


def kind(annotation: Any) -> Kind:
    """What an annotation allows.

    Raises
    ------
    TypeError
        The annotation is none that a command line can express: a fault of the factory, not of the user.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union) and len(inner) == 2 and type(None) in inner:
        return _optional(kind(inner[0] if inner[1] is type(None) else inner[1]))
    if origin is Literal:
        return Kind(" or ".join(map(str, inner)), lambda text: _choice(text, {str(value): value for value in inner}))
    if origin in (Sequence, list, tuple):
        return Kind("whole numbers such as 64-32", _widths)
    if annotation == Shaping:
        return Kind(f"{', '.join(_SHAPINGS)}, elite:FRACTION or top_pairs:FRACTION", _shaping)
    if isinstance(annotation, type) and issubclass(annotation, Perturbation):
        return Kind(f"a perturbation ({', '.join(_PERTURBATIONS)})", _perturbation)
    found = _KINDS.get(annotation)
    if found is None:
        raise TypeError(f"no setting can be read as {annotation}.")
    return found


def _optional(inner: Kind) -> Kind:
    return Kind(f"{inner.allowed} or none", lambda text: None if text == "none" else inner.read(text))


def _choice(text: str, choices: dict[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(str(unknown("there is no", text, choices)).rstrip("?."))
    return choices[text]


def _int(text: str) -> int:
    value = number(text)
    if value != int(value):
        raise ValueError(f"{text!r} has a fraction")
    return int(value)


def _widths(text: str) -> tuple[int, ...]:
    """`64-32` as (64, 32); nothing at all as ()."""
    return tuple(_int(part) for part in text.split("-")) if text else ()


def _text(text: str) -> str:
    return text


def _schedule(text: str) -> Any:
    """A plain number, or NAME:NUMBER:NUMBER:..."""
    name, *rest = text.split(":")
    if not rest:
        return number(text)
    return _called(_choice(name, _SCHEDULES), [number(part) for part in rest], text)


def _perturbation(text: str) -> Perturbation:
    """NAME:ARGUMENT:...; an inner perturbation comes last, written the same way."""
    name, _, rest = text.partition(":")
    if _choice(name, dict.fromkeys(_PERTURBATIONS, name)) == "antithetic":
        return Antithetic(_perturbation(rest)) if rest else Antithetic()
    if name in _LAWS:
        return _called(_LAWS[name], rest.split(":") if rest else [], text)
    first, _, inner = rest.partition(":")
    if not first:
        raise ValueError(f"{name} needs a {'rank' if name == 'lowrank' else 'fraction'} after a colon")
    if name == "sparse":
        return Sparse(number(first), _perturbation(inner) if inner else Gaussian())
    return LowRank(_int(first), _law(inner))


def _law(text: str) -> Law:
    return _choice(text, _LAWS)() if text else Gaussian()


def _shaping(text: str) -> Any:
    name, *rest = text.split(":")
    if name in _RECORDS:
        return _called(_RECORDS[name], [number(part) for part in rest], text)
    return _choice(text, _SHAPINGS)


def _update(text: str) -> optax.GradientTransformation:
    name, *rest = text.split(":")
    rates = [positive(part) for part in rest]
    if len(rates) != 1:
        raise ValueError("one learning rate comes after the colon")
    return _called(_choice(name, _UPDATES), rates, text)


def _tolerances(text: str) -> Tolerances:
    """NAME:VALUE:NAME:VALUE:...; nothing but `default` for pycma's."""
    words = [] if text == "default" else text.split(":")
    for name in words[::2]:
        _choice(name, vars(Tolerances()))
    if len(words) % 2:
        raise ValueError(f"{words[-1]} needs a number after a colon")
    return Tolerances(**dict(zip(words[::2], map(number, words[1::2]), strict=True)))


def _called(make: Callable[..., Any], arguments: Sequence[Any], text: str) -> Any:
    try:
        return make(*arguments)
    except TypeError:
        raise ValueError(f"{text!r} has too few or too many parts") from None


_KINDS: dict[Any, Kind] = {
    int: Kind("a whole number", _int),
    float: Kind("a finite number", number),
    bool: Kind("true or false", lambda text: _choice(text, {"true": True, "false": False})),
    str: Kind("a word", _text),
    Path: Kind("a file", Path),
    Any: Kind("a finite number or a schedule such as cosine:FROM:TO:GENERATIONS", _schedule),
    optax.GradientTransformation: Kind("an update such as adam:RATE", _update),
    Tolerances: Kind("default, or criteria such as tolfun:1e-8:tolx:1e-9,", _tolerances),
}
