"""OpenAI's evolution strategy (Salimans et al. 2017, arXiv:1703.03864)."""

import equinox as eqx
import optax

from evolve.core.estimator import Estimator
from evolve.core.perturbation import Antithetic, Perturbation
from evolve.core.schedule import Number
from evolve.core.shaping import Shaping, centered_ranks

_ADAM = optax.scale_by_adam()


class OpenES(Estimator):
    """OpenAI-ES: antithetic Gaussian pairs, centered ranks, Adam (Salimans et al. 2017, algorithm 2).

    The method for networks: its memory does not grow with population x parameters, and with
    `perturbation=Antithetic(LowRank(1))` a population is evaluated at the speed of plain inference.
    For few parameters `CMAES` needs fewer evaluations.

    Parameters
    ----------
    population
        Members a generation; even for antithetic pairs.
    sigma
        Standard deviation of the perturbation, > 0, or a schedule.
    learning_rate
        Adam's step, > 0, or a schedule; 0.01 if neither it nor `update` is given.
    perturbation, shaping, update, weight_decay
        As in `Estimator`.

    Time a generation: O(population x size) random numbers and additions with full directions,
    O(population x (rows + columns)) with `LowRank`; memory O(size).
    """

    population: int = eqx.field(static=True, default=256)
    sigma: Number = 0.05
    perturbation: Perturbation = Antithetic()
    shaping: Shaping = eqx.field(static=True, default=centered_ranks)

    def transformation(self) -> optax.GradientTransformation:
        """Adam."""
        return _ADAM
