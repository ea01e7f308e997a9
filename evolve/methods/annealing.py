"""Simulated annealing (Kirkpatrick et al. 1983), many Metropolis chains at once, with replica exchange."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from evolve.core import draws
from evolve.core.checks import check_between, check_count, check_flags, check_kind, check_positive
from evolve.core.lowrank import form
from evolve.core.optimizer import Optimizer
from evolve.core.perturbation import Gaussian, Perturbation
from evolve.core.population import Population
from evolve.core.schedule import Exponential, Number, Scalar, at
from evolve.core.trees import Geometry, Params, begin, float_dtype, select, take


class AnnealingState(eqx.Module):
    """Where each chain stands and its loss there; the best point that any chain visited."""

    current: Params
    losses: Float[Array, " chains"]
    best: Params
    best_loss: Float[Array, ""]
    accepted: Float[Array, ""]
    generation: Int[Array, ""]
    geometry: Geometry


class SimulatedAnnealing(Optimizer):
    """Independent Metropolis chains on a cooling schedule, optionally exchanging states (Kirkpatrick et al. 1983).

    A proposal is accepted with chance min(1, exp(-(new - old) / temperature)) (Metropolis et al. 1953). For
    rugged losses with few parameters; in high dimension a step that is accepted is a small one.

    Parameters
    ----------
    step
        Standard deviation of a proposal, > 0, or a schedule.
    temperature
        In units of the loss, > 0, or a schedule such as `Exponential(1.0, 1e-3, steps=1000)`.
    chains
        How many, at least 1.
    ladder
        Chain c runs at temperature * ladder^c: 1 for equal chains, above 1 for replica exchange.
    exchange
        Whether neighbouring chains swap states with chance min(1, exp((1/T_i - 1/T_j)(E_i - E_j)))
        (Swendsen and Wang 1986), even and odd pairs in turn.
    reevaluate
        Whether the current states are evaluated again with the proposals, doubling the cost: right for noisy
        losses, where the loss of an old minibatch says little about a new one. The answer is then where the best
        chain stands, not the luckiest point ever visited.
    proposal
        Law and structure of a proposal; drawn in full.

    Time and memory a generation: O(chains x size).
    """

    step: Number = 0.1
    temperature: Number = Exponential(1.0, 1e-3, 1000)
    chains: int = eqx.field(static=True, default=64)
    ladder: Scalar = 1.0
    exchange: bool = eqx.field(static=True, default=False)
    reevaluate: bool = eqx.field(static=True, default=False)
    proposal: Perturbation = Gaussian()

    def __check_init__(self) -> None:
        check_positive(self, step=self.step, temperature=self.temperature)
        check_kind(self, Perturbation, "give Gaussian(), say", proposal=self.proposal)
        check_count(self, 1, chains=self.chains)
        check_flags(self, exchange=self.exchange, reevaluate=self.reevaluate)
        check_between(self, 1, float("inf"), schedules=False, ladder=self.ladder)
        if self.proposal.group > 1:
            raise ValueError(
                "SimulatedAnnealing: proposals of different chains cannot be antithetic; give the inner law."
            )

    def init(self, params: Params, key: PRNGKeyArray) -> AnnealingState:
        """Every chain at the start, which counts as not yet evaluated: the first proposals are accepted."""
        del key
        geometry, start = begin(self, params)
        current = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.chains, *leaf.shape)), start)
        losses, zero = jnp.full(self.chains, jnp.inf), jnp.zeros(())
        return AnnealingState(current, losses, start, jnp.asarray(jnp.inf), zero, jnp.zeros((), jnp.int32), geometry)

    def ask(self, state: AnnealingState, key: PRNGKeyArray) -> Population:
        """One proposal a chain, after the current states where those are evaluated again."""
        moves, _ = draws.split(key)
        moves = form(self.proposal.batch(moves, 0, self.chains, state.geometry.like))
        step = at(self.step, state.generation)
        members = jax.tree.map(lambda x, move: x + step.astype(x.dtype) * move, state.current, moves)
        if self.reevaluate:
            members = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), state.current, members)
        return Population.of(members, state.geometry, key)

    def learn(self, state: AnnealingState, population: Population, losses: Float[Array, " size"]) -> AnnealingState:
        """Accept or stay, then perhaps exchange."""
        old, new = state.losses, losses[-self.chains :]
        if self.reevaluate:  # of a state that could not be evaluated again, the last loss is what is known
            old = jnp.where(jnp.isfinite(losses[: self.chains]), losses[: self.chains], old)
        proposals = jax.tree.map(lambda leaf: leaf[-self.chains :], population.stored)
        # The other half of the key than the proposals were drawn from: a move must not decide its own acceptance.
        _, decide = draws.split(population.key)
        chance, swap = draws.split(decide)
        temperatures = self._temperatures(state.generation)
        accept = _metropolis(chance, jnp.where(jnp.isnan(new - old), 0.0, new - old) / temperatures) & jnp.isfinite(new)
        current = jax.vmap(select)(accept, proposals, state.current)
        standing = jnp.where(accept, new, old)
        if self.exchange and self.chains > 1:
            order = _exchange(swap, standing, temperatures, state.generation % 2)
            current, standing = take(current, order), standing[order]
        best = jnp.argmin(standing)
        better = jnp.asarray(True) if self.reevaluate else standing[best] < state.best_loss
        return AnnealingState(
            current,
            standing,
            select(better, take(current, best), state.best),
            jnp.where(better, standing[best], state.best_loss),
            jnp.mean(accept, dtype=state.accepted.dtype),
            state.generation + 1,
            state.geometry,
        )

    def answer(self, state: AnnealingState) -> Params:
        """The best point visited; with `reevaluate`, where the best chain stands."""
        return state.geometry.cast(state.best)

    def status(self, state: AnnealingState) -> dict[str, Float[Array, ""]]:
        """Temperature of the coldest chain, and the share of proposals that were accepted."""
        return {"temperature": self._temperatures(state.generation)[0], "accepted": state.accepted}

    def _temperatures(self, generation: Int[Array, ""]) -> Float[Array, " chains"]:
        return at(self.temperature, generation) * jnp.asarray(self.ladder, float) ** jnp.arange(self.chains)


def _metropolis(key: PRNGKeyArray, climb: Float[Array, " n"]) -> Bool[Array, " n"]:
    """True with chance min(1, exp(-climb)); the logarithm of a uniform number is compared, so nothing overflows."""
    return jnp.log(draws.uniform(key, climb.shape, float_dtype())) < -climb


def _exchange(
    key: PRNGKeyArray, losses: Float[Array, " n"], temperatures: Float[Array, " n"], odd: Int[Array, ""]
) -> Int[Array, " n"]:
    """Where each chain takes its state from: neighbours (0,1), (2,3), ... or (1,2), (3,4), ... may swap."""
    places = jnp.arange(losses.shape[0])
    partner = jnp.where((places - odd) % 2 == 0, places + 1, places - 1)
    partner = jnp.where((partner < 0) | (partner >= losses.shape[0]), places, partner)
    # Both of a pair must decide alike: the lower place's coin counts.
    coin = draws.uniform(key, losses.shape, float_dtype())[jnp.minimum(places, partner)]
    gain = (1 / temperatures - 1 / temperatures[partner]) * (losses - losses[partner])
    swap = (jnp.log(coin) < jnp.where(jnp.isnan(gain), -jnp.inf, gain)) & (partner != places)
    return jnp.where(swap, partner, places)
