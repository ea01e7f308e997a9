"""`python -m evolve.cli`: the same as the `evolve` command."""

import sys

from evolve.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
