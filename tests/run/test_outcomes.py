"""What a run gives back: noisy and deterministic problems, fitness, dtypes, trees; and what never compiles again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evolve
import problems
import zeroth


def paraboloid(x):
    return ((x - 1) ** 2).sum()  # of a NumPy array in NumPy


@pytest.mark.parametrize(
    "optimizer",
    [
        evolve.SepCMAES(),
        evolve.OpenES(population=8, learning_rate=0.1),
        zeroth.SPSA(),
        evolve.Gradient(optax.adam(0.1)),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_a_deterministic_answer_is_the_best_member_seen(optimizer):
    seen = []

    def fitness(x):
        seen.append((float(np.sum((np.float64(x) - 1) ** 2)), np.array(x)))
        return seen[-1][0]

    if optimizer.oracle == "loss":
        result = evolve.minimize(fitness, np.zeros(3), optimizer, generations=30, host=True)
        best = min(seen, key=lambda pair: pair[0])
        np.testing.assert_array_equal(result.answer, best[1])
        assert result.loss == pytest.approx(best[0], rel=1e-6)
    else:
        result = evolve.minimize(paraboloid, np.zeros(3), optimizer, generations=30)
    assert result.loss == result.history["best"][-1] == result.history["loss"].min()
    assert result.loss == pytest.approx(float(paraboloid(result.answer)), rel=1e-5)


def test_a_noisy_answer_is_the_optimizers_own():
    """The best loss seen is luck: here pure noise, of which the least would win."""
    search = evolve.SepCMAES()
    result = evolve.minimize(lambda x, key: paraboloid(x) + jax.random.normal(key), np.zeros(3), search, generations=20)
    np.testing.assert_array_equal(result.answer, search.answer(result.state))
    at_fixed_key = paraboloid(result.answer) + jax.random.normal(jax.random.key(0))
    assert result.loss == pytest.approx(float(at_fixed_key), rel=1e-5)
    assert result.loss != result.history["best"][-1]


def test_a_noisy_host_answer_gets_one_fixed_key_too():
    def fitness(x, key):
        return float(np.sum((x - 1) ** 2) + np.random.default_rng(key).normal())

    result = evolve.minimize(fitness, np.zeros(3), evolve.SepCMAES(), generations=5, host=True)
    assert result.loss == pytest.approx(fitness(result.answer, np.asarray(jax.random.key_data(jax.random.key(0)))))


def test_all_members_of_a_generation_share_a_key_and_generations_do_not():
    keys = []

    def fitness(x, key):
        keys.append(key.tobytes())
        return float(np.sum(x**2))

    evolve.minimize(fitness, np.ones(2), evolve.RandomSearch(population=4), generations=6, host=True)
    generations = [set(keys[4 * g : 4 * g + 4]) for g in range(6)]
    assert all(len(shared) == 1 for shared in generations)
    assert len(set.union(*generations)) == 6


@pytest.mark.parametrize("host", [False, True])
def test_maximizing_is_minimizing_minus_the_fitness(host):
    low = evolve.minimize(paraboloid, jnp.zeros(3), evolve.SepCMAES(), generations=20)
    function = (lambda x: float(-np.sum((x - 1) ** 2))) if host else (lambda x: -paraboloid(x))
    high = evolve.minimize(function, jnp.zeros(3), evolve.SepCMAES(), generations=20, maximize=True, host=host)
    np.testing.assert_allclose(high.answer, low.answer, rtol=1e-4)
    assert high.loss == pytest.approx(low.loss, rel=1e-4)
    assert high.loss >= 0


TREES = {
    "scalar": 0.5,
    "array scalar": np.float32(0.5),
    "list": [0.0, 2.0],
    "numpy": np.zeros((2, 3)),
    "nested": {"a": [jnp.zeros(2), (jnp.ones(()),)], "b": {"none": None, "empty": jnp.zeros((0, 3))}},
    "mixed": {"half": jnp.zeros(2, jnp.bfloat16), "small": jnp.zeros(2, jnp.float16), "single": jnp.zeros(2)},
}


def total(tree):
    return sum(((leaf.astype(jnp.float32) - 1) ** 2).sum() for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize(
    "optimizer", [evolve.SepCMAES(), evolve.OpenES(population=16, learning_rate=0.1)], ids=["cma", "openes"]
)
def test_answers_look_like_the_start(name, optimizer):
    start = TREES[name]
    result = evolve.minimize(total, start, optimizer, generations=60)
    like = jax.tree.map(jnp.asarray, start)
    assert jax.tree.structure(result.answer) == jax.tree.structure(like)
    for leaf, first in zip(jax.tree.leaves(result.answer), jax.tree.leaves(like), strict=True):
        assert (leaf.shape, leaf.dtype) == (first.shape, first.dtype)
        assert isinstance(leaf, np.ndarray)
    assert result.loss == pytest.approx(float(total(result.answer)), rel=1e-5, abs=1e-12)
    assert result.loss < 0.2 * float(total(jax.device_get(like)))


@pytest.mark.parametrize("host", [False, True])
def test_double_precision(x64, host):
    """1e-20 is out of reach in single precision next to a shift of one."""
    loss = (lambda x: float(np.sum((x - 1) ** 2))) if host else paraboloid
    optimizer = evolve.CMAES(stopping=None)
    result = evolve.minimize(loss, np.zeros(4), optimizer, target=1e-20, generations=1000, host=host)
    assert result.reason == "target"
    assert result.answer.dtype == np.float64
    assert np.abs(result.answer - 1).max() < 1e-9


def test_single_precision_stays_single_where_doubles_are_on(x64):
    result = evolve.minimize(paraboloid, np.zeros(4, np.float32), evolve.CMAES(), generations=5)
    assert result.answer.dtype == np.float32
    assert result.state.mean.dtype == np.float64


SWEEPS = {
    "CMAES": lambda v: evolve.CMAES(sigma=v),
    "SepCMAES": lambda v: evolve.SepCMAES(sigma=v),
    "OpenES": lambda v: evolve.OpenES(population=8, sigma=v, learning_rate=0.1 * v),
    "GeneticAlgorithm": lambda v: evolve.GeneticAlgorithm(population=8, parents=4, sigma=v, crossover=v),
    "SimulatedAnnealing": lambda v: evolve.SimulatedAnnealing(chains=4, step=v, temperature=v, ladder=1 + v),
    "RandomSearch": lambda v: evolve.RandomSearch(population=8, sigma=v),
    "SPSA": lambda v: zeroth.SPSA(sigma=v, learning_rate=v, stability=10 * v, alpha=v, gamma=v),
    "MeZO": lambda v: zeroth.MeZO(sigma=v, learning_rate=v),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeping_numbers_never_compiles_again(name):
    traces = []

    def loss(x):
        traces.append(1)
        return paraboloid(x)

    results = []
    for value in (0.5, 0.25, 0.125):
        traces.clear()
        start = jnp.full(3, value)
        limits = {"generations": int(16 * value), "target": -value, "seed": int(8 * value)}
        results.append(evolve.minimize(loss, start, SWEEPS[name](value), **limits))
        if len(results) > 1:
            assert results[-1].compile_seconds == 0
            assert traces  # whether it still computes the same is looked at every time
    assert results[0].compile_seconds > 0
    assert len({result.answer.tobytes() for result in results}) == 3


def test_problems_numbers_are_swept_too():
    shifts = [problems.Function("sphere", 3, shift=np.full(3, s), start=0.0) for s in (1.0, 2.0)]
    first, second = (evolve.run(problem, evolve.SepCMAES(), generations=50) for problem in shifts)
    assert first.compile_seconds > 0 == second.compile_seconds
    assert np.abs(second.answer - 2).max() < 0.5


def test_a_loss_that_changed_is_compiled_anew():
    """A compiled program remembers what the function read from outside; so does its trace."""

    class Target:
        at = 1.0

        def loss(self, x):
            return jnp.sum((x - self.at) ** 2)

    target = Target()
    first = evolve.minimize(target.loss, jnp.zeros(2), evolve.SepCMAES(), generations=60)
    target.at = -3.0
    second = evolve.minimize(target.loss, jnp.zeros(2), evolve.SepCMAES(), generations=60)
    np.testing.assert_allclose(first.answer, 1, atol=0.05)
    np.testing.assert_allclose(second.answer, -3, atol=0.05)


RATE, SCALE = 0.1, np.ones(2)


def test_a_schedule_that_reads_a_global_is_compiled_anew(monkeypatch):
    optimizer = evolve.Gradient(optax.sgd(lambda step: RATE))
    answers = []
    for rate in (0.1, 0.2, 0.1):
        monkeypatch.setitem(globals(), "RATE", rate)
        answers.append(evolve.minimize(paraboloid, jnp.zeros(2), optimizer, generations=2))
    np.testing.assert_allclose([result.answer[0] for result in answers], [0.2, 0.4, 0.2], rtol=1e-6)
    assert answers[2].compile_seconds == 0


@pytest.mark.parametrize("inner", [lambda function, x: function(x), lambda function, x: jax.jit(function)(x)])
def test_a_constant_that_changed_is_compiled_anew(monkeypatch, inner):
    """Closed over by the loss, or by a jitted function in it: the text of the trace shows neither's numbers."""

    def loss(x):
        return inner(lambda x: jnp.sum((x - SCALE) ** 2), x)

    optimizer = evolve.Gradient(optax.sgd(0.5))
    for scale in (1.0, 3.0):
        monkeypatch.setitem(globals(), "SCALE", np.full(2, scale))
        result = evolve.minimize(loss, jnp.zeros(2), optimizer, generations=3)
        np.testing.assert_allclose(result.answer, scale, rtol=1e-5)


def test_facts_of_the_program():
    result = evolve.minimize(paraboloid, jnp.zeros(3), evolve.SepCMAES(), generations=2)
    again = evolve.minimize(paraboloid, jnp.ones(3), evolve.SepCMAES(), generations=2)
    assert result.memory == again.memory > 0
    assert again.compile_seconds == 0 < again.seconds


def test_a_result_is_printed_in_a_line():
    result = evolve.minimize(paraboloid, jnp.zeros(3), evolve.SepCMAES(), generations=20)
    columns = ", ".join(result.history)
    assert repr(result) == (
        f"Result(loss={result.loss:.6g}, reason='generations', evaluations={result.evaluations}, generations=20, "
        f"failed=0, seconds={result.seconds:.3g}, answer=<(3,)>, history=<20 rows of {columns}>)"
    )
    layers = dataclasses.replace(result, answer=[jnp.zeros((2, k)) for k in range(1, 99)], error="Trace:\nAh: oh.\n")
    assert "answer=<(2, 1), (2, 2), (2, 3), (2, 4), (2, 5), (2, 6), (2, 7), (2, 8), ...>," in repr(layers)
    assert repr(layers).endswith("error='Ah: oh.')")
