"""Stopping of natural evolution strategies and PGPE: what the reason says is true of the run, and was not before."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.harness import worst
from laws.programs import ask, init, numeric, program, tell
from laws.tools import same_bits

import evolve
from evolve import CRFMNES, PGPE, SNES, XNES, Bounded, Restarts, Tolerances
from evolve.methods.stopping import REASONS, limit, patience

N, SIZE, GENERATIONS = 4, 8, 2700
SHORT = Tolerances(maxiter=0.01)  # a run of a few generations
STILL = {"tolx", "tolxstagnation"}  # which of them is first, digits decide
METHODS = {
    "XNES": XNES(0.3, SIZE),
    "SNES": SNES(0.3, SIZE, stopping=Tolerances()),
    "CRFMNES": CRFMNES(0.3, SIZE, Tolerances(maxiter=np.inf)),
    "PGPE": PGPE(SIZE, 0.3, stopping=Tolerances()),
    "PGPE sgd": PGPE(SIZE, 0.3, update=optax.sgd(1.0), stopping=Tolerances()),
}
FUNCTIONS = {
    "sphere": lambda x: jnp.sum(x**2, axis=1),
    "steep": lambda x: 1e12 * jnp.sum(x**2, axis=1),
    "slope": lambda x: x[:, 0],
    "far": lambda x: 1e20 * jnp.sum((x - 1e9) ** 2, axis=1) ** 0.5,
    "narrow": lambda x: x[:, 0] ** 2 + 1e18 * jnp.sum(x[:, 1:] ** 2, axis=1),
    "flat": lambda x: 0.0 * x[:, 0],
}
CASES = {
    ("XNES", "sphere"): {"tolfun"},
    ("SNES", "sphere"): {"tolfun"},
    ("CRFMNES", "sphere"): {"tolfun"},
    ("PGPE", "sphere"): {"tolstagnation"},  # its steps keep their length
    ("PGPE sgd", "sphere"): {"tolfun"},
    ("XNES", "steep"): STILL,
    ("SNES", "steep"): STILL,
    ("CRFMNES", "steep"): STILL,
    ("PGPE sgd", "steep"): STILL,
    ("XNES", "slope"): {"tolfacupx"},
    ("SNES", "slope"): {"tolfacupx"},
    ("CRFMNES", "slope"): {"tolfacupx"},
    ("PGPE", "slope"): {"maxiter"},
    ("XNES", "far"): {"noeffectcoord"},
    ("SNES", "far"): {"noeffectcoord"},
    ("CRFMNES", "far"): {"noeffectcoord"},
    ("XNES", "narrow"): {"tolconditioncov"},
}
stop = program(lambda optimizer, state: optimizer.stop(state))


@eqx.filter_jit
def _run(optimizer, function):
    """States before the first and after each generation, their losses, and the reason after each."""
    key = jax.random.key(0)
    start = optimizer.init(jnp.ones(N), key)

    def generation(state, t):
        population = optimizer.ask(state, jax.random.fold_in(key, t))
        losses = jax.lax.switch(function, list(FUNCTIONS.values()), population.members())
        state = optimizer.tell(state, population, losses)
        return state, (state, losses, optimizer.stop(state))

    states, losses, reasons = jax.lax.scan(generation, start, jnp.arange(GENERATIONS))[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states), losses, reasons


def run(optimizer, function):
    return jax.device_get(_run(numeric(optimizer), np.asarray(list(FUNCTIONS).index(function))))


def spread(state):
    """Means and standard deviations of the coordinates, generation by generation."""
    if hasattr(state, "root"):
        return state.mean, state.sigma[:, None] * np.sqrt(np.einsum("tij,tij->ti", state.root, state.root))
    if hasattr(state, "axis"):
        middle = np.eye(N) + state.axis[:, :, None] * state.axis[:, None, :]
        covariance = state.scales[:, :, None] * middle * state.scales[:, None, :]
        return state.mean, state.sigma[:, None] * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    normal = getattr(state, "normal", state)
    return normal.center, normal.sigma


def holds(reason, states, losses):
    """Whether what the reason says is true of a run, from its whole history."""
    best, count, (mean, deviations) = losses.min(axis=1), len(losses), spread(states)
    recent = np.ptp(best[-(10 + 30 * N // SIZE) :])
    if reason == "tolfun":
        return np.ptp(losses[-1]) < 1e-11 and recent < 1e-11
    if reason == "tolfunhist":
        return count > 9 and recent < 1e-12
    if reason == "tolx":
        path = states.sigma[-1] * states.path_c[-1] if hasattr(states, "path_c") else 0.0
        return np.all(deviations[-1] < 1e-11) and np.all(np.abs(path) < 1e-11)
    if reason == "tolxstagnation":
        return np.all(np.linalg.norm(mean[-int(20 + 0.1 * count) :] - mean[-1], axis=1) < 1e-8)
    if reason == "tolfacupx":
        return np.any(deviations[-1] > 1e3 * deviations[0])
    if reason == "noeffectcoord":
        return np.any(mean[-1] == mean[-1] + 0.2 * deviations[-1])
    if reason == "tolconditioncov":
        return np.linalg.cond(states.root[-1]) ** 2 > 1e14
    if reason == "tolstagnation":
        width = int(max(patience(N, SIZE) / 10, count / 50))
        entries = [row[4::5] for row in (best, np.median(losses, axis=1))]
        return all(np.median(row[-width:]) >= np.median(row[-2 * width : -width]) for row in entries)
    return reason == "maxiter" and count >= limit(N, SIZE)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "function"), CASES)
def test_the_reason_is_one_to_expect_and_is_true(name, function):
    sigma = 1e8 if function == "far" else 0.3
    optimizer = dataclasses.replace(METHODS[name], sigma=sigma)
    states, losses, reasons = run(optimizer, function)
    assert np.any(reasons), "it never stops"
    last = int(np.argmax(reasons > 0))
    reason = REASONS[reasons[last] - 1]
    assert reason in CASES[name, function], f"after {last + 1} generations"
    cut = lambda end: (jax.tree.map(lambda leaf: leaf[: end + 1], states), losses[:end])  # noqa: E731
    assert holds(reason, *cut(last + 1))
    if reason not in ("tolxstagnation", "tolstagnation", "tolconditioncov"):  # of which `holds` asks less
        assert not holds(reason, *cut(last))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", METHODS)
def test_a_constant_function_is_left_soon(name):
    """By the first criterion that is asked: at once, after two generations in a row, after ten."""
    patient = dict(tolfun=0.0, tolxstagnation=0.0)
    for options, reason, generations in (
        ({}, "tolfun", 1),
        (patient, "tolflatfitness", 2),
        (patient | {"tolflatfitness": np.inf}, "tolfunhist", 10),
    ):
        optimizer = dataclasses.replace(METHODS[name], stopping=Tolerances(**options))
        reasons = run(optimizer, "flat")[2]
        assert int(np.argmax(reasons > 0)) + 1 == generations
        assert REASONS[reasons[generations - 1] - 1] == reason


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", METHODS)
def test_stopping_changes_no_number_of_the_search(name):
    """And without it nothing is kept, and nothing stops.

    Operation by operation, from the start of a run to long after its end: two programs may be compiled to round
    otherwise.
    """
    optimizer, forever = METHODS[name], dataclasses.replace(METHODS[name], stopping=None)
    states, _, reasons = run(optimizer, "sphere")
    assert np.any(reasons[:999])
    plain = init(forever, np.ones(N), jax.random.key(0))
    same_bits(without(init(optimizer, np.ones(N), jax.random.key(0))), plain)
    assert getattr(plain, "normal", plain).watch is None
    for t in (0, 1, 9, 99, 999, GENERATIONS):
        state = jax.tree.map(lambda leaf, t=t: jnp.asarray(leaf[t]), states)
        population, other = ask(optimizer, state, jax.random.key(t)), ask(forever, without(state), jax.random.key(t))
        same_bits(population.members(), other.members())
        losses = FUNCTIONS["sphere"](population.members())
        with jax.disable_jit():
            one, other = optimizer.tell(state, population, losses), forever.tell(without(state), population, losses)
            assert forever.stop(other) == 0
        same_bits(without(one), other)


def without(state):
    """The state less what stopping remembers."""
    return eqx.tree_at(lambda state: getattr(state, "normal", state).watch, state, None)


@pytest.mark.parametrize("name", METHODS)
def test_failures_are_no_reason_until_nothing_else_is_seen_for_long(name):
    """Nor is a generation that is flat but for one failure: the failed member's loss is infinite."""
    optimizer = METHODS[name]
    state = init(optimizer, np.ones(N), jax.random.key(0))
    assert stop(optimizer, state) == 0
    for losses in (np.full(SIZE, np.nan), np.where(np.arange(SIZE) == 3, np.nan, 0.0)):
        population = ask(optimizer, state, jax.random.key(1))
        assert stop(optimizer, tell(optimizer, state, population, losses)) == 0
    failing = evolve.minimize(lambda x: jnp.nan * jnp.sum(x), np.ones(N), optimizer, evaluations=800)
    assert (failing.reason, failing.generations) == ("tolfailed", 31)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("method", [SNES, PGPE], ids=lambda method: method.__name__)
