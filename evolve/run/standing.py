"""Where a run stands at a watch point: the carry, and what the host accounts beside it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from evolve.run.account import total
from evolve.run.budget import forwards
from evolve.run.compiled import compiled
from evolve.run.history import History, Row, exact
from evolve.run.loop import Carry, Seen, Task, begin, look


@dataclass(frozen=True)
class Standing:
    """Replaced as a whole after a block of generations, so that an interrupt finds either the old or the new one.

    seen
        What `look` made of the carry, for the loop.
    row
        The history row of each seed's last generation, columns of shape (seeds,).
    cause
        Why each seed ends of itself: a place in `causes`, 0 where it goes on.
    next
        Forward passes of each seed's next generation.
    ends
        Seconds into the run at which each seed was last advanced.
    """

    task: Task
    carry: Carry
    seen: Seen
    row: Row
    cause: np.ndarray
    next: np.ndarray
    history: History
    seconds: float
    ends: np.ndarray

    @classmethod
    def start(cls, task: Task, carry: Carry) -> "Standing":
        """Before the first generation."""
        none, seen = np.zeros(0), compiled(begin, task, carry).call(task, carry)
        blank = cls(task, carry, seen, {}, none, none, History(task.seeds is None), 0.0, np.zeros(task.seeds or 1))
        return blank._at(carry, seen)

    @property
    def passes(self) -> int:
        """Forward passes of one evaluation."""
        return forwards(self.task.problem, self.task.optimizer)

    @property
    def cost(self) -> int:
        """Forward passes of one generation at least: line searches and grown populations take more."""
        return self.task.least * self.passes

    @property
    def generations(self) -> np.ndarray:
        """Completed, shape (seeds,)."""
        return self.row["generation"]

    @property
    def spent(self) -> np.ndarray:
        """Forward passes, line searches included, shape (seeds,)."""
        return self.row["evaluations"]

    @property
    def newest(self) -> Row:
        """A whole history row: as the history would hold it, were the last generation on its grid."""
        return {**self.row, "seconds": self.ends}

    def after(self, carry: Carry, rows: Row, seen: Seen, elapsed: float) -> "Standing":
        """After a block of generations that took `elapsed` seconds, spread evenly over them."""
        moved = np.atleast_1d(np.asarray(carry.generation)) - self.generations
        each = elapsed / max(1, np.max(moved))
        columns = self._counted({name: values.reshape(-1, len(self.ends)) for name, values in rows.items()})
        since = np.max((columns["generation"] - self.generations) * (moved > 0), axis=1, keepdims=True)
        columns["seconds"] = np.broadcast_to(self.seconds + each * since, columns["generation"].shape)
        return dataclasses.replace(
            self._at(carry, seen),
            history=self.history.joined(columns),
            seconds=self.seconds + elapsed,
            ends=np.where(moved > 0, self.seconds + each * moved, self.ends),
        )

    def resumed(self, carry: Carry, history: History, facts: Mapping[str, Any]) -> "Standing":
        """From a checkpoint."""
        # Compiled as a whole: step by step, the branches of a stopping criterion would be compiled every time.
        now = self._at(carry, compiled(look, self.task, carry).call(self.task, carry))
        return dataclasses.replace(
            now, history=history, seconds=facts["seconds"], ends=np.asarray(facts["ends"], float)
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint holds beside the carry."""
        return {"seconds": self.seconds, "ends": self.ends.tolist()}

    def _at(self, carry: Carry, seen: Seen) -> "Standing":
        row, cause = jax.device_get(seen)
        each = self.cost + np.reshape(row["more"], -1).astype(np.int64) * self.passes
        columns = self._counted({name: np.reshape(value, -1) for name, value in row.items()})
        causes = np.reshape(cause, -1)
        return dataclasses.replace(self, carry=carry, seen=seen, row=columns, cause=causes, next=each)

    def _counted(self, columns: Row) -> dict[str, np.ndarray]:
        """Forward passes in place of what the loop counts in 32 bits."""
        columns = {name: exact(values) for name, values in columns.items() if name != "more"}
        evaluated = total(columns.pop("spent_high"), columns.pop("spent_low"))
        return {**columns, "evaluations": evaluated * self.passes}
