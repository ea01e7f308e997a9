"""ClipUp: normalized gradients, momentum and clipped updates (Toklu et al. 2020, arXiv:2008.02387)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from evolve.core.checks import check_between, check_positive
from evolve.core.schedule import Scalar
from evolve.core.trees import Params, scaled


class ClipUp(optax.GradientTransformation):
    """An update by direction alone, whose length is limited (Toklu et al. 2020, algorithm 1).

    For gradients whose length says nothing, such as those estimated from ranks. It is an optax transformation, and
    stands wherever `optax.adam(...)` may. Its steps do not shrink near an optimum, and so it circles there.

    Parameters
    ----------
    max_speed
        The longest update, > 0, in units of the parameters. The paper recommends a fifteenth of a direction's length.
    step
        alpha > 0, what a gradient adds to the velocity; by default max_speed / 2, as the paper recommends.
    momentum
        m, in [0, 1]: what the velocity keeps.

    Time and memory: O(parameters).
    """

    def __new__(cls, max_speed: Scalar = 0.1, step: Scalar | None = None, momentum: Scalar = 0.9) -> "ClipUp":
        """The pair of functions that optax asks for."""
        length = max_speed / 2 if step is None else step

        def init(params: Params) -> Params:
            return jax.tree.map(jnp.zeros_like, params)

        def update(updates: Params, state: Params, params: Params | None = None) -> tuple[Params, Params]:
            del params
            velocity = _pushed(state, updates, length, momentum)
            velocity = scaled(velocity, jnp.minimum(1, max_speed / jnp.maximum(_norm(velocity), max_speed)))
            return velocity, velocity

        made = super().__new__(cls, init, update)
        check_positive(made, schedules=False, max_speed=max_speed, step=length)
        check_between(made, 0, 1, schedules=False, momentum=momentum)
        return made


def _pushed(velocity: Params, gradient: Params, length: Scalar, momentum: Scalar) -> Params:
    """M v - alpha g / |g|: downhill."""
    push = scaled(_direction(gradient), length)
    return jax.tree.map(lambda v, g: jnp.asarray(momentum, v.dtype) * v - g, velocity, push)


def _norm(tree: Params) -> Float[Array, ""]:
    """The Euclidean length; squares of the largest coordinate's unit neither overflow nor underflow."""
    unit = _largest(tree)
    squares = [jnp.sum((leaf / unit.astype(leaf.dtype)) ** 2) for leaf in jax.tree.leaves(tree)]
    return unit * jnp.sqrt(sum(squares, jnp.zeros((), unit.dtype)))


def _direction(tree: Params) -> Params:
    """The tree at length one; zeros stay zeros."""
    unit = scaled(tree, 1 / _largest(tree))
    length = _norm(unit)
    return scaled(unit, 1 / jnp.where(length > 0, length, 1))


def _largest(tree: Params) -> Float[Array, ""]:
    """The largest absolute coordinate, or one where all are zero."""
    each: list[Any] = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree) if leaf.size]
    found = jnp.max(jnp.stack(each))
    return jnp.where(found > 0, found, 1)
