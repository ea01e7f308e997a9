"""A whole generation of OpenAI-ES with low-rank perturbations beside plain inference of the same examples.

    python -m benchmarks.lowrank_inference [--keep]

Network 784-512-512-10, population 512, 16 examples a member. "Plain inference" is the unperturbed network on 512 x 16
distinct examples, one batch. A generation is ask, evaluate and tell: drawing the directions, the losses of all members,
ranks, the weighted sum of directions, and Adam. Two ways to draw the minibatches: one for all members (common random
numbers, the library's default), and an own one for each antithetic pair. The full-rank rows do the same with Gaussian
directions, as other libraries draw them, for a population of 32, scaled up.

The limit: the network's products are 2 x 512 x 16 x 668,672 = 11 GFLOP for every contestant; low-rank terms add
0.6 % of operations and about one more pass over the activations.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import evolve
import problems
from benchmarks.harness import in_turn, keep, medians, show
from evolve.run.compiled import compiled

POPULATION, EXAMPLES, SIZES = 512, 16, (784, 512, 512, 10)
FULL_POPULATION = 32


class Blocks(evolve.Problem):
    """A classification loss on 16 successive examples, drawn by the key."""

    network: problems.Network
    inputs: jax.Array
    labels: jax.Array

    def init(self, key: jax.Array) -> Any:
        return self.network.init(key)

    def loss(self, params: Any, key: jax.Array) -> jax.Array:
        start = jax.random.randint(key, (), 0, len(self.inputs) - EXAMPLES)
        inputs = jax.lax.dynamic_slice_in_dim(self.inputs, start, EXAMPLES)
        labels = jax.lax.dynamic_slice_in_dim(self.labels, start, EXAMPLES)
        return jnp.mean(losses(self.network, params, inputs, labels))


def losses(network: problems.Network, params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of each example."""
    return optax.softmax_cross_entropy_with_integer_labels(network.apply(params, inputs), labels)


def generation(problem: Blocks, optimizer: evolve.OpenES, backend: evolve.Device) -> Callable[[], Any]:
    """Ask, evaluate, tell, in one program, compiled as `evolve.run` does."""

    def whole(problem: Blocks, optimizer: evolve.OpenES, state: Any, key: jax.Array) -> Any:
        ask, evaluate = jax.random.split(key)
        population = optimizer.ask(state, ask)
        return optimizer.tell(state, population, backend.evaluate(problem, population, evaluate))

    state = optimizer.init(problem.init(jax.random.key(0)), jax.random.key(1))
    given = problem, optimizer, state, jax.random.key(2)
    program = compiled(whole, *given)
    return lambda: program.call(*given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/lowrank_inference.json")
    options = parser.parse_args()
    network, key = problems.mlp(SIZES), jax.random.key(0)
    inputs = jax.random.normal(key, (POPULATION * EXAMPLES, SIZES[0]))
    labels = jax.random.randint(key, (POPULATION * EXAMPLES,), 0, SIZES[-1])
    problem, params = Blocks(network, inputs, labels), network.init(key)
    plain = jax.jit(lambda p, x, y: losses(network, p, x, y).reshape(POPULATION, EXAMPLES).mean(1))
    contestants: dict[str, Callable[[], Any]] = {"plain inference": lambda: plain(params, inputs, labels)}
    for law in (evolve.Rademacher(), evolve.Gaussian()):
        lowrank = evolve.Antithetic(evolve.LowRank(1, law=law))
        for common in (True, False):
            optimizer, backend = evolve.OpenES(POPULATION, perturbation=lowrank), evolve.Device(common=common)
            batches = "one minibatch" if common else "own minibatches"
            contestants[f"LowRank(1, {type(law).__name__}), {batches}"] = generation(problem, optimizer, backend)
    seconds = in_turn(contestants, options.rounds)
    full = f"full Gaussian (x {POPULATION // FULL_POPULATION})"
    seconds |= in_turn({full: generation(problem, evolve.OpenES(FULL_POPULATION), evolve.Device())}, 3)
    seconds[full] = [value * POPULATION / FULL_POPULATION for value in seconds[full]]
    each = medians(seconds)
    base = each["plain inference"]
    rows = [{"what": name, "ms": ms, "x plain": ms / base} for name, ms in each.items()]
    show("One generation, 784-512-512-10, population 512, 16 examples a member (target: at most 1.25)", rows)
    if options.keep:
        keep("lowrank_inference", rows)


if __name__ == "__main__":
    sys.exit(main())
