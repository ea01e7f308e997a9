"""PGPE and ClipUp against the papers in NumPy, and evosax given the same members."""

import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.programs import ask, init, members, tell
from methods.nes_tools import after_noise, ellipsoid, finite, trace
from scipy.stats import rankdata

from evolve import PGPE, ClipUp, OpenES
from evolve.core import difference

pytestmark = pytest.mark.usefixtures("x64")
PLAIN = PGPE(6, 0.1, update=optax.sgd(1.0), shaping=difference)


class Paper:
    """Sehnke et al. (2010), section 3.2, on ranks, with ClipUp (Toklu et al. 2020, algorithm 1), for losses."""

    def __init__(self, mean, sigma, speed, alpha, momentum):
        self.mu, self.sigma, self.velocity = np.array(mean), np.full(len(mean), sigma), np.zeros(len(mean))
        self.speed, self.alpha, self.momentum = speed, alpha, momentum

    def tell(self, x, losses, rate=0.1, limit=0.2):
        """One generation of members x, shape (size, n), mu + eps and mu - eps in turn."""
        size = len(losses)
        reward = -((rankdata(losses) - 1) / (size - 1) - 0.5) / size
        eps, plus, minus = x[0::2] - self.mu, reward[0::2], reward[1::2]
        gradient = sum(e * (p - m) for e, p, m in zip(eps, plus, minus, strict=True))
        change = np.zeros_like(self.sigma)
        for e, p, m in zip(eps, plus, minus, strict=True):
            change += (p + m - 2 * np.mean(reward)) * (e**2 - self.sigma**2) / self.sigma
        self.velocity = self.momentum * self.velocity + self.alpha * gradient / np.linalg.norm(gradient)
        length = np.linalg.norm(self.velocity)
        if length > self.speed:
            self.velocity *= self.speed / length
        self.mu = self.mu + self.velocity
        self.sigma = np.clip(self.sigma + rate * change, (1 - limit) * self.sigma, (1 + limit) * self.sigma)


