"""Separable CMA-ES (Ros and Hansen 2008)."""

from evolve.methods.cma_parameters import Rates
from evolve.methods.covariance import Diagonal, Shape
from evolve.methods.distribution import CMA


class SepCMAES(CMA):
    """Separable CMA-ES: a diagonal covariance that learns (n + 2) / 3 times as fast (Ros and Hansen 2008, section 3).

    Otherwise it is CMA-ES (Hansen 2016, arXiv:1604.00772, eqs. 38-58), of which it keeps the diagonal of eq. 47.

    For thousands to millions of parameters, where the full matrix is too large, and for separable problems. It does not
    learn rotations.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0.
    population
        Members a generation, at least 2; by default 4 + floor(3 ln n).
    active
        Whether bad members make the variance smaller where they lie.
    stds, min_std, stopping, mirrored, elitist
        As in `CMAES`, and as with `diagonal=True` the scales have no condition to judge.

    Time and memory a generation: O(population n).
    """

    def _kind(self) -> tuple[type[Shape], Rates]:
        return Diagonal, "separable"
