"""A run while it runs: watch points, folders and results around the loop."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evolve.backend import Backend, Device, Workers
from evolve.core.evaluation import checked
from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem
from evolve.core.trees import Params, as_arrays, check_params, float_dtype, take
from evolve.run.budget import FAR, Budget, forwards
from evolve.run.compiled import compiled
from evolve.run.directory import RunDirectory, describe
from evolve.run.loop import Carry, DeviceLoop, HostLoop, Task
from evolve.run.progress import Progress, Watcher
from evolve.run.result import Result

WATCH_SECONDS = 0.25  # about how long a block of generations takes between two watch points


class Session:
    """A run while it runs."""

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        seed: int,
        seeds: int | None,
        budget: Budget,
        backend: Backend | Workers | None,
    ) -> None:
        self.problem, self.optimizer, self.budget = problem, optimizer, budget
        self.seed, self.seeds = seed, seeds
        self.workers, device = _backends(problem, backend)
        keys = jax.vmap(jax.random.key)(seed + jnp.arange(seeds or 1))
        run_key = keys if seeds is not None else keys[0]
        goal = -jnp.inf if budget.target is None else budget.target
        limit = jnp.int32(min(FAR, int(budget.evaluations or FAR)))
        self.task = Task(problem, optimizer, run_key, jnp.asarray(goal, float), limit, device, seeds)
        self.carry = _start(self.task)
        _check_loss(self.task, self.carry)
        shape = jax.eval_shape(optimizer.ask, _one(self.carry.state, seeds), jax.random.key(0))
        self.size: int = shape.size
        self.cost = self.size * forwards(optimizer)
        self.history: dict[str, np.ndarray] = {}
        self.seconds = 0.0

    @property
    def generation(self) -> int:
        """Completed; the largest over seeds."""
        return int(np.max(self.carry.generation))

    @property
    def spent(self) -> int:
        """Forward passes, line searches included; the least over seeds."""
        return int(np.min(self._forwards(np.asarray(self.carry.generation), self._extra())))

    def job(self) -> dict[str, Any]:
        """The configuration, for job.json."""
        return {
            "problem": describe(self.problem),
            "optimizer": describe(self.optimizer),
            "seed": self.seed,
            "seeds": self.seeds,
            "x64": float_dtype() == jnp.float64,
            "budget": vars(self.budget),
        }

    def restore(self, folder: RunDirectory) -> None:
        """Take up the newest good checkpoint, if there is one."""
        found = folder.load(self.carry)
        if found is not None:
            self.carry, facts, self.history = found
            self.seconds = facts["seconds"]
            # A prolonged run may have a further target.
            self.carry = _reopened(self.carry, self.task)

    def go(
        self,
        watch: Sequence[Watcher],
        watch_every: int | None,
        folder: RunDirectory | None,
        save_seconds: float,
    ) -> Any:
        """The blocks between watch points, until a reason to stop."""
        last = self.budget.last(self.cost)
        if self.workers is None:
            loop = DeviceLoop(self.task, self.carry, last)
        else:
            loop = HostLoop(self.task, self.carry, last, self.workers)
        pace = _Pace(watch_every)
        saved = time.monotonic()
        reason = self._reason()
        try:
            while reason is None:
                self._advance(loop, pace, last, folder)
                reason = self._reason()
                if any([watcher(self._progress(last)) for watcher in watch]):
                    reason = reason or "stopped"
                if folder is not None and reason is None and time.monotonic() - saved >= save_seconds:
                    self._save(folder)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            reason = "interrupted"
        if folder is not None:
            self._save(folder)
        results = self._results(reason, loop)
        if folder is not None:
            folder.finish({"reason": reason, "results": [_summary(result) for result in results]})
        return results if self.seeds is not None else results[0]

    def _advance(self, loop: DeviceLoop | HostLoop, pace: "_Pace", last: int, folder: RunDirectory | None) -> None:
        generation, start = self.generation, time.perf_counter()
        until = min(last, generation + pace.count)
        if isinstance(loop, DeviceLoop) and self.budget.seconds is not None and pace.each > 0:
            until = min(until, generation + max(1, int((self.budget.seconds - self.seconds) / pace.each)))
        carry, rows = loop.advance(self.carry, generation, until)
        elapsed = time.perf_counter() - start
        done = int(np.max(carry.generation)) - generation
        pace.learn(elapsed, done)
        rows["evaluations"] = self._forwards(_beside(rows["generation"], rows["extra"]), rows.pop("extra"))
        part = (rows["generation"] - generation) / max(1, done)
        rows["seconds"] = self.seconds + elapsed * part
        # One statement, so that an interrupt finds either the old run or the new one.
        self.carry, self.seconds, self.history = carry, self.seconds + elapsed, _joined(self.history, rows)
        if folder is not None:
            folder.append(rows)

    def _reason(self) -> str | None:
        return self._reason_of(self.generation, self.spent, bool(np.any(np.asarray(self.carry.active))))

    def _reason_of(self, generation: int, spent: int, active: bool) -> str | None:
        return self.budget.reason(generation, spent, self.seconds, self.cost, active)

    def _extra(self) -> np.ndarray:
        extra = self.optimizer.extra if self.seeds is None else jax.vmap(self.optimizer.extra)
        return np.asarray(extra(self.carry.state))

    def _forwards(self, generations: np.ndarray, extra: np.ndarray) -> np.ndarray:
        return (generations.astype(np.int64) * self.size + extra) * forwards(self.optimizer)

    def _progress(self, last: int) -> Progress:
        row = {name: values[-1] for name, values in self.history.items() if len(values)}
        total = last if last < FAR else None
        return Progress(self.generation, self.spent, self.seconds, row, total, self.answer)

    def answer(self) -> Params:
        """The best member seen, or the optimizer's answer where the problem is noisy."""
        return _answer(self.task, self.carry)

    def _save(self, folder: RunDirectory) -> None:
        folder.save(self.generation, self.carry, {"seconds": self.seconds})

    def _results(self, reason: str, loop: DeviceLoop | HostLoop) -> list[Result]:
        answers = jax.device_get(self.answer())
        losses = self._losses(answers)
        count = 1 if self.seeds is None else self.seeds
        generations = np.broadcast_to(np.asarray(self.carry.generation), (count,))
        failed = np.broadcast_to(np.asarray(self.carry.failed), (count,))
        spent = self._forwards(generations, np.broadcast_to(self._extra(), (count,)))
        active = np.broadcast_to(np.asarray(self.carry.active), (count,))
        return [
            Result(
                answer=_one(answers, self.seeds, i),
                loss=float(losses[i]),
                history=self._history(i, int(generations[i])),
                reason=self._reason_of(int(generations[i]), int(spent[i]), bool(active[i])) or reason,
                failed=int(failed[i]),
                generations=int(generations[i]),
                evaluations=int(spent[i]) // forwards(self.optimizer),
                forwards=int(spent[i]),
                seconds=self.seconds,
                compile_seconds=loop.program.seconds,
                memory=loop.program.memory,
                error=None if self.workers is None else self.workers.first_error,
                state=_one(self.carry.state, self.seeds, i),
            )
            for i in range(count)
        ]

    def _losses(self, answers: Params) -> np.ndarray:
        """Of the answers: the best seen, or for a noisy problem the loss at one fixed key."""
        if not self.problem.noisy:
            return np.atleast_1d(np.asarray(self.carry.best_loss))
        if self.workers is not None:
            words = np.asarray(jax.random.key_data(jax.random.key(0)))
            many = answers if self.seeds is not None else jax.tree.map(lambda leaf: np.asarray(leaf)[None], answers)
            return self.workers.evaluate(self.problem, many, words, self.seeds or 1)
        return np.atleast_1d(compiled(_answer_losses, self.task, answers).call(self.task, answers))

    def _history(self, i: int, generations: int) -> dict[str, np.ndarray]:
        one = {name: values[:, i] if values.ndim > 1 else values for name, values in self.history.items()}
        kept = one.get("generation", np.zeros(0)) <= generations
        return {name: values[kept] for name, values in one.items()}


