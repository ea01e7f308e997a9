"""LM-MA-ES from 10^4 to 10^6 parameters: time and memory per generation, beside the time of writing one population.

    python -m benchmarks.limited_memory [--dimensions 10000 100000 1000000] [--keep]

The sphere in float32, with the default population and as many directions, 4 + floor(3 ln n). "write" fills a new array
of one population with a number, whose memory the operating system provides anew where it is large; "rewrite" fills the
same array every time, within a cache where it fits. "draw" fills a new one with normal numbers: what any method pays
that stores its members. Bytes are what the compiled program needs at its peak, over those of one population.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import evolve
from benchmarks.harness import in_turn, keep, medians, our_loop, show
from evolve.core import draws

GENERATIONS = 50  # in a call: what is renewed once in 4 + floor(3 ln n) of them is paid for


def rewriting(array: jax.Array) -> Callable[[], Any]:
    """Writes the memory of the array anew in every call."""
    # Kept although nothing reads it: its memory becomes the result's.
    program = jax.jit(lambda old, value: jnp.full_like(old, value), donate_argnums=0, keep_unused=True)

    def call() -> Any:
        nonlocal array
        array = program(array, 1.0)
        return array

    return call


def measure(n: int, rounds: int) -> dict[str, Any]:
    """One row."""
    optimizer = evolve.LMMAES()
    size = optimizer.default_size(n)
    call, program = our_loop(optimizer, n, GENERATIONS)
    write = jax.jit(lambda value: jnp.full((size, n), value))
    draw = jax.jit(lambda key: draws.white(key, (size, n), jnp.float32))
    contestants = {
        "generation": call,
        "write": lambda: write(1.0),
        "rewrite": rewriting(write(0.0)),
        "draw": lambda: draw(jax.random.key(2)),
    }
    found = medians(in_turn(contestants, rounds))
    generation = found["generation"] / GENERATIONS
    return {
        "n": n,
        "population": size,
        "ms per generation": generation,
        "ns per number": 1e6 * generation / (size * n),
        "write, ms": found["write"],
        "rewrite, ms": found["rewrite"],
        "draw, ms": found["draw"],
        "x writing": generation / found["write"],
        "x rewriting": generation / found["rewrite"],
        "peak / population": (program.memory or 0) / (4 * size * n),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/limited_memory.json")
    options = parser.parse_args()
    rows = [measure(n, options.rounds) for n in options.dimensions]
    show("LM-MA-ES, float32", rows)
    if options.keep:
        keep("limited_memory", rows)


if __name__ == "__main__":
    sys.exit(main())
