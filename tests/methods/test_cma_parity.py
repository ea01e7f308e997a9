"""CMA-ES traces against pycma 4.5: two hundred generations told the same members, compared number by number."""

import cma
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve import CMAES
from evolve.methods.cma_parameters import default_population
from evolve.methods.mirrored import noise

pytestmark = pytest.mark.usefixtures("x64")
GENERATIONS = 200


@pytest.fixture(autouse=True)
def sigma_stays_where_it_is(monkeypatch):
    """Beyond 1e9 times its start pycma moves half of sigma into C, but not into the path."""
    monkeypatch.setattr(cma.evolution_strategy, "_redistribute_sigma_above", 0)


def turned(n):
    """An orthogonal matrix."""
    return np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))[0]


# All have their optimum at 0, where members keep their digits: nothing ties before two hundred generations are over.
def ellipsoid(x):
    """Rotated, condition 1e6."""
    n = x.shape[1]
    return jnp.sum(10.0 ** (6 * np.arange(n) / (n - 1)) * (x @ turned(n)) ** 2, axis=1)


def rosenbrock(x):
    """In x + 1."""
    return jnp.sum(100 * (x[:, 1:] - 2 * x[:, :-1] - x[:, :-1] ** 2) ** 2 + x[:, :-1] ** 2, axis=1)


def rastrigin(x):
    """10 - 10 cos(2 pi x) is written as 20 sin(pi x)^2."""
    return jnp.sum(x**2 + 20 * jnp.sin(np.pi * x) ** 2, axis=1)


LOSSES = [ellipsoid, rosenbrock, rastrigin]


class Told:
    """pycma given the same white noise, its own start and randomness put aside.

    It works in extended precision, for it recovers a direction as (x - m) / sigma, which cancels once steps are small
    beside the mean. Its first covariance is a little off the identity (a help for old eigensolvers): undone here.
    """

    def __init__(self, start, sigma, size, **options):
        def eigen(c):
            return np.linalg.eigh(np.asarray(c, float))

        quiet = {"popsize": size, "verbose": -9, "seed": 1, "CMA_eigenmethod": eigen, **options}
        self.es = cma.CMAEvolutionStrategy(start, sigma, quiet)
        self.es.mean = self.es.mean.astype(np.longdouble)
        if hasattr(self.es.sm, "C"):
            n = len(start)
            self.es.sm.C, self.es.sm.B, self.es.sm.D = np.eye(n), np.eye(n), np.ones(n)
            self.es._stds_into_limits()  # by which deviations were widened less than the identity's would have been

    def by_cholesky(self):
        """The same pycma, but what it calls C^(1/2) is a Cholesky factor of C as it was decomposed last."""
        model = self.es.sm

        def lower():
            return np.linalg.cholesky(np.asarray((model.B * model.D**2) @ model.B.T, float))

        model.transform = lambda white: lower() @ white
        model.transform_inverse = lambda y: np.linalg.solve(lower(), np.asarray(y, float))

    def tell(self, z, losses):
        self.es.ask(1)  # brings the decomposition up to date
        # A linear map: quicker than to transform the members one by one.
        root = np.stack([self.es.sm.transform(axis) for axis in np.eye(z.shape[1], dtype=np.longdouble)])
        y = self.es.sigma_vec.scaling * (z @ root)
        self.es.tell(list(self.es.mean + self.es.sigma * y), list(losses), check_points=False)
        assert self.es.mean.dtype == np.longdouble


def near(ours, theirs, least=0.0):
    """Equal to 1e-8, relative to the largest number of the array, or to a number if that is larger."""
    theirs = np.asarray(theirs, float)
    # Not `assert_allclose`, which takes longer than a generation does.
    scale = max(np.max(np.abs(theirs)), least)
    assert np.all(np.abs(np.asarray(ours) - theirs) <= 1e-8 * scale), (ours, theirs)


@eqx.filter_jit
def generations(optimizer, start, keys, loss):
    """The white noise, the losses and the state of each generation: one program for all the losses."""

    def generation(state, key):
        population = optimizer.ask(state, key)
        losses = jax.lax.switch(loss, LOSSES, population.members())
        state = optimizer.tell(state, population, losses)
        return state, (noise(key, population.size, start.size, False), losses, state)

    return jax.lax.scan(generation, optimizer.init(start, keys[0]), keys)[1]


