"""Simultaneous perturbation stochastic approximation (Spall 1992; gain sequences: Spall 1998)."""

from jaxtyping import Array, Float, Int

from evolve.core.checks import check_between, check_positive
from evolve.core.estimator import Estimator
from evolve.core.perturbation import Antithetic, Perturbation, Rademacher
from evolve.core.schedule import Number, Power, Scalar, at


class SPSA(Estimator):
    """SPSA: two-sided differences along random signs, with decaying gains (Spall 1992, eqs. 2.1 and 2.2).

    The gains are a_k = a / (k + 1 + A)^alpha and c_k = c / (k + 1)^gamma (Spall 1998, section III), given here
    by their first values: `learning_rate` = a / (1 + A)^alpha and `sigma` = c.

    Parameters
    ----------
    population
        Twice the number of pairs averaged a step (Spall 1992, section III); even.
    sigma
        The first probe radius c, > 0; about the standard deviation of the loss's noise. A schedule of your own
        replaces the gain sequence.
    learning_rate
        The first step a / (1 + A)^alpha, > 0. A schedule of your own replaces the gain sequence.
    stability
        A >= 0; about a tenth of the expected number of steps.
    alpha, gamma
        The gains' exponents; 0.602 and 0.101 are the smallest with guarantees, 1 and 1/6 the asymptotically best.
    perturbation, shaping, update, weight_decay
        As in `Estimator`. With an `update` of your own the learning rate and its sequence are its own.

    Time a step: O(population x size); memory O(size).
    """

    sigma: Number = 0.01
    perturbation: Perturbation = Antithetic(Rademacher())
    stability: Scalar = 100.0
    alpha: Scalar = 0.602
    gamma: Scalar = 0.101

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, alpha=self.alpha, gamma=self.gamma)
        check_between(self, 0, float("inf"), schedules=False, stability=self.stability)

    def radius(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """c_k."""
        return at(self.sigma if callable(self.sigma) else Power(self.sigma, 1.0, self.gamma), generation)

    def rate(self, generation: Int[Array, ""]) -> Float[Array, ""]:
        """a_k."""
        first = 1e-2 if self.learning_rate is None else self.learning_rate
        return at(first if callable(first) else Power(first, 1.0 + self.stability, self.alpha), generation)
