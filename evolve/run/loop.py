"""The one loop: ask, evaluate, tell, scanned inside one compiled program between two watch points."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.backend import Backend, Workers
from evolve.backend.device import ask_oracle
from evolve.core.optimizer import Graded, Optimizer
from evolve.core.problem import Problem
from evolve.core.trees import Params, select
from evolve.run.budget import forwards
from evolve.run.compiled import Program, compiled

ROWS = 1024  # history rows that one block of generations may fill


class Carry(eqx.Module):
    """All that a run is between two generations. Resuming needs this and the run's configuration, nothing else."""

    state: Any
    best: Params  # the best member seen; the start where the problem is noisy
    best_loss: Float[Array, ""]
    generation: Int[Array, ""]
    failed: Int[Array, ""]
    active: Bool[Array, ""]  # neither the target is reached, nor have line searches spent the budget

    @classmethod
    def start(cls, optimizer: Optimizer, params: Params, key: PRNGKeyArray) -> "Carry":
        """Before the first generation."""
        zero = jnp.zeros((), jnp.int32)
        best_loss = jnp.asarray(jnp.inf, jnp.zeros((), float).dtype)
        return cls(optimizer.init(params, key), params, best_loss, zero, zero, jnp.asarray(True))


class Task(eqx.Module):
    """What is run: fixed for the whole run. `run_key` has a leading axis where several seeds run at once."""

    problem: Problem
    optimizer: Optimizer
    run_key: PRNGKeyArray
    target: Float[Array, ""]
    evaluations: Int[Array, ""]  # forward passes; only line searches make this more than a count of generations
    backend: Backend = eqx.field(static=True)
    seeds: int | None = eqx.field(static=True, default=None)


def stride(generation: Any) -> Any:
    """Generations between history rows: 1 up to 1,000, then 10 up to 10,000, and so on.

    A history is thus at most about 900 rows a decade, and depends on nothing but the generation.
    """
    xp = np if isinstance(generation, (int, np.integer)) else jnp
    places = xp.asarray([10**k for k in range(3, 10)])
    return 10 ** xp.sum(generation > places).astype(np.int32)


def generation_key(run_key: PRNGKeyArray, generation: Int[Array, ""]) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """The keys that generation t (1, 2, ...) asks and evaluates with; key 0 drew the start."""
    ask, evaluate = jax.random.split(jax.random.fold_in(run_key, generation))
    return ask, evaluate


def finish(task: Task, carry: Carry, population: Any, losses: Any) -> tuple[Carry, dict[str, Float[Array, ""]]]:
    """Tell, and account: the carry after a generation and its history row."""
    values = losses.losses if isinstance(losses, Graded) else losses
    finite = jnp.isfinite(values)
    count = jnp.sum(finite)
    place = jnp.argmin(jnp.where(finite, values, jnp.inf))
    low = jnp.where(count > 0, values[place], jnp.nan).astype(carry.best_loss.dtype)
    mean = jnp.sum(jnp.where(finite, values, 0.0)) / jnp.where(count > 0, count, jnp.nan)
    state = task.optimizer.tell(carry.state, population, losses)
    better = low < carry.best_loss  # False for NaN
    best = carry.best if task.problem.noisy else select(better, population.member(place), carry.best)
    best_loss = jnp.where(better, low, carry.best_loss)
    failed = carry.failed + (population.size - count).astype(jnp.int32)
    reached = (mean if task.problem.noisy else best_loss) <= task.target
    extra = task.optimizer.extra(state)
    active = ~reached & (_forwards(task, carry.generation + 2, extra) <= task.evaluations)
    after = Carry(state, best, best_loss, carry.generation + 1, failed, active)
    row = {"loss": low, "mean": mean, "best": best_loss, "failed": failed, "extra": extra}
    return after, row | task.optimizer.status(state)


def _forwards(task: Task, generations: Int[Array, ""], extra: Int[Array, ""]) -> Int[Array, ""]:
    """Forward passes after so many generations of a gradient method; 0 for others, whose generations are counted."""
    if task.optimizer.oracle != "gradient":
        return jnp.zeros((), jnp.int32)
    return (generations + extra) * forwards(task.optimizer)


def step(task: Task, carry: Carry, run_key: PRNGKeyArray) -> tuple[Carry, dict[str, Float[Array, ""]]]:
    """One generation on a device."""
    ask_key, evaluate_key = generation_key(run_key, carry.generation + 1)
    population = task.optimizer.ask(carry.state, ask_key)
    return finish(
        task,
        carry,
        population,
        ask_oracle(task.backend, task.problem, task.optimizer, population, evaluate_key),
    )


