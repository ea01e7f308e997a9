"""One device: chunks change nothing but rounding, and keep to the memory they are given."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve import Device
from evolve.backend.device import live_bytes
from evolve.core import Antithetic, Drawn, Gaussian, Geometry, LowRank, Population, Sparse, population, wrap

KEY = jax.random.key(3)
SIZE = 14  # in chunks of 4 or 5 the last overlaps the one before
START = {"w": jax.random.normal(KEY, (6, 5)), "b": jnp.ones(3)}
LAWS = [Gaussian(), Antithetic(LowRank(1)), Antithetic(Sparse(0.5))]


def around(law, params=START, size=SIZE):
    geometry = Geometry.of(params)
    directions = Drawn.of(law, KEY, geometry, size)
    return Population(geometry.working(params), jnp.asarray(0.5), directions, KEY, geometry, size)


def linear(p, key):
    """A loss that tells directions apart, with noise that is the generation's."""
    return jnp.sum(jnp.arange(6.0) @ p["w"]) + p["b"] @ jnp.asarray([1.0, 10.0, 100.0]) + jax.random.normal(key)


PROBLEM = wrap(linear, START)


@eqx.filter_jit
def formed(many):
    """The oracle: each member formed, and the loss called plainly."""
    return jax.lax.map(lambda i: linear(many.member(i), KEY), jnp.arange(SIZE))


@pytest.fixture(autouse=True)
def redrawn(monkeypatch):
    """No direction is kept: each chunk draws its own."""
    monkeypatch.setattr(population, "KEPT", 0)


@pytest.mark.parametrize(
    ("law", "chunk"),
    [*((LAWS[0], chunk) for chunk in (1, 4, 5, 14, 100, "auto")), *((LAWS[1], n) for n in (1, 5, 8)), (LAWS[2], 4)],
)
def test_chunks_change_nothing(law, chunk):
    many = around(law)
    expected = formed(many)
    losses = jax.jit(lambda: Device(chunk=chunk).evaluate(PROBLEM, many, KEY))()
    assert losses.shape == (SIZE,)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("chunk", [4, 5])
@pytest.mark.parametrize("kind", ["stored", "kept"])
def test_chunks_of_what_is_remembered(kind, chunk, monkeypatch):
    """A last chunk that overlaps the one before must not shift the members."""
    monkeypatch.setattr(population, "KEPT", 1 << 20)
    many = around(LAWS[0])
    if kind == "stored":
        many = Population.of(many.members(), many.geometry, KEY)
    expected = formed(many)
    losses = jax.jit(lambda: Device(chunk=chunk).evaluate(PROBLEM, many, KEY))()
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("chunk", [4, 14])
def test_own_keys_do_not_depend_on_the_chunk(chunk):
    noise = wrap(lambda p, key: jax.random.normal(key) + 0 * p["b"][0], START)
    many = around(LAWS[1])
    losses = jax.jit(lambda: Device(chunk=chunk, common=False).evaluate(noise, many, KEY))()
    drawn = jax.jit(jax.vmap(lambda pair: jax.random.normal(jax.random.fold_in(KEY, pair))))(np.arange(SIZE // 2))
    np.testing.assert_allclose(losses, np.repeat(drawn, 2), rtol=1e-6)


def test_within_vmap():
    """Over centers, as several seeds at once need it."""
    device = Device(chunk=4)
    many = around(Gaussian())
    shifts = jnp.asarray([0.0, 1.0])

    def shifted(shift):
        moved = jax.tree.map(lambda leaf: leaf + shift, many.center)
        return device.evaluate(PROBLEM, Population(moved, many.scale, many.directions, KEY, many.geometry, SIZE), KEY)

    looped = [jax.jit(shifted)(shift) for shift in shifts]
    np.testing.assert_allclose(jax.jit(jax.vmap(shifted))(shifts), looped, rtol=1e-5)


def network(width=64, examples=32):
    x = jax.random.normal(KEY, (examples, width))
    params = {"in": jnp.ones((width, width)) / width, "out": jnp.ones((width, width)) / width}
    problem = wrap(lambda p: jnp.mean((jnp.tanh(x @ p["in"]) @ p["out"]) ** 2), params)
    return problem, around(Antithetic(LowRank(1)), params, 256)


def planned(device, problem, many):
    """Bytes of intermediate results, as XLA planned them."""
    program = jax.jit(lambda k: device.evaluate(problem, many, k)).lower(KEY).compile()
    return program.memory_analysis().temp_size_in_bytes


def test_chunks_keep_to_their_memory():
    """XLA's own plan stays below the limit, and a larger limit is made use of."""
    problem, many = network()
    seen = [planned(Device(memory=limit), problem, many) for limit in (1 << 18, 1 << 21)]
    assert seen[0] <= 1 << 18 < seen[1] <= 1 << 21


def test_the_estimate_is_of_the_order_of_the_compilers():
    problem, many = network()
    device = Device(chunk=256)
    estimate = live_bytes(jax.make_jaxpr(lambda k: device.evaluate(problem, many, k))(KEY).jaxpr)
    used = planned(device, problem, many)
    assert used / 2 <= estimate <= 10 * used


def test_live_bytes_counts_what_is_alive_at_once():
    """Vectors of 400 bytes: a chain needs two at a time, a fan of four and its sums five."""

    def chain(x):
        return jnp.sin(jnp.sin(jnp.sin(jnp.sin(x))))

    def fan(x):
        a, b, c, d = jnp.sin(x), jnp.cos(x), jnp.tanh(x), jnp.exp(x)
        return a + b + c + d

    x = jnp.ones(100)
    assert live_bytes(jax.make_jaxpr(chain)(x).jaxpr) == 800
    assert live_bytes(jax.make_jaxpr(fan)(x).jaxpr) == 2000


def test_live_bytes_looks_into_inner_programs():
    x = jnp.ones(100)
    inner = jax.jit(lambda y: jnp.sum(jnp.outer(y, y)))
    assert live_bytes(jax.make_jaxpr(inner)(x).jaxpr) >= 40_000
    looped = jax.make_jaxpr(lambda y: jax.lax.scan(lambda c, _: (c + inner(y), None), 0.0, None, length=3))(x)
    assert 40_000 <= live_bytes(looped.jaxpr) <= 90_000


def test_memory_too_small_for_one_pair_still_evaluates_it():
    many = around(LAWS[1])
    tight, ample = (jax.jit(lambda d=d: d.evaluate(PROBLEM, many, KEY))() for d in (Device(memory=1), Device()))
    np.testing.assert_allclose(tight, ample, rtol=1e-5)


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_below_one_is_refused(chunk):
    with pytest.raises(ValueError, match=f"Device: chunk is {chunk}; it must be at least 1"):
        Device(chunk=chunk)


def test_no_memory_is_refused():
    with pytest.raises(ValueError, match="Device: memory is 0; it must be at least 1"):
        Device(memory=0)