def test_the_worst_leaves_no_nan(method, n):
    """In single precision, with the smallest population; the others are in the table of laws."""
    optimizer = numeric(method(population=2, stopping=Tolerances()))
    for leaf in jax.tree.leaves(jax.device_get(worst(optimizer, n, 300))):
        assert not np.any(np.isnan(leaf))


@pytest.mark.parametrize("method", [SNES, PGPE], ids=lambda method: method.__name__)
def test_a_tree_of_any_dtypes_is_watched(method):
    start = {"a": jnp.ones((2, 2)), "b": (jnp.ones(3, jnp.bfloat16), jnp.ones(()))}
    flat = evolve.minimize(lambda x: 0.0 * x["b"][1], start, method(stopping=Tolerances()), evaluations=2000)
    assert flat.reason == "tolfun"


@pytest.mark.parametrize(
    "optimizer",
    [XNES(stopping=SHORT), SNES(stopping=SHORT), CRFMNES(stopping=SHORT), PGPE(8, stopping=SHORT)],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_restarts_begin_again(optimizer):
    """The same for several seeds at once as for each alone."""
    again = Restarts(optimizer, "same", 3)
    noise = lambda x: jnp.sum(jnp.sin(1e3 * x))  # noqa: E731
    for seed, result in enumerate(evolve.minimize(noise, jnp.zeros(3), again, evaluations=10_000, seeds=2)):
        assert result.reason == "restarts"
        assert list(np.unique(result.history["run"])) == [0, 1, 2, 3]
        alone = evolve.minimize(noise, jnp.zeros(3), again, evaluations=10_000, seed=seed)
        np.testing.assert_array_equal(alone.history["run"], result.history["run"])


def test_misuse_is_refused():
    for never in (SNES(), PGPE(), CRFMNES(), XNES(stopping=None)):
        with pytest.raises(ValueError, match=f"{type(never).__name__} never stops by itself"):
            Restarts(never, "same")
    with pytest.raises(ValueError, match="Bounded never stops by itself"):
        Restarts(Bounded(SNES(), -1.0, 1.0), "same")
