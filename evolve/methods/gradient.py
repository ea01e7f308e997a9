"""Gradient baselines: one more oracle in the same loop, by any optax optimizer."""

import dataclasses
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core.checks import check_update
from evolve.core.optimizer import Graded, Optimizer
from evolve.core.population import Population
from evolve.core.trees import Geometry, Params, begin, select


class GradientState(eqx.Module):
    """The point in working precision, the transformation's state, and what line searches evaluated."""

    center: Params
    update: Any
    searched: Int[Array, ""]
    geometry: Geometry


class Gradient(Optimizer):
    """Follow the gradient with an optax optimizer: `Gradient(optax.adam(1e-3))`, `Gradient(optax.lbfgs())`.

    Asks for one point and its gradient, which counts as three forward passes (one forward, two for
    backward). Line searches get the loss function of the same minibatch; each of their steps counts as another
    evaluation with gradient. After one that finds no step, L-BFGS forgets what it remembers and begins anew.

    Parameters
    ----------
    transformation
        A complete optax optimizer, learning rate included.
    """

    oracle: ClassVar[Literal["loss", "gradient"]] = "gradient"

    transformation: optax.GradientTransformation = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_update(self, self.transformation)

    def init(self, params: Params, key: PRNGKeyArray) -> GradientState:
        """Start at the parameters."""
        del key
        geometry, center = begin(self, params)
        return GradientState(center, self.transformation.init(center), jnp.zeros((), jnp.int32), geometry)

    def ask(self, state: GradientState, key: PRNGKeyArray) -> Population:
        """The point itself."""
        alone = jax.tree.map(lambda leaf: leaf[None], state.center)
        return Population.of(alone, state.geometry, key)

    def learn(self, state: GradientState, population: Population, losses: Graded) -> GradientState:
        """One update."""
        gradient = state.geometry.working(losses.gradient)

        def function(params: Params) -> Float[Array, ""]:
            return losses.function(state.geometry.cast(params))

        step, update = optax.with_extra_args_support(self.transformation).update(
            gradient, state.update, state.center, value=losses.losses[0], grad=gradient, value_fn=function
        )
        # The update keeps the state's dtypes: a float64 inside it must not turn a float32 loop's carry around.
        update = jax.tree.map(lambda new, old: jnp.asarray(new).astype(jnp.asarray(old).dtype), update, state.update)
        center = jax.tree.map(lambda x, dx: x + dx.astype(x.dtype), state.center, step)
        searched = state.searched + _line_search_steps(update)
        if _holds(update, _SEARCHES):
            stuck = _same(center, state.center) & ~_same(gradient, jax.tree.map(jnp.zeros_like, gradient))
            update = _restarted(stuck, update, self.transformation.init(center))
        return GradientState(center, update, searched, state.geometry)

    def counted(self, state: GradientState, learned: GradientState) -> GradientState:
        """With what line searches have evaluated."""
        return dataclasses.replace(state, searched=learned.searched)

    def answer(self, state: GradientState) -> Params:
        """The point."""
        return state.geometry.cast(state.center)

    def extra(self, state: GradientState) -> Int[Array, ""]:
        """Evaluations of line searches so far."""
        return state.searched

    def takes_turns(self, state: GradientState) -> bool:
        """Where it searches along lines."""
        return _holds(state.update, _LINE_SEARCHES)


def _line_search_steps(update: Any) -> Int[Array, ""]:
    """What the last update's line searches evaluated, found by the name that optax gives it."""
    found = optax.tree_utils.tree_get_all_with_path(update, "num_linesearch_steps")
    return sum((jnp.asarray(value, jnp.int32) for _, value in found), jnp.zeros((), jnp.int32))


def _same(one: Params, other: Params) -> Bool[Array, ""]:
    """Whether two trees hold the same numbers."""
    return jnp.all(jnp.stack([jnp.all(a == b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)]))


_LINE_SEARCHES = optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState
_SEARCHES = optax.ScaleByLBFGSState, *_LINE_SEARCHES


def _is_search(part: Any) -> bool:
    """For `jax.tree.map(..., is_leaf=_is_search)`: stop at what a failed line search leaves unusable."""
    return isinstance(part, _SEARCHES)


def _holds(update: Any, kinds: tuple[type, ...]) -> bool:
    """Whether an update's state has a part of one of these kinds."""
    parts = jax.tree.leaves(update, is_leaf=lambda part: isinstance(part, kinds))
    return any(isinstance(part, kinds) for part in parts)


def _restarted(stuck: Bool[Array, ""], update: Any, fresh: Any) -> Any:
    """The state of an update that moved nothing, with its line searches and L-BFGS's memory as they began.

    Memory of a step of length zero scales the next one by zero, and a step size of zero is guessed again: it would
    not move ever after, on another minibatch neither.
    """

    def one(now: Any, first: Any) -> Any:
        return select(stuck, first, now) if _is_search(now) else now

    return jax.tree.map(one, update, fresh, is_leaf=_is_search)
