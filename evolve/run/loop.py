"""The one loop: ask, evaluate, tell, scanned inside one compiled program between two watch points."""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from evolve.backend import Backend
from evolve.backend.device import ask_oracle
from evolve.core import draws
from evolve.core.memory import device_memory
from evolve.core.optimizer import Clean, Graded, Optimizer, plain
from evolve.core.population import Population
from evolve.core.problem import Problem
from evolve.core.trees import Params, float_dtype, select
from evolve.run.account import Account
from evolve.run.budget import FAR
from evolve.run.compiled import Program, compiled, numeric
from evolve.run.history import stride

ROWS = 1024  # history rows that one block of generations may fill


class Position(eqx.Module):
    """Where a method is between two generations."""

    state: Any
    generation: Int[Array, ""]
    spent: Account  # evaluations so far of the populations that were asked for

    @classmethod
    def start(cls, optimizer: Optimizer, params: Params, key: PRNGKeyArray) -> Self:
        """Before the first generation."""
        state, generation = optimizer.init(params, key), jnp.zeros((), jnp.int32)
        # A number that takes its type from its neighbours would come back from a checkpoint with one of its own.
        return jax.tree.map(_firm, cls(state, generation, Account.of(0), **cls._books(params)))

    @classmethod
    def _books(cls, params: Params) -> dict[str, Any]:
        """What else is kept, before the first generation."""
        del params
        return {}


class Carry(Position):
    """All that a run is between two generations. Resuming needs this and the run's configuration, nothing else."""

    best: Params  # the best member seen; the start where the problem is noisy
    best_loss: Float[Array, ""]
    loss: Float[Array, ""]  # of the last generation's best member
    mean: Float[Array, ""]  # of the last generation
    failed: Int[Array, ""]

    @classmethod
    def _books(cls, params: Params) -> dict[str, Any]:
        infinite, unknown = (jnp.full((), value, float_dtype()) for value in (jnp.inf, jnp.nan))
        losses = {"best_loss": infinite, "loss": unknown, "mean": unknown}
        return losses | {"best": params, "failed": jnp.zeros((), jnp.int32)}


class Task(eqx.Module):
    """What is run: fixed for the whole run. `run_key` has a leading axis where several seeds run at once."""

    problem: Problem
    optimizer: Optimizer
    run_key: Key[Array, "*seeds"]
    target: Float[Array, ""]
    evaluations: Account | None  # that the budget buys; None where counting generations is enough, or nothing limits
    backend: Backend = eqx.field(static=True)
    seeds: int | None = eqx.field(static=True, default=None)
    least: int = eqx.field(static=True, default=1)  # evaluations of a generation; the optimizer may ask for more
    tight: bool = eqx.field(static=True, default=False)  # whether memory is, so that seeds take turns


Row = dict[str, Array]
Seen = tuple[Row, Int[Array, "*seeds"]]  # what `look` returns


