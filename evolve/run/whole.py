"""Runs from start to end in one call of one program, for many problems of the same shape."""

from typing import Any

import jax
import jax.numpy as jnp

from evolve.backend import Device
from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem
from evolve.run.budget import FAR, forwards
from evolve.run.compiled import Program, compiled
from evolve.run.loop import Carry, Seen, Task, begin, due, look, step
from evolve.run.prepare import start


class Whole:
    """A run as a function of problem, optimizer and seed, which may differ from call to call in numbers alone.

    What it gives is what `run` gives, less history, watchers and checkpoints. It may be called from several threads.

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

    def __call__(self, problem: Problem, optimizer: Optimizer, seed: int) -> tuple[Carry, dict[str, Any], Any]:
        """The last carry, its history row, and why it ended, as a place in `causes`."""
        return self.program.call(self._task(problem, optimizer, seed))

    def _task(self, problem: Problem, optimizer: Optimizer, seed: int) -> Task:
        key, target = jax.random.key(seed), jnp.asarray(-jnp.inf, float)
        return Task(problem, optimizer, key, target, jnp.int32(self.bought), Device(), None, self.least)


def _whole(task: Task) -> tuple[Carry, dict[str, Any], Any]:
    def generation(now: tuple[Carry, Seen]) -> tuple[Carry, Seen]:
        carry = step(task, now[0], task.run_key)
        return carry, look(task, carry)

    carry = Carry.start(task.optimizer, *start(task.problem, task.run_key))
    carry, seen = jax.lax.while_loop(lambda now: due(task, *now, FAR)[0], generation, (carry, begin(task, carry)))
    return carry, *seen


def _first(problem: Problem, optimizer: Optimizer) -> Any:
    """The first population."""
    key = jax.random.key(0)
    return optimizer.ask(optimizer.init(*start(problem, key)), key)
