"""Losses of members: every copy of a network evaluated together, low-rank weights never formed."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from evolve.core import draws
from evolve.core.lowrank import is_lazy
from evolve.core.optimizer import Graded
from evolve.core.population import Population
from evolve.core.problem import Problem
from evolve.core.trees import Params, float_dtype


def batch_losses(
    problem: Problem,
    population: Population,
    key: PRNGKeyArray,
    first: Int[Array, ""] | int,
    count: int,
    common: bool = True,
) -> Float[Array, " count"]:
    """Losses of members first ... first + count - 1; the center is shared, so a layer is one large product.

    With `common`, all members get the key itself; without, each group (a member, or an antithetic pair) its own.
    Where noise is `independent`, each member has its own in any case.
    """
    directions, own = population.directions.batch(first, count), independent(problem, population)
    if common and not own:
        return jax.vmap(lambda direction: member_loss(problem, population.place(direction), key))(directions)
    keys = member_keys(key, (first + jnp.arange(count)) // (1 if own else population.directions.group))
    return jax.vmap(lambda direction, own: member_loss(problem, population.place(direction), own))(directions, keys)


def independent(problem: Problem, population: Population) -> bool:
    """Whether every member has noise of its own: the problem says so, or each is evaluated several times."""
    return not problem.common or population.repeats is not None


def member_keys(key: PRNGKeyArray, members: Int[Array, " n"]) -> Key[Array, " n"]:
    """Keys of members by their numbers, wherever they are evaluated."""
    return jax.vmap(lambda i: draws.fold_in(key, i))(members)


def repeated(
    once: Callable[[PRNGKeyArray], Float[Array, " size"]], population: Population, key: PRNGKeyArray
) -> Float[Array, " size"]:
    """The mean of as many evaluations as the population asks for, each with a key of its own.

    Their number is one of the program. A member of which one evaluation fails has failed.
    """
    if population.repeats is None:
        return once(key)

    def add(repeat: Int[Array, ""], total: Array) -> Array:
        return total + once(draws.fold_in(key, repeat)).astype(total.dtype)

    zeros = jnp.zeros(population.size, float_dtype())
    return jax.lax.fori_loop(0, population.repeats, add, zeros) / population.repeats


def member_loss(problem: Problem, params: Params, key: PRNGKeyArray) -> Float[Array, ""]:
    """One loss, by the lazy rules where weights are perturbed.

    Where the lazy trace itself fails (a primitive with a custom derivative rule that quax does not know, say), the
    weights are formed and the loss is traced plainly: slower, never wrong. An error of the user's own comes
    back from that second trace.
    """
    leaves, structure = jax.tree.flatten(params, is_leaf=is_lazy)
    if not any(map(is_lazy, leaves)):
        return checked(problem.loss(params, key))
    import quax  # with the first lazy leaf it was imported; without any, it need not be

    # Given leaves, for quax takes its arguments apart where there is no trace, and a variable of flax NNX wants one.
    lazily = quax.quaxify(lambda leaves, key: problem.loss(structure.unflatten(leaves), key))
    try:
        return checked(lazily(leaves, key))
    except Exception as error:
        formed = jax.tree.map(lambda leaf: leaf.materialise() if is_lazy(leaf) else leaf, params, is_leaf=is_lazy)
        loss = checked(problem.loss(formed, key))
        warnings.warn(f"LowRank: the loss cannot be traced lazily ({error}); weights are formed.", stacklevel=2)
        return loss


def graded(problem: Problem, population: Population, key: PRNGKeyArray) -> Graded:
    """Loss and gradient of a population of one."""

    def function(params: Params) -> Float[Array, ""]:
        return checked(problem.loss(params, key))

    loss, gradient = jax.value_and_grad(function)(population.member(0))
    return Graded(loss[None], gradient, function)


def checked(loss: Any) -> Float[Array, ""]:
    """A loss that is a floating-point scalar, in at least float32.

    Raises
    ------
    ValueError
        It has a shape.
    TypeError
        It is not a floating-point number.
    """
    loss = jnp.asarray(loss)
    if loss.shape != ():
        raise ValueError(f"the loss has shape {loss.shape}; return a scalar, such as its mean.")
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise TypeError(f"the loss is {loss.dtype}; return a floating-point number.")
    return loss.astype(jnp.promote_types(loss.dtype, jnp.float32))


def real(loss: Any) -> float:
    """A loss of plain Python that is a real number.

    Raises
    ------
    ValueError
        It has a shape.
    TypeError
        It is no real number.
    """
    if loss is None:
        raise TypeError("the loss is None; return a real number.")
    loss = np.asarray(loss)
    if loss.shape != ():
        raise ValueError(f"the loss has shape {loss.shape}; return a scalar, such as its mean.")
    if not np.issubdtype(loss.dtype, np.number) or np.issubdtype(loss.dtype, np.complexfloating):
        raise TypeError(f"the loss is {loss.dtype}; return a real number.")
    return float(loss)
