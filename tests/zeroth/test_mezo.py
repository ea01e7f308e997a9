"""MeZO against algorithm 1 of Malladi et al. (2023), and the faults that it is known for elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.programs import answer, ask, directions, init, members, tell

from evolve import Antithetic, Gaussian, LowRank, Rademacher, Sparse
from evolve.core.lowrank import form
from zeroth import SPSA, MeZO

ESTIMATORS = {
    "MeZO": MeZO(2, 0.1, update=optax.sgd(1.0)),
    "one-sided": MeZO(8, 0.1, perturbation=Gaussian(), update=optax.sgd(1.0)),
    "low-rank": MeZO(2, 0.1, perturbation=Antithetic(LowRank(1)), update=optax.sgd(1.0)),
    "sparse": MeZO(2, 0.1, perturbation=Antithetic(Sparse(0.5, Rademacher())), update=optax.sgd(1.0)),
    "SPSA": SPSA(2, 0.1, update=optax.sgd(1.0)),
}
PLAIN = MeZO(6, 0.1, update=optax.sgd(1.0))
alone = jax.jit(lambda population, i: form(population.directions.one(i)))


def test_a_step_is_the_papers(x64):
    """The projected gradient (l+ - l-) / 2 epsilon along z, times the learning rate (algorithm 1)."""
    epsilon, rate = 1e-3, 0.05
    optimizer, start = MeZO(2, epsilon, rate), np.array([1.0, -2.0, 0.5])
    state = init(optimizer, start, jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    plus, minus = np.asarray(members(population))
    z = np.asarray(jax.random.normal(jax.random.fold_in(jax.random.fold_in(jax.random.key(1), 0), 0), (3,)))
    np.testing.assert_allclose((plus, minus), (start + epsilon * z, start - epsilon * z), rtol=1e-14)
    after = tell(optimizer, state, population, np.array([2.5, 2.25]))
    np.testing.assert_allclose(answer(optimizer, after), start - rate * (2.5 - 2.25) / (2 * epsilon) * z, rtol=1e-12)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_estimate_is_unbiased_for_a_quadratic(kind, x64):
    """The mean over many keys is the gradient, within five standard errors in every coordinate."""
    optimizer, start = ESTIMATORS[kind], np.linspace(-1.0, 2.0, 6).reshape(2, 3)
    slopes = np.arange(1.0, 7.0).reshape(2, 3)

    def estimate(seed):
        state = optimizer.init(start, jax.random.key(0))
        population = optimizer.ask(state, jax.random.key(seed))
        x = population.members()
        losses = jnp.sum(slopes * x**2 + x * x[:, ::-1], axis=(1, 2))
        return start - optimizer.answer(optimizer.tell(state, population, losses))

    found = np.asarray(jax.jit(jax.vmap(estimate))(np.arange(20_000)))
    error = found.std(axis=0) / np.sqrt(len(found))
    gradient = 2 * slopes * start + 2 * start[::-1]
    assert np.all(np.abs(found.mean(axis=0) - gradient) < 5 * error)
    assert np.all(error < 0.1 * np.abs(gradient).max())


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_probe_and_the_update_share_their_noise(kind, x64):
    """A step lies in the span of the very directions that were probed, one by one or in a batch."""
    optimizer = ESTIMATORS[kind]
    state = init(optimizer, {"w": np.ones((3, 4)), "b": np.ones((3, 4))}, jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(7))
    losses = np.arange(population.size) ** 2 + 1.0
    moved_to = answer(optimizer, tell(optimizer, state, population, losses))
    weights, x = losses / population.size / float(population.scale), members(population)
    each = [alone(population, i) for i in range(population.size)]
    for name in ("w", "b"):
        step = sum(w * np.asarray(d[name]) for w, d in zip(weights, each, strict=True))
        np.testing.assert_allclose(moved_to[name], 1.0 - step, rtol=1e-10)
        moved = (np.asarray(x[name]) - 1.0) / float(population.scale)
        np.testing.assert_allclose(moved, np.stack([np.asarray(d[name]) for d in each]), atol=1e-12)


@pytest.mark.parametrize("failure", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("half", [0, 1])
def test_half_a_pair_that_fails_is_ignored_with_the_other_half(failure, half, x64):
    """The step is that of the whole pairs alone, averaged over them."""
    state = init(PLAIN, np.zeros(3), jax.random.key(0))
    population = ask(PLAIN, state, jax.random.key(1))
    losses = np.array([3.0, 1.0, 1e9, 1e9, 2.0, 5.0])
    losses[2 + half] = failure
    z = np.asarray(directions(population))[0::2]
    expected = -((3.0 - 1.0) * z[0] + (2.0 - 5.0) * z[2]) / (2 * 0.1) / 2
    after = tell(PLAIN, state, population, losses)
    np.testing.assert_allclose(answer(PLAIN, after), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_a_constant_loss_moves_nothing_in_a_thousand_steps(dtype):
    """Weights are never perturbed in place and restored, which in bfloat16 drifts by 12 % in as many steps."""
    optimizer = MeZO(2, 1e-2, 0.1)
    start = np.random.default_rng(0).normal(size=64).astype(dtype)

    @jax.jit
    def run(state):
        def body(t, state):
            population = optimizer.ask(state, jax.random.fold_in(jax.random.key(0), t))
            return optimizer.tell(state, population, jnp.full(2, 0.7))

        return jax.lax.fori_loop(0, 1000, body, state)

    np.testing.assert_array_equal(answer(optimizer, run(init(optimizer, start, jax.random.key(0)))), start)


def test_steps_too_small_for_bfloat16_add_up():
    """The same pull of 1e-4 a thousand times; each alone would be rounded away."""
    optimizer = MeZO(2, 0.1, 1e-4)
    start = np.full(1, 2.0, jnp.bfloat16)

    @jax.jit
    def run(state):
        def body(t, state):
            population = optimizer.ask(state, jax.random.fold_in(jax.random.key(0), t))
            # The loss is linear in what is probed, not in the rounded members.
            return optimizer.tell(state, population, 0.1 * population.directions.batch(0, 2)[:, 0])

        return jax.lax.fori_loop(0, 1000, body, state)

    # Each step is -1e-4 z^2: the mean of 1000 of them is within 5 sqrt(2 / 1000) of -1e-4.
    moved = 2.0 - float(np.asarray(answer(optimizer, run(init(optimizer, start, jax.random.key(0)))))[0])
    assert abs(moved - 0.1) < 0.1 * 5 * np.sqrt(2 / 1000) + 2**-7
