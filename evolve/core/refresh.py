"""Costly work that is due only now and then, or only as large as it must be, also under `vmap`."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Int

from evolve.core.trees import Params, select


def refresh(due: Bool[Array, ""], compute: Callable[[Params], Params], operand: Params, old: Params) -> Params:
    """`compute(operand)` where it is due, else `old`.

    A plain `lax.cond` under `vmap` computes always. Here a batch computes when any of its members is due, and
    those that are not keep their old value, so a batch gives what a loop over its members gives. What of the operand
    is no array stays as it is.
    """
    arrays, rest = eqx.partition(operand, eqx.is_array)

    def computed(arrays: Params) -> Params:
        return compute(eqx.combine(arrays, rest))

    @custom_vmap
    def once(due: Bool[Array, ""], operand: Params, old: Params) -> Params:
        return jax.lax.cond(due, lambda: computed(operand), lambda: old)

    @once.def_vmap
    def batched(size: int, in_batched: Any, due: Any, operand: Params, old: Params) -> tuple[Params, Any]:  # pyright: ignore[reportUnusedFunction]
        def spread(leaf: Any, is_batched: bool) -> Array:
            return leaf if is_batched else jnp.broadcast_to(leaf, (size, *jnp.shape(leaf)))

        due, operand, old = (jax.tree.map(spread, x, b) for x, b in zip((due, operand, old), in_batched, strict=True))
        new = jax.lax.cond(jnp.any(due), lambda: jax.vmap(computed)(operand), lambda: old)
        return jax.vmap(select)(due, new, old), jax.tree.map(lambda _: True, old)

    return once(due, arrays, old)


def at_least(index: Int[Array, ""], branches: Sequence[Callable[[Params], Params]], operand: Params) -> Params:
    """`branches[index](operand)`, where every later branch would do as well and costs more.

    A plain `lax.switch` under `vmap` computes all of them. Here a batch computes the one that its neediest member asks
    for. What of the operand is no array stays as it is; no branch closes over a traced number.
    """
    arrays, rest = eqx.partition(operand, eqx.is_array)
    computed = [lambda arrays, branch=branch: branch(eqx.combine(arrays, rest)) for branch in branches]

    @custom_vmap
    def choose(index: Int[Array, ""], operand: Params) -> Params:
        return jax.lax.switch(index, computed, operand)

    @choose.def_vmap
    def batched(size: int, in_batched: Any, index: Any, operand: Params) -> tuple[Params, Any]:  # pyright: ignore[reportUnusedFunction]
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, in_batched[1])
        needed = jnp.max(index)
        result = jax.lax.switch(needed, [jax.vmap(branch, (axes,), axis_size=size) for branch in computed], operand)
        return result, jax.tree.map(lambda _: True, result)

    return choose(index, arrays)