class _Pace:
    """How many generations fit between two watch points."""

    def __init__(self, every: int | None) -> None:
        self.every = every
        self.count = every or 1
        self.each = 0.0

    def learn(self, seconds: float, done: int) -> None:
        """Aim at `WATCH_SECONDS`, at most eightfold a time: the first blocks are the slow ones."""
        self.each = seconds / max(1, done)
        if self.every is None:
            self.count = max(1, min(8 * self.count, int(WATCH_SECONDS / max(self.each, 1e-9))))


def _backends(problem: Problem, backend: Backend | Workers | None) -> tuple[Workers | None, Backend]:
    if isinstance(backend, Workers):
        return backend, Device()
    if not problem.host:
        return None, backend or Device()
    if backend is not None:
        raise ValueError(f"run: a host fitness needs Workers(), not {backend!r}.")
    return Workers(), Device()


def _start(task: Task) -> Carry:
    """The checked start of every seed."""

    def first(run_key: Any) -> tuple[Params, Any]:
        begin, own = jax.random.split(jax.random.fold_in(run_key, 0))
        return as_arrays(task.problem.init(begin)), own

    if task.seeds is None:
        params, key = first(task.run_key)
        check_params(params, "init")
        return Carry.start(task.optimizer, params, key)
    # Starts may be drawn by code that vmap cannot trace; they are few, so a loop draws them.
    drawn = [first(key) for key in task.run_key]
    for params, _ in drawn:
        check_params(params, "init")
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[params for params, _ in drawn])
    keys = jnp.stack([key for _, key in drawn])
    return jax.vmap(lambda p, k: Carry.start(task.optimizer, p, k))(params, keys)


