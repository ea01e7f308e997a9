"""One estimator behind evolution strategies and zeroth-order methods: shaped losses times directions.

    gradient ~ (1 / sigma) sum_i shaping(losses)_i * direction_i

The choices are independent: the law and structure of the directions (`Perturbation`), the stencil (`Antithetic` or
not), the shaping, and the update (an optax transformation). OpenAI-ES, SPSA and MeZO are points in that space.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.checks import check_between, check_kind, check_population, check_positive, check_update
from evolve.core.optimizer import Optimizer
from evolve.core.perturbation import Antithetic, Perturbation
from evolve.core.population import Drawn, Population
from evolve.core.schedule import Number, at
from evolve.core.shaping import Shaping, difference
from evolve.core.trees import Geometry, Params, begin, scaled, select


class EstimatorState(eqx.Module):
    """The center in working precision, the update's own state, and the generation."""

    center: Params
    update: Any
    generation: Int[Array, ""]
    geometry: Geometry


class Estimator(Optimizer):
    """Descend along a gradient estimated from losses alone.

    Parameters
    ----------
    population
        Members a generation; even for antithetic pairs.
    sigma
        The radius at which the loss is probed, a number > 0 or a schedule.
    learning_rate
        The step along the default update, a number > 0 or a schedule. Leave it out with an `update` of your own.
    perturbation
        Law and structure of the directions.
    shaping
        Losses to weights.
    update
        Any complete optax optimizer, such as `optax.adam(0.01)`, in place of the default one. One that wants a value
        (`optax.contrib.reduce_on_plateau`) gets the mean loss; line searches belong to `Gradient`.
    weight_decay
        Each step of the default update also takes learning_rate * weight_decay of the center away, at least 0, or a
        schedule (decoupled: Loshchilov and Hutter 2019, algorithm 2; as a penalty: Salimans et al. 2017).

    Memory: O(parameters), whatever the population.
    """

    population: int = eqx.field(static=True, default=2)
    sigma: Number = 1e-3
    learning_rate: Number | None = None
    perturbation: Perturbation = Antithetic()
    shaping: Shaping = eqx.field(static=True, default=difference)
    update: optax.GradientTransformation | None = eqx.field(static=True, default=None)
    weight_decay: Number = 0.0

    def __check_init__(self) -> None:
        check_kind(self, Perturbation, "give Antithetic(), say", perturbation=self.perturbation)
        check_population(self, self.population, group=self.perturbation.group)
        check_positive(self, sigma=self.sigma)
        check_between(self, 0, float("inf"), weight_decay=self.weight_decay)
        if not callable(self.shaping):
            raise TypeError(f"{type(self).__name__}: shaping is {self.shaping!r}; give a function such as z_score.")
        if self.learning_rate is not None:
            check_positive(self, learning_rate=self.learning_rate)
        if self.update is not None:
            check_update(self, self.update)
            self._check_own_update()

    def _check_own_update(self) -> None:
        """An update of the user's own has its own learning rate and decay."""
        decays = callable(self.weight_decay) or (isinstance(self.weight_decay, (int, float)) and self.weight_decay != 0)
        for option, given in (("learning_rate", self.learning_rate is not None), ("weight_decay", decays)):
            if given:
                raise ValueError(
                    f"{type(self).__name__}: {option} is {getattr(self, option)}, but the update given has its own; "
                    "leave one of them out."
                )

    def radius(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """The sigma of a generation."""
        return at(self.sigma, generation)

    def rate(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """The learning rate of a generation, for the default update."""
        return at(1e-2 if self.learning_rate is None else self.learning_rate, generation)

    def transformation(self) -> optax.GradientTransformation:
        """The default update, before the learning rate: plain descent."""
        return _PLAIN

    def divisor(self, population: Population) -> Float[Array, ""]:
        """What makes weights times directions the gradient that the update follows: the radius."""
        return population.scale

    def init(self, params: Params, key: PRNGKeyArray) -> EstimatorState:
        """Start at the parameters."""
        del key
        geometry, center = begin(self, params)
        return EstimatorState(center, self._update().init(center), jnp.zeros((), jnp.int32), geometry)

    def ask(self, state: EstimatorState, key: PRNGKeyArray) -> Population:
        """Draw around the center."""
        directions = Drawn.of(self.perturbation, key, state.geometry, self.population)
        scale = self.radius(state.generation)
        return Population(state.center, scale, directions, key, state.geometry, self.population)

    def learn(self, state: EstimatorState, population: Population, losses: Float[Array, " n"]) -> EstimatorState:
        """Estimate the gradient and let the update follow it."""
        losses = whole_groups(losses, self.perturbation.group)
        gradient = scaled(population.combine(self.shaping(losses)), 1.0 / self.divisor(population))
        mean = jnp.mean(losses, where=jnp.isfinite(losses))
        step, update = self._update().update(gradient, state.update, state.center, value=mean)
        if self.update is None:
            decay = at(self.weight_decay, state.generation)
            step = jax.tree.map(lambda move, x: move + decay.astype(x.dtype) * x, step, state.center)
            step = scaled(step, -self.rate(state.generation))
        center = jax.tree.map(jnp.add, state.center, step)
        learned = EstimatorState(center, update, state.generation + 1, state.geometry)
        # Without a whole pair nothing is known: moments must not decay, nor gains.
        return select(jnp.any(jnp.isfinite(losses)), learned, state)

    def answer(self, state: EstimatorState) -> Params:
        """The center."""
        return state.geometry.cast(state.center)

    def status(self, state: EstimatorState) -> dict[str, Float[Array, ""]]:
        """Radius, and learning rate where it is ours."""
        status = {"sigma": self.radius(state.generation)}
        return status if self.update is not None else status | {"learning_rate": self.rate(state.generation)}

    def _update(self) -> optax.GradientTransformationExtraArgs:
        return optax.with_extra_args_support(self.transformation() if self.update is None else self.update)


def whole_groups(losses: Float[Array, " n"], group: int) -> Float[Array, " n"]:
    """The losses, +inf for all members of a group of which one failed: half a pair estimates nothing."""
    failed = jnp.any(jnp.isinf(losses).reshape(-1, group), axis=1, keepdims=True)
    return jnp.where(failed, jnp.inf, losses.reshape(-1, group)).reshape(-1)


# Made once: a fresh transformation is a fresh function, and jit would compile for it anew.
_PLAIN = optax.identity()
