"""Augmented random search, ARS (Mania, Guy and Recht 2018, arXiv:1803.07055)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from evolve.core.estimator import Estimator
from evolve.core.perturbation import Antithetic, Perturbation
from evolve.core.population import Population
from evolve.core.schedule import Number
from evolve.core.shaping import Shaping, TopPairs


class ARS(Estimator):
    """ARS: plain steps along the best pairs, over the deviation of their losses (Mania et al. 2018, algorithm 2).

    For linear policies and small networks: few settings, and steps that do not depend on the loss's scale. Where
    a step size for each parameter helps, `OpenES` has Adam. The paper's versions V1 and V2 differ in whether
    observations are normalized, which is the problem's affair; `TopPairs(b / N)` makes them V1-t and V2-t.

    Parameters
    ----------
    population
        Twice the number N of pairs; even.
    sigma
        The radius nu at which the loss is probed, > 0, or a schedule.
    learning_rate
        The step alpha, > 0, or a schedule; 0.01 if neither it nor `update` is given. As in the paper it is not divided
        by the radius: near an optimum the losses' differences and their deviation shrink alike, and steps do not.
    perturbation
        Law and structure of the pairs: Antithetic(...), also of low-rank directions.
    shaping
        `TopPairs(fraction)`: of the pairs, those whose better half is best.
    update, weight_decay
        As in `Estimator`.

    Time a generation: O(population x size); memory O(size).
    """

    population: int = eqx.field(static=True, default=64)
    sigma: Number = 0.05
    perturbation: Perturbation = Antithetic()
    shaping: Shaping = eqx.field(static=True, default=TopPairs())

    def __check_init__(self) -> None:
        if not isinstance(self.perturbation, Antithetic):
            raise ValueError(
                f"ARS: perturbation is {self.perturbation}; pairs are compared: wrap it in Antithetic(...)."
            )

    def divisor(self, population: Population) -> Float[Array, ""]:
        """One: the paper's step is alpha / (b sigma_R) sum_k (r(+k) - r(-k)) delta_k (algorithm 2, step 7)."""
        return jnp.ones_like(population.scale)
