"""The guard that every optimizer stands behind: what `tell` lets through, and what it refuses by name."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve import SNES, GeneticAlgorithm, Gradient, OpenES
from evolve.core import Geometry, Graded, Optimizer, Population
from zeroth import SPSA, MeZO

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


class Climber(Toy):
    """The same for a gradient."""

    oracle = "gradient"


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_failed_gradient_leaves_the_state_bit_for_bit(bad, where):
    loss = jnp.asarray([bad if where == "loss" else 1.0])
    gradient = {"w": jnp.ones(2), "b": jnp.asarray([1.0, bad if where == "gradient" else 1.0])}
    assert_untouched(Climber().tell(START, ONE, Graded(loss, gradient, jnp.sum)))
    good = Climber().tell(START, ONE, Graded(jnp.ones(1), {"w": jnp.ones(2)}, jnp.sum))
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


def test_a_missing_gradient_and_one_that_is_not_wanted_are_refused():
    graded = Graded(jnp.zeros(1), START["x"], lambda x: jnp.sum(x))
    with pytest.raises(TypeError, match=r"Toy.tell: it learns from losses alone"):
        TOY.tell(START, TOY.ask(START, KEY), graded)
    optimizer = Gradient(optax.sgd(0.1))
    state = optimizer.init(jnp.ones(2), KEY)
    with pytest.raises(TypeError, match=r"Gradient.tell: .* give evolve.core.graded\(problem, population, key\)"):
        optimizer.tell(state, optimizer.ask(state, KEY), jnp.zeros(1))


def test_what_overflows_on_the_way_is_not_learned():
    """Both losses of a pair are finite; their difference over the radius is not."""
    optimizer = SPSA(2, sigma=0.01)
    state = optimizer.init(jnp.ones(3), KEY)
    told = optimizer.tell(state, optimizer.ask(state, KEY), jnp.asarray([-3e38, 3e38]))
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(told), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "optimizer", [OpenES(4), MeZO(), SNES(4), GeneticAlgorithm(4, parents=2)], ids=lambda o: type(o).__name__
)
def test_a_search_of_its_own_on_each_device_of_a_mesh(optimizer):
    """What begins alike on all and is moved by keys that differ is typed so."""

    def island(key):
        state = optimizer.init(jnp.ones((2, 3)), key[0])
        population = optimizer.ask(state, key[0])
        losses = jax.vmap(lambda x: jnp.sum(x**2))(population.members())
        return optimizer.answer(optimizer.tell(state, population, losses))[None]

    devices, keys = jax.sharding.Mesh(np.array(jax.devices()[:1]), "device"), jax.random.split(jax.random.key(0), 1)
    spec = jax.sharding.PartitionSpec("device")
    shape = jax.eval_shape(jax.shard_map(island, mesh=devices, in_specs=spec, out_specs=spec), keys)
    assert shape.shape == (1, 2, 3)
