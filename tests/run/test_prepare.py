"""Where a run begins: with what the method says now, whatever it is made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evolve
import problems

PROBLEM = problems.wrap(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(3))
scale = 1.0


class Scaled(evolve.CMAES):
    """Reads a global where it begins, and nowhere else."""

    def _shape(self, deviations):
        return super()._shape(deviations * scale)


@pytest.mark.parametrize("around", [lambda method: method, evolve.Restarts], ids=["alone", "restarts"])
def test_a_global_that_changed_is_read_anew(monkeypatch, around):
    seen = []
    for value in (1.0, 5.0, 1.0):
        monkeypatch.setitem(globals(), "scale", value)
        seen.append(evolve.run(PROBLEM, around(Scaled()), generations=1).loss)
    assert seen[0] == seen[2]
    assert seen[1] != seen[0]


class Looking(evolve.RandomSearch):
    """Begins in plain Python: looks at the start's numbers, draws with NumPy, counts by a number of its own."""

    rows: int = 3

    def init(self, params, key):
        moved = np.random.default_rng(int(jax.random.bits(key)) if float(params[0]) < 1 else 0).normal(size=self.rows)
        return super().init(params + jnp.zeros(self.rows) + moved.astype(params.dtype), key)


def test_a_method_may_begin_in_plain_python():
    results = evolve.run(PROBLEM, Looking(4), generations=1, seeds=3)
    assert len({float(result.state.center[0]) for result in results}) == 3


@dataclasses.dataclass
class Start:
    """Not hashable."""

    def __call__(self, key, params):
        return params + jax.random.normal(key, params.shape)


def test_what_is_not_hashable_begins_too():
    optimizer = evolve.Bounded(evolve.Restarts(evolve.CMAES(), "ipop", 2, start=Start()), -5.0, 5.0)
    assert evolve.run(PROBLEM, optimizer, generations=3).generations == 3


@pytest.mark.filterwarnings("ignore:A JAX array")  # what equinox takes a number of NumPy for
@pytest.mark.usefixtures("unchecked")
def test_numbers_of_numpy_are_numbers():
    counted = evolve.Restarts(evolve.CMAES(population=np.int64(8)), "ipop", np.int64(2))
    plain = evolve.Restarts(evolve.CMAES(population=8), "ipop", 2)
    one, other = (evolve.run(PROBLEM, optimizer, generations=5) for optimizer in (counted, plain))
    np.testing.assert_array_equal(one.history["loss"], other.history["loss"])


BOUNDED = evolve.Bounded(evolve.UncertaintyHandling(evolve.CMAES()), 1.0, 2.0)


@pytest.mark.parametrize("optimizer", [BOUNDED, evolve.Restarts(BOUNDED, "same")], ids=["alone", "restarts"])
def test_a_start_is_refused_for_its_values_before_anything_is_compiled(optimizer):
    with pytest.raises(ValueError, match=r"3 value\(s\) of the start lie outside"):
        evolve.run(PROBLEM, optimizer, generations=1)
