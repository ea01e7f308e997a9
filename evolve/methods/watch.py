"""What stopping remembers of a method that counts no generations itself."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evolve.core.population import Population
from evolve.core.shaping import places
from evolve.core.trees import full
from evolve.methods.stopping import Spread, Tolerances, Trail, missed, quantiles, reason


class Watch(eqx.Module):
    """The trail of a run, and how long it is."""

    trail: Trail
    generation: Int[Array, ""]
    size: int = eqx.field(static=True)  # of the first run's population

    @classmethod
    def start(
        cls, tolerances: Tolerances | None, mean: Float[Array, " n"], deviations: Float[Array, " n"], size: int
    ) -> "Watch | None":
        """Before the first generation; None where nothing stops."""
        if tolerances is None:
            return None
        return cls(Trail.start(mean, deviations, size), full((), 0, jnp.int32), size)

    def reason(self, tolerances: Tolerances, spread: Spread, size: Any = None) -> Int[Array, ""]:
        """The first criterion that holds, for a population of `size` where that is not the first one's."""
        return reason(tolerances, self.trail, spread, self.generation, self.size if size is None else size, self.size)


def unseen(watch: Watch | None) -> Watch | None:
    """With one more generation of which no member succeeded, where anything is kept."""
    return None if watch is None else dataclasses.replace(watch, trail=missed(watch.trail))


def watched(
    watch: Watch | None,
    tolerances: Tolerances | None,
    population: Population,
    losses: Float[Array, " size"],
    mean: Float[Array, " n"],
) -> Watch | None:
    """With one more generation, its losses and the mean that it led to, where anything is kept."""
    if watch is None or tolerances is None:
        return watch

    def seen(losses: Array, count: Any) -> Float[Array, " four"]:
        return quantiles(losses, places(losses, count)[0], len(losses) if count is None else count)

    found = population.brief(seen, losses, population.count)
    trail = watch.trail.after(found, mean, watch.generation, tolerances.tolxstagnation)
    return Watch(trail, watch.generation + 1, watch.size)
