"""Costly work that is due only now and then, also under `vmap`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool

from evolve.core.trees import Params, select


def refresh(due: Bool[Array, ""], compute: Callable[[Params], Params], operand: Params, old: Params) -> Params:
    """`compute(operand)` where it is due, else `old`.

    A plain `lax.cond` under `vmap` computes always. Here a batch computes when any of its members is due, and
    those that are not keep their old value, so a batch gives what a loop over its members gives.
    """

    @custom_vmap
    def once(due: Bool[Array, ""], operand: Params, old: Params) -> Params:
        return jax.lax.cond(due, lambda: compute(operand), lambda: old)

    @once.def_vmap
    def batched(size: int, in_batched: Any, due: Any, operand: Params, old: Params) -> tuple[Params, Any]:  # pyright: ignore[reportUnusedFunction]
        def spread(leaf: Any, is_batched: bool) -> Array:
            return leaf if is_batched else jnp.broadcast_to(leaf, (size, *jnp.shape(leaf)))

        due, operand, old = (jax.tree.map(spread, x, b) for x, b in zip((due, operand, old), in_batched, strict=True))
        new = jax.lax.cond(jnp.any(due), lambda: jax.vmap(compute)(operand), lambda: old)
        return jax.vmap(select)(due, new, old), jax.tree.map(lambda _: True, old)

    return once(due, operand, old)
