"""Eight devices give what one gives."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evolve import (
    CMAES,
    LMMAES,
    Antithetic,
    Device,
    Gaussian,
    Gradient,
    LowRank,
    Mesh,
    OpenES,
    Rademacher,
    SepCMAES,
    Sparse,
    minimize,
    run,
)
from evolve.core import Drawn, Geometry, Population, population, wrap

KEY = jax.random.key(3)
LAWS = [Gaussian(), LowRank(1), Sparse(0.5, Rademacher()), Antithetic(LowRank(1))]


@pytest.fixture(scope="module")
def start():
    return {"w": jax.random.normal(KEY, (6, 5)), "b": jnp.ones(3)}


@pytest.fixture(scope="module")
def problem(start):
    return wrap(lambda p, k: jnp.sum(jnp.tanh(p["w"]) @ jnp.ones(5)) + p["b"] @ p["b"] + jax.random.normal(k), start)


def around(start, law, size):
    geometry = Geometry.of(start)
    return Population(start, jnp.asarray(0.5), Drawn.of(law, KEY, geometry, size), KEY, geometry, size)


@pytest.mark.parametrize(
    ("law", "mesh"),
    [
        *((law, Mesh()) for law in LAWS),
        *((LAWS[-1], mesh) for mesh in (Mesh(4), Mesh(inner=Device(chunk=2)), Mesh(inner=Device(common=False)))),
    ],
    ids=str,
)
def test_a_mesh_gives_what_one_device_gives(law, mesh, problem, start, monkeypatch):
    monkeypatch.setattr(population, "KEPT", 0)  # what is drawn is drawn anew where it is used
    assert jax.device_count() == 8
    many = around(start, law, 32)
    losses = jax.jit(lambda: mesh.evaluate(problem, many, KEY))()
    alone = jax.jit(lambda: Device(common=mesh.inner.common).evaluate(problem, many, KEY))()
    np.testing.assert_allclose(losses, alone, rtol=0, atol=1e-6 * np.max(np.abs(alone)))


def test_a_problem_may_hold_what_is_no_array():
    drawn = wrap(lambda x: x @ x, lambda key: jnp.ones(4))
    one, eight = (run(drawn, OpenES(population=16), backend=backend, generations=3) for backend in (Device(), Mesh()))
    np.testing.assert_allclose(eight.history["mean"], one.history["mean"], rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer", [CMAES(0.3), SepCMAES(0.3), LMMAES(0.3), OpenES(16), Gradient(optax.adam(0.1))], ids=repr
)
def test_a_start_may_lie_on_several_devices(optimizer):
    spread = jax.sharding.NamedSharding(jax.sharding.Mesh(jax.devices(), "n"), jax.sharding.PartitionSpec("n"))
    starts = jnp.zeros(16), jax.device_put(jnp.zeros(16), spread)
    one, eight = (minimize(lambda x: (x - 1) @ (x - 1), x0, optimizer, generations=4, watch_every=1) for x0 in starts)
    np.testing.assert_allclose(eight.history["mean"], one.history["mean"], rtol=1e-4)


@pytest.mark.parametrize(
    ("law", "size", "message"),
    [
        (Gaussian(), 20, r"do not divide a population of 20 \(in groups of 1\); make it a multiple of 8\."),
        (Antithetic(), 24, r"do not divide a population of 24 \(in groups of 2\); make it a multiple of 16\."),
    ],
)
def test_a_population_that_devices_do_not_divide_is_refused(law, size, message, problem, start):
    with pytest.raises(ValueError, match=f"^Mesh: 8 devices {message}$"):
        Mesh().evaluate(problem, around(start, law, size), KEY)
