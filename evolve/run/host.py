"""The loop where the fitness is plain Python: ask and tell compiled, the fitness called in between."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from evolve.backend import Workers
from evolve.core.population import Population
from evolve.core.trees import Params, float_dtype, select, take
from evolve.run.budget import FAR
from evolve.run.compiled import Program, compiled
from evolve.run.history import stride
from evolve.run.loop import Carry, Seen, Task, ask, due, each_seed, look, tell


class HostLoop:
    """One generation at a time."""

    def __init__(self, task: Task, carry: Carry, seen: Seen, workers: Workers) -> None:
        self.task, self.workers = task, workers
        self.asks = compiled(_ask, task, carry, seen)
        # Asking reads only, so the first generation may be asked for twice.
        _, population, _, going = self.asks.call(task, carry, seen)
        self.shape = (*np.shape(carry.generation), population.size)
        self.tells = compiled(_tell, task, carry, population, going, np.zeros(self.shape, float_dtype()))
        self.program = Program(self.asks.call, self.asks.seconds + self.tells.seconds, None)

    def advance(
        self, carry: Carry, seen: Seen, generation: int, until: int
    ) -> tuple[Carry, dict[str, np.ndarray], Seen]:
        """One generation, however far `until` is: a watch point between any two calls of a slow fitness."""
        del until
        members, population, words, going = self.asks.call(self.task, carry, seen)
        losses = self._losses(members, np.asarray(words), np.asarray(going), population)
        carry, seen = self.tells.call(self.task, carry, population, going, losses)
        wanted = (generation + 1) % int(stride(generation + 1)) == 0
        return carry, {name: np.asarray(value)[None][: int(wanted)] for name, value in seen[0].items()}, seen

    def _losses(self, members: Params, words: np.ndarray, going: np.ndarray, population: Population) -> np.ndarray:
        """Of all members in use of the seeds that go on; NaN for the others, which are not evaluated."""
        problem, members, seeds = self.task.problem, jax.device_get(members), self.shape[:-1]
        used = np.broadcast_to(np.asarray(population.used), seeds)
        repeats = None if population.repeats is None else np.broadcast_to(np.asarray(population.repeats), seeds)
        several = self.task.seeds is not None
        losses = np.full(self.shape, np.nan)
        for seed in np.flatnonzero(going) if several else [...]:
            size, times = int(used[seed]), None if repeats is None else int(repeats[seed])
            some = take(take(members, seed), slice(size))
            losses[seed][:size] = self.workers.losses(problem, some, words[seed], size, times)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite: a failed member
            return losses.astype(float_dtype())


def _ask(task: Task, carry: Carry, seen: Seen) -> tuple[Params, Population, Array, Array]:
    def one(carry: Carry, run_key: Any) -> tuple[Params, Population, Array]:
        population, key = ask(task, carry, run_key)
        return population.members(), population, jax.random.key_data(key)

    return *each_seed(task, one)(carry, task.run_key), due(task, carry, seen, FAR)[0]


def _tell(task: Task, carry: Carry, population: Population, going: Array, losses: Float[Array, "*seeds size"]) -> Any:
    def one(carry: Carry, population: Population, going: Any, losses: Any) -> Carry:
        return select(going, tell(task, carry, population, losses), carry)

    after = each_seed(task, one)(carry, population, going, losses)
    return after, look(task, after)
