"""A run while it runs: watch points, folders and results around the loop."""

import time
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evolve.backend import Workers
from evolve.core import draws
from evolve.core.evaluation import checked
from evolve.core.problem import Problem
from evolve.core.trees import Params, float_dtype, take
from evolve.run.budget import FAR, Budget
from evolve.run.compiled import compiled
from evolve.run.describe import describe
from evolve.run.directory import RunDirectory
from evolve.run.host import HostLoop
from evolve.run.loop import Carry, DeviceLoop, Task, causes, each_seed
from evolve.run.progress import Every, Pace, Progress, Watcher
from evolve.run.result import Result
from evolve.run.standing import Standing

SUMMARY = ("loss", "reason", "failed", "generations", "evaluations", "forwards", "seconds", "compile_seconds", "memory")


class Unsaved(UserWarning):
    """The end of a run is not in its folder; `error` says why."""

    def __init__(self, message: str, error: OSError) -> None:
        super().__init__(message)
        self.error = error


class Session:
    """A run while it runs."""

    def __init__(self, task: Task, carry: Carry, workers: Workers | None, seed: int, budget: Budget) -> None:
        self.task, self.workers, self.seed, self.budget = task, workers, seed, budget
        self.now = Standing.start(task, carry)
        self.last = budget.last(self.now.cost)
        self.folder: RunDirectory | None = None
        self.unsaved: OSError | None = None
        if workers is not None:
            workers.first_error = None  # of a run before this one

    def job(self) -> dict[str, Any]:
        """The configuration, for job.json."""
        return {
            "problem": describe(self.task.problem),
            "optimizer": describe(self.task.optimizer),
            "seed": self.seed,
            "seeds": self.task.seeds,
            "x64": float_dtype() == jnp.float64,
            "budget": vars(self.budget),
        }

    def settle(self, folder: RunDirectory) -> None:
        """Go on from the newest good checkpoint in a folder; where there is none, write the first.

        Raises
        ------
        CheckpointError
            There are checkpoints, and every one is corrupt or foreign.
        OSError
            The folder cannot hold a checkpoint.
        """
        self.folder = folder
        found = folder.load(self.now.carry, self.now.history.single) if folder.resumed else None
        if found is None:
            folder.begin(self.now.carry, self._facts())
            return
        carry, facts, history = found
        self.now = self.now.resumed(carry, history, facts)
        if self.workers is not None:
            self.workers.first_error = facts["error"]

    def go(self, watch: Sequence[Watcher], watch_every: Every | None, save_seconds: float) -> list[Result]:
        """The blocks between watch points, until a reason to stop; Ctrl-C is one, while compiling too."""
        loop = None
        try:
            loop = self._loop()
            reason = self._blocks(loop, watch, Pace(watch_every), save_seconds)
        except KeyboardInterrupt:
            reason = "interrupted"
        except Exception:
            if loop is not None:  # a watcher's, or the device's: what there is is kept
                self._save()
            raise
        self._save()
        found = self.answer()
        answers = [jax.device_get(self._of(found, i)) for i in range(self.task.seeds or 1)]
        losses = self._losses(answers)
        results = [self._result(i, answers[i], losses[i], reason, loop) for i in range(len(answers))]
        self._finish(reason, results)
        return results

    def answer(self) -> Params:
        """The best member seen, or the optimizer's answer where the problem is noisy."""
        carry = self.now.carry
        return each_seed(self.task, self.task.optimizer.answer)(carry.state) if self.task.problem.noisy else carry.best

    def _loop(self) -> DeviceLoop | HostLoop:
        """Compile. A run that cannot be compiled leaves its folder to another."""
        try:
            if self.workers is None:
                return DeviceLoop(self.task, self.now.carry, self.now.seen)
            return HostLoop(self.task, self.now.carry, self.now.seen, self.workers)
        except Exception:
            if self.folder is not None:
                self.folder.abandon()
            raise

    def _blocks(
        self, loop: DeviceLoop | HostLoop, watch: Sequence[Watcher], pace: Pace, save_seconds: float
    ) -> str | None:
        """Until every seed has a reason of its own (None), or a watcher asks to stop."""
        saved = time.monotonic()
        while None in (reasons := self._reasons()):
            # A seed that lags behind, because its target was moved, catches up first.
            generation = min(int(g) for g, why in zip(self.now.generations, reasons, strict=True) if why is None)
            until = min(self.last, pace.until(generation, self.budget.seconds, self.now.seconds))
            start = time.perf_counter()
            carry, rows, seen = loop.advance(self.now.carry, self.now.seen, generation, until)
            elapsed, before = time.perf_counter() - start, self.now.generations
            self.now = self.now.after(carry, rows, seen, elapsed)
            pace.learn(elapsed, int(np.max(self.now.generations - before)))
            if any([watcher(self._progress()) for watcher in watch]):
                return "stopped"
            if time.monotonic() - saved >= save_seconds:
                self._save()
                saved = time.monotonic()
        return None

    def _reasons(self) -> list[str | None]:
        """Why each seed ends, None where it goes on."""
        now = self.now
        columns = (now.generations, now.spent, now.next, now.cause)
        facts, own = zip(*(column.tolist() for column in columns), strict=True), causes(self.task.optimizer)
        return [self.budget.reason(done, spent, now.seconds, cost, own[why]) for done, spent, cost, why in facts]

    def _progress(self) -> Progress:
        now, single = self.now, self.task.seeds is None
        row = {name: values[0] if single else values for name, values in now.newest.items()}
        total = self.last if self.last < FAR else None
        return Progress(int(max(now.generations)), int(min(now.spent)), now.seconds, row, total, self.answer)

    def _facts(self) -> dict[str, Any]:
        return {**self.now.facts, "error": None if self.workers is None else self.workers.first_error}

    def _save(self) -> None:
        """Checkpoint. A disk that fails now does not end the run: all is in memory, and the next save tries again."""
        if self.folder is None:
            return
        try:
            self.folder.save(int(max(self.now.generations)), self.now.carry, self._facts(), self.now.history)
        except OSError as error:
            if self.unsaved is None:
                cure = "the run goes on in memory and tries again at the next checkpoint"
                warnings.warn(f"run: {self.folder.path} cannot be written ({error}); {cure}.", stacklevel=2)
            self.unsaved = error
        else:
            self.unsaved = None

    def _finish(self, reason: str | None, results: list[Result]) -> None:
        """Write result.json, and say so if the folder is not complete."""
        if self.folder is None:
            return
        overall = reason or results[int(np.argmax(self.now.generations))].reason
        outcome = {"reason": overall, "results": [_summary(result) for result in results]}
        try:
            self.folder.finish(outcome, self.now.history.tail(self.now.newest))
        except OSError as error:
            self.unsaved = error
        if self.unsaved is not None:
            lost = "the end of the run is not on disk; it is in the result that `run` returns"
            message = f"run: {self.folder.path} could not be written ({self.unsaved}): {lost}."
            warnings.warn(Unsaved(message, self.unsaved), stacklevel=2)

    def _result(
        self, i: int, answer: Params, loss: float, reason: str | None, loop: DeviceLoop | HostLoop | None
    ) -> Result:
        now = self.now
        spent = int(now.spent[i])
        return Result(
            answer=answer,
            loss=loss,
            history=now.history.of(i, now.newest),
            reason=self._reasons()[i] or reason or "",
            failed=int(now.row["failed"][i]),
            generations=int(now.generations[i]),
            evaluations=spent // now.passes,
            forwards=spent,
            seconds=now.seconds,
            compile_seconds=loop.program.seconds if loop else 0.0,
            memory=loop.program.memory if loop else None,
            error=None if self.workers is None else self.workers.first_error,
            state=self._of(now.carry.state, i),
        )

    def _losses(self, answers: list[Params]) -> list[float]:
        """Of the answers: the best seen, or for a noisy problem the loss at one fixed key; infinite before any work."""
        problem, key = self.task.problem, draws.key(0)
        losses: list[float] = np.reshape(self.now.carry.best_loss, -1).tolist()
        fresh = [i for i in range(len(losses)) if problem.noisy and self.now.generations[i] > 0]
        if not fresh:
            return losses
        if (workers := self.workers) is None:
            # Of the problem alone, so that every method that is compared on it finds the same program.
            program = compiled(_loss, problem, answers[0], key)
            for i in fresh:
                losses[i] = float(program.call(problem, answers[i], key))
        else:
            words = np.asarray(jax.random.key_data(key))
            for i in fresh:
                alone = jax.tree.map(lambda leaf: np.asarray(leaf)[None], answers[i])
                losses[i] = float(workers.losses(problem, alone, words, 1)[0])
        return losses

    def _of(self, tree: Any, i: int) -> Any:
        return tree if self.task.seeds is None else take(tree, i)


def _loss(problem: Problem, params: Params, key: Any) -> Float[Array, ""]:
    return checked(problem.loss(params, key))


def _summary(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in (*SUMMARY, "error")}
