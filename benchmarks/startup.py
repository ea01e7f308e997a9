"""Seconds to `import evolve` beyond `import jax`, and to a first `evolve.minimize`, each in a fresh interpreter.

python -m benchmarks.startup [--keep]
"""

import argparse
import statistics
import subprocess
import sys

from benchmarks.harness import keep, show

IMPORT = (
    "import time; a = time.perf_counter(); import jax; b = time.perf_counter(); "
    "import evolve; [getattr(evolve, name) for name in evolve.__all__]; "  # names are imported when asked for
    "print(b - a, time.perf_counter() - b)"
)
FIRST = (
    "import time, jax.numpy as jnp, evolve; a = time.perf_counter(); "
    "evolve.minimize(lambda x: jnp.sum(x**2), jnp.ones(10), evolve.CMAES(), evaluations=10_000); "
    "print(time.perf_counter() - a)"
)


def fresh(code: str) -> list[float]:
    """The numbers that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/startup.json")
    options = parser.parse_args()
    fresh(IMPORT)  # writes the bytecode, where that is allowed
    imports = [fresh(IMPORT) for _ in range(options.rounds)]
    jax_seconds, ours = (statistics.median(column) for column in zip(*imports, strict=True))
    first = statistics.median(fresh(FIRST)[0] for _ in range(options.rounds))
    rows = [
        {"what": "import jax", "seconds": jax_seconds, "limit": "-"},
        {"what": "import evolve with all its names, after jax", "seconds": ours, "limit": "0.3"},
        {"what": "first minimize, 10-dimensional, compilation included", "seconds": first, "limit": "5"},
    ]
    show("Starting up (medians)", rows)
    if options.keep:
        keep("startup", rows)


if __name__ == "__main__":
    sys.exit(main())
