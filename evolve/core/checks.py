"""Refusals that name the class, the option, the value and the cure. Traced values pass: they are not known yet."""

import operator
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def check_count(owner: Any, least: int, most: int | None = None, **counts: Any) -> None:
    """Refuse what is no whole number from `least` to `most`.

    Raises
    ------
    TypeError
        It is no integer.
    ValueError
        It is out of range.
    """
    for option, value in counts.items():
        name = f"{_name(owner)}: {option} is {value!r}"
        try:
            number = operator.index(value)
        except TypeError:
            number = None
        if number is None or isinstance(value, bool):
            raise TypeError(f"{name}; it must be a whole number.")
        if number < least or (most is not None and number > most):
            raise ValueError(f"{name}; it must be at least {least}{'' if most is None else f', at most {most}'}.")


def check_population(owner: Any, size: Any, least: int = 2, group: int = 1) -> None:
    """Refuse a population that is too small, or that antithetic pairs do not divide.

    Raises
    ------
    TypeError
        It is no integer.
    ValueError
        Naming the class, the value and the cure.
    """
    check_count(owner, -(2**63), population=size)
    name = type(owner).__name__
    if size < least:
        raise ValueError(f"{name}: population is {size}; it needs at least {least} members.")
    if size % group:
        kind = "an even number" if group == 2 else f"a multiple of {group}"
        raise ValueError(f"{name}: population is {size}; antithetic pairs need {kind}.")


def check_positive(owner: Any, schedules: bool = True, **numbers: Any) -> None:
    """Refuse what is neither a positive finite number nor, where they are allowed, a schedule.

    A schedule may begin or end with 0: steps grow from nothing, or cool to nothing.

    Raises
    ------
    TypeError
        It is no number.
    ValueError
        It is not positive, or not finite; of a schedule, an end is not finite or negative, or both are 0.
    """
    for option, value in numbers.items():
        ends = _known(owner, option, value, schedules)
        fine = all(np.all((end >= 0) & np.isfinite(end)) for end in ends)
        if ends and not (fine and np.all(sum(ends) > 0)):
            what, more = ("it", "") if len(ends) == 1 else ("its ends", ", or one 0")
            raise ValueError(f"{_name(owner)}: {option} is {value}; {what} must be positive and finite{more}.")


def check_between(
    owner: Any,
    low: float,
    high: float,
    schedules: bool = True,
    above: bool = False,
    below: bool = False,
    **numbers: Any,
) -> None:
    """Refuse numbers outside [low, high]; of a schedule, both its ends.

    With `above` low itself is refused too, with `below` high.

    Raises
    ------
    TypeError
        It is no number, nor a schedule where they are allowed.
    ValueError
        It is out of range.
    """
    for option, value in numbers.items():
        ends = _known(owner, option, value, schedules)
        first, last = np.greater if above else np.greater_equal, np.less if below else np.less_equal
        if not all(np.all(first(end, low) & last(end, high)) for end in ends):
            span = f"{'(' if above else '['}{low}, {high}{')' if below else ']'}"
            allowed = f"lie in {span}" if high < float("inf") else f"be at least {low}"
            raise ValueError(f"{_name(owner)}: {option} is {value}; it must {allowed}.")


def check_numbers(owner: Any, **trees: Any) -> None:
    """Refuse trees of which a leaf is no number, nor an array of them.

    Raises
    ------
    TypeError
        Naming the class, the option and the leaf.
    """
    for option, tree in trees.items():
        for leaf in jax.tree.leaves(tree):
            _known(owner, option, leaf, schedules=False)


