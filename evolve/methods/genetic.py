"""A genetic algorithm on real vectors (Holland 1975; for networks: Such et al. 2017, arXiv:1712.06567)."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_between, check_count, check_kind, check_population, check_positive
from evolve.core.lowrank import form
from evolve.core.optimizer import Optimizer
from evolve.core.perturbation import Gaussian, Perturbation
from evolve.core.population import Population
from evolve.core.schedule import Number, at
from evolve.core.trees import Geometry, Params, begin, float_dtype, take


class GeneticState(eqx.Module):
    """The last generation's best, best first, in working precision; the first is the answer."""

    parents: Params
    losses: Float[Array, " parents"]
    generation: Int[Array, ""]
    geometry: Geometry


class GeneticAlgorithm(Optimizer):
    """Selection, uniform crossover, Gaussian mutation, and elites that survive bit for bit.

    For rugged or discontinuous losses, and as the simplest of baselines; where a smooth direction
    exists, `OpenES` and `CMAES` need far fewer evaluations.

    Parameters
    ----------
    population
        Members a generation, at least 2, elites among them.
    parents
        How many of the best may have children, 1 to population.
    elites
        How many of the best go on unchanged, and are evaluated again (under noise a lucky loss does not
        last), 0 to parents.
    sigma
        Standard deviation of the mutation, > 0, or a schedule.
    crossover
        Chance that a child has two parents, each of its numbers coming from either, in [0, 1].
    selection
        "truncation": parents have equal chances. "tournament": the better of `tournament` drawn ones wins.
    tournament
        Size of a tournament, at least 1.
    mutation
        Law and structure of the mutation; drawn in full.

    Time and memory a generation: O(population x size).
    """

    population: int = eqx.field(static=True, default=128)
    parents: int = eqx.field(static=True, default=32)
    elites: int = eqx.field(static=True, default=1)
    sigma: Number = 0.05
    crossover: Number = 0.5
    selection: Literal["truncation", "tournament"] = eqx.field(static=True, default="truncation")
    tournament: int = eqx.field(static=True, default=3)
    mutation: Perturbation = Gaussian()

    def __check_init__(self) -> None:
        check_population(self, self.population)
        check_positive(self, sigma=self.sigma)
        check_count(self, 1, self.population, parents=self.parents, tournament=self.tournament)
        check_count(self, 0, min(self.parents, self.population - 1), elites=self.elites)
        check_between(self, 0, 1, crossover=self.crossover)
        check_kind(self, Perturbation, "give Gaussian(), say", mutation=self.mutation)
        if (self.population - self.elites) % self.mutation.group:
            raise ValueError(
                f"GeneticAlgorithm: population - elites is {self.population - self.elites}; antithetic mutations need "
                f"a multiple of {self.mutation.group}."
            )
        if self.selection not in ("truncation", "tournament"):
            raise ValueError(
                f"GeneticAlgorithm: selection is {self.selection!r}; it must be 'truncation' or 'tournament'."
            )

    def init(self, params: Params, key: PRNGKeyArray) -> GeneticState:
        """Every parent is the start; its children are its mutations."""
        del key
        geometry, start = begin(self, params)
        everyone = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.parents, *leaf.shape)), start)
        losses = jnp.full(self.parents, jnp.inf)
        return GeneticState(everyone, losses, jnp.zeros((), jnp.int32), geometry)

    def ask(self, state: GeneticState, key: PRNGKeyArray) -> Population:
        """Elites first, then children."""
        number = self.population - self.elites
        chosen, crossed, mutated = draws.split(key, 3)
        pairs = self._select(chosen, number)
        mothers, fathers = take(state.parents, pairs[0]), take(state.parents, pairs[1])
        children = _cross(crossed, mothers, fathers, at(self.crossover, state.generation))
        moves = self.mutation.batch(mutated, 0, number, state.geometry.like)
        sigma = at(self.sigma, state.generation)
        members = jax.tree.map(
            lambda parents, child, move: jnp.concatenate(
                [parents[: self.elites], child + sigma.astype(child.dtype) * move]
            ),
            state.parents,
            children,
            form(moves),
        )
        return Population.of(members, state.geometry, key)

    def learn(self, state: GeneticState, population: Population, losses: Float[Array, " size"]) -> GeneticState:
        """Keep the best. A failed member never becomes a parent: the best takes its place."""
        order = jnp.argsort(losses)[: self.parents]
        order = jnp.where(jnp.isfinite(losses[order]), order, order[0])
        parents = take(population.stored, order)
        return GeneticState(parents, losses[order], state.generation + 1, state.geometry)

    def answer(self, state: GeneticState) -> Params:
        """The best member of the last generation."""
        return state.geometry.cast(take(state.parents, 0))

    def status(self, state: GeneticState) -> dict[str, Float[Array, ""]]:
        """Mutation strength."""
        return {"sigma": at(self.sigma, state.generation)}

    def _select(self, key: PRNGKeyArray, number: int) -> Int[Array, "2 number"]:
        """Places of two parents for each child. Parents are sorted, so the lowest place wins a tournament."""
        rounds = 1 if self.selection == "truncation" else self.tournament
        return jnp.min(draws.integers(key, (rounds, 2, number), 0, self.parents), axis=0)


def _cross(key: PRNGKeyArray, mothers: Params, fathers: Params, chance: Number) -> Params:
    """Uniform crossover (Syswerda 1989): with the given chance a child takes each number from either parent."""
    leaves, structure = jax.tree.flatten(mothers)
    number = leaves[0].shape[0]
    both = draws.uniform(draws.fold_in(key, len(leaves)), (number,), float_dtype()) < chance

    def leaf_cross(place: int, mother: Array, father: Array) -> Array:
        coin = draws.uniform(draws.fold_in(key, place), mother.shape, jnp.float32) < 0.5
        return jnp.where(coin & both.reshape(-1, *[1] * (mother.ndim - 1)), father, mother)

    others = jax.tree.leaves(fathers)
    return structure.unflatten([leaf_cross(k, a, b) for k, (a, b) in enumerate(zip(leaves, others, strict=True))])
