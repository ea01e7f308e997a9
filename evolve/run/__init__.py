"""Run an optimizer on a problem: the loop, stopping, checkpoints, progress."""

from evolve.run.api import minimize, run
from evolve.run.budget import Budget
from evolve.run.checkpoint import CheckpointError
from evolve.run.progress import Progress, progress_bar
from evolve.run.result import Result

__all__ = ["Budget", "CheckpointError", "Progress", "Result", "minimize", "progress_bar", "run"]
