"""`wrap`: what counts as a start, as a key, and as a fitness."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
from evolve.core import required, wrap

KEY = jax.random.key(0)


def test_a_callable_model_is_a_start_and_not_a_function_that_draws_one():
    model = eqx.nn.Linear(2, 1, key=KEY)
    result = evolve.minimize(lambda m: jnp.sum(m(jnp.ones(2)) ** 2), model, evolve.OpenES(16), generations=3)
    assert jax.tree.structure(result.answer) == jax.tree.structure(model)


def test_a_function_draws_the_start():
    problem = wrap(jnp.sum, lambda key: jax.random.normal(key, (3,)))
    np.testing.assert_array_equal(problem.init(KEY), jax.random.normal(KEY, (3,)))


@pytest.mark.parametrize("draw", [lambda: jnp.ones(2), lambda key, n: jnp.ones(n)])
def test_a_start_that_takes_something_else_than_a_key_is_refused(draw):
    with pytest.raises(
        TypeError, match=r"wrap: init takes .*; it must take \(key\), from which it draws the start, or"
    ):
        wrap(jnp.sum, draw)


def test_a_leaf_that_is_no_array_is_named():
    with pytest.raises(TypeError, match=r"\['act'\] is .*; only floating-point leaves can be searched"):
        evolve.minimize(lambda p: 0.0, {"w": jnp.ones(2), "act": jnp.tanh}, evolve.OpenES(16), generations=1)


@pytest.mark.parametrize(
    ("function", "noisy"),
    [
        (lambda params: 0.0, False),
        (lambda params, key: 0.0, True),
        (lambda params, key=None: 0.0, True),
        (lambda params, scale=2.0: 0.0, False),
        (lambda *args: 0.0, False),
        (jnp.sum, False),
        (max, False),
    ],
)
def test_whether_a_function_takes_the_key(function, noisy):
    assert wrap(function, jnp.ones(2)).noisy == noisy


@pytest.mark.parametrize("function", [lambda: 0.0, lambda a, b, c: 0.0, lambda params, *, key: 0.0])
def test_a_function_of_something_else_is_refused(function):
    with pytest.raises(TypeError, match=r"wrap: the function needs .*\(params\) or \(params, key\) only"):
        wrap(function, jnp.ones(2))


def test_what_a_call_must_give():
    assert required(lambda a, b=1, *rest, c, d=2, **more: 0) == ["a", "c"]


class Fit(evolve.Problem):
    """As the docstring of Problem has it."""

    inputs: jax.Array
    degree: int = eqx.field(static=True, default=3)
    noisy = False

    def init(self, key):
        return jnp.ones(self.degree)

    def loss(self, params, key):
        return jnp.mean(jnp.polyval(params, self.inputs) ** 2)


class Noisy(Fit):
    noisy = True


def test_a_problem_holds_what_it_declares():
    search = evolve.SepCMAES()
    first = evolve.run(Fit(jnp.ones(4)), search, generations=5)
    again = evolve.run(Fit(2 * jnp.ones(4)), search, generations=5)
    assert first.answer.shape == (3,)
    assert first.loss != again.loss
    assert again.compile_seconds == 0, "other numbers of the same shape"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Fit(jnp.ones(4)).other = 3


def test_whether_it_is_noisy_says_which_answer_counts():
    search = evolve.SepCMAES()
    best, own = (evolve.run(kind(jnp.ones(4)), search, generations=5) for kind in (Fit, Noisy))
    assert best.loss == best.history["best"][-1]
    np.testing.assert_array_equal(own.answer, search.answer(own.state))
    assert best.history["best"][-1] == own.history["best"][-1] != own.loss


@pytest.mark.parametrize("maximize", [False, True])
def test_a_whole_number_is_no_fitness_either_way(maximize):
    with pytest.raises(TypeError, match="the loss is int32; return a floating-point number"):
        evolve.minimize(lambda x: jnp.sum(x > 0), jnp.ones(2), evolve.OpenES(16), generations=1, maximize=maximize)


@pytest.mark.parametrize("value", [np.uint8(3), np.bool_(True), 3, True])
def test_a_host_fitness_may_be_any_real_number(value):
    result = evolve.minimize(
        lambda x: value, jnp.ones(2), evolve.RandomSearch(4), generations=1, maximize=True, host=True
    )
    assert result.loss == -float(value)
