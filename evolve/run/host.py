"""The loop where the fitness is plain Python: ask and tell compiled, the fitness called in between."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from evolve.backend import Workers
from evolve.core.population import Population
from evolve.core.trees import Params, float_dtype, select, take
from evolve.run.budget import FAR
from evolve.run.compiled import Program, compiled, numeric
from evolve.run.history import stride
from evolve.run.loop import Carry, Seen, Task, ask, due, each_seed, look, tell


class HostLoop:
    """One generation at a time."""

    def __init__(self, task: Task, carry: Carry, seen: Seen, workers: Workers) -> None:
        self.problem, self.workers = task.problem, workers
        self.task: Task = numeric(task)  # once, not for every generation; the fitness keeps its numbers as they are
        self.asks = compiled(_ask, self.task, carry, seen)
        # Asking reads only, so the first generation may be asked for twice.
        _, population, _, going = self.asks.call(self.task, carry, seen)
        self.shape, self.few = (*np.shape(carry.generation), population.size), population.few
        self.grown = None if self.few == population.size else compiled(_members, self.task, population)
        self.tells = compiled(_tell, self.task, carry, population, going, np.zeros(self.shape, float_dtype()))
        programs = [program for program in (self.asks, self.grown, self.tells) if program is not None]
        self.program = Program(self.asks.call, sum(program.seconds for program in programs), None)

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
        seeds = self.shape[:-1]
        used = np.broadcast_to(np.asarray(population.used), seeds)
        if self.grown is not None and np.max(used) > self.few:
            members = self.grown.call(self.task, population)
        members = jax.device_get(members)
        repeats = None if population.repeats is None else np.broadcast_to(np.asarray(population.repeats), seeds)
        several = self.task.seeds is not None
        losses = np.full(self.shape, np.nan)
        for seed in np.flatnonzero(going) if several else [...]:
            size, times = int(used[seed]), None if repeats is None else int(repeats[seed])
            some = take(take(members, seed), slice(size))
            losses[seed][:size] = self.workers.losses(self.problem, some, words[seed], size, times)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite: a failed member
            return losses.astype(float_dtype())


def _ask(task: Task, carry: Carry, seen: Seen) -> tuple[Params, Population, Array, Array]:
    def one(carry: Carry, run_key: Any) -> tuple[Params, Population, Array]:
        population, key = ask(task, carry, run_key)
        return population.members(population.few), population, jax.random.key_data(key)

    return *each_seed(task, one)(carry, task.run_key), due(task, carry, seen, FAR)[0]


def _members(task: Task, population: Population) -> Params:
    return each_seed(task, Population.members)(population)


def _tell(task: Task, carry: Carry, population: Population, going: Array, losses: Float[Array, "*seeds size"]) -> Any:
    def one(carry: Carry, population: Population, going: Any, losses: Any) -> Carry:
        return select(going, tell(task, carry, population, losses), carry)

    after = each_seed(task, one)(carry, population, going, losses)
    return after, look(task, after)
