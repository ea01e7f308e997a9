"""When a run ends: evaluations, generations, seconds or a target loss, whichever comes first."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.core.optimizer import Optimizer
from evolve.core.problem import Problem

FAR = 2**31 - 2  # generations are counted in 32 bits


@dataclass(frozen=True)
class Budget:
    """At least one limit. An evaluation is one forward pass; one with its gradient counts as three.

    Raises
    ------
    ValueError
        No limit is given, or one is not positive, not finite, or not whole where it counts something.
    TypeError
        A limit is no number.
    """

    evaluations: int | None = None
    generations: int | None = None
    seconds: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        """Check every limit; counts become Python integers, which never overflow."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        if not given:
            raise ValueError("run: no budget; give evaluations, generations, seconds or target.")
        for name, value in given.items():
            _check(name, value)
            object.__setattr__(self, name, int(value) if name in ("evaluations", "generations") else float(value))

    def last(self, cost: int) -> int:
        """The last generation that the limits known beforehand allow, if one costs `cost` evaluations; at least 1."""
        limits = [FAR if self.generations is None else self.generations]
        if self.evaluations is not None:
            limits.append(self.evaluations // cost)
        return max(1, min(*limits, FAR))

    def reason(self, generation: int, spent: int, seconds: float, cost: int, cause: str | None) -> str | None:
        """Why the run ends now, or None; `cause` is one of its own. A budget below one generation still buys one."""
        if cause is not None:
            return cause
        if generation == 0:
            return None
        if self.evaluations is not None and spent + cost > self.evaluations:
            return "evaluations"
        if self.generations is not None and generation >= self.generations:
            return "generations"
        if self.seconds is not None and seconds >= self.seconds:
            return "seconds"
        return "generations" if generation >= FAR else None


def _check(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"run: {name} is {value!r}; it must be a number.")
    if name == "target":
        if not -math.inf < value < math.inf:
            raise ValueError(f"run: target is {value}; it must be a finite loss.")
    elif not 0 < value < math.inf:
        raise ValueError(f"run: {name} is {value}; it must be positive and finite.")
    elif name != "seconds" and value != int(value):
        raise ValueError(f"run: {name} is {value}; it must be a whole number.")


def forwards(problem: Problem, optimizer: Optimizer) -> int:
    """Forward passes that one evaluation costs."""
    return problem.passes * answers(optimizer)


def answers(optimizer: Optimizer) -> int:
    """What the optimizer's oracle costs in losses: a gradient takes one forward and about two for backward."""
    return 3 if optimizer.oracle == "gradient" else 1
