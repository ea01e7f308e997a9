"""Eight devices give what one gives, in a process of its own: how many there are is settled when JAX starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json
import jax, jax.numpy as jnp, numpy as np
from evolve import Antithetic, Device, Gaussian, LowRank, Mesh, Rademacher, Sparse
from evolve.core import Drawn, Geometry, Population, population, wrap

population._KEPT = 0
key = jax.random.key(3)
start = {"w": jax.random.normal(key, (6, 5)), "b": jnp.ones(3)}
geometry = Geometry.of(start)
problem = wrap(lambda p, k: jnp.sum(jnp.tanh(p["w"]) @ jnp.ones(5)) + p["b"] @ p["b"] + jax.random.normal(k), start)

def around(law, size):
    directions = Drawn.of(law, key, geometry, size)
    return Population(start, jnp.asarray(0.5), directions, key, geometry, size)

laws = [Gaussian(), LowRank(1), Sparse(0.5, Rademacher()), Antithetic(LowRank(1))]
cases = [(law, Mesh()) for law in laws]
cases += [(laws[-1], mesh) for mesh in (Mesh(4), Mesh(inner=Device(chunk=2)), Mesh(inner=Device(common=False)))]
report = {"devices": jax.device_count(), "differences": {}, "errors": {}}
for law, mesh in cases:
    many = around(law, 32)
    losses = np.asarray(jax.jit(lambda: mesh.evaluate(problem, many, key))())
    alone = np.asarray(jax.jit(lambda: Device(common=mesh.inner.common).evaluate(problem, many, key))())
    report["differences"][f"{law!r}, {mesh!r}"] = float(np.max(np.abs(losses - alone)) / np.max(np.abs(alone)))
for size, law in ((20, Gaussian()), (24, Antithetic())):
    try:
        Mesh().evaluate(problem, around(law, size), key)
    except ValueError as error:
        report["errors"][size] = str(error)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report():
    root = Path(__file__).parents[2]
    several = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=several, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_mesh_gives_what_one_device_gives(report):
    assert report["devices"] == 8
    assert len(report["differences"]) == 7
    assert max(report["differences"].values()) <= 1e-6, report["differences"]


def test_a_population_that_devices_do_not_divide_is_refused(report):
    assert report["errors"] == {
        "20": "Mesh: 8 devices do not divide a population of 20 (in groups of 1); make it a multiple of 8.",
        "24": "Mesh: 8 devices do not divide a population of 24 (in groups of 2); make it a multiple of 16.",
    }
