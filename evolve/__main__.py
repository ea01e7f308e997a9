"""`python -m evolve`: the same as the `evolve` command."""

import sys

from evolve.cli import main

if __name__ == "__main__":
    sys.exit(main())
