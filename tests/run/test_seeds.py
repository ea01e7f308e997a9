"""Several seeds at once: what a loop over single runs gives, each with an end of its own."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.tools import same_bits

import evolve
import problems
import zeroth
from evolve.core import memory
from evolve.core.memory import device_memory

OPTIMIZERS = {
    "openes": evolve.OpenES(population=16),
    "genetic": evolve.GeneticAlgorithm(population=16, parents=4),
    "separable": evolve.SepCMAES(),
    "annealing": evolve.SimulatedAnnealing(chains=8, exchange=True),
    "spsa": zeroth.SPSA(learning_rate=1e-3),  # a run that diverges multiplies its rounding too
    "lbfgs": evolve.Gradient(optax.lbfgs()),
}


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


PROBLEM = problems.wrap(rosenbrock, lambda key: 0.1 * jax.random.normal(key, (4,)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_seeds_equal_single_runs(name):
    """To rounding; the directions are the same, so short runs stay together."""
    many = evolve.run(PROBLEM, OPTIMIZERS[name], seed=5, seeds=3, generations=8)
    assert isinstance(many, list)
    for seed, result in enumerate(many, start=5):
        alone = evolve.run(PROBLEM, OPTIMIZERS[name], seed=seed, generations=8)
        np.testing.assert_allclose(result.answer, alone.answer, rtol=2e-4, atol=2e-5)
        assert (result.reason, result.generations, result.forwards) == (
            alone.reason,
            alone.generations,
            alone.forwards,
        )
        assert list(result.history) == list(alone.history)
        for column in set(alone.history) - {"seconds"}:
            np.testing.assert_allclose(result.history[column], alone.history[column], rtol=5e-4, atol=1e-5)
        assert jax.tree.structure(result.state) == jax.tree.structure(alone.state)
    assert not np.array_equal(many[0].answer, many[1].answer)


@pytest.mark.parametrize("host", [False, True])
def test_each_seed_ends_at_its_own_target(host):
    """One that has reached it waits unchanged; on the host it is not even evaluated."""
    calls = []

    def fitness(x):
        calls.append(1)
        return float(np.sum((np.asarray(x, np.float64) - 1) ** 2))

    problem = problems.wrap(fitness if host else lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(4), host=host)
    search = evolve.SepCMAES()
    many = evolve.run(problem, search, seeds=4, target=1e-2, generations=400)
    assert [result.reason for result in many] == ["target"] * 4
    assert len({result.generations for result in many}) > 1
    for seed, result in enumerate(many):
        history = result.history
        assert history["generation"].tolist() == list(range(1, result.generations + 1))
        assert result.loss <= 1e-2 < history["best"][-2]
        assert result.loss == history["best"][-1]
        assert history["evaluations"][-1] == result.evaluations
        assert int(result.state.generation) == result.generations
        unlimited = evolve.run(problem, search, seed=seed, generations=result.generations)
        np.testing.assert_allclose(result.state.mean, unlimited.state.mean, rtol=1e-3, atol=1e-4)
    if host:
        own = sum(result.evaluations for result in many)
        assert len(calls) == 2 * own


def test_seeds_take_turns_where_generations_differ_in_length():
    growing = evolve.Restarts(evolve.CMAES(), "ipop", 2)
    for search, turns in (
        (evolve.Bounded(growing, -9.0, 9.0), True),
        (evolve.Restarts(evolve.CMAES()), True),
        (evolve.Restarts(growing, "same", 2), True),
        (evolve.Restarts(evolve.CMAES(), "same", 2), False),
        (OPTIMIZERS["lbfgs"], True),
        (evolve.Gradient(optax.lbfgs(1e-4, linesearch=None)), False),
        (evolve.CMAES(), False),
    ):
        assert search.takes_turns(search.init(jnp.zeros(4), jax.random.key(0))) == turns


@pytest.mark.parametrize("search", [OPTIMIZERS["lbfgs"], evolve.Restarts(evolve.CMAES(), "ipop")], ids=str)
def test_seeds_that_take_turns_end_at_their_own_targets(search):
    """One that has ended waits unchanged for the others, and each goes as it goes alone, bit for bit."""
    many = evolve.run(PROBLEM, search, seeds=3, target=1e-2, generations=400)
    assert len({result.generations for result in many}) > 1
    for seed, result in enumerate(many):
        alone = evolve.run(PROBLEM, search, seed=seed, target=1e-2, generations=400)
        assert result.reason == alone.reason == "target"
        assert (result.generations, result.forwards) == (alone.generations, alone.forwards)
        same_bits((result.answer, result.loss, result.state), (alone.answer, alone.loss, alone.state))


def test_seeds_take_turns_where_memory_is_short(monkeypatch):
    """Each then goes as it goes alone, bit for bit, in little more memory than one of them."""
    problem, search = problems.Function("sphere", 5000), evolve.OpenES(population=64)

    def run(**options):
        return evolve.run(problem, search, generations=3, **options)

    wide, alone = run(seeds=6), [run(seed=seed) for seed in range(6)]
    limit = (wide[0].memory + alone[0].memory) // 2
    monkeypatch.setattr(sys.modules["evolve.run.loop"], "device_memory", lambda: limit)
    narrow = run(seeds=6)
    assert narrow[0].memory < limit < wide[0].memory
    for one, other in zip(narrow, alone, strict=True):
        same_bits((one.answer, one.loss, one.state), (other.answer, other.loss, other.state))
    monkeypatch.setattr(sys.modules["evolve.run.loop"], "device_memory", lambda: None)
    assert run(seeds=6)[0].memory == wide[0].memory


@pytest.mark.parametrize(("text", "bytes_"), [("4096\n", 4096), ("max\n", None), (None, None)])
def test_a_container_may_use_less_than_the_machine_has(monkeypatch, tmp_path, text, bytes_):
    machine = device_memory()
    assert machine > 1e8
    if text is not None:
        (tmp_path / "limit").write_text(text)
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "limit",))
    assert device_memory() == bytes_ or (bytes_ is None and device_memory() >= machine)


def test_a_farther_target_lets_those_that_waited_catch_up(tmp_path):
    problem = problems.wrap(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(4))
    options = {"seeds": 3, "directory": tmp_path / "run"}
    evolve.run(problem, evolve.SepCMAES(), target=1e-1, generations=30, **options)
    longer = evolve.run(problem, evolve.SepCMAES(), target=1e-3, generations=30, resume=True, **options)
    at_once = evolve.run(problem, evolve.SepCMAES(), target=1e-3, generations=30, seeds=3)
    for one, other in zip(longer, at_once, strict=True):
        assert (one.generations, one.reason) == (other.generations, other.reason)
        assert np.array_equal(one.answer, other.answer)
        for column in set(other.history) - {"seconds"}:
            np.testing.assert_array_equal(one.history[column], other.history[column])


def test_one_seed_of_several_is_a_list_of_one():
    (result,) = evolve.run(PROBLEM, OPTIMIZERS["spsa"], seeds=1, generations=3)
    alone = evolve.run(PROBLEM, OPTIMIZERS["spsa"], generations=3)
    np.testing.assert_allclose(result.answer, alone.answer, rtol=1e-5)


def test_watchers_see_all_seeds():
    seen = []
    evolve.run(PROBLEM, OPTIMIZERS["spsa"], seeds=2, generations=3, watch=[seen.append], watch_every=1)
    assert [progress.generation for progress in seen] == [1, 2, 3]
    assert all(values.shape == (2,) for values in seen[-1].row.values())
    assert seen[-1].answer().shape == (2, 4)
    assert (seen[-1].evaluations, seen[-1].total) == (6, 3)


@pytest.mark.parametrize(("seed", "seeds"), [(0, 0), (0, -1), (-1, None), (2**32, None), (2**32 - 1, 2)])
def test_refused_seeds(seed, seeds):
    with pytest.raises(ValueError, match=rf"run: seeds? is {seeds if seed == 0 else seed}; it must"):
        evolve.run(PROBLEM, OPTIMIZERS["spsa"], seed=seed, seeds=seeds, generations=1)


@pytest.mark.parametrize(("seed", "seeds"), [(0.5, None), ("1", None), (True, None), (0, 2.0), (0, True)])
def test_seeds_are_integers(seed, seeds):
    with pytest.raises(TypeError, match="they must be integers"):
        evolve.run(PROBLEM, OPTIMIZERS["spsa"], seed=seed, seeds=seeds, generations=1)


def test_large_seeds_differ():
    answers = [evolve.run(PROBLEM, OPTIMIZERS["spsa"], seed=s, generations=1).answer for s in (2**31, 2**32 - 1, 0)]
    assert len({answer.tobytes() for answer in answers}) == 3
