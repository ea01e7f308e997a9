"""Evaluation of plain Python fitness on the host, on any `concurrent.futures.Executor`."""

import math
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import jax
import numpy as np

from evolve.core.problem import Problem
from evolve.core.trees import Params, take


class Workers:
    """Plain Python losses, one call a member, in this thread or on an executor.

    A member whose call raises, or returns what is no number, fails: its loss is NaN, the run goes on, and the first
    traceback is kept in `first_error`. A process pool must be able to pickle the problem.

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
        self.executor = executor
        self.timeout = timeout
        self.first_error: str | None = None

    def evaluate(self, problem: Problem, members: Params, key: np.ndarray, size: int) -> np.ndarray:
        """The losses of formed members (leading axis `size`), shape (size,), float64, NaN where a member failed.

        `key` is the generation's, as 32-bit words.
        """
        host = jax.tree.map(np.asarray, jax.device_get(members))
        calls = [(problem, take(host, i), key) for i in range(size)]
        if self.executor is None:
            return np.array([self._outcome(lambda call=call: _call(*call)) for call in calls])
        futures = [self._submit(call) for call in calls]
        return np.array([self._outcome(wait) for wait in self._waits(futures)])

    def _submit(self, call: tuple[Any, ...]) -> Any:
        assert self.executor is not None
        try:
            return self.executor.submit(_call, *call)
        except RuntimeError as error:  # a pool that broke or was shut down: the members fail, the run goes on
            return error

    def _waits(self, futures: list[Any]) -> Iterator[Callable[[], float]]:
        end = math.inf if self.timeout is None else time.monotonic() + self.timeout
        for future in futures:

            def wait(future: Any = future) -> float:
                if isinstance(future, Exception):
                    raise future
                return future.result(None if end == math.inf else max(0.0, end - time.monotonic()))

            yield wait

    def _outcome(self, wait: Callable[[], float]) -> float:
        try:
            return wait()
        except Exception:
            if self.first_error is None:
                self.first_error = traceback.format_exc()
            return math.nan


def _call(problem: Problem, params: Params, key: Any) -> float:
    """One member's loss as a number; at module level, so that a process pool can pickle it."""
    loss = np.asarray(problem.loss(params, key))
    if loss.shape != ():
        raise ValueError(f"the loss has shape {loss.shape}; return a scalar, such as its mean.")
    if not np.issubdtype(loss.dtype, np.number) or np.issubdtype(loss.dtype, np.complexfloating):
        raise TypeError(f"the loss is {loss.dtype}; return a real number.")
    return float(loss)
