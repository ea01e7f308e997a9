"""Evaluation of plain Python fitness on the host, on any `concurrent.futures.Executor`."""

import math
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core.evaluation import member_keys, real
from evolve.core.population import Population
from evolve.core.problem import Problem
from evolve.core.trees import Params, as_arrays, float_dtype, take


class Workers:
    """Plain Python losses, one call a member, in this thread or on an executor.

    A member whose call raises, or returns what is no number, fails: its loss is NaN, the run goes on, and the first
    traceback is kept in `first_error`. A process pool must be able to pickle the problem, and no fork survives JAX's
    threads: `ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))`. A JAX loss works too, untraced and
    so slowly: for one that must not run on the device of the search.

    Parameters
    ----------
    executor
        Any `concurrent.futures.Executor` (threads, processes, dask's, MPI's); None calls in this thread.
    timeout
        Seconds that a whole generation may take on an executor; members not done by then fail.
    """

    def __init__(self, executor: Executor | None = None, timeout: float | None = None) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"Workers: timeout is {timeout} s; it must be positive.")
        if timeout is not None and executor is None:
            raise ValueError(f"Workers: timeout is {timeout} s, but only an executor can give up calls; pass one.")
        self.executor = executor
        self.timeout = timeout
        self.first_error: str | None = None

    def evaluate(self, problem: Problem, population: Population, key: PRNGKeyArray) -> Float[Array, " size"]:
        """The members' losses, shape (size,), as `Device().evaluate` gives them; NaN where a member failed.

        Members that are not in use are not called; their losses are infinite.
        """
        words, used = np.asarray(jax.random.key_data(key)), int(population.used)
        repeats = None if population.repeats is None else int(population.repeats)
        losses = np.full(population.size, np.inf)
        losses[:used] = self.losses(problem, take(population.members(), slice(used)), words, used, repeats)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite: a failed member
            return jnp.asarray(losses.astype(float_dtype()))

    def losses(
        self, problem: Problem, members: Params, key: np.ndarray, size: int, repeats: int | None = None
    ) -> np.ndarray:
        """The losses of formed members (leading axis `size`), shape (size,), float64, NaN where a member failed.

        `key` is the generation's, as 32-bit words. With `repeats`, means of so many calls a member.
        """
        host = jax.tree.map(np.asarray, jax.device_get(members))
        keys = _keys(problem, key, size, repeats)
        losses = self._called([(problem, take(host, i), words[i]) for words in keys for i in range(size)])
        with np.errstate(invalid="ignore"):  # infinities of both signs: a failed member
            return np.mean(losses.reshape(-1, size), axis=0)

    def _called(self, calls: list[tuple[Any, ...]]) -> np.ndarray:
        if self.executor is None:
            return np.array([self._outcome(lambda call=call: _call(*call)) for call in calls])
        end = math.inf if self.timeout is None else time.monotonic() + self.timeout
        futures = [self._submit(self.executor, call) for call in calls]
        try:
            return np.array([self._outcome(lambda future=future: _wait(future, end)) for future in futures])
        finally:
            # After Ctrl-C, or out of time: what has not begun shall not hold up the pool.
            for future in futures:
                if not isinstance(future, Exception):
                    future.cancel()

    def _submit(self, executor: Executor, call: tuple[Any, ...]) -> Any:
        try:
            return executor.submit(_call, *call)
        except RuntimeError as error:  # a pool that broke or was shut down: the members fail, the run goes on
            return error

    def _outcome(self, wait: Callable[[], float]) -> float:
        try:
            return wait()
        except Exception:
            if self.first_error is None:
                self.first_error = traceback.format_exc()
            return math.nan


def _keys(problem: Problem, words: np.ndarray, size: int, repeats: int | None) -> list[Any]:
    """What each member is called with, as words, repeat by repeat: the keys that a device would give it."""
    if problem.common and repeats is None:
        return [[words] * size]
    key: Any = jax.random.wrap_key_data(jnp.asarray(words))
    rounds = [key] if repeats is None else [jax.random.fold_in(key, repeat) for repeat in range(repeats)]
    return [np.asarray(jax.random.key_data(member_keys(each, jnp.arange(size)))) for each in rounds]


def _wait(future: Any, end: float) -> float:
    if isinstance(future, Exception):
        raise future
    return future.result(None if end == math.inf else max(0.0, end - time.monotonic()))


def _call(problem: Problem, params: Params, key: Any) -> float:
    """One member's loss as a number; at module level, so that a process pool can pickle it."""
    if not problem.host:
        params, key = as_arrays(params), jax.random.wrap_key_data(key)
    return real(problem.loss(params, key))
