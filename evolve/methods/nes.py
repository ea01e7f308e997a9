"""What evolution strategies share: weights by rank, evolution paths, and bounds that keep a distribution usable."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from evolve.core.shaping import recombination


def selection(losses: Float[Array, " size"], dtype: np.dtype) -> Float[Array, " size"]:
    """max(0, log(size / 2 + 1) - log(rank)), divided by their sum (Wierstra et al. 2014, section 3.1).

    Ties share theirs, and a failed member's go to the others.
    """
    return recombination(losses, table(losses.shape[0]).astype(dtype))


def table(size: int) -> np.ndarray:
    """The weights of `selection` by rank, best first, where nobody ties or fails."""
    raw = np.maximum(0, math.log(size / 2 + 1) - np.log(np.arange(1, size + 1)))
    return raw / raw.sum()


def utilities(losses: Float[Array, " size"], dtype: np.dtype) -> Float[Array, " size"]:
    """`selection` less 1 / size: they sum to zero, so that nothing drifts where nothing is selected."""
    return selection(losses, dtype) - 1 / losses.shape[0]


def in_range(sigma: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """What neither underflows nor overflows, however long a plateau lets a standard deviation drift."""
    limits = jnp.finfo(sigma.dtype)
    return jnp.clip(sigma, limits.tiny * 2**12, limits.max / 2**12)


def usable(condition: Float[Array, ""], before: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether a covariance of this condition number may follow one of that: it is below 1 / eps, or at least better.

    Beyond it whitening a direction leaves no correct digit. The threshold is a ratio, so no scale is special.
    """
    return jnp.isfinite(condition) & (condition <= jnp.maximum(before, 1 / jnp.finfo(condition.dtype).eps))


def follow(path: Float[Array, " n"], rate: Any, mu_eff: Array, step: Float[Array, " n"]) -> Float[Array, " n"]:
    """An evolution path with one more step of the mean (eqs. 43 and 45)."""
    keep, gain = shares(rate, mu_eff)
    return keep * path + gain * step


def shares(rate: Any, mu_eff: Array) -> tuple[Any, Array]:
    """What a path keeps of itself, and takes of a step of the mean."""
    return 1 - rate, jnp.sqrt(rate * (2 - rate) * mu_eff)
