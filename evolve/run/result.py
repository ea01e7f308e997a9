"""What a run gives back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from evolve.core.trees import Params

if TYPE_CHECKING:
    import pandas


_SHAPES = 8  # of arrays in an answer that are shown


@dataclass(frozen=True)
class Result:
    """The answer of a run, and how it came about.

    answer
        What to deploy, in the dtypes of the start: the best member seen, or for a noisy problem, where the
        best seen is luck, the optimizer's own answer.
    loss
        Its loss; for a noisy problem, at one fixed key. Infinite where every member failed, or where Ctrl-C came
        before the first generation: the answer is then the start.
    history
        Arrays with one row a recorded generation (every one up to 1,000, every tenth up to 10,000, ..., and the last):
        `generation`, `evaluations` (forward passes so far), `seconds` (since the start, compiling left out), `loss` (of
        the best member), `mean`, `best` (so far), `failed` (so far), and what the method reports.
    reason
        Why it stopped: "evaluations", "generations", "seconds", "target", "stopped" (a watcher asked), "interrupted",
        or a reason of the method's own ("tolfun", "restarts", ...: its `reasons`).
    failed
        Members whose loss was not finite.
    generations, evaluations, forwards
        Spent: members evaluated, and forward passes (a gradient counts three, an average each of its repeats).
    seconds, compile_seconds
        Wall-clock of the generations, and of compiling them.
    memory
        Bytes that the compiled generation needs at its peak; None where the compiler does not say.
    error
        The first traceback of a host fitness that raised, if one did.
    state
        The optimizer's last state.
    """

    answer: Params
    loss: float
    history: dict[str, np.ndarray]
    reason: str
    failed: int
    generations: int
    evaluations: int
    forwards: int
    seconds: float
    compile_seconds: float
    memory: int | None = None
    error: str | None = None
    state: Any = None

    def __repr__(self) -> str:
        """The numbers, and of the arrays their shapes: a history has thousands of rows."""
        numbers = f"evaluations={self.evaluations}, generations={self.generations}, failed={self.failed}"
        shapes = [str(np.shape(leaf)) for leaf in jax.tree.leaves(self.answer)]
        shown = ", ".join(shapes[:_SHAPES]) + ", ..." * (len(shapes) > _SHAPES)
        history = f"{len(next(iter(self.history.values()), ()))} rows of {', '.join(self.history)}"
        facts = f"loss={self.loss:.6g}, reason={self.reason!r}, {numbers}, seconds={self.seconds:.3g}"
        error = f", error={self.error.strip().splitlines()[-1]!r}" if self.error else ""
        return f"Result({facts}, answer=<{shown}>, history=<{history}>{error})"

    def to_pandas(self) -> "pandas.DataFrame":
        """The history as a table.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("Result.to_pandas needs pandas: pip install pandas.") from error
        return pandas.DataFrame(self.history)
