"""What one optimizer did in a comparison."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from evolve.core.optimizer import Optimizer
from evolve.run.describe import describe, outline
from evolve.run.result import Result

LOSS = "loss"  # what was minimized; a held-out loss is named otherwise
_HIGHER = ("accuracy", "reward", "return", "score")


class Spread(NamedTuple):
    """Median and range over seeds."""

    low: np.ndarray
    median: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Entry:
    """One optimizer's settings, and what came of them.

    name, family, settings, outline
        The name it was given; "evolution", "zeroth-order" or "gradient"; every setting in words, and so much of them
        as a reader wants.
    status
        "finished", "failed" (`error` says how), "interrupted" or "not run".
    reasons, evaluations, forwards, failed
        As in `Result`, one a seed.
    seconds, compile_seconds, memory
        As in `Result`, for all seeds together: they run at once.
    final
        Metrics of the answer, each of shape (seeds,): `loss`, and what the problem reports.
    curves
        The same metrics of the answers on the way, each of shape (points, seeds); `evaluations` in forward passes, of
        that shape too, and `seconds`, of shape (points,), compiling and measuring left out.
    """

    name: str
    family: str
    settings: str
    outline: str = ""
    status: str = "not run"
    error: str | None = None
    traceback: str | None = None
    reasons: tuple[str, ...] = ()
    evaluations: tuple[int, ...] = ()
    forwards: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    seconds: float | None = None
    compile_seconds: float | None = None
    memory: int | None = None
    final: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    curves: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    @classmethod
    def of(cls, name: str, optimizer: Optimizer) -> "Entry":
        """Before it has run."""
        return cls(name, family(optimizer), describe(optimizer), outline(optimizer))

    def ended(self, results: list[Result], curves: dict[str, np.ndarray]) -> "Entry":
        """After it has run; the curves end with the answers."""
        first = results[0]
        return replace(
            self,
            status="finished",
            error=first.error and first.error.strip().splitlines()[-1],
            traceback=first.error,
            reasons=tuple(result.reason for result in results),
            evaluations=tuple(result.evaluations for result in results),
            forwards=tuple(result.forwards for result in results),
            failed=tuple(result.failed for result in results),
            seconds=first.seconds,
            compile_seconds=first.compile_seconds,
            memory=first.memory,
            final={name: values[-1] for name, values in curves.items() if name not in ("evaluations", "seconds")},
            curves=curves,
        )

    def spread(self, metric: str) -> Spread | None:
        """Of the answers' metric over seeds; None if it was not measured."""
        return spread(self.final[metric], metric) if metric in self.final else None

    def to_json(self) -> dict[str, Any]:
        """Strict JSON: a number that is not finite becomes null."""
        return plain(asdict(self))

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Entry":
        """The entry again; null becomes NaN."""
        arrays: dict[str, Any] = {
            part: {name: np.asarray(values, np.float64) for name, values in found[part].items()}
            for part in ("final", "curves")
        }
        tuples: dict[str, Any] = {name: tuple(found[name]) for name in ("reasons", "evaluations", "forwards", "failed")}
        return cls(**(found | arrays | tuples))


def family(optimizer: Optimizer) -> str:
    """Which of the three camps an optimizer is in: for colours and groups."""
    if optimizer.oracle == "gradient":
        return "gradient"
    return "zeroth-order" if type(optimizer).__module__.split(".")[0] == "zeroth" else "evolution"


def higher_is_better(metric: str) -> bool:
    """By the metric's name: accuracies, rewards, returns and scores are; all else is an error."""
    return metric.endswith(_HIGHER)


def spread(values: np.ndarray, metric: str) -> Spread:
    """Median and range over the last axis, the seeds. One that is not finite counts as the worst, not as missing."""
    worst = -np.inf if higher_is_better(metric) else np.inf
    kept = np.where(np.isfinite(values), values, worst)
    return Spread(kept.min(axis=-1), np.median(kept, axis=-1), kept.max(axis=-1))


def plain(value: Any) -> Any:
    """Arrays as lists, tuples too, and what is not finite as None."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value
