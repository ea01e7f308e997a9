"""Separable natural evolution strategy (Schaul, Glasmachers and Schmidhuber 2011; Wierstra et al. 2014, JMLR 15)."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from evolve.core.checks import check_population, check_positive
from evolve.core.optimizer import Optimizer
from evolve.core.perturbation import Gaussian
from evolve.core.population import Population
from evolve.core.schedule import Scalar
from evolve.core.trees import Params, float_dtype
from evolve.methods.cma_parameters import default_population
from evolve.methods.diagonal import Diagonal
from evolve.methods.nes import utilities
from evolve.methods.stopping import REASONS, Tolerances, check_stopping


class SNES(Optimizer):
    """Separable NES: natural gradient steps of the mean and of each logarithmic standard deviation.

    Algorithm 6 of Wierstra et al. (2014, JMLR 15).

    For many parameters, separable problems, and as the cheapest method that finds a step size for each parameter.
    It learns no rotation: for few dependent parameters take `XNES` or `CMAES`.

    Parameters
    ----------
    sigma
        The first standard deviation, > 0; about a third of the distance to where the optimum may lie.
    population
        Members a generation, at least 2; by default 4 + floor(3 ln n).
    mean_rate
        eta_mu > 0, the mean's learning rate.
    sigma_rate
        eta_sigma > 0, that of the standard deviations; by default (3 + ln n) / (5 sqrt n)
        (Wierstra et al. 2014, table 1).
    stopping
        When to stop before the budget is spent, such as `Tolerances()`; by default never, for the losses of networks
        are noisy, and two numbers a parameter are kept for it. Left out are `tolconditioncov`, for scales lose no
        digits however far apart they are; `noeffectaxis`, for the axes are the coordinates; `tolupsigma`, for there
        is no shape beside sigma; and of `tolx` the path, for there is none.

    Works on trees, in float64 where the parameters are, else in float32. Time a generation: O(population n);
    memory O(n), for directions are redrawn.
    """

    reasons: ClassVar[tuple[str, ...]] = REASONS

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    mean_rate: Scalar = 1.0
    sigma_rate: Scalar | None = None
    stopping: Tolerances | None = None

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, sigma=self.sigma, mean_rate=self.mean_rate)
        if self.population is not None:
            check_population(self, self.population)
        if self.sigma_rate is not None:
            check_positive(self, schedules=False, sigma_rate=self.sigma_rate)
        check_stopping(self, self.stopping)

    def init(self, params: Params, key: PRNGKeyArray) -> Diagonal:
        """The isotropic normal distribution around the parameters."""
        del key
        normal = Diagonal.around(self, params, self.sigma)
        return normal.watching(self.stopping, self._size(normal.geometry.size))

    def ask(self, state: Diagonal, key: PRNGKeyArray) -> Population:
        """x_i = mu + sigma s_i with s_i ~ N(0, I) (Wierstra et al. 2014, algorithm 6)."""
        return state.population(Gaussian(), key, self._size(state.geometry.size))

    def learn(self, state: Diagonal, population: Population, losses: Float[Array, " size"]) -> Diagonal:
        """To mu + eta_mu sigma sum_i u_i s_i and sigma exp(eta_sigma / 2 sum_i u_i (s_i^2 - 1)) (algorithm 6)."""
        n, u = state.geometry.size, utilities(losses, float_dtype())
        rate = (3 + math.log(n)) / (5 * math.sqrt(n)) if self.sigma_rate is None else self.sigma_rate
        half = jnp.asarray(rate) / 2

        def shifted(x: Array, sd: Array, gradient: Array) -> Array:
            return x + jnp.asarray(self.mean_rate, x.dtype) * sd * gradient

        def factor(squares: Array) -> Array:
            return jnp.exp(half.astype(squares.dtype) * (squares - jnp.sum(u).astype(squares.dtype)))

        center = jax.tree.map(shifted, state.center, state.sigma, state.first(population, u))
        return state.moved(center, jax.tree.map(factor, state.second(population, u))).told(self.stopping, losses)

    def answer(self, state: Diagonal) -> Params:
        """The mean."""
        return state.answer()

    def status(self, state: Diagonal) -> dict[str, Float[Array, ""]]:
        """Standard deviations: their geometric mean, the largest, and the square of largest over smallest."""
        return state.status()

    def stop(self, state: Diagonal) -> Int[Array, ""]:
        """The first criterion of `stopping` that holds."""
        return state.stop(self.stopping)

    def _size(self, n: int) -> int:
        return default_population(n) if self.population is None else int(self.population)
