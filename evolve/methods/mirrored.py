"""Mirrored sampling with pairwise selection (Auger, Brockhoff and Hansen 2011, GECCO, 901-908)."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from evolve.core import draws
from evolve.core.shaping import places
from evolve.core.trees import float_dtype


def noise(key: PRNGKeyArray, size: int, n: int, mirrored: bool) -> Float[Array, "size n"]:
    """White noise; mirrored, each odd row is the row before it with the other sign, and `size` is even."""
    return head(key, size, size, n, mirrored)


def head(key: PRNGKeyArray, some: int, size: int, n: int, mirrored: bool) -> Float[Array, "some n"]:
    """The first rows of `noise(key, size, n, mirrored)`; `some` is even where they are mirrored."""
    if not mirrored:
        return draws.head(key, some, (size, n), float_dtype())
    half = draws.head(key, some // 2, (size // 2, n), float_dtype())
    return jnp.stack([half, -half], axis=1).reshape(some, n)


def winners_first(
    losses: Float[Array, " n"], count: Any = None, foreign: Bool[Array, " n"] | None = None
) -> Float[Array, " n"]:
    """Losses that rank the better one of each pair before all the worse ones, and otherwise as those given.

    Without it two opposite members may both attract, and cancel: the path of the step size would look short, and sigma
    shrink, wherever the pair lies well. Of equal ones neither is worse; one whose opposite failed, or is not in use, is
    not, nor is either of two that are no opposites, for one is `foreign`. Only the order of the losses counts.
    """
    worse = losses > losses.reshape(-1, 2)[:, ::-1].reshape(-1)
    if foreign is not None:
        worse &= ~jnp.repeat(jnp.any(foreign.reshape(-1, 2), axis=1), 2)
    ranks = places(losses, count)[0] + len(losses) * worse
    return jnp.where(jnp.isfinite(losses), ranks.astype(losses.dtype), jnp.inf)
