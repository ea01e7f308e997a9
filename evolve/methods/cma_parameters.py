"""What CMA-ES derives once from dimension and population (Hansen 2016, arXiv:1604.00772, table 1)."""

import math
from typing import NamedTuple

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


def default_population(n: int) -> int:
    """4 + floor(3 ln n) (eq. 48)."""
    return 4 + int(3 * math.log(n))


def parameters(n: int, population: int, active: bool, separable: bool = False) -> Parameters:
    """All of them. The separable variant learns (n + 2) / 3 times as fast (Ros and Hansen 2008, section 3)."""
    raw = math.log((population + 1) / 2) - np.log(np.arange(1, population + 1))
    positive = np.maximum(raw, 0) / np.maximum(raw, 0).sum()
    mu_eff = 1 / np.sum(positive**2)
    c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)  # eq. 56
    # min(1, population / 6): tiny populations learn the rank-one part more slowly, as the reference does
    c_1 = min(1, population / 6) * 2 / ((n + 1.3) ** 2 + mu_eff)  # eq. 57
    c_mu = min(1 - c_1, 2 * (0.25 + mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + mu_eff))  # eq. 58
    if separable:
        faster = (n + 2) / 3
        c_1, c_mu = min(1.0, faster * c_1), faster * c_mu
        c_mu = min(1 - c_1, c_mu)
    c_sigma = (mu_eff + 2) / (n + mu_eff + 3)  # eq. 55, with 3 in place of 5 as the reference does
    d_sigma = 1 + c_sigma + 2 * max(0, math.sqrt((mu_eff - 1) / (n + 1)) - 1)
    chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
    gap = max(1, int(1 / ((c_1 + c_mu) * n * 10)))
    weights = positive + (_negative(raw, mu_eff, n, c_1, c_mu) if active else 0.0)
    return Parameters(positive, weights, float(mu_eff), c_sigma, d_sigma, c_c, c_1, c_mu, chi, gap)


def _negative(raw: np.ndarray, mu_eff: float, n: int, c_1: float, c_mu: float) -> np.ndarray:
    """The negative weights (eqs. 50-53): zero total decay, limited by selection mass and positive definiteness."""
    negative = np.minimum(raw, 0)
    if not negative.any() or c_mu <= 0:
        return np.zeros_like(raw)
    mu_minus = negative.sum() ** 2 / np.sum(negative**2)
    total = min(1 + c_1 / c_mu, 1 + 2 * mu_minus / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu))
    return negative / -negative.sum() * total
