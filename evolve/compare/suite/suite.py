"""A suite of test functions in several instances, and what is logged of a method's runs on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.core.problem import Problem


@dataclass(frozen=True)
class Case:
    """One problem of a suite: which function, which instance of it, and its minimum."""

    function: int
    instance: int
    problem: Problem
    f_opt: float

    def seed(self, first: int) -> int:
        """Of its run: one of its own, in which function and instance can be read."""
        return (first + 100 * self.instance + self.function) % 2**32


@dataclass(frozen=True)
class Suite:
    """Problems of one dimension that differ in numbers alone, function by function.

    name
        As COCO has it.
    functions
        Their names by their numbers, in order.
    groups
        Numbers of functions by the names of their groups.
    """

    name: str
    dimension: int
    functions: dict[int, str]
    groups: dict[str, tuple[int, ...]]
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Log:
    """The records of a method's runs on a suite, case by case.

    hits, gaps
        The evaluation that first reached a target (0 where none has), and its gap: shape (cases, targets).
    moments, bests, losses
        Evaluations, the lowest gap up to each, and the loss evaluated there: shapes (moments,) and (cases, moments).
    evaluations, best
        Of the whole run, shape (cases,).
    reasons
        Why each ended.
    """

    hits: np.ndarray
    gaps: np.ndarray
    moments: np.ndarray
    bests: np.ndarray
    losses: np.ndarray
    evaluations: np.ndarray
    best: np.ndarray
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[Any], moments: np.ndarray, reasons: Sequence[str]) -> "Log":
        """Of `Record`s in NumPy."""
        names = ("hits", "gaps", "bests", "losses", "evaluations", "best")
        stacked = {name: np.stack([getattr(record, name) for record in records]) for name in names}
        return cls(moments=moments, reasons=tuple(reasons), **stacked)