def follow(options, loss, n, size, root="symmetric", count=GENERATIONS):
    """Both states, generation by generation; the search starts in the basin of the optimum."""
    start, sigma = np.linspace(0.1, 0.2, n), 0.05
    peer = Told(start, sigma, size, **options)
    if root == "cholesky":
        peer.by_cholesky()
    diagonal, stds, least = (options.get(name) for name in ("CMA_diagonal", "CMA_stds", "minstd"))
    optimizer = CMAES(sigma, size, options["CMA_active"], stds, least, None, diagonal=bool(diagonal), root=root)
    keys = jax.random.split(jax.random.key(n), GENERATIONS)
    run, largest = jax.device_get(generations(optimizer, start, keys, np.asarray(LOSSES.index(loss)))), 0.0
    for t in range(count):
        z, losses, ours = jax.tree.map(lambda leaf, t=t: leaf[t], run)
        before = peer.es.mean
        peer.tell(z, losses)
        # A step that ends next to the optimum cancels nearly all of the mean: it is compared by the step's own length.
        near(ours.mean, peer.es.mean, least=np.max(np.abs(peer.es.mean - before)))
        largest = max(largest, np.max(np.abs(ours.mean)))
        if np.max(np.abs(ours.mean)) < 1e-3 * largest:
            # A sum of steps keeps the rounding of its largest, which outgrows the steps once the mean is next to the
            # optimum: from there pycma goes on with ours.
            peer.es.mean = ours.mean.astype(np.longdouble)
        near(ours.path_sigma, peer.es.adapt_sigma.ps)
        # Once C has grown or shrunk by 2^16, ours moves that power of two into sigma.
        unit = 2.0 ** np.round(np.log2(ours.sigma / peer.es.sigma))
        yield ours, peer.es, unit


@jax.jit
def seen(state):
    """Standard deviations of the coordinates."""
    return state.sigma * state.shape.deviations


def many_or_few(function):
    function = pytest.mark.parametrize("more", [1, 10])(function)
    function = pytest.mark.parametrize("n", [2, 8, 20])(function)
    function = pytest.mark.parametrize("loss", LOSSES)(function)
    return pytest.mark.parametrize("active", [True, False], ids=["active", "passive"])(function)


@many_or_few
def test_the_full_matrix_is_pycmas(loss, n, more, active):
    size = more * default_population(n)
    for state, peer, unit in follow({"CMA_active": active}, loss, n, size):
        near(state.sigma / unit, peer.sigma)
        near(state.path_c * unit, peer.pc)
        near(state.shape.covariance * unit**2, peer.sm.C)


@many_or_few
def test_the_diagonal_is_pycmas(loss, n, more, active):
    size = more * default_population(n)
    options = {"CMA_active": active, "CMA_diagonal": True}
    for state, peer, unit in follow(options, loss, n, size):
        near(state.sigma / unit, peer.sigma)
        near(state.path_c, peer.pc)
        near(state.sigma * state.shape.scales, peer.sigma * peer.sigma_vec.scaling * np.sqrt(peer.sm.variances))


@pytest.mark.parametrize("loss", LOSSES)
def test_standard_deviations_of_the_coordinates_are_pycmas(loss):
    """They stay outside of the matrix, on both sides."""
    options = {"CMA_active": True, "CMA_stds": np.logspace(-1, 1, 8)}
    for state, peer, unit in follow(options, loss, 8, 10):
        near(state.sigma / unit, peer.sigma)
        near(state.shape.covariance * unit**2, peer.sm.C)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
@pytest.mark.parametrize("stds", [np.ones(8), np.logspace(-1, 1, 8)], ids=["plain", "stds"])
def test_least_standard_deviations_are_pycmas(loss, stds, diagonal):
    """From the first generation on: half of them are above the first radius of 0.05, and all are reached."""
    least = 0.05 * np.logspace(-1, 1, 8)[::-1]
    options = {"CMA_active": True, "CMA_diagonal": diagonal, "CMA_stds": stds, "minstd": least}
    for state, peer, unit in follow(options, loss, 8, 10, count=60):
        near(state.sigma / unit, peer.sigma)
        deviations = seen(state)
        near(deviations, peer.stds)
        assert np.all(deviations >= least * (1 - 1e-12))
        if not diagonal:
            near(state.shape.covariance * unit**2, peer.sm.C)
    assert np.sum(deviations <= least * (1 + 1e-12)) > 0


@pytest.mark.parametrize("n", [2, 8, 20])
@pytest.mark.parametrize("loss", LOSSES)
def test_with_a_cholesky_factor_it_is_pycma_with_that_factor(loss, n):
    """Nothing else changes: members, C, its path, sigma and its path are pycma's."""
    for state, peer, unit in follow({"CMA_active": True}, loss, n, default_population(n), "cholesky"):
        near(state.sigma / unit, peer.sigma)
        near(state.path_c * unit, peer.pc)
        near(state.shape.covariance * unit**2, peer.sm.C)