def _check_loss(task: Task, carry: Carry) -> None:
    """Trace the loss once, so that a vector or a wrong dtype is named before anything is compiled."""
    if not task.problem.host:
        params = _one(carry.best, task.seeds)
        jax.eval_shape(lambda p: checked(task.problem.loss(p, jax.random.key(0))), params)


def _answer(task: Task, carry: Carry) -> Params:
    if not task.problem.noisy:
        return carry.best
    return task.optimizer.answer(carry.state) if task.seeds is None else jax.vmap(task.optimizer.answer)(carry.state)


def _answer_losses(task: Task, answers: Params) -> Float[Array, "*seeds"]:
    def one(params: Params) -> Float[Array, ""]:
        return checked(task.problem.loss(params, jax.random.key(0)))

    return one(answers) if task.seeds is None else jax.vmap(one)(answers)


def _reopened(carry: Carry, task: Task) -> Carry:
    """A run that stopped at its target goes on if the target given now is lower."""
    if task.problem.noisy:
        return carry
    active = carry.best_loss > task.target
    return Carry(carry.state, carry.best, carry.best_loss, carry.generation, carry.failed, active)


def _one(tree: Any, seeds: int | None, i: int = 0) -> Any:
    return tree if seeds is None else take(tree, i)


def _beside(column: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A column of rows spread over the seeds' axis, where there is one."""
    return column[:, None] if other.ndim > 1 else column


def _joined(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([old[name], values]) for name, values in new.items()} if old else dict(new)


def _summary(result: Result) -> dict[str, Any]:
    names = (
        "loss",
        "reason",
        "failed",
        "generations",
        "evaluations",
        "forwards",
        "seconds",
        "compile_seconds",
        "memory",
    )
    return {name: getattr(result, name) for name in (*names, "error")}
