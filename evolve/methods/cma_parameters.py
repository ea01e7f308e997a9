"""What CMA-ES derives once from dimension and population: the tutorial's table 1 with pycma 4.5's refinements.

Equation numbers are those of Hansen (2016), arXiv:1604.00772.
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from evolve.core.shaping import between
from evolve.core.trees import float_dtype

Rates = Literal["full", "separable", "diagonal"]


class Parameters(NamedTuple):
    """Symbols of the tutorial's table 1: numbers, or arrays where the population is one."""

    size: Any  # members a generation
    up: Any  # factor on a positive raw weight (eq. 49); they then sum to 1
    down: Any  # factor on a negative one; 0 where the update is not active
    mu_eff: Any
    c_sigma: Any
    d_sigma: Any
    c_c: Any
    c_1: Any
    c_mu: Any
    chi: Any  # the expected length of a standard normal vector
    gap: Any  # generations between eigendecompositions

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights by rank, best first: those that move the mean, and with the negative ones of the active update."""
        raw, _ = _raw(self.size, self.size)
        positive = np.maximum(raw, 0) * self.up
        return positive, positive + np.minimum(raw, 0) * self.down

    def weights(self, first: Array, tied: Array) -> Array:
        """The means of both tables, as two rows, over the places first, ..., first + tied - 1, which members share.

        They are 0 where `tied` is 0. Of a population that is a traced number no table is made: what is summed are the
        logarithms of ranks, which are constants.
        """
        last, share = first + tied, 1 / jnp.maximum(tied, 1).astype(float_dtype())
        if not isinstance(self.size, jax.Array):
            return jnp.stack([between(first, last, table) for table in self.tables()]) * share
        # The better half weighs more than nothing (eq. 49), the others less.
        half, middle = self.size >> 1, jnp.log((_exact(self.size) + 1) / 2)
        begin, end = (jnp.stack([jnp.minimum(place, half), place]) for place in (first, last))
        logs = between(begin, end, np.log(np.arange(1, len(first) + 1)))
        raw = ((end - begin).astype(share.dtype) * middle - logs) * share
        positive = self.up * raw[0]
        return jnp.stack([positive, positive + self.down * (raw[1] - raw[0])])


def default_population(n: int) -> int:
    """4 + floor(3 ln n) (eq. 48)."""
    return 4 + int(3 * math.log(n))


def parameters(n: int, size: Any, active: bool, rates: Rates = "full", most: int | None = None) -> Parameters:
    """All of them, for a population of `size`; that may be a traced number, of which `most` is an upper bound.

    `rates` says what is learned: a full matrix (eqs. 56-58), its diagonal alone, (n + 2) / 3 times as fast (Ros and
    Hansen 2008, section 3), or scale factors by multiplication (pycma's diagonal option).
    """
    raw, xp = _raw(size, most or size)
    positive, negative = xp.maximum(raw, 0), -xp.minimum(raw, 0)
    up = 1 / xp.sum(positive)
    mu_eff = 1 / xp.sum((positive * up) ** 2)
    c_c, c_1, c_mu = _rates(xp, n, _exact(size), mu_eff, rates)
    # Eq. 55 with 3 in place of 5, and no more than 1/2, as pycma has it.
    c_sigma = xp.minimum(0.5, (mu_eff + 2) / (n + mu_eff + 3))
    chi = math.sqrt(2) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2))
    # pycma decomposes when this many generations have passed since the last time.
    gap = xp.maximum(1, xp.ceil(1 / ((c_1 + c_mu) * n * 10)))
    down = _down(xp, negative, mu_eff, n, c_1, c_mu, rates) if active else 0.0 * up
    found = Parameters(size, up, down, mu_eff, c_sigma, _damping(xp, n, mu_eff, c_sigma), c_c, c_1, c_mu, chi, gap)
    # Plain numbers are constants of the compiled program.
    return found if xp is jnp else Parameters(*map(float, found))._replace(size=int(size), gap=int(gap))


def _raw(size: Any, length: int) -> tuple[Any, Any]:
    """log((size + 1) / 2) - log(rank), rank = 1, 2, ... (eq. 49), zero beyond the population; and the array module."""
    xp, size = jnp if isinstance(size, jax.Array) else np, _exact(size)
    ranks = xp.arange(1, length + 1)
    return xp.where(ranks <= size, xp.log((size + 1) / 2) - xp.log(ranks), 0.0), xp


def _exact(size: Any) -> Any:
    """Of a traced integer of 32 bits, JAX would take roots and logarithms in single precision."""
    return size.astype(float_dtype()) if isinstance(size, jax.Array) else size


def _rates(xp: Any, n: int, size: Any, mu_eff: Any, rates: Rates) -> tuple[Any, Any, Any]:
    """c_c, c_1 and c_mu."""
    if rates == "diagonal":
        c_1 = 1 / (n + 2 * math.sqrt(n) + mu_eff / n)
        c_mu = (mu_eff + 1 / mu_eff - 1.75) / (n + 4 * math.sqrt(n) + mu_eff / 2)
        return (1 + 1 / n + mu_eff / n) / (math.sqrt(n) + 1 / n + 2 * mu_eff / n), c_1, xp.minimum(1 - c_1, c_mu)
    c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)  # eq. 56
    # min(1, size / 6): tiny populations learn the rank-one part more slowly, as pycma does
    c_1 = xp.minimum(1, size / 6) * 2 / ((n + 1.3) ** 2 + mu_eff)  # eq. 57
    c_mu = xp.minimum(1 - c_1, 2 * (mu_eff + 1 / mu_eff - 1.75) / ((n + 2) ** 2 + mu_eff))  # eq. 58
    if rates == "separable":
        c_1 = xp.minimum(1.0, (n + 2) / 3 * c_1)
        c_mu = xp.minimum(1 - c_1, (n + 2) / 3 * c_mu)
    return c_c, c_1, c_mu


def _damping(xp: Any, n: int, mu_eff: Any, c_sigma: Any) -> Any:
    """d_sigma: eq. 55, but large populations in more than a few dimensions are damped up to three times as much.

    pycma 4.5 has it so (sigma_adaptation.py): the factor is 3 (1 - 2^(-n/9)), but at least 1.
    """
    more = max(1.0, 3 * (1 - 0.5 ** (n / 9)))
    return 1 + c_sigma + 2 * xp.maximum(0.0, more * xp.sqrt(xp.maximum(0.0, mu_eff - 1) / (n + 1)) - 1)


def _down(xp: Any, negative: Any, mu_eff: Any, n: int, c_1: Any, c_mu: Any, rates: Rates) -> Any:
    """What makes the negative weights sum to their share (eqs. 50-53).

    Zero total decay, limited by selection mass and, for a matrix, by positive definiteness.
    """
    some = (xp.sum(negative) > 0) & (c_mu > 0)
    total = xp.where(some, xp.sum(negative), 1.0)
    mu_minus = total**2 / xp.where(some, xp.sum(negative**2), 1.0)
    rate = xp.where(some, c_mu, 1.0)
    share = xp.minimum(1 + c_1 / rate, 1 + 2 * mu_minus / (mu_eff + 2))
    if rates != "diagonal":  # factors stay positive by themselves
        share = xp.minimum(share, (1 - c_1 - rate) / (n * rate))
    return xp.where(some, share / total, 0.0)