def each_seed(task: Task, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one seed's numbers as one of the task's: by `vmap` where several seeds run at once."""
    return function if task.seeds is None else jax.vmap(function)


def keys_of(run_key: PRNGKeyArray, generation: Int[Array, ""]) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """The keys that generation t (1, 2, ...) asks and evaluates with; key 0 drew the start."""
    ask, evaluate = draws.split(draws.fold_in(run_key, generation))
    return ask, evaluate


def ask(task: Task, at: Position, run_key: PRNGKeyArray) -> tuple[Population, PRNGKeyArray]:
    """The next generation's members, and the key to evaluate them with."""
    ask_key, evaluate_key = keys_of(run_key, at.generation + 1)
    return task.optimizer.ask(at.state, ask_key), evaluate_key


def tell(task: Task, carry: Carry, population: Population, losses: Any) -> Carry:
    """The carry after a generation."""
    count, place, low, mean = population.brief(_summary, (plain(losses), population.in_use))
    low = low.astype(carry.loss.dtype)
    better = low < carry.best_loss  # False for NaN
    return Carry(
        state=task.optimizer.tell(carry.state, population, losses),
        best=carry.best if task.problem.noisy else population.member_if(better, place, carry.best),
        best_loss=jnp.where(better, low, carry.best_loss),
        loss=low,
        mean=mean.astype(carry.mean.dtype),
        generation=carry.generation + 1,
        spent=carry.spent.plus(population.evaluations),
        failed=carry.failed + (population.used - count).astype(carry.failed.dtype),
    )


def _summary(told: tuple[Float[Array, " size"], Bool[Array, " size"]]) -> tuple[Array, Array, Array, Array]:
    """How many members did not fail, the best one's place and loss, and their mean."""
    values, used = told
    finite = jnp.isfinite(values) & used
    count = jnp.sum(finite)
    place = jnp.argmin(jnp.where(finite, values, jnp.inf))
    low = jnp.where(count > 0, values[place], jnp.nan)
    return count, place, low, jnp.sum(jnp.where(finite, values, 0.0)) / jnp.where(count > 0, count, jnp.nan)


def look(task: Task, carry: Carry) -> Seen:
    """The history row of each seed's last generation, and why it ends of itself, as a place in `causes`."""
    return each_seed(task, lambda carry: (_row(task, carry), _cause(task, carry)))(carry)


def begin(task: Task, carry: Carry) -> Seen:
    """What `look` would return before the first generation, which is always gone through."""
    return each_seed(task, lambda carry: (_row(task, carry), jnp.zeros((), jnp.int32)))(carry)


def causes(optimizer: Optimizer) -> tuple[str | None, ...]:
    """Why a seed may end of itself: not at all, by its target, or because the optimizer has nothing more to find."""
    return (None, "target", *optimizer.reasons)


def due(task: Task, carry: Carry, seen: Seen, until: Any) -> tuple[Bool[Array, "*seeds"], Int[Array, ""]]:
    """Which seeds go on now, and the generation before theirs: those that lag behind catch up first."""
    going = (seen[1] == 0) & each_seed(task, lambda carry: bought(task, carry) & (carry.generation < until))(carry)
    now = jnp.min(jnp.where(going, carry.generation, FAR))
    return going & (carry.generation == now), now


def _row(task: Task, carry: Carry) -> Row:
    row = {"generation": carry.generation, "loss": carry.loss, "mean": carry.mean, "best": carry.best_loss}
    spent = carry.spent.plus(task.optimizer.extra(carry.state))
    row |= {"failed": carry.failed, "more": task.optimizer.more(carry.state)}
    return row | {"spent_high": spent.high, "spent_low": spent.low} | task.optimizer.status(carry.state)


def _reached(task: Task, carry: Carry) -> Bool[Array, ""]:
    """By the best member; for a noisy problem, where that is luck, by the last generation's mean."""
    return (carry.mean if task.problem.noisy else carry.best_loss) <= task.target


def _cause(task: Task, carry: Carry) -> Int[Array, ""]:
    stop = task.optimizer.stop(carry.state)
    return jnp.where(_reached(task, carry), 1, jnp.where(stop > 0, stop + 1, 0))


def bought(task: Task, at: Position) -> Bool[Array, ""]:
    """Whether the budget buys another generation; the first is always bought."""
    if task.evaluations is None:
        return jnp.ones((), bool)
    optimizer, state = task.optimizer, at.state
    after = at.spent.plus(optimizer.extra(state)).plus(optimizer.more(state)).plus(task.least)
    return (at.generation == 0) | after.within(task.evaluations)


def evaluated(task: Task, at: Position, run_key: PRNGKeyArray) -> tuple[Population, Any]:
    """The next generation's members, and what a device computes of them."""
    population, key = ask(task, at, run_key)
    losses = ask_oracle(task.backend, task.problem, task.optimizer, population, key)
    if isinstance(losses, Graded) or not (task.optimizer.takes_clean and task.backend.cleans(population)):
        return population, losses
    return population, Clean(losses)


def step(task: Task, carry: Carry, run_key: PRNGKeyArray) -> Carry:
    """One generation on a device."""
    return tell(task, carry, *evaluated(task, carry, run_key))


def _block(task: Task, carry: Carry, seen: Seen, until: Int[Array, ""]) -> Any:
    """Generations until `until`, or until no seed goes on; returns carry, rows on the grid, their number, `look`."""
    rows = {name: jnp.zeros((ROWS, *column.shape), column.dtype) for name, column in seen[0].items()}

    def one(going: Bool[Array, ""], carry: Carry, run_key: PRNGKeyArray) -> Carry:
        after = step(task, carry, run_key)
        # A single seed always goes on here; of several, one that has stopped waits for the others, unchanged.
        return after if task.seeds is None else select(going, after, carry)

    def in_turn(seed: tuple[Bool[Array, ""], Carry, PRNGKeyArray]) -> Carry:
        going, carry, run_key = seed
        return jax.lax.cond(going, lambda: step(task, carry, run_key), lambda: carry)

    turns = task.tight or _waits(task, carry)

    def body(loop: Any) -> Any:
        carry, _, rows, filled, going, now = loop
        seeds = going, carry, task.run_key
        carry = jax.lax.map(in_turn, seeds) if turns else each_seed(task, one)(*seeds)
        # Looked at once: the criteria of a method that stops by itself cost as much as a small generation.
        row, cause = look(task, carry)
        rows = {name: rows[name].at[filled].set(row[name]) for name in rows}
        filled = filled + ((now + 1) % stride(now + 1) == 0)
        return carry, (row, cause), rows, filled, *due(task, carry, (row, cause), until)

    start = (carry, seen, rows, jnp.zeros((), jnp.int32), *due(task, carry, seen, until))
    carry, seen, rows, filled, *_ = jax.lax.while_loop(lambda loop: jnp.any(loop[4]), body, start)
    return carry, rows, filled, seen


def _firm(leaf: Any) -> Array:
    leaf = jnp.asarray(leaf)
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return leaf if is_key else jax.lax.convert_element_type(leaf, leaf.dtype)


def _waits(task: Task, carry: Carry) -> bool:
    """Whether seeds would wait for each other; an accelerator would rather, most of which is idle for one seed."""
    return task.seeds is not None and jax.default_backend() == "cpu" and task.optimizer.takes_turns(carry.state)


class DeviceLoop:
    """Blocks of generations in one compiled program; seeds take turns in it where side by side they do not fit."""

    def __init__(self, task: Task, carry: Carry, seen: Seen) -> None:
        self.task: Task = numeric(task)  # once, not for every block
        self.program: Program = compiled(_block, self.task, carry, seen, np.int32(0))
        room, needed = device_memory(), self.program.memory
        wide = task.seeds is not None and not _waits(task, carry)
        if wide and room is not None and needed is not None and needed > room:
            self.task = dataclasses.replace(self.task, tight=True)
            narrow = compiled(_block, self.task, carry, seen, np.int32(0))
            self.program = dataclasses.replace(narrow, seconds=narrow.seconds + self.program.seconds)

    def advance(
        self, carry: Carry, seen: Seen, generation: int, until: int
    ) -> tuple[Carry, dict[str, np.ndarray], Seen]:
        """Run the seeds that are at `generation` to `until`; the rows recorded on the way, and the last `look`."""
        until = min(until, generation + ROWS * int(stride(generation + 1)))
        carry, rows, filled, seen = self.program.call(self.task, carry, seen, np.int32(until))
        count = int(filled)
        return carry, {name: np.asarray(row)[:count] for name, row in rows.items()}, seen
