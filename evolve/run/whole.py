"""Runs from start to end in one call of one program, for many problems of the same shape."""

from typing import Any

import jax
import jax.numpy as jnp

from evolve.backend import Device
from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem
from evolve.run.budget import FAR, forwards
from evolve.run.compiled import Program, compiled
from evolve.run.loop import Position, Task, bought, evaluated
from evolve.run.prepare import start


class Whole:
    """A run as a function of problem, optimizer and seed, which may differ from call to call in numbers alone.

    It goes through the generations that `run` goes through, and keeps no books of its own: what is wanted of a run,
    such as its best member, is in the method's state (`Recorded`, say). It may be called from several threads.

    Parameters
    ----------
    problem, optimizer
        Of the shapes of all that will be run.
    evaluations
        Forward passes for each run.

    Raises
    ------
    ValueError
        The problem is one of the host, which no program can hold.
    """

    def __init__(self, problem: Problem, optimizer: Optimizer, evaluations: int) -> None:
        if problem.host:
            raise ValueError(f"Whole: the loss of {type(problem).__name__} is plain Python; call run instead.")
        self.least: int = jax.eval_shape(lambda: _first(problem, optimizer)).least
        self.bought = min(FAR, evaluations // forwards(problem, optimizer))
        self.program: Program = compiled(_whole, self._task(problem, optimizer, 0), quickly=True)

    def __call__(self, problem: Problem, optimizer: Optimizer, seed: int) -> tuple[Any, Any]:
        """The method's last state, and why it ended: a place in its `reasons` counted from 1, or 0 for the budget."""
        return self.program.call(self._task(problem, optimizer, seed))

    def _task(self, problem: Problem, optimizer: Optimizer, seed: int) -> Task:
        key, target = jax.random.key(seed), jnp.asarray(-jnp.inf, float)
        return Task(problem, optimizer, key, target, jnp.int32(self.bought), Device(), None, self.least)


def _whole(task: Task) -> tuple[Any, Any]:
    def generation(now: tuple[Position, Any]) -> tuple[Position, Any]:
        state = task.optimizer.tell(now[0].state, *evaluated(task, now[0], task.run_key))
        return Position(state, now[0].generation + 1), task.optimizer.stop(state)

    first = Position.start(task.optimizer, *start(task.problem, task.run_key)), jnp.zeros((), jnp.int32)
    last, reason = jax.lax.while_loop(lambda now: (now[1] == 0) & bought(task, now[0]), generation, first)
    return last.state, reason


def _first(problem: Problem, optimizer: Optimizer) -> Any:
    """The first population."""
    key = jax.random.key(0)
    return optimizer.ask(optimizer.init(*start(problem, key)), key)
