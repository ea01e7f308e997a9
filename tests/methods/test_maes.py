"""MA-ES against the paper in NumPy, and what it promises: any rotation, any condition, nothing that overflows."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
from evolve import MAES
from evolve.core import Problem, Stored

pytestmark = pytest.mark.usefixtures("x64")


class Paper:
    """Beyer and Sendhoff (2017), figure 3, written from the paper alone, with its O(n^3) product of matrices."""

    def __init__(self, mean, sigma, size):
        self.y, self.sigma, n, mu = np.array(mean), sigma, len(mean), size // 2
        self.M, self.s, self.n = np.eye(n), np.zeros(n), n
        raw = math.log(mu + 1 / 2) - np.log(np.arange(1, mu + 1))
        self.w, self.mu = raw / raw.sum(), mu
        mu_eff = self.mu_eff = 1 / np.sum(self.w**2)
        self.c_s = (mu_eff + 2) / (mu_eff + n + 5)
        self.c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)
        self.c_w = min(1 - self.c_1, 2 * (mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + 2 * mu_eff / 2))
        self.d_s = 1 + self.c_s + 2 * max(0, math.sqrt((mu_eff - 1) / (n + 1)) - 1)
        self.chi = math.sqrt(2) * math.gamma((n + 1) / 2) / math.gamma(n / 2)

    def tell(self, z, losses):
        """One generation of white noise z, shape (size, n), of members of which none are tied."""
        z, one = z[np.argsort(losses)][: self.mu], np.eye(self.n)
        self.y = self.y + self.sigma * self.M @ (self.w @ z)  # M9
        pull = math.sqrt(self.mu_eff * self.c_s * (2 - self.c_s))
        self.s = (1 - self.c_s) * self.s + pull * (self.w @ z)  # M10
        spread = (z.T * self.w) @ z
        # M11
        self.M = self.M @ (one + self.c_1 / 2 * (np.outer(self.s, self.s) - one) + self.c_w / 2 * (spread - one))
        # M12; a growth by more than e is cut, which these traces never meet
        growth = self.c_s / self.d_s * (np.linalg.norm(self.s) / self.chi - 1)
        assert growth < 1
        self.sigma *= math.exp(growth)


def ellipsoid(x):
    """Condition 1e6, rotated; x has shape (members, n)."""
    n = x.shape[1]
    return (10.0 ** (6 * np.arange(n) / (n - 1)) * (x @ _turn(n).T) ** 2).sum(axis=1)


def rosenbrock(x):
    """x has shape (members, n)."""
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(axis=1)


def _turn(n):
    return np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))[0]


def agree(ours, theirs, rtol=1e-9):
    """Relative to the largest number."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * np.max(np.abs(theirs)))


@pytest.mark.parametrize("far", [1.0, 1e3])
@pytest.mark.parametrize(("n", "size", "loss"), [(2, 6, rosenbrock), (5, 8, ellipsoid), (10, 40, ellipsoid)])
def test_a_trace_is_the_papers(n, size, loss, far):
    """In units of the standard deviations that are given, be they far apart."""
    units = np.geomspace(1.0, far, n)
    start, optimizer = np.linspace(1.0, 2.0, n), MAES(0.5, size, stds=None if far == 1 else units)
    oracle = Paper(start, 0.5, size)

    def generation(state, t):
        key = jax.random.fold_in(jax.random.key(1), t)
        population = optimizer.ask(state, key)
        losses = loss(population.members() / units)
        after = optimizer.tell(state, population, losses)
        return after, (jax.random.normal(key, (size, n)), losses, after, after.shape.deviations, after.shape.axes)

    @jax.jit
    def run():
        return jax.lax.scan(generation, optimizer.init(start * units, jax.random.key(0)), jnp.arange(150))[1]

    rows = jax.device_get(run())
    for t in range(150):
        z, losses, state, deviations, axes = jax.tree.map(lambda leaf, t=t: leaf[t], rows)
        oracle.tell(z, losses)
        agree(state.mean / units, oracle.y)
        agree(state.sigma, oracle.sigma)
        agree(state.path_sigma, oracle.s)
        agree(state.shape.matrix, oracle.M)
        agree(deviations / units, np.sqrt(np.diagonal(oracle.M @ oracle.M.T)))
        if (t + 1) % n == 0:
            agree(axes, np.linalg.svd(oracle.M)[1])


def test_members_without_their_noise_are_solved_for():
    """Directions that come from elsewhere teach the same as those that `ask` made."""
    optimizer = MAES(0.5, 8)

    @jax.jit
    def run():
        def generation(states, seed):
            population = optimizer.ask(states[0], jax.random.key(seed))
            bare = eqx.tree_at(lambda p: p.directions, population, Stored(population.stored))
            losses = ellipsoid(population.members())
            return [optimizer.tell(s, p, losses) for s, p in zip(states, (population, bare), strict=True)], None

        return jax.lax.scan(generation, [optimizer.init(jnp.ones(4), jax.random.key(0))] * 2, jnp.arange(60))[0]

    states = run()
    for one, other in zip(jax.tree.leaves(states[0]), jax.tree.leaves(states[1]), strict=True):
        finite = np.isfinite(one)
        np.testing.assert_allclose(np.where(finite, other, 0), np.where(finite, one, 0), rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("optimized")
def test_solves_the_rotated_ellipsoid():
    """Condition 1e6 in ten dimensions, to 1e-8, as many evaluations as CMA-ES without the active update."""
    turn, scale = _turn(10), 10.0 ** (6 * np.arange(10) / 9)
    result = evolve.minimize(
        lambda x: jnp.sum(scale * (turn @ x) ** 2), np.ones(10), MAES(0.5), evaluations=9000, target=1e-8
    )
    assert result.reason == "target"


class Narrow(Problem):
    """An ellipsoid in three dimensions with one long axis."""

    condition: float
    start: float

    @property
    def noisy(self):
        return False

    def init(self, key):
        return jnp.full(3, self.start)

    def loss(self, params, key):
        return params[0] ** 2 + self.condition * jnp.sum(params[1:] ** 2)


def test_the_condition_is_seen_and_stops():
    # Far from where steps are too short to matter.
    result = evolve.run(Narrow(1e20, 1e6), MAES(1e6), evaluations=60_000)
    assert result.reason == "tolconditioncov"
    plain = evolve.run(Narrow(1.0, 1.0), MAES(0.3), evaluations=10_000)
    assert plain.reason == "tolfun"
