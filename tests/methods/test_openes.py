"""OpenAI-ES against algorithm 2 of Salimans et al. (2017) in NumPy, with Adam from optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.programs import answer, ask, directions, init, members, status, tell
from scipy.stats import rankdata

from evolve import Antithetic, Gaussian, LowRank, OpenES, Rademacher, Sparse
from evolve.core import Cosine, Exponential

pytestmark = pytest.mark.usefixtures("x64")

START = {"a": np.linspace(1.0, 2.0, 6).reshape(2, 3), "b": np.array([0.5])}
PERTURBATIONS = {
    "pairs": Antithetic(),
    "single": Gaussian(),
    "low-rank": Antithetic(LowRank(1)),
    "sparse signs": Antithetic(Sparse(0.5, Rademacher())),
}
PLAIN = OpenES(6, 0.1, update=optax.sgd(1.0))


def losses_of(members, ties):
    """A sphere, in steps of one where losses are to be tied."""
    loss = sum(np.sum(np.asarray(leaf).reshape(len(leaf), -1) ** 2, axis=1) for leaf in members.values())
    return np.round(loss) if ties else loss


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_steps_are_the_papers(kind, ties):
    """g = 1/(n sigma) sum_i u_i eps_i with centered ranks u (section 2.1), followed by Adam."""
    n, sigma, rate = 12, 0.3, 0.02
    optimizer = OpenES(n, sigma, rate, PERTURBATIONS[kind])
    adam, center = optax.adam(rate), START
    state, moments = init(optimizer, center, jax.random.key(0)), jax.jit(adam.init)(center)
    for t in range(3):
        population = ask(optimizer, state, jax.random.key(t))
        losses = losses_of(members(population), ties)
        assert (len(np.unique(losses)) < n) == ties
        u = (rankdata(losses) - 1) / (n - 1) - 0.5
        noise = directions(population)
        gradient = jax.tree.map(lambda eps, u=u: np.tensordot(u, np.asarray(eps), 1) / (n * sigma), noise)
        step, moments = jax.jit(adam.update)(gradient, moments, center)
        center = jax.tree.map(np.add, center, jax.device_get(step))
        state = tell(optimizer, state, population, losses)
        for name in START:
            np.testing.assert_allclose(answer(optimizer, state)[name], center[name], rtol=1e-10, atol=1e-12)


def test_radius_and_rate_follow_their_schedules():
    """Both are functions of the generation, which they take in single precision."""
    sigma, rate = Exponential(0.5, 0.05, 3), Cosine(0.1, 0.01, 4)
    optimizer = OpenES(4, sigma, rate)
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    for t in range(6):
        population = ask(optimizer, state, jax.random.key(t))
        np.testing.assert_allclose(population.scale, 0.5 * 0.1 ** min(t / 3, 1), rtol=1e-6)
        expected = 0.01 + 0.09 * 0.5 * (1 + np.cos(np.pi * min(t / 4, 1)))
        np.testing.assert_allclose(status(optimizer, state)["learning_rate"], expected, rtol=1e-6)
        state = tell(optimizer, state, population, np.arange(4.0))


def test_an_update_of_ones_own_replaces_adam():
    optimizer = OpenES(4, 0.1, update=optax.sgd(0.5))
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    noise, u = np.asarray(directions(population)), np.array([-0.5, 0.5, -1 / 6, 1 / 6])
    moved = answer(optimizer, tell(optimizer, state, population, np.array([0.0, 3.0, 1.0, 2.0])))
    np.testing.assert_allclose(moved, -0.5 * (u @ noise) / (4 * 0.1), rtol=1e-12)
    with pytest.raises(ValueError, match=r"learning_rate is 0\.1, but the update given has its own"):
        OpenES(4, 0.1, 0.1, update=optax.sgd(0.5))


@pytest.mark.parametrize("failed", [[0], [3], [0, 1]])
def test_half_a_pair_that_fails_takes_the_other_half_with_it(failed):
    """The pair's direction does not appear in the step: the others' ranks decide it alone."""
    optimizer = PLAIN
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    losses = np.array([1.0, 6.0, 2.0, 5.0, 3.0, 4.0])
    losses[failed] = np.nan
    pair = failed[0] // 2
    whole = np.where(np.arange(6) // 2 == pair, np.inf, losses)
    u = (rankdata(whole) - 1) / 5 - 0.5
    noise = np.asarray(directions(population))
    kept = np.arange(6) // 2 != pair
    moved = answer(optimizer, tell(optimizer, state, population, losses))
    np.testing.assert_allclose(moved, -(u[kept] @ noise[kept]) / (6 * 0.1), rtol=1e-12)


def test_a_generation_without_a_whole_pair_leaves_the_state_as_it_was():
    """One half of every pair failed: nothing is known, so neither moments decay nor the generation counts."""
    optimizer = OpenES(4, 0.1, 0.1)
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    state = tell(optimizer, state, ask(optimizer, state, jax.random.key(1)), np.arange(4.0))
    population = ask(optimizer, state, jax.random.key(2))
    after = tell(optimizer, state, population, np.array([np.nan, 1.0, 2.0, np.inf]))
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_generation_can_be_differentiated():
    """Forwards and backwards: ranks do not depend on the start, so the step moves along with it."""

    def after(start):
        state = PLAIN.init(start, jax.random.key(0))
        population = PLAIN.ask(state, jax.random.key(1))
        return PLAIN.answer(PLAIN.tell(state, population, jnp.sum(population.members() ** 2, axis=1)))

    for jacobian in (jax.jacrev, jax.jacfwd):
        np.testing.assert_allclose(jax.jit(jacobian(after))(jnp.ones(3)), np.eye(3), rtol=1e-12)