@pytest.mark.parametrize(("rate", "limit"), [(0.1, 0.2), (3.0, 0.05)])
def test_a_trace_is_the_papers(rate, limit):
    n, size = 6, 12
    start, speed = np.linspace(1.0, 2.0, n), 0.3 * math.sqrt(n) / 15
    paper = Paper(start, 0.3, speed, speed / 2, 0.9)
    for _, x, losses, state in trace(PGPE(size, 0.3, rate, limit), start, ellipsoid, 150):
        paper.tell(x, losses, rate, limit)
        np.testing.assert_allclose(state.normal.center, paper.mu, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(state.normal.sigma, paper.sigma, rtol=1e-8)


def test_a_trace_is_that_of_evosax():
    """The `evosax` package's PGPE is right: told our members, its pairs in two blocks, it learns the same."""
    algorithms = pytest.importorskip("evosax.algorithms")
    n, size, key = 6, 10, jax.random.key(0)
    blocks = np.concatenate([np.arange(0, size, 2), np.arange(1, size, 2)])
    peer = algorithms.PGPE(size, jnp.zeros(n), optax.sgd(0.3))
    params = peer.default_params.replace(std_init=0.5)
    other = peer.init(key, jnp.ones(n), params)
    # Its ranks are not divided by the population; its gradients are.
    for _, x, losses, state in trace(PGPE(size, 0.5, update=optax.sgd(0.3)), np.ones(n), ellipsoid, 120):
        other, _ = peer.tell(key, x[blocks], losses[blocks], other, params)
        np.testing.assert_allclose(state.normal.center, other.mean, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(state.normal.sigma, other.std, rtol=1e-6)


def test_clipup_is_the_papers_and_its_length_is_limited():
    rng, tree = np.random.default_rng(0), {"a": np.zeros((2, 3)), "b": np.zeros(())}
    update, velocity, lengths = ClipUp(0.2, 0.15, 0.8), np.zeros(7), []
    step_of, state = jax.jit(update.update), update.init(tree)
    for scale in 10.0 ** rng.uniform(-150, 150, 40):
        g = rng.normal(size=7) + 1
        gradient = {"a": scale * g[:6].reshape(2, 3), "b": scale * g[6]}
        step, state = step_of(gradient, state, tree)
        velocity = 0.8 * velocity + 0.15 * g / np.linalg.norm(g)
        velocity *= min(1, 0.2 / np.linalg.norm(velocity))
        moved = np.append(np.ravel(step["a"]), step["b"])
        np.testing.assert_allclose(moved, -velocity, rtol=1e-12)
        lengths.append(np.linalg.norm(moved))
    assert max(lengths) <= 0.2 * (1 + 1e-12)
    assert lengths[0] == pytest.approx(0.15)


def test_clipup_takes_a_zero_gradient_for_no_direction():
    update = ClipUp(0.2)
    _, state = update.update(jnp.array([3.0, 4.0]), update.init(jnp.zeros(2)))
    step, _ = update.update(jnp.zeros(2), state)
    np.testing.assert_allclose(step, 0.9 * -0.1 * np.array([0.6, 0.8]), rtol=1e-12)
    np.testing.assert_array_equal(update.update(jnp.zeros(2), update.init(jnp.zeros(2)))[0], np.zeros(2))


def sphere(x):
    return (x**2).sum(axis=1)


def test_clipup_stands_wherever_an_optax_optimizer_may():
    chained = optax.chain(optax.add_decayed_weights(0.01), ClipUp(0.1))
    for optimizer in (OpenES(8, update=ClipUp(0.1)), OpenES(8, update=chained), PGPE(8, 0.02, update=ClipUp(0.1))):
        losses = [np.mean(seen) for _, _, seen, _ in trace(optimizer, np.ones(4), sphere, 60)]
        assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("failed", [[0], [3], [0, 1]])
def test_a_failed_pair_counts_for_nothing(failed):
    """Neither the mean nor a standard deviation moves along a pair of which one half failed."""
    optimizer = PLAIN
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    losses = np.array([1.0, 6.0, 2.0, 5.0, 3.0, 4.0])
    losses[failed] = np.nan
    kept = np.arange(6) // 2 != failed[0] // 2
    told = tell(optimizer, state, population, losses)
    eps, seen = np.asarray(members(population))[kept], losses[kept] / 4
    np.testing.assert_allclose(told.normal.center, -(seen @ eps), rtol=1e-10, atol=1e-15)
    change = (seen - seen.mean()) @ (eps**2 - 0.01) / 0.1
    np.testing.assert_allclose(told.normal.sigma, np.clip(0.1 - 0.1 * change, 0.08, 0.12), rtol=1e-10)


def test_a_generation_without_a_whole_pair_leaves_the_state_as_it_was():
    optimizer = PGPE(4, 0.1)
    *_, (_, _, _, state) = trace(optimizer, np.ones(3), ellipsoid, 3)
    population = ask(optimizer, state, jax.random.key(2))
    after = tell(optimizer, state, population, np.array([np.nan, 1.0, 2.0, np.inf]))
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(new, old)


def test_redrawn_directions_teach_what_kept_ones_do(monkeypatch):
    def told(kept):
        @jax.jit
        def generation(losses):
            state = optimizer.init({"a": jnp.ones((2, 2)), "b": jnp.ones(3)}, jax.random.key(0))
            population = optimizer.ask(state, jax.random.key(1))
            assert (population.directions.kept is None) == (kept == 0)
            return optimizer.tell(state, population, losses)

        monkeypatch.setattr("evolve.core.population.KEPT", kept)
        return jax.tree.leaves(generation(np.random.default_rng(0).normal(size=8)))

    optimizer = PGPE(8, 0.1)
    for one, other in zip(told(1 << 22), told(0), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


@hypothesis.given(power=st.integers(-60, 60), factor=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_neither_the_scale_of_parameters_nor_of_losses_counts(power, factor, seed):
    """ClipUp's speed follows from sigma, so start and sigma times a number leave the same run."""
    scale = 2.0**power
    plain = trace(PGPE(8, 0.5), np.ones(4), ellipsoid, 20, seed)
    scaled = trace(PGPE(8, 0.5 * scale), scale * np.ones(4), ellipsoid, 20, seed, scale, factor)
    for (_, _, _, one), (_, _, _, other) in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(other.normal.center, one.normal.center * scale, rtol=1e-9, atol=1e-12 * scale)
        np.testing.assert_allclose(other.normal.sigma, one.normal.sigma * scale, rtol=1e-9)


@pytest.mark.parametrize("how", ["random", "constant"])
@pytest.mark.parametrize(("n", "size"), [(5, 4)])
def test_long_plateaus_leave_the_state_finite(n, size, how):
    state = after_noise(PGPE(size, 1.0, sigma_rate=1.0), n, 20_000, how=how)
    assert finite(state)
    assert np.all(np.asarray(state.normal.sigma) > 0)
    if how == "constant":
        np.testing.assert_array_equal(state.normal.center, np.ones(n))
        np.testing.assert_allclose(state.normal.sigma, 1.0, rtol=1e-9)


def test_options_are_judged_by_name():
    wrong = {
        "population is 3": {"population": 3},
        "sigma_rate is 0": {"sigma_rate": 0.0},
        "max_change is 1.0": {"max_change": 1.0},
        "step is -1.0": {"step": -1.0},
        "momentum is 2.0": {"momentum": 2.0},
        "max_speed is 0.1, but the update given has its own": {"max_speed": 0.1, "update": optax.sgd(0.1)},
    }
    for message, options in wrong.items():
        with pytest.raises(ValueError, match=f"PGPE: {message}"):
            PGPE(**options)
    with pytest.raises(ValueError, match="ClipUp: max_speed is 0"):
        ClipUp(0.0)