def check_edges(owner: Any, low: Any, high: Any, apart: bool = False, finite: bool = False) -> None:
    """Refuse edges that cross, or with `apart` meet: numbers, or trees that broadcast against the same parameters.

    Infinite ones are refused with `finite`. What only the parameters can tell is not asked.

    Raises
    ------
    TypeError
        One is no number.
    ValueError
        One is NaN, or infinite where it must not be, or low is above high.
    """
    for option, tree in (("low", low), ("high", high)):
        for edge in (known for leaf in jax.tree.leaves(tree) for known in _known(owner, option, leaf, False)):
            wrong = ~np.isfinite(edge) if finite else np.isnan(edge)
            if np.any(wrong):
                allowed = "finite" if finite else "a number, or infinite where there is no edge"
                raise ValueError(f"{_name(owner)}: {option} is {edge[wrong][0]}; it must be {allowed}.")
    for pair in _meeting(low, high):
        edges = [known for leaf in pair for known in _known(owner, "an edge", leaf, schedules=False)]
        # Of other shapes an axis may be that of a sweep: which one, only the parameters can tell.
        if len(edges) < 2 or not (edges[0].shape == edges[1].shape or 0 in (edges[0].ndim, edges[1].ndim)):
            continue
        below, above = np.broadcast_arrays(*edges)
        wrong = below >= above if apart else below > above
        if np.any(wrong):
            values = f"low is {below[wrong][0]} where high is {above[wrong][0]}"
            raise ValueError(f"{_name(owner)}: {values}; it must {'be below' if apart else 'not be above'}.")


def check_flags(owner: Any, **flags: Any) -> None:
    """Refuse what is neither True nor False.

    Raises
    ------
    TypeError
        Naming the class, the option and the value.
    """
    for option, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{_name(owner)}: {option} is {value!r}; it must be True or False.")


def check_kind(owner: Any, kind: type[Any], cure: str, **things: Any) -> None:
    """Refuse what is no instance of a class, and name the cure.

    Raises
    ------
    TypeError
        Naming the class, the option and the value.
    """
    for option, value in things.items():
        if not isinstance(value, kind):
            raise TypeError(f"{type(owner).__name__}: {option} is {value!r}, which is no {kind.__name__}; {cure}.")


def check_update(owner: Any, update: Any) -> None:
    """Refuse what is no optax optimizer.

    Raises
    ------
    TypeError
        It has no `init` and `update`: a number, or a factory that was not called.
    """
    if not (hasattr(update, "init") and hasattr(update, "update")):
        name = getattr(update, "__name__", repr(update))
        raise TypeError(f"{type(owner).__name__}: {name} is no optax optimizer; give one, such as optax.adam(0.01).")


def _known(owner: Any, option: str, value: Any, schedules: bool) -> list[np.ndarray]:
    """The numbers to judge: one, or the ends of a schedule; none where a function or a tracer will say later."""
    if schedules and callable(value):
        ends: tuple[Any, ...] = getattr(value, "ends", ())
        known = [_known(owner, f"an end of {option}", end, schedules=False) for end in ends]
        return [one for end in known for one in end] if all(known) else []
    if isinstance(value, jax.core.Tracer):
        return []
    numeric = isinstance(value, (int, float, np.ndarray, np.generic, jax.Array)) and not isinstance(value, bool)
    # By JAX's kinds: among NumPy's numbers there are complex ones, and no bfloat16.
    if not numeric or not any(jnp.issubdtype(np.asarray(value).dtype, kind) for kind in (jnp.floating, jnp.integer)):
        kind = "a number or a function of the generation" if schedules else "a number"
        raise TypeError(f"{_name(owner)}: {option} is {value!r}; it must be {kind}.")
    return [np.asarray(value, np.float64)]


def _meeting(low: Any, high: Any) -> list[tuple[Any, Any]]:
    """The leaves of two trees that broadcast against the same one, in pairs that meet there."""
    if jax.tree_util.all_leaves([low]):
        return [(low, leaf) for leaf in jax.tree.leaves(high)]
    if jax.tree_util.all_leaves([high]):
        return [(leaf, high) for leaf in jax.tree.leaves(low)]
    (lows, kind), (highs, other) = _children(low), _children(high)
    if kind != other:
        return []
    return [pair for below, above in zip(lows, highs, strict=True) for pair in _meeting(below, above)]


def _children(tree: Any) -> tuple[list[Any], Any]:
    """The subtrees of its root, and what the root is."""
    return jax.tree.flatten(tree, is_leaf=lambda node: node is not tree)


def _name(owner: Any) -> str:
    """Of a class or a function its own; of anything else its class's."""
    return getattr(owner, "__name__", type(owner).__name__)
