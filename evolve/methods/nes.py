"""What evolution strategies share: weights by rank, evolution paths, and bounds that keep a distribution usable."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from evolve.core.population import Population
from evolve.core.shaping import recombination
from evolve.core.trees import Params, float_dtype


def selection(population: Population, losses: Float[Array, " size"]) -> Float[Array, " size"]:
    """max(0, log(size / 2 + 1) - log(rank)), divided by their sum (Wierstra et al. 2014, section 3.1).

    Ties share theirs, and a failed member's go to the others. Members that are not in use weigh nothing.
    """
    size = population.size

    def ranked(losses: Array, count: Any) -> Float[Array, " size"]:
        some = len(losses)
        each = table(some if count is None else count, some).astype(float_dtype())
        return jnp.pad(recombination(losses, each, count), (0, size - some))

    return population.brief(ranked, losses, population.count)


def table(size: Any, length: int) -> Any:
    """The weights of `selection` by rank, best first, where nobody ties or fails; zero beyond the size.

    That may be a traced number of at most `length`.
    """
    xp, size = (jnp, size.astype(float_dtype())) if isinstance(size, jax.Array) else (np, size)
    raw = xp.maximum(0, xp.log(size / 2 + 1) - xp.log(xp.arange(1, length + 1)))
    return raw / raw.sum()


def utilities(population: Population, losses: Float[Array, " size"]) -> Float[Array, " size"]:
    """`selection` less 1 / size: they sum to zero, so that nothing drifts where nothing is selected."""
    weights = selection(population, losses)
    return weights - population.in_use.astype(weights.dtype) / population.used


def in_range(sigma: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """What neither underflows nor overflows, however long a plateau lets a standard deviation drift."""
    limits = jnp.finfo(sigma.dtype)
    return jnp.clip(sigma, limits.tiny * 2**12, limits.max / 2**12)


def rescaled(sigma: Params, factor: Float[Array, ""]) -> Params:
    """A tree of standard deviations times a factor, in range; as it is where that is one."""
    return jax.tree.map(lambda leaf: jnp.where(factor == 1, leaf, in_range(leaf * factor.astype(leaf.dtype))), sigma)


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
