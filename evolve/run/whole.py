"""Runs from start to end in one call of one program, for many problems of the same shape."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from evolve.backend import Device
from evolve.core import draws
from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem
from evolve.core.trees import float_dtype, full
from evolve.run.account import Account
from evolve.run.budget import forwards
from evolve.run.compiled import Program, compiled
from evolve.run.loop import Position, Task, bought, evaluated
from evolve.run.prepare import start


class Whole:
    """A run as a function of problem, optimizer and seed, which may differ from call to call in numbers alone.

    It goes through the generations that `run` goes through, and keeps no books of its own: what is wanted of a run,
    such as its best member, is in the method's state (`Recorded`, say). What of the state is wanted for nothing, the
    compiler leaves out. It may be called from several threads.

    Parameters
    ----------
    problem, optimizer
        Of the shapes of all that will be run.
    evaluations
        Forward passes for each run.
    wanted
        What to return of the method's last state.

    Raises
    ------
    ValueError
        The problem is one of the host, which no program can hold.
    """

    def __init__(self, problem: Problem, optimizer: Optimizer, evaluations: int, wanted: Callable[[Any], Any]) -> None:
        if problem.host:
            raise ValueError(f"Whole: the loss of {type(problem).__name__} is plain Python; call run instead.")
        self.wanted = wanted
        self.bought = Account.of(evaluations // forwards(problem, optimizer))
        self.target: Any = full((), -jnp.inf, float_dtype())
        self.program: Program = compiled(_whole, self._task(problem, optimizer, 0), wanted, quickly=True)

    def __call__(self, problem: Problem, optimizer: Optimizer, seed: int) -> tuple[Any, Any]:
        """What is wanted of the last state, and why it ended: a place in `reasons` counted from 1, 0 for the budget."""
        return self.program.call(self._task(problem, optimizer, seed), self.wanted)

    def _task(self, problem: Problem, optimizer: Optimizer, seed: int) -> Task:
        return Task(problem, optimizer, draws.key(seed), self.target, self.bought, Device())


def _whole(task: Task, wanted: Callable[[Any], Any]) -> tuple[Any, Any]:
    first = Position.start(task.optimizer, *start(task.problem, task.run_key))
    least = jax.eval_shape(task.optimizer.ask, first.state, task.run_key).least
    task = dataclasses.replace(task, least=least)

    def generation(now: tuple[Position, Any]) -> tuple[Position, Any]:
        population, losses = evaluated(task, now[0], task.run_key)
        state = task.optimizer.tell(now[0].state, population, losses)
        after = Position(state, now[0].generation + 1, now[0].spent.plus(population.evaluations))
        return after, task.optimizer.stop(state)

    def goes_on(now: tuple[Position, Any]) -> Any:
        return (now[1] == 0) & bought(task, now[0])

    last, reason = jax.lax.while_loop(goes_on, generation, (first, jnp.zeros((), jnp.int32)))
    return wanted(last.state), reason
