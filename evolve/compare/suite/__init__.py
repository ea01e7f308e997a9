"""Compare optimizers on a suite of test functions as COCO does: runtime profiles, expected running times, files."""

from evolve.compare.suite.benchmark import benchmark
from evolve.compare.suite.profiles import Profiles
from evolve.compare.suite.suite import Case, Suite

__all__ = ["Case", "Profiles", "Suite", "benchmark"]
