"""Low-rank directions, which stay factors: (x @ A) B^T in place of x @ (A B^T).

What adds one to a weight is `evolve.core.perturbed`.
"""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Factored(eqx.Module):
    """The matrix left @ right.T, shape (m, n), reshaped to `shape`; leading axes of the factors are a batch."""

    left: Float[Array, "*batch m r"]
    right: Float[Array, "*batch n r"]
    shape: tuple[int, ...] = eqx.field(static=True)

    def form(self) -> Array:
        """The array itself."""
        product = self.left @ jnp.swapaxes(self.right, -1, -2)
        return product.reshape(self.left.shape[:-2] + self.shape)


def is_factored(leaf: Any) -> bool:
    """For `jax.tree.map(..., is_leaf=is_factored)`: stop at a low-rank leaf."""
    return isinstance(leaf, Factored)


def form(tree: Any) -> Any:
    """A tree of directions with every low-rank leaf formed."""
    return jax.tree.map(lambda leaf: leaf.form() if is_factored(leaf) else leaf, tree, is_leaf=is_factored)


class Lazy:
    """A leaf that stands for an array which is not formed: known here without importing what multiplies it."""

    @abstractmethod
    def materialise(self) -> Array:
        """The array itself."""


def is_lazy(leaf: Any) -> bool:
    """For `jax.tree.map(..., is_leaf=is_lazy)`: stop at a leaf that is not formed."""
    return isinstance(leaf, Lazy)


def factor_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """A weight's shape as a matrix: all axes but the last are rows (a kernel's inputs), the last are columns."""
    return math.prod(shape[:-1]), shape[-1]
