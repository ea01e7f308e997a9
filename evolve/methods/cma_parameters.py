"""What CMA-ES derives once from dimension and population: the tutorial's table 1 with pycma 4.5's refinements.

Equation numbers are those of Hansen (2016), arXiv:1604.00772.
"""

import math
from typing import Literal, NamedTuple

import numpy as np


class Parameters(NamedTuple):
    """Symbols of the tutorial's table 1; weights are sorted, the best member's first."""

    mean_weights: np.ndarray  # (population,), positive and zero, sum 1
    weights: np.ndarray  # (population,), with the negative ones of the active update
    mu_eff: float
    c_sigma: float
    d_sigma: float
    c_c: float
    c_1: float
    c_mu: float
    chi: float  # the expected length of a standard normal vector
    gap: int  # generations between eigendecompositions


Rates = Literal["full", "separable", "diagonal"]


def default_population(n: int) -> int:
    """4 + floor(3 ln n) (eq. 48)."""
    return 4 + int(3 * math.log(n))


def parameters(n: int, population: int, active: bool, rates: Rates = "full") -> Parameters:
    """All of them.

    `rates` says what is learned: a full matrix (eqs. 56-58), its diagonal alone, (n + 2) / 3 times as fast (Ros and
    Hansen 2008, section 3), or scale factors by multiplication (pycma's diagonal option).
    """
    raw = math.log((population + 1) / 2) - np.log(np.arange(1, population + 1))
    positive = np.maximum(raw, 0) / np.maximum(raw, 0).sum()
    mu_eff = float(1 / np.sum(positive**2))
    c_c, c_1, c_mu = _rates(n, population, mu_eff, rates)
    # Eq. 55 with 3 in place of 5, and no more than 1/2, as pycma has it.
    c_sigma = min(0.5, (mu_eff + 2) / (n + mu_eff + 3))
    chi = math.sqrt(2) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2))
    # pycma decomposes when this many generations have passed since the last time.
    gap = max(1, math.ceil(1 / ((c_1 + c_mu) * n * 10)))
    weights = positive + (_negative(raw, mu_eff, n, c_1, c_mu, rates) if active else 0.0)
    return Parameters(positive, weights, mu_eff, c_sigma, _damping(n, mu_eff, c_sigma), c_c, c_1, c_mu, chi, gap)


def _rates(n: int, population: int, mu_eff: float, rates: Rates) -> tuple[float, float, float]:
    """c_c, c_1 and c_mu."""
    if rates == "diagonal":
        c_1 = 1 / (n + 2 * math.sqrt(n) + mu_eff / n)
        c_mu = (mu_eff + 1 / mu_eff - 1.75) / (n + 4 * math.sqrt(n) + mu_eff / 2)
        return (1 + 1 / n + mu_eff / n) / (math.sqrt(n) + 1 / n + 2 * mu_eff / n), c_1, min(1 - c_1, c_mu)
    c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)  # eq. 56
    # min(1, population / 6): tiny populations learn the rank-one part more slowly, as pycma does
    c_1 = min(1, population / 6) * 2 / ((n + 1.3) ** 2 + mu_eff)  # eq. 57
    c_mu = min(1 - c_1, 2 * (mu_eff + 1 / mu_eff - 1.75) / ((n + 2) ** 2 + mu_eff))  # eq. 58
    if rates == "separable":
        c_1 = min(1.0, (n + 2) / 3 * c_1)
        c_mu = min(1 - c_1, (n + 2) / 3 * c_mu)
    return c_c, c_1, c_mu


def _damping(n: int, mu_eff: float, c_sigma: float) -> float:
    """d_sigma: eq. 55, but large populations in more than a few dimensions are damped up to three times as much.

    pycma 4.5 has it so (sigma_adaptation.py): the factor is 3 (1 - 2^(-n/9)), but at least 1.
    """
    more = max(1.0, 3 * (1 - 0.5 ** (n / 9)))
    return 1 + c_sigma + 2 * max(0.0, more * math.sqrt((mu_eff - 1) / (n + 1)) - 1)


def _negative(raw: np.ndarray, mu_eff: float, n: int, c_1: float, c_mu: float, rates: Rates) -> np.ndarray:
    """The negative weights (eqs. 50-53): zero total decay, limited by selection mass and positive definiteness."""
    negative = np.minimum(raw, 0)
    if not negative.any() or c_mu <= 0:
        return np.zeros_like(raw)
    mu_minus = negative.sum() ** 2 / np.sum(negative**2)
    total = min(1 + c_1 / c_mu, 1 + 2 * mu_minus / (mu_eff + 2))
    if rates != "diagonal":  # factors stay positive by themselves
        total = min(total, (1 - c_1 - c_mu) / (n * c_mu))
    return negative / -negative.sum() * total
