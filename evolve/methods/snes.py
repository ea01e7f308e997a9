"""Separable natural evolution strategy (Schaul, Glasmachers and Schmidhuber 2011; Wierstra et al. 2014, JMLR 15)."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from evolve.core.checks import check_positive
from evolve.core.perturbation import Gaussian
from evolve.core.population import Population
from evolve.core.schedule import Scalar
from evolve.core.trees import Geometry, Params
from evolve.methods.colored import Growth
from evolve.methods.diagonal import Diagonal
from evolve.methods.natural import Natural
from evolve.methods.nes import utilities
from evolve.methods.stopping import Spread, Tolerances


class SNES(Natural):
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

    sigma: Scalar = 0.3
    population: int | None = eqx.field(static=True, default=None)
    mean_rate: Scalar = 1.0
    sigma_rate: Scalar | None = None
    stopping: Tolerances | None = None

    def __check_init__(self) -> None:
        check_positive(self, schedules=False, mean_rate=self.mean_rate)
        if self.sigma_rate is not None:
            check_positive(self, schedules=False, sigma_rate=self.sigma_rate)

    def begun(
        self, geometry: Geometry, start: Params, key: PRNGKeyArray, sigma: Float[Array, ""], growth: Growth | None
    ) -> Diagonal:
        """The isotropic normal distribution around the parameters."""
        del key
        normal = Diagonal.around(geometry, start, sigma, growth)
        return normal.watching(self.stopping, self.default_size(geometry.size))

    def ask(self, state: Diagonal, key: PRNGKeyArray) -> Population:
        """x_i = mu + sigma s_i with s_i ~ N(0, I) (Wierstra et al. 2014, algorithm 6)."""
        return state.population(Gaussian(), key, self.default_size(state.geometry.size))

    def learn(self, state: Diagonal, population: Population, losses: Float[Array, " size"]) -> Diagonal:
        """To mu + eta_mu sigma sum_i u_i s_i and sigma exp(eta_sigma / 2 sum_i u_i (s_i^2 - 1)) (algorithm 6)."""
        n, u = state.geometry.size, utilities(population, losses)
        rate = (3 + math.log(n)) / (5 * math.sqrt(n)) if self.sigma_rate is None else self.sigma_rate
        half = jnp.asarray(rate) / 2

        def shifted(x: Array, sd: Array, gradient: Array) -> Array:
            return x + jnp.asarray(self.mean_rate, x.dtype) * sd * gradient

        def factor(squares: Array) -> Array:
            return jnp.exp(half.astype(squares.dtype) * (squares - jnp.sum(u).astype(squares.dtype)))

        first, second = state.moments(population, u, u)
        center = jax.tree.map(shifted, state.center, state.sigma, first)
        return state.moved(center, jax.tree.map(factor, second)).told(self.stopping, population, losses)

    def answer(self, state: Diagonal) -> Params:
        """The mean."""
        return state.answer()

    def status(self, state: Diagonal) -> dict[str, Float[Array, ""]]:
        """Standard deviations: their geometric mean, the largest, and the square of largest over smallest."""
        return state.status()

    def spread(self, state: Diagonal) -> Spread:
        """Deviations of the coordinates."""
        return state.spread
