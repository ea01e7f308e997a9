"""Separable NES against the paper in NumPy, and evosax given the same members."""

import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.programs import ask, init, members, tell
from methods.nes_tools import after_noise, ellipsoid, finite, rosenbrock, trace

import evolve
from evolve import SNES
from evolve.methods.cma_parameters import default_population

pytestmark = pytest.mark.usefixtures("x64")


class Paper:
    """Wierstra et al. (2014), JMLR 15, algorithm 6 and table 1, written from the paper alone."""

    def __init__(self, mean, sigma, size):
        n = len(mean)
        self.mu, self.sigma = np.array(mean), np.full(n, sigma)
        self.eta_sigma = (3 + math.log(n)) / (5 * math.sqrt(n))
        raw = [max(0.0, math.log(size / 2 + 1) - math.log(k)) for k in range(1, size + 1)]
        self.u = np.array([x / sum(raw) - 1 / size for x in raw])

    def tell(self, x, losses):
        """One generation of members x, shape (size, n), none of them tied."""
        s = (x[np.argsort(losses)] - self.mu) / self.sigma
        self.mu = self.mu + self.sigma * sum(u * row for u, row in zip(self.u, s, strict=True))
        gradient = sum(u * (row**2 - 1) for u, row in zip(self.u, s, strict=True))
        self.sigma = self.sigma * np.exp(self.eta_sigma / 2 * gradient)


@pytest.mark.parametrize("loss", [ellipsoid, rosenbrock])
@pytest.mark.parametrize(("n", "size"), [(2, 2), (6, 9), (12, 12)])
def test_a_trace_is_the_papers(n, size, loss):
    start = np.linspace(1.0, 2.0, n)
    paper = Paper(start, 0.5, size)
    told = 0
    for _, x, losses, state in trace(SNES(0.5, size), start, loss, 120):
        if np.max(paper.sigma) < 1e-7:
            break  # (x - mu) / sigma, which only the oracle computes, has lost its digits
        paper.tell(x, losses)
        np.testing.assert_allclose(state.center, paper.mu, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(state.sigma, paper.sigma, rtol=1e-7)
        told += 1
    assert told >= 100


def test_a_trace_is_that_of_evosax():
    """The `evosax` package's SNES is right: told our members, it learns the same."""
    algorithms = pytest.importorskip("evosax.algorithms")
    n, size, key = 6, 10, jax.random.key(0)
    peer = algorithms.SNES(population_size=size, solution=jnp.zeros(n))
    params = peer.default_params.replace(std_init=0.5)
    other = peer.init(key, jnp.ones(n), params)
    for _, x, losses, state in trace(SNES(0.5, size), np.ones(n), ellipsoid, 120):
        other, _ = peer.tell(key, x, losses, other, params)
        np.testing.assert_allclose(state.center, other.mean, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(state.sigma, other.std, rtol=1e-6)


def test_a_tree_is_searched_as_its_vector_is():
    """Leaves have draws of their own; given the same members, what is learned does not depend on how they are held."""
    tree = {"a": np.ones((2, 2)), "b": np.ones(()), "c": np.zeros((0,))}
    optimizer, paper = SNES(0.5, 8), Paper(np.ones(5), 0.5, 8)
    state = init(optimizer, tree, jax.random.key(0))
    for t in range(50):
        population = ask(optimizer, state, jax.random.key(t))
        leaves = jax.tree.leaves(members(population))
        flat = np.concatenate([np.asarray(leaf).reshape(8, -1) for leaf in leaves], axis=1)
        state = tell(optimizer, state, population, ellipsoid(flat))
        paper.tell(flat, ellipsoid(flat))
        learned = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.center)])
        np.testing.assert_allclose(learned, paper.mu, rtol=1e-9, atol=1e-10)


def test_redrawn_directions_teach_what_kept_ones_do(monkeypatch):
    """Many numbers are drawn again for both sums; few are kept."""

    def told(kept):
        @jax.jit
        def generation(losses):
            state = optimizer.init(jnp.ones(5), jax.random.key(0))
            population = optimizer.ask(state, jax.random.key(1))
            assert (population.directions.kept is None) == (kept == 0)
            return optimizer.tell(state, population, losses)

        monkeypatch.setattr("evolve.core.population.KEPT", kept)
        return generation(np.arange(8.0))

    optimizer = SNES(0.5, 8)
    drawn, again = told(1 << 22), told(0)
    np.testing.assert_allclose(again.center, drawn.center, rtol=1e-12)
    np.testing.assert_allclose(again.sigma, drawn.sigma, rtol=1e-12)


@hypothesis.given(power=st.integers(-60, 60), factor=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_neither_the_scale_of_parameters_nor_of_losses_counts(power, factor, seed):
    """Start and sigma times a power of two leave the very same digits; losses times anything do."""
    scale = 2.0**power
    plain = trace(SNES(0.5, 8), np.ones(4), ellipsoid, 25, seed)
    scaled = trace(SNES(0.5 * scale, 8), scale * np.ones(4), ellipsoid, 25, seed, scale, factor)
    for (_, _, _, one), (_, _, _, other) in zip(plain, scaled, strict=True):
        np.testing.assert_array_equal(other.center, one.center * scale)
        np.testing.assert_array_equal(other.sigma, one.sigma * scale)


@pytest.mark.parametrize("how", ["random", "constant"])
@pytest.mark.parametrize("n", [2])
def test_long_plateaus_leave_the_state_finite(n, how):
    state = after_noise(SNES(1.0, 4), n, 20_000, how=how)
    assert finite(state)
    assert np.all(np.asarray(state.sigma) > 0)
    if how == "constant":
        np.testing.assert_allclose(state.sigma, 1.0, rtol=1e-9)


def test_it_solves_a_badly_scaled_problem_of_its_own_axes():
    result = evolve.minimize(
        lambda x: jnp.sum(10.0 ** (6 * np.arange(10) / 9) * x**2),
        np.ones(10),
        SNES(0.5),
        evaluations=5000,
        target=1e-8,
    )
    assert result.reason == "target"


def test_options_are_judged_by_name():
    state = init(SNES(), np.ones(20), jax.random.key(0))
    assert ask(SNES(), state, jax.random.key(0)).size == default_population(20)
    for options, message in (
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"population": 1}, "population is 1"),
        ({"sigma_rate": -1.0}, "sigma_rate is -1.0"),
    ):
        with pytest.raises(ValueError, match=f"SNES: {message}"):
            SNES(**options)
