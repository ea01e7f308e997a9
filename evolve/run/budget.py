"""When a run ends: evaluations, generations, seconds or a target loss, whichever comes first."""

import math
from dataclasses import dataclass

from evolve.core.optimizer import Optimizer

FAR = 2**31 - 2  # generations are counted in 32 bits


@dataclass(frozen=True)
class Budget:
    """At least one limit. An evaluation is one forward pass; one with its gradient counts as three.

    Raises
    ------
    ValueError
        No limit is given, or one is not positive.
    """

    evaluations: int | None = None
    generations: int | None = None
    seconds: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        """Check every limit."""
        if self.evaluations is None and self.generations is None and self.seconds is None and self.target is None:
            raise ValueError("run: no budget; give evaluations, generations, seconds or target.")
        for name in ("evaluations", "generations", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"run: {name} is {value}; it must be positive and finite.")
        if self.target is not None and math.isnan(self.target):
            raise ValueError("run: target is nan; it must be a number.")

    def last(self, cost: int) -> int:
        """The last generation that the limits known beforehand allow, if one costs `cost` evaluations; at least 1."""
        limits = [FAR if self.generations is None else int(self.generations)]
        if self.evaluations is not None:
            limits.append(int(self.evaluations // cost))
        return max(1, min(limits))

    def reason(self, generation: int, spent: int, seconds: float, cost: int, active: bool) -> str | None:
        """Why the run ends now, or None."""
        if self.evaluations is not None and spent + cost > self.evaluations:
            return "evaluations"
        if not active:
            return "target"
        if self.generations is not None and generation >= self.generations:
            return "generations"
        if self.seconds is not None and seconds >= self.seconds:
            return "seconds"
        return "generations" if generation >= FAR else None


def forwards(optimizer: Optimizer) -> int:
    """Forward passes that one evaluation costs: a gradient takes one forward and about two for backward."""
    return 3 if optimizer.oracle == "gradient" else 1
