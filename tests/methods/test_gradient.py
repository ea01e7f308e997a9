"""Gradient baselines against plain optax loops and SciPy, and what a line search costs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from laws.programs import ask, init, tell
from laws.tools import Plain

import evolve
from evolve import Gradient
from evolve.core import Graded, Problem, wrap
from evolve.core.evaluation import graded
from problems.formulas import rosenbrock

START = np.array([-1.2, 1.0, 0.5, 0.8])


def loop(optimizer, problem, start, steps):
    """The states of a plain ask, evaluate, tell loop, one each step."""
    state = optimizer.init(start, jax.random.key(0))
    for t in range(steps):
        population = optimizer.ask(state, jax.random.key(t))
        state = optimizer.tell(state, population, graded(problem, population, jax.random.key(t)))
        yield state


@pytest.mark.parametrize(
    "optimizer", [Gradient(optax.lbfgs()), Plain(Gradient(optax.lbfgs()))], ids=["alone", "within"]
)
def test_line_searches_of_generations_that_fail_have_been_made_too(optimizer):
    """And nothing else of those is kept."""
    failing = evolve.minimize(lambda x: jnp.nan * jnp.sum(x), jnp.ones(3), optimizer, evaluations=300)
    assert failing.failed == failing.generations
    assert failing.evaluations == failing.generations + int(optimizer.extra(failing.state)) > failing.generations
    np.testing.assert_array_equal(optimizer.answer(failing.state), np.ones(3))


@pytest.mark.parametrize("update", [optax.sgd(1e-3), optax.sgd(1e-3, 0.9), optax.adam(0.05)])
def test_steps_are_exactly_those_of_a_plain_optax_loop(update):
    params = jnp.asarray(START, jnp.float32)
    moments = update.init(params)
    for state in loop(Gradient(update), wrap(rosenbrock, params), params, 10):
        step, moments = update.update(jax.grad(rosenbrock)(params), moments, params)
        params = optax.apply_updates(params, step)
        np.testing.assert_array_equal(Gradient(update).answer(state), params)


def test_lbfgs_is_optaxs_own_loop_and_finds_scipys_minimum(x64):
    update, params = optax.lbfgs(), jnp.asarray(START)
    moments, value_and_grad = update.init(params), optax.value_and_grad_from_state(rosenbrock)
    extra = 0
    optimizer, problem = Gradient(update), wrap(rosenbrock, params)

    @jax.jit
    def ours(state):
        population = optimizer.ask(state, jax.random.key(0))
        return optimizer.tell(state, population, graded(problem, population, jax.random.key(0)))

    @jax.jit
    def theirs(params, moments):
        value, gradient = value_and_grad(params, state=moments)
        step, moments = update.update(gradient, moments, params, value=value, grad=gradient, value_fn=rosenbrock)
        return optax.apply_updates(params, step), moments

    state = optimizer.init(params, jax.random.key(0))
    for _ in range(40):
        state, (params, moments) = ours(state), theirs(params, moments)
        extra += int(optax.tree_utils.tree_get(moments, "num_linesearch_steps"))
        np.testing.assert_allclose(optimizer.answer(state), params, rtol=1e-8)
        assert int(optimizer.extra(state)) == extra
    found = scipy.optimize.minimize(
        lambda x: jax.value_and_grad(rosenbrock)(jnp.asarray(x)), START, jac=True, method="L-BFGS-B", tol=1e-14
    )
    np.testing.assert_allclose(optimizer.answer(state), found.x, atol=1e-6)


@pytest.mark.parametrize("guess", ["one", "keep"])
def test_a_line_search_that_finds_no_step_is_not_the_last_to_move(guess):
    """Uphill there is none; what was remembered of it would hold the point for ever."""
    search = optax.scale_by_zoom_linesearch(20, initial_guess_strategy=guess)
    optimizer, start = Gradient(optax.lbfgs(memory_size=3, linesearch=search)), jnp.asarray(START, jnp.float32)

    def sphere(x):
        return jnp.sum((x - jnp.arange(4.0)) ** 2)

    def after(state, t, sign):
        population = ask(optimizer, state, jax.random.key(t))
        point = optimizer.answer(state)
        return tell(optimizer, state, population, Graded(sphere(point)[None], sign * jax.grad(sphere)(point), sphere))

    state = init(optimizer, start, jax.random.key(0))
    for t in range(5):
        state = after(state, t, -1.0)
    np.testing.assert_array_equal(optimizer.answer(state), start)
    for t in range(5):
        state = after(state, t, 1.0)
    np.testing.assert_allclose(optimizer.answer(state), np.arange(4.0), atol=1e-5)


class Counted(Problem):
    """Rosenbrock, and how often it was called."""

    calls = []  # noqa: RUF012  # not a field: the callback writes to it

    @property
    def noisy(self):
        return False

    def init(self, key):
        return jnp.asarray(START, jnp.float32)

    def loss(self, params, key):
        jax.debug.callback(lambda: self.calls.append(1))
        return rosenbrock(params)


def test_the_account_is_the_number_of_evaluations_made():
    """Each counts three forward passes: one forward, two for backward."""
    for update, searches in ((optax.lbfgs(), True), (optax.adam(0.01), False)):
        Counted.calls.clear()
        result = evolve.run(Counted(), Gradient(update), generations=8)
        jax.effects_barrier()
        assert result.evaluations == len(Counted.calls)
        assert result.forwards == 3 * result.evaluations
        assert (result.evaluations > 8) == searches


def test_a_gradient_that_is_not_finite_is_a_failure():
    """The loss may be finite where its derivative is not."""
    optimizer = Gradient(optax.adam(0.1))
    state = init(optimizer, np.ones(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(0))
    for bad in (np.nan, np.inf):
        after = tell(optimizer, state, population, Graded(jnp.ones(1), jnp.array([1.0, bad, 1.0]), rosenbrock))
        for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
            np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_steps_too_small_for_half_precision_add_up(dtype):
    """A thousand steps of 1e-4 are 0.1; added to 1 in eight bits one by one they would be nothing."""
    optimizer = Gradient(optax.sgd(1e-4))
    problem = wrap(lambda x: jnp.sum(x.astype(jnp.float32)), jnp.ones(2, dtype))

    @jax.jit
    def run(state):
        def body(_, state):
            population = optimizer.ask(state, jax.random.key(0))
            return optimizer.tell(state, population, graded(problem, population, jax.random.key(0)))

        return jax.lax.fori_loop(0, 1000, body, state)

    answer = optimizer.answer(run(optimizer.init(jnp.ones(2, dtype), jax.random.key(0))))
    assert answer.dtype == dtype
    np.testing.assert_allclose(np.asarray(answer, np.float64), 0.9, rtol=2**-8)
