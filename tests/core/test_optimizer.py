"""The guard that every optimizer stands behind: what `tell` lets through, and what it refuses by name."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.core import Geometry, Graded, Optimizer, Population
from evolve.core.optimizer import check_between, check_population, check_positive

KEY = jax.random.key(0)
BAD = [np.nan, np.inf, -np.inf]


class Toy(Optimizer):
    """Keeps the best of four members and counts its lessons; whatever it is told, it believes."""

    step: float = 1.0
    size: int = eqx.field(static=True, default=4)

    def init(self, params, key):
        return {
            "x": params,
            "loss": jnp.asarray(jnp.inf),
            "seen": jnp.zeros((), jnp.int32),
            "half": params.astype("bfloat16"),
        }

    def ask(self, state, key):
        members = state["x"] + self.step * jnp.arange(self.size, dtype=jnp.float32)[:, None]
        return Population.of(members, Geometry.of(state["x"]), key)

    def learn(self, state, population, losses):
        values = losses.losses if isinstance(losses, Graded) else losses
        best = jnp.argmin(values)
        x = population.stored[best]
        return {"x": x, "loss": values[best], "seen": state["seen"] + 1, "half": x.astype("bfloat16")}

    def answer(self, state):
        return state["x"]


TOY = Toy()
START = TOY.init(jnp.asarray([0.5, -0.5]), KEY)
POPULATION = TOY.ask(START, KEY)
ONE = Toy(size=1).ask(START, KEY)


TELL = jax.jit(TOY.tell)


def tell(losses):
    return TELL(START, POPULATION, losses)


def assert_untouched(state):
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(START), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.sampled_from(BAD), min_size=4, max_size=4))
def test_a_failed_member_never_wins(losses):
    state = tell(jnp.asarray(losses, jnp.float32))
    finite = np.isfinite(losses)
    if not finite.any():
        assert_untouched(state)
        return
    best = int(np.argmin(np.where(finite, losses, np.inf)))
    assert int(state["seen"]) == 1
    assert float(state["loss"]) == np.float32(losses[best])
    np.testing.assert_array_equal(state["x"], POPULATION.member(best))


@pytest.mark.parametrize("bad", BAD)
def test_a_generation_in_which_all_fail_leaves_the_state_bit_for_bit(bad):
    assert_untouched(tell(jnp.full(4, bad, jnp.float32)))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_losses_are_learned_from_in_single(dtype):
    state = tell(jnp.asarray([3.0, 0.1, 2.0, 1.0], dtype))
    assert state["loss"].dtype == jnp.float32
    np.testing.assert_array_equal(state["loss"], jnp.asarray(0.1, dtype).astype(jnp.float32))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_failed_gradient_leaves_the_state_bit_for_bit(bad, where):
    loss = jnp.asarray([bad if where == "loss" else 1.0])
    gradient = {"w": jnp.ones(2), "b": jnp.asarray([1.0, bad if where == "gradient" else 1.0])}
    assert_untouched(TOY.tell(START, ONE, Graded(loss, gradient, jnp.sum)))
    good = TOY.tell(START, ONE, Graded(jnp.ones(1), {"w": jnp.ones(2)}, jnp.sum))
    assert int(good["seen"]) == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("losses", [jnp.zeros(3), jnp.zeros(5), jnp.zeros((4, 1)), jnp.zeros(())])
def test_a_wrong_shape_is_refused(losses):
    shape = str(losses.shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=rf"Toy.tell: the losses have shape {shape}; a population of 4 needs \(4,\)"):
        TOY.tell(START, POPULATION, losses)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("dtype", "name"), [(jnp.int32, "int32"), (jnp.complex64, "complex64"), (bool, "bool")])
def test_a_wrong_dtype_is_refused(dtype, name):
    with pytest.raises(TypeError, match=f"Toy.tell: the losses are {name}; return floating-point numbers"):
        TOY.tell(START, POPULATION, jnp.zeros(4, dtype))


def test_what_is_not_overridden_says_nothing():
    assert TOY.status(START) == {}
    assert int(TOY.extra(START)) == 0


@pytest.mark.parametrize(("size", "least"), [(0, 2), (1, 2), (-3, 2), (0, 1)])
def test_a_population_too_small_is_refused(size, least):
    with pytest.raises(ValueError, match=f"Toy: population is {size}; it needs at least {least} members"):
        check_population(TOY, size, least)


@pytest.mark.parametrize(("size", "group", "kind"), [(7, 2, "an even number"), (6, 4, "a multiple of 4")])
def test_a_population_that_pairs_do_not_divide_is_refused(size, group, kind):
    with pytest.raises(ValueError, match=f"Toy: population is {size}; antithetic pairs need {kind}"):
        check_population(TOY, size, group=group)
    check_population(TOY, 8, group=group)


@pytest.mark.parametrize("value", [0, 0.0, -1.0, np.nan, np.inf])
def test_a_number_that_must_be_positive(value):
    with pytest.raises(ValueError, match=f"Toy: step is {value}; it must be positive and finite"):
        check_positive(TOY, step=value)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_a_number_that_must_lie_between(value):
    with pytest.raises(ValueError, match=rf"Toy: chance is {value}; it must lie in \[0, 1\]"):
        check_between(TOY, 0, 1, chance=value)


def test_schedules_traced_numbers_and_nothing_pass():
    check_positive(TOY, a=lambda t: -1.0, b=None, c=1e-30, d=1)
    check_between(TOY, 0, 1, a=lambda t: 2.0, b=0, c=1)
    jax.vmap(lambda x: check_positive(TOY, step=x))(jnp.asarray([-1.0]))
