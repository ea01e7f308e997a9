"""Milliseconds per generation of CMA-ES and OpenAI-ES, ours and the peers', at n = 10 to 1000.

    python -m benchmarks.generation [--x64] [--keep]

Every contestant gets the same population and the sphere, its fastest documented way of running (ours and evosax's whole
loops compiled, pycma's and cmaes's ask-tell in Python with NumPy fitness), and float64 with --x64. Those two always
compute in float64. Compilation is left out. One call goes through 200 generations, so that lazy eigendecompositions are
paid for; 10 of cmaes at n = 1000, which decomposes in each. It takes about ten minutes. The peers' loops ask for no
stopping criterion; ours does, but for the rows "bare". With the Cholesky root the principal axes are looked at once in
n generations, beyond n = 200 not within the measured ones: 0.03 and 0.1 ms a generation at n = 400 and 1000.

The limit in float64: each decomposes C by LAPACK's `dsyevd`. As rarely as pycma does it, every 1, 1, 2, 4 and 8
generations, that alone is 0.009, 0.11, 0.34, 2.7 and 12 ms each. The symmetric root of C needs no decomposition, but no
less time: Newton's iteration in the last known eigenvectors takes 5 to 8 products of n x n to reach 1e-12 on an
ellipsoid of condition 1e6, and more the older they are, where a decomposition takes 33, 17, 8 and 4 products at
n = 40, 100, 400 and 1000. A Cholesky factor takes a tenth of a decomposition, with other traces than pycma's.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import evolve
from benchmarks.harness import in_turn, keep, medians, our_loop, show

GENERATIONS = 200
POPULATION = {10: 10, 40: 15, 100: 17, 400: 21, 1000: 24}


def ours(n: int, size: int, **options: Any) -> Callable[[], Any]:
    return our_loop(evolve.CMAES(population=size, **options), n, GENERATIONS)[0]


def evosax(name: str, n: int, size: int) -> Callable[[], Any]:
    """Its ask and tell, scanned inside one jit."""
    from evosax import algorithms

    es = getattr(algorithms, name)(population_size=size, solution=jnp.ones(n))
    params = es.default_params

    def generation(state: Any, key: Any) -> Any:
        ask, tell = jax.random.split(key)
        population, state = es.ask(ask, state, params)
        state, _ = es.tell(tell, population, jnp.sum(population**2, axis=1), state, params)
        return state, None

    keys = jax.random.split(jax.random.key(0), GENERATIONS)
    state = es.init(jax.random.key(1), jnp.ones(n), params)
    run = jax.jit(lambda state: jax.lax.scan(generation, state, keys)[0])
    return lambda: run(state)


def pycma(n: int, size: int) -> Callable[[], Any]:
    import cma

    def call() -> Any:
        es = cma.CMAEvolutionStrategy(np.ones(n), 0.3, {"popsize": size, "verbose": -9, "seed": 1})
        for _ in range(GENERATIONS):
            points = es.ask()
            es.tell(points, [float(x @ x) for x in points])
        return es.mean

    return call


def cmaes(n: int, size: int) -> Callable[[], Any]:
    from cmaes import CMA

    def call() -> Any:
        es = CMA(mean=np.ones(n), sigma=0.3, population_size=size, seed=1)
        for _ in range(_shorter(n)):
            points = [es.ask() for _ in range(size)]
            es.tell([(x, float(x @ x)) for x in points])
        return es._mean

    return call


def _shorter(n: int) -> int:
    return GENERATIONS if n < 1000 else 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--x64", action="store_true", help="float64 for ours and evosax, as pycma computes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/generation*.json")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", options.x64)
    rows: list[dict[str, Any]] = []
    for n, size in POPULATION.items():
        contestants = {
            "evolve CMAES": ours(n, size),
            "evolve CMAES cholesky": ours(n, size, root="cholesky"),
            "evolve CMAES bare": ours(n, size, stopping=None),
            "evolve CMAES bare cholesky": ours(n, size, stopping=None, root="cholesky"),
            "evosax CMA_ES": evosax("CMA_ES", n, size),
            "cma": pycma(n, size),
            "cmaes": cmaes(n, size),
            "evolve OpenES": our_loop(evolve.OpenES(population=256), n, GENERATIONS)[0],
            "evosax Open_ES": evosax("Open_ES", n, 256),
        }
        each = medians(in_turn(contestants, options.rounds), GENERATIONS)
        each["cmaes"] *= GENERATIONS / _shorter(n)
        print(f"n = {n}:", ", ".join(f"{name} {value:.3g} ms" for name, value in each.items()), flush=True)
        for name, milliseconds in each.items():
            base = each["evolve OpenES" if "Open" in name else "evolve CMAES"]
            rows.append({"n": n, "method": name, "ms per generation": milliseconds, "x ours": milliseconds / base})
    show(f"Milliseconds per generation ({'float64' if options.x64 else 'float32'})", rows)
    if options.keep:
        keep("generation_x64" if options.x64 else "generation", rows)


if __name__ == "__main__":
    sys.exit(main())
