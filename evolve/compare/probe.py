"""Curves: the answer, measured at evaluations that are evenly spaced on a logarithmic axis.

The losses that an optimizer sees are no curve to compare by: each is of another minibatch, and the best of a
population is biased by its size. So every method's answer is measured alike, by the problem's own report, and
the time it takes is not counted.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evolve.compare.entry import LOSS
from evolve.core.problem import Problem, reported
from evolve.core.trees import Params, as_arrays, take
from evolve.run.budget import Budget
from evolve.run.compiled import Program, compiled
from evolve.run.prepare import UNTRACEABLE
from evolve.run.progress import Progress
from evolve.run.result import Result

POINTS = 36  # at most, where the budget says how far the axis goes
_RATIO = 1.25  # between two points, where it does not
_KEYS = 8  # over which a noisy loss is averaged, where the report has no training loss


class Probe:
    """A watcher that measures all seeds' answers; pass `next` to `run` as `watch_every`."""

    def __init__(self, problem: Problem, budget: Budget) -> None:
        self.problem, self.budget = problem, budget
        self.measure = Measure(problem)
        self.due = self.generation = self.evaluations = 0
        self.points: list[dict[str, np.ndarray]] = []
        self.stopped = False

    def next(self, generation: int) -> int:
        """The generation at which the next point falls."""
        each = max(1.0, self.evaluations / max(1, self.generation))
        return generation + max(1, math.ceil((self.due - self.evaluations) / each))

    def __call__(self, progress: Progress) -> None:
        """Measure, if a point is due."""
        # Of the seed that is furthest: one that has reached its target does not hold up the others' curves.
        self.generation, self.evaluations = progress.generation, int(np.max(progress.row["evaluations"]))
        if self.evaluations < self.due:
            return
        self.due = math.ceil(self.evaluations * self._ratio())
        now = progress.row | {"seconds": progress.seconds}
        seen = np.asarray(now["mean" if self.problem.noisy else "best"])
        try:
            metrics = self.measure(progress.answer(), seen)
        except KeyboardInterrupt:
            # The run may have spent its budget, and would then not say that it was interrupted.
            self.stopped = True
            raise
        self.points.append(metrics | {name: np.asarray(now[name]) for name in ("evaluations", "seconds")})

    def finish(self, results: list[Result]) -> dict[str, np.ndarray]:
        """The curves, ending with the results' answers."""
        answers = jax.tree.map(lambda *leaves: np.stack(leaves), *[result.answer for result in results])
        metrics = self.measure(answers, np.asarray([result.loss for result in results]))
        spent = np.asarray([result.forwards for result in results])
        if self.points and np.array_equal(self.points[-1]["evaluations"], spent):
            self.points.pop()
        self.points.append(metrics | {"evaluations": spent, "seconds": np.asarray(results[0].seconds)})
        return {name: np.stack([np.asarray(point[name], np.float64) for point in self.points]) for name in metrics} | {
            name: np.stack([point[name] for point in self.points]).astype(np.float64)
            for name in ("evaluations", "seconds")
        }

    @property
    def loss(self) -> float | None:
        """The newest, median over seeds."""
        return float(np.median(self.points[-1][LOSS])) if self.points else None

    def _ratio(self) -> float:
        first = max(1.0, self.evaluations / max(1, self.generation))
        limits = [self.budget.evaluations, self.budget.generations and self.budget.generations * first]
        known = [limit for limit in limits if limit is not None]
        return max(1.01, (min(known) / first) ** (1 / (POINTS - 1))) if known else _RATIO


class Measure:
    """Metrics of answers with a leading axis of seeds, each of shape (seeds,).

    `loss` is the report's `train_loss` or, where it has none, the problem's loss: averaged over eight fixed keys if
    it is noisy. The report's own `loss` is `held_out_loss` here. A host fitness is too dear to be called
    again: its loss is the one `seen` by the optimizer. Metrics that are no scalars are left out. A report that JAX
    cannot trace is called as it is, once an answer.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.plain = problem.host  # whether the report is called as it is
        self.program: Program | None = None  # one for all points: what a curve shows must not change on the way

    def __call__(self, answers: Params, seen: np.ndarray) -> dict[str, np.ndarray]:
        """The losses that the optimizer has seen have shape (seeds,)."""
        found = self._compiled(answers) if not self.plain else {}
        if self.plain:
            found = self._called(answers, len(seen))
        metrics = {LOSS: np.asarray(seen)} | {_renamed(name): values for name, values in found.items()}
        return {name: values for name, values in metrics.items() if values.ndim == 1}

    def _compiled(self, answers: Params) -> dict[str, np.ndarray]:
        """All at once; nothing, and never again, where the report cannot be traced."""
        try:
            return self._run(_reports, answers)
        except UNTRACEABLE:
            self.plain = True
            return {}

    def _called(self, answers: Params, count: int) -> dict[str, np.ndarray]:
        """One by one: on NumPy parameters for a host problem, as its loss."""
        host = self.problem.host
        each = jax.tree.map(np.asarray, answers) if host else as_arrays(answers)
        reports = [reported(self.problem, take(each, i)) for i in range(count)]
        found = {name: np.asarray([np.asarray(report[name]) for report in reports]) for name in reports[0]}
        return found if host or "train_loss" in found else found | self._run(_losses, answers)

    def _run(self, function: Callable[..., Any], answers: Params) -> dict[str, np.ndarray]:
        if self.program is None:
            self.program = compiled(function, self.problem, answers)
        return {name: np.asarray(values) for name, values in self.program.call(self.problem, answers).items()}


def _reports(problem: Problem, answers: Params) -> dict[str, Any]:
    def one(params: Params) -> dict[str, Any]:
        report = dict(reported(problem, params))
        return report if "train_loss" in report else report | {"train_loss": _loss(problem, params)}

    return jax.vmap(one)(answers)


def _losses(problem: Problem, answers: Params) -> dict[str, Any]:
    return {"train_loss": jax.vmap(lambda params: _loss(problem, params))(answers)}


def _loss(problem: Problem, params: Params) -> Float[Array, ""]:
    keys = jax.random.split(jax.random.key(0), _KEYS if problem.noisy else 1)
    return jnp.mean(jax.lax.map(lambda key: problem.loss(params, key), keys))


def _renamed(name: str) -> str:
    return {"train_loss": LOSS, LOSS: "held_out_loss"}.get(name, name)
