"""Exponential NES against the `cmaes` package, given the same members, and the exponential against SciPy."""

import dataclasses

import cmaes
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from laws.programs import ask, status
from methods.nes_tools import after_noise, ellipsoid, finite, rosenbrock, trace

import evolve
from evolve import XNES
from evolve.methods.xnes import symmetric_exponential

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("loss", [lambda x: ellipsoid(x, 1), rosenbrock], ids=["ellipsoid", "rosenbrock"])
@pytest.mark.parametrize(("n", "size"), [(2, 4), (5, 8), (10, 10)])
def test_a_trace_is_that_of_cmaes(n, size, loss):
    """The `cmaes` package's XNES is told our members for 150 generations.

    It recomputes draws as (x - mean) / sigma. Told of distances from a mean of zero, it loses no digits there. A peer
    that does not draw its own members magnifies every difference: at n = 2, where the rates are large, at once, at
    n = 5 a unit of rounding to 1e-8 in all. So one is told each generation from our state, to ten digits; another goes
    its own way for a hundred generations.
    """
    optimizer, start = XNES(0.5, size), np.linspace(1.0, 2.0, n)
    led, free = (cmaes.XNES(mean=start.copy(), sigma=0.5, population_size=size) for _ in range(2))
    for t, (before, _, losses, state) in enumerate(trace(optimizer, start, loss, 150)):
        directions = np.asarray(ask(optimizer, before, jax.random.fold_in(jax.random.key(0), t)).stored)
        led._sigma, led._B = float(before.sigma), before.root
        for peer, rtol in ((led, 1e-10), (free, 1e-9)):
            peer._mean = np.zeros(n)
            peer.tell(list(zip(before.sigma * directions, losses, strict=True)))
            if peer is free and (n == 2 or t >= 100):
                continue
            np.testing.assert_allclose(state.mean, before.mean + peer._mean, rtol=1e-12, atol=10 * rtol * before.sigma)
            np.testing.assert_allclose(state.sigma, peer._sigma, rtol=rtol)
            np.testing.assert_allclose(state.root, peer._B, rtol=rtol, atol=rtol * np.max(np.abs(peer._B)))
        np.testing.assert_allclose(state.root @ state.inverse, np.eye(n), atol=1e-9)


exponential = jax.jit(symmetric_exponential)


@pytest.mark.parametrize("norm", [1e-12, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_exponential_is_the_matrixs(n, norm):
    matrix = np.random.default_rng(0).normal(size=(n, n))
    matrix = norm * (matrix + matrix.T) / np.linalg.norm(matrix + matrix.T)
    expected = scipy.linalg.expm(matrix)
    np.testing.assert_allclose(exponential(matrix), expected, atol=1e-14 * np.abs(expected).max() * max(1, norm))


def test_evosax_takes_the_exponential_of_each_entry_and_so_learns_no_rotation():
    """Why it is no oracle: its factor B stays diagonal, where ours turns into the problem's axes."""
    algorithms = pytest.importorskip("evosax.algorithms")
    n, size, key = 5, 12, jax.random.key(0)
    peer = algorithms.xNES(population_size=size, solution=jnp.zeros(n))
    params = peer.default_params.replace(std_init=0.5)
    other = peer.init(key, jnp.ones(n), params)
    for t in range(20):
        x, other = peer.ask(jax.random.key(t), other, params)
        other, _ = peer.tell(key, x, ellipsoid(np.asarray(x), 1), other, params)
    assert np.all(np.asarray(other.B)[~np.eye(n, dtype=bool)] == 0)
    *_, (_, _, _, state) = trace(XNES(0.5, size), np.ones(n), lambda x: ellipsoid(x, 1), 20)
    assert np.min(np.abs(state.root)) > 1e-4


def test_it_solves_the_rotated_ellipsoid():
    """Condition 1e6 at n = 10, to 1e-8 within 12,000 evaluations: 8,500 are usual."""
    q = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))[0]
    loss = lambda x: jnp.sum(10.0 ** (6 * np.arange(10) / 9) * (q @ x) ** 2)  # noqa: E731
    for result in evolve.run(evolve.wrap(loss, np.ones(10)), XNES(0.5), seeds=3, evaluations=12_000, target=1e-8):
        assert result.reason == "target"
        # B B^T has become the inverse of the Hessian, up to its size.
        root = q @ np.asarray(result.state.root)
        covariance = root @ root.T
        scales = np.diag(covariance) * 10.0 ** (6 * np.arange(10) / 9)
        assert scales.max() / scales.min() < 100


@hypothesis.given(power=st.integers(-60, 60), factor=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_neither_the_scale_of_parameters_nor_of_losses_counts(power, factor, seed):
    """Start and sigma times a power of two leave the very same digits; losses times anything do."""
    scale = 2.0**power
    plain = trace(XNES(0.5, 8), np.ones(4), ellipsoid, 20, seed)
    scaled = trace(XNES(0.5 * scale, 8), scale * np.ones(4), ellipsoid, 20, seed, scale, factor)
    for (_, _, _, one), (_, _, _, other) in zip(plain, scaled, strict=True):
        np.testing.assert_array_equal(other.mean, one.mean * scale)
        np.testing.assert_array_equal(other.sigma, one.sigma * scale)
        np.testing.assert_array_equal(other.root, one.root)


@jax.jit
def turned(turn, start, seed):
    """The states and losses of a run, and of one that begins with mean and B turned, over 30 generations."""
    optimizer = XNES(0.5, 8)
    one, other = (optimizer.init(x, jax.random.key(0)) for x in (start, turn @ start))
    other = dataclasses.replace(other, root=turn, inverse=turn.T)

    def generation(states, t):
        key = jax.random.fold_in(jax.random.key(seed), t)
        here, there = (optimizer.ask(state, key) for state in states)
        losses = ellipsoid(here.members())
        states = tuple(optimizer.tell(s, p, losses) for s, p in zip(states, (here, there), strict=True))
        return states, (*states, losses, ellipsoid(there.members() @ turn))

    return jax.lax.scan(generation, (one, other), jnp.arange(30))[1]


@hypothesis.given(seed=st.integers(0, 99))
def test_a_rotated_state_sees_a_rotated_problem_alike(seed):
    """With mean and B turned, the same draws give turned members, equal losses, and a turned state ever after."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    one, other, losses, others = jax.device_get(turned(turn, np.linspace(0.5, 1.5, 4), seed))
    np.testing.assert_allclose(others, losses, rtol=1e-7)
    np.testing.assert_allclose(other.mean, one.mean @ turn.T, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(other.root, turn @ one.root, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("how", ["random", "constant"])
@pytest.mark.parametrize("n", [2])
def test_long_plateaus_leave_the_state_finite_and_invertible(n, how):
    """Products of random matrices grow without end: the condition of B B^T is kept below 1 / eps."""
    optimizer = XNES(1.0, 4)
    state = after_noise(optimizer, n, 20_000, how=how)
    assert finite(state)
    assert state.sigma > 0
    assert status(optimizer, state)["condition"] <= 1.01 / np.finfo(float).eps
    np.testing.assert_allclose(state.root @ state.inverse, np.eye(n), atol=1e-6)
    if how == "constant":
        np.testing.assert_allclose(state.root, np.eye(n), atol=1e-9)


def test_options_are_judged_by_name():
    for options, message in (
        ({"sigma": -1.0}, "sigma is -1.0"),
        ({"population": 1}, "population is 1"),
        ({"shape_rate": 0.0}, "shape_rate is 0.0"),
    ):
        with pytest.raises(ValueError, match=f"XNES: {message}"):
            XNES(**options)
