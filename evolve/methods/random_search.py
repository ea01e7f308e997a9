"""Random search (Rastrigin 1963): what every method must beat."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.checks import check_flags, check_kind, check_population, check_positive
from evolve.core.optimizer import Optimizer
from evolve.core.perturbation import Gaussian, Perturbation
from evolve.core.population import Drawn, Population
from evolve.core.schedule import Number, at
from evolve.core.trees import Geometry, Params, begin, select


class RandomSearchState(eqx.Module):
    """The best point so far, and the start where sampling stays centered unless it is local."""

    center: Params
    best: Params
    best_loss: Float[Array, ""]
    generation: Int[Array, ""]
    geometry: Geometry


class RandomSearch(Optimizer):
    """Draw around a center, keep the best (Rastrigin 1963).

    Parameters
    ----------
    population
        Draws a generation, at least 1.
    sigma
        Their standard deviation, > 0, or a schedule.
    local
        Whether the center moves to the best point so far (a stochastic hill climber), or stays at the start.
    perturbation
        Law and structure of a draw.

    Time a generation: O(population x size); memory O(size).
    """

    population: int = eqx.field(static=True, default=64)
    sigma: Number = 1.0
    local: bool = eqx.field(static=True, default=False)
    perturbation: Perturbation = Gaussian()

    def __check_init__(self) -> None:
        check_kind(self, Perturbation, "give Gaussian(), say", perturbation=self.perturbation)
        check_population(self, self.population, least=1, group=self.perturbation.group)
        check_positive(self, sigma=self.sigma)
        check_flags(self, local=self.local)

    def init(self, params: Params, key: PRNGKeyArray) -> RandomSearchState:
        """Center and best are the start, whose loss is not known."""
        del key
        geometry, start = begin(self, params)
        return RandomSearchState(start, start, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32), geometry)

    def ask(self, state: RandomSearchState, key: PRNGKeyArray) -> Population:
        """Draw."""
        center = state.best if self.local else state.center
        directions = Drawn.of(self.perturbation, key, state.geometry, self.population)
        sigma = at(self.sigma, state.generation)
        return Population(center, sigma, directions, key, state.geometry, self.population)

    def learn(
        self, state: RandomSearchState, population: Population, losses: Float[Array, " size"]
    ) -> RandomSearchState:
        """Keep the better of the old best and the new."""
        place = jnp.argmin(losses)
        better = losses[place] < state.best_loss
        found = state.geometry.working(population.member(place))
        best, loss = select(better, (found, losses[place]), (state.best, state.best_loss))
        return RandomSearchState(state.center, best, loss, state.generation + 1, state.geometry)

    def answer(self, state: RandomSearchState) -> Params:
        """The best point so far."""
        return state.geometry.cast(state.best)

    def status(self, state: RandomSearchState) -> dict[str, Array]:
        """Spread of the draws."""
        return {"sigma": at(self.sigma, state.generation)}