def _block(task: Task, carry: Carry, generation: Int[Array, ""], until: Int[Array, ""], last: Int[Array, ""]) -> Any:
    """Generations until `until`, or until no seed is active; returns the carry, the rows and how many they are."""
    one = step if task.seeds is None else jax.vmap(_masked_step, (None, 0, 0))
    shapes = jax.eval_shape(one, task, carry, task.run_key)[1]
    rows = {name: jnp.zeros((ROWS, *row.shape), row.dtype) for name, row in shapes.items()}
    rows["generation"] = jnp.zeros(ROWS, jnp.int32)

    def going(loop: Any) -> Bool[Array, ""]:
        carry, generation, _, _ = loop
        return (generation < until) & jnp.any(carry.active)

    def body(loop: Any) -> Any:
        carry, generation, rows, filled = loop
        carry, row = one(task, carry, task.run_key)
        generation = generation + 1
        row["generation"] = generation
        rows = {name: rows[name].at[filled].set(row[name]) for name in rows}
        wanted = (generation % stride(generation) == 0) | (generation == last) | ~jnp.any(carry.active)
        return carry, generation, rows, filled + wanted

    start = (carry, jnp.asarray(generation, jnp.int32), rows, jnp.zeros((), jnp.int32))
    carry, generation, rows, filled = jax.lax.while_loop(going, body, start)
    return carry, rows, filled


def _masked_step(task: Task, carry: Carry, run_key: PRNGKeyArray) -> tuple[Carry, dict[str, Float[Array, ""]]]:
    """One of several seeds: one that has reached its target waits for the others, unchanged."""
    after, row = step(task, carry, run_key)
    return select(carry.active, after, carry), row


class DeviceLoop:
    """Blocks of generations in one compiled program."""

    def __init__(self, task: Task, carry: Carry, last: int) -> None:
        self.task, self.last = task, last
        self.program: Program = compiled(_block, task, carry, *map(np.int32, (0, 0, last)))

    def advance(self, carry: Carry, generation: int, until: int) -> tuple[Carry, dict[str, np.ndarray]]:
        """Run to `until`; the rows recorded on the way."""
        until = min(until, generation + ROWS * int(stride(generation + 1)))
        carry, rows, filled = self.program.call(self.task, carry, *map(np.int32, (generation, until, self.last)))
        count = int(filled)
        return carry, {name: np.asarray(row)[:count] for name, row in rows.items()}


class HostLoop:
    """One generation at a time: ask and tell compiled, the fitness called on the host in between."""

    def __init__(self, task: Task, carry: Carry, last: int, workers: Workers) -> None:
        if task.optimizer.oracle == "gradient":
            name = type(task.optimizer).__name__
            raise ValueError(
                f"{name} needs gradients, which a host fitness cannot give; take a method that needs losses."
            )
        self.task, self.last, self.workers = task, last, workers
        self.asks = compiled(_host_ask, task, carry)
        _, population, _, _ = jax.eval_shape(lambda: _host_ask(task, carry))
        self.size: int = population.size
        losses = jnp.zeros((self.size,) if task.seeds is None else (task.seeds, self.size))
        self.tells = compiled(_host_tell, task, carry, self.asks.call(task, carry)[1], losses)
        self.program = Program(self.asks.call, self.asks.seconds + self.tells.seconds, None)

    def advance(self, carry: Carry, generation: int, until: int) -> tuple[Carry, dict[str, np.ndarray]]:
        """One generation, however far `until` is: a watch point between any two calls of a slow fitness."""
        del until
        members, population, words, _ = self.asks.call(self.task, carry)
        words = np.asarray(words)
        if self.task.seeds is None:
            losses = self.workers.evaluate(self.task.problem, members, words, self.size)
        else:
            each = [jax.tree.map(lambda leaf, s=s: leaf[s], members) for s in range(self.task.seeds)]
            values = [
                self.workers.evaluate(self.task.problem, m, w, self.size) for m, w in zip(each, words, strict=True)
            ]
            losses = np.stack(values)
        carry, row = self.tells.call(self.task, carry, population, jnp.asarray(losses, jnp.zeros((), float).dtype))
        row = {name: np.asarray(value)[None] for name, value in row.items()}
        row["generation"] = np.asarray([generation + 1], np.int32)
        wanted = (generation + 1) % int(stride(generation + 1)) == 0 or generation + 1 == self.last
        wanted = wanted or not np.any(np.asarray(carry.active))
        return carry, row if wanted else {name: value[:0] for name, value in row.items()}


def _host_ask(task: Task, carry: Carry) -> Any:
    def one(carry: Carry, run_key: PRNGKeyArray) -> Any:
        ask_key, evaluate_key = generation_key(run_key, carry.generation + 1)
        population = task.optimizer.ask(carry.state, ask_key)
        return population.members(), population, jax.random.key_data(evaluate_key), carry.generation

    return one(carry, task.run_key) if task.seeds is None else jax.vmap(one)(carry, task.run_key)


def _host_tell(task: Task, carry: Carry, population: Any, losses: Any) -> Any:
    def one(carry: Carry, population: Any, losses: Any) -> Any:
        after, row = finish(task, carry, population, losses)
        return (after if task.seeds is None else select(carry.active, after, carry)), row

    return (one if task.seeds is None else jax.vmap(one))(carry, population, losses)
