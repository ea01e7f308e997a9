"""The command line: `evolve list`, `evolve run`, `evolve compare`, `evolve report`."""

from evolve.cli.program import main

__all__ = ["main"]
