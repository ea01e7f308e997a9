"""Compare optimizers on one problem: same start, same data order, same budget, several seeds."""

from evolve.compare.comparison import Comparison
from evolve.compare.contest import compare
from evolve.compare.entry import Entry

__all__ = ["Comparison", "Entry", "compare"]
