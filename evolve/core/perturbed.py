"""A perturbed weight is an array that knows how to multiply: x @ (W + A B^T) as x @ W + (x @ A) B^T.

Inside `quax.quaxify` a `Perturbed` takes part in plain matrix products without ever being formed, so a user's model
runs unmodified. Everything else (reshapes, convolutions, elementwise arithmetic, ...) forms the weight first and says
so once. Importing quax takes 0.1 s, so this is imported where the first low-rank direction is added to a weight.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import quax
from jax import lax
from jaxtyping import Array, Float

from evolve.core.lowrank import Lazy


class Perturbed(quax.ArrayValue, Lazy):
    """weight + left @ right.T, multiplied lazily; `weight` may be shared by a whole population."""

    weight: Float[Array, "m n"]
    left: Float[Array, "m r"]
    right: Float[Array, "n r"]

    def aval(self) -> Any:
        """Its shape and dtype: the weight's.

        Raises
        ------
        TypeError
            It was cut along its rows, which its parts do not share (a scan over stacked layers); the evaluation
            then forms the weights.
        """
        if jnp.ndim(self.weight) != 2:
            raise TypeError("a perturbed weight is scanned over, and its rows have no low-rank form")
        return jax.typeof(self.weight)

    def materialise(self) -> Array:
        """The formed weight."""
        return self.weight + self.left @ self.right.T

    @staticmethod
    def default(primitive: Any, values: Sequence[Any], params: dict[str, Any]) -> Any:
        """Form the weight for a primitive that has no rule, and say so once."""
        _warn_formed(str(primitive))
        arrays = [value.materialise() if isinstance(value, quax.ArrayValue) else value for value in values]
        return primitive.bind(*arrays, **params)


_formed: set[str] = set()


def _warn_formed(primitive: str) -> None:
    if primitive not in _formed:
        _formed.add(primitive)
        warnings.warn(
            f"LowRank: '{primitive}' has no low-rank rule, so it forms the perturbed weight of every member "
            "(correct, but memory and time grow with population x weight).",
            stacklevel=2,
        )


def _product(value: Perturbed, other: Any, dimension_numbers: Any, flipped: bool, params: dict[str, Any]) -> Any:
    """dot_general of a perturbed weight with a plain array, the weight left (or right, if `flipped`)."""
    (own, others), (own_batch, _) = dimension_numbers
    if len(own) != 1 or own_batch:
        _warn_formed("dot_general over other than one axis")
        return _ordered(value.materialise(), other, dimension_numbers, flipped, params)
    # Contract the axis that the product sums over with its own factor first: r numbers remain of m (or n).
    inner, outer = (value.left, value.right) if own[0] == 0 else (value.right, value.left)
    whole = _ordered(value.weight, other, dimension_numbers, flipped, params)
    narrow = _ordered(inner, other, (((0,), others), ((), ())), flipped, params)
    rank_axis, out_axis = (narrow.ndim - 1, whole.ndim - 1) if flipped else (0, 0)
    narrow = jnp.moveaxis(narrow, rank_axis, 0)
    # One rank at a time is a broadcast product that fuses with the sum; a matrix product would not.
    shape = [1] * whole.ndim
    shape[out_axis] = outer.shape[0]
    terms = (jnp.expand_dims(narrow[k], out_axis) * outer[:, k].reshape(shape) for k in range(outer.shape[1]))
    return whole + sum(terms).astype(whole.dtype)  # pyright: ignore[reportAttributeAccessIssue]


def _ordered(own: Any, other: Any, dimension_numbers: Any, flipped: bool, params: dict[str, Any]) -> Any:
    (a, b), (c, d) = dimension_numbers
    if flipped:
        return lax.dot_general(other, own, ((b, a), (d, c)), **params)
    return lax.dot_general(own, other, ((a, b), (c, d)), **params)


def _dot_params(params: dict[str, Any]) -> dict[str, Any]:
    """What `dot_general_p` was bound with, as arguments of `lax.dot_general`."""
    return {name: params[name] for name in ("precision", "preferred_element_type") if name in params}


@quax.register(lax.dot_general_p)
def _weight_first(lhs: Perturbed, rhs: Any, *, dimension_numbers: Any, **params: Any) -> Any:
    if isinstance(rhs, quax.ArrayValue):
        _warn_formed("dot_general of two perturbed weights")
        return lax.dot_general(lhs.materialise(), rhs.materialise(), dimension_numbers, **_dot_params(params))
    return _product(lhs, rhs, dimension_numbers, False, _dot_params(params))


@quax.register(lax.dot_general_p)
def _weight_second(lhs: jax.typing.ArrayLike, rhs: Perturbed, *, dimension_numbers: Any, **params: Any) -> Any:
    (a, b), (c, d) = dimension_numbers
    return _product(rhs, lhs, ((b, a), (d, c)), True, _dot_params(params))


@quax.register(lax.transpose_p)
def _transpose(value: Perturbed, *, permutation: Any) -> Any:
    if tuple(permutation) == (1, 0):
        return Perturbed(value.weight.T, value.right, value.left)
    return value


@quax.register(lax.convert_element_type_p)
def _convert(value: Perturbed, *, new_dtype: Any, **params: Any) -> Any:
    if not jnp.issubdtype(new_dtype, jnp.floating):
        return lax.convert_element_type(value.materialise(), new_dtype)
    parts = (value.weight, value.left, value.right)
    return Perturbed(*(part.astype(new_dtype) for part in parts))
