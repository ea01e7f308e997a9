"""The laws that every optimizer obeys, one test a law, over the table in `laws/table.py`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from laws.harness import (
    SHAPE,
    WORST,
    N,
    Squares,
    advance,
    ask,
    begin,
    ended,
    landscape,
    look,
    loss,
    rotation,
    worst,
)
from laws.programs import answer, directions, init, members, numeric, tell
from laws.table import GOALS, PATIENCE, ROWS
from laws.tools import (
    COUNTS,
    close,
    compilations,
    evaluate,
    larger,
    redrawn,
    same_bits,
    smallest,
    stops,
    sweeps,
    told,
    turned,
)

import evolve
import zeroth
from evolve.backend import Device, Mesh
from evolve.core import Drawn, Geometry, Optimizer, Stored
from evolve.core.trees import take

pytestmark = pytest.mark.filterwarnings("ignore:LowRank")  # a reshaped matrix is formed, which it says once
FAILURES = (np.nan, np.inf, -np.inf)


def each(claim=None):
    """One test for each row, or for those that claim something; one process runs a row: its tests share programs."""
    names = [name for name, row in ROWS.items() if claim is None or claim in row.claims.split()]
    rows = [pytest.param(name, id=name, marks=pytest.mark.xdist_group(name)) for name in names]
    return pytest.mark.parametrize("name", rows)


def test_every_public_optimizer_stands_in_the_table():
    names = [getattr(package, name) for package in (evolve, zeroth) for name in package.__all__]
    public = {kind for kind in names if isinstance(kind, type) and issubclass(kind, Optimizer)}
    assert public <= {type(row.optimizer) for row in ROWS.values()}


@pytest.mark.parametrize("power", [0.2, 1.0, 3.0, -1.0])
def test_every_landscape_is_increasing(power):
    """From the optimum on."""
    losses = [loss(landscape(power=power), np.full(SHAPE, x)) for x in np.linspace(0.0, 2.0, 9)]
    assert np.all(np.diff(losses) > 0)


@pytest.mark.parametrize("kind", GOALS)
@each()
def test_reaches_the_target_or_says_why_not(name, kind):
    row = ROWS[name]
    budget = getattr(row, kind)
    allowed = PATIENCE if isinstance(budget, str) else budget
    result = evolve.run(landscape(kind), numeric(row.optimizer), seed=1, evaluations=allowed, target=GOALS[kind])
    assert (result.reason == "target") == isinstance(budget, int), f"{result.reason} at {result.loss}"
    assert result.forwards <= allowed


@pytest.mark.usefixtures("x64")
@each()
def test_shifting_problem_and_start_shifts_the_run(name):
    optimizer, shift = ROWS[name].optimizer, np.linspace(-3.0, 5.0, N)
    plain = landscape("rosenbrock")
    moved = landscape("rosenbrock", shift=shift, start=plain.start + shift)
    for generations in (1, 10):
        each_one = [advance(optimizer, problem, *begin(optimizer, problem), generations) for problem in (plain, moved)]
        states, losses = zip(*each_one, strict=True)
        (here, status), (there, other) = (look(optimizer, state) for state in states)
        close(losses[1], losses[0], 1e-8)
        np.testing.assert_allclose(there - shift.reshape(SHAPE), here, atol=1e-8)
        close(other, status, 1e-8)


@pytest.mark.usefixtures("x64")
@each("rotation")
@settings(max_examples=4)
@given(by=st.integers(0, 2**32 - 1), seed=st.integers(0, 2**32 - 1))
def test_rotating_problem_start_and_draws_rotates_the_run(name, by, seed):
    """The draws are isotropic, so the rotated draws are as good as any: given them, all that is learned rotates."""
    optimizer, by = numeric(ROWS[name].optimizer), rotation(by)
    plain = landscape("rosenbrock", start=np.linspace(-0.5, 0.5, N))
    other = landscape("rosenbrock", start=by @ plain.start, rotation=by.T)
    state, twin = (begin(optimizer, problem)[0] for problem in (plain, other))
    for t in range(12):
        key = jax.random.fold_in(jax.random.key(seed), t)
        drawn, own = (ask(optimizer, each, key) for each in (state, twin))
        np.testing.assert_allclose(drawn.scale, own.scale, rtol=1e-8)
        state = told(optimizer, plain, state, drawn, key)
        twin = told(optimizer, other, twin, turned(drawn, own.center, by), key)
    (here, status), (there, other) = (look(optimizer, state) for state in (state, twin))
    assert np.linalg.norm(here.reshape(-1) - plain.start) > 1e-3
    np.testing.assert_allclose(there.reshape(-1), by @ here.reshape(-1), rtol=0, atol=1e-8 * np.linalg.norm(here))
    close(other, status, 1e-7)


@pytest.mark.usefixtures("x64")
@each("ranks")
@settings(max_examples=5)
@given(factor=st.floats(-3, 3), power=st.floats(0.2, 3), level=st.floats(-10, 10), seed=st.integers(0, 2**32 - 1))
@example(factor=-3.0, power=0.2, level=-10.0, seed=0)  # all losses are negative
@example(factor=0.0, power=-1.0, level=0.0, seed=0)  # and bounded: -1 / (1 + v)
def test_increasing_transformations_leave_the_run_bit_identical(name, factor, power, level, seed):
    optimizer, seen = ROWS[name].optimizer, []
    for bend in ({}, {"factor": 10.0**factor, "power": power, "level": level}):
        problem = landscape("ellipsoid", **bend)
        state, key = begin(optimizer, problem, seed)
        state, _ = advance(optimizer, problem, state, key, 8)
        seen.append((look(optimizer, state), members(ask(optimizer, state, key))))
    same_bits(*seen)


@pytest.mark.usefixtures("x64")
@each("scale")
@settings(max_examples=5)
@given(power=st.floats(-20, 20).filter(lambda power: abs(power) > 1), seed=st.integers(0, 2**32 - 1))
@example(power=-6.0, seed=0)
@example(power=6.0, seed=0)
def test_scaling_problem_start_and_radius_scales_the_run(name, power, seed):
    """No unit of length is special: some options know one, and lengths are all that scales."""
    plain, scaled = (_scaled(ROWS[name].optimizer, factor, seed, 8) for factor in (1.0, 2.0**power))
    close(scaled, plain, 1e-8)


@each("scale")
@pytest.mark.parametrize("factor", [2.0**-30, 2.0**30])
def test_in_single_precision_a_power_of_two_scales_the_run_to_the_bit(name, factor):
    """No length is absolute, or leaves the range that has all digits."""
    same_bits(_scaled(ROWS[name].optimizer, factor, 0, 60), _scaled(ROWS[name].optimizer, 1.0, 0, 60))


def _scaled(optimizer, scale, seed, generations):
    """Losses, ratios, and lengths in units of the scale, of a run whose problem, start and options have it."""
    own = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * scale if _is_length(path) else leaf, optimizer)
    problem = landscape("ellipsoid", scale=scale)
    problem = eqx.tree_at(lambda p: p.start, problem, problem.start * scale)
    state, key = begin(own, problem, seed)
    state, losses = advance(own, problem, state, key, generations)
    found, status = look(own, state)
    lengths = found, members(ask(own, state, key)), {k: status.pop(k) for k in ("sigma", "axis") if k in status}
    return jax.device_get(losses), status, jax.tree.map(lambda leaf: leaf / scale, lengths)


def _is_length(path) -> bool:
    return jax.tree_util.keystr(path[-1:]) in (".sigma", ".max_speed", ".tolx", ".tolxstagnation")


@pytest.mark.usefixtures("x64")
@each()
def test_permuting_tied_members_changes_nothing_but_rounding(name):
    """Methods that keep one of equals decide by place: of them the losses that they keep must not change."""
    row, problem = ROWS[name], landscape()
    state, key = begin(row.optimizer, problem)
    state, _ = advance(row.optimizer, problem, state, key, 3)
    population = ask(row.optimizer, state, key, 4)
    if population.size == 1:
        return
    pairs = 2 * population.directions.group  # whole antithetic pairs change places: a pair fails together
    losses = jnp.asarray((np.arange(population.size) // pairs).astype(float))
    order = np.arange(population.size).reshape(-1, pairs)[:, ::-1].reshape(-1)
    drawn, after = directions(population), []
    for places in (np.arange(population.size), order):
        stored = eqx.tree_at(lambda p: p.directions, population, Stored(take(drawn, places)))
        after.append(tell(row.optimizer, state, stored, losses))
    if "places" in row.claims:
        after = [getattr(state, "losses", getattr(state, "best_loss", None)) for state in after]
    close(after[1], after[0], 1e-12)


@pytest.mark.usefixtures("x64")
@each()
def test_a_failed_member_never_wins_and_never_enters_the_state(name):
    optimizer, problem = ROWS[name].optimizer, landscape()
    state, key = begin(optimizer, problem)
    state, _ = advance(optimizer, problem, state, key, 2)
    population = ask(optimizer, state, key, 3)
    if population.size == 1:
        return
    last = np.arange(population.size) >= population.size - 2  # a whole pair
    after = [advance(optimizer, problem, state, key, 1, 3, np.where(last, failure, 0.0))[0] for failure in FAILURES]
    same_bits(after[1], after[0])
    same_bits(after[2], after[0])
    for leaf in jax.tree.leaves(jax.device_get(after[0])):
        assert not np.any(np.isnan(leaf) | np.isneginf(leaf))
    assert not np.any(np.all(answer(optimizer, after[0]) == members(population)[-2:], axis=(1, 2)))
    later = advance(optimizer, problem, after[0], key, 3, 4)[0]
    assert np.all(np.isfinite(answer(optimizer, later)))


@pytest.mark.usefixtures("x64")
@each()
def test_of_a_generation_in_which_all_fail_nothing_is_learned(name):
    """The state is bit-identical, but for what counts such generations."""
    optimizer, problem = ROWS[name].optimizer, landscape()
    state, key = begin(optimizer, problem)
    for done in (0, 2):
        if done:
            state, _ = advance(optimizer, problem, state, key, done)
        for failure in FAILURES:
            same_bits(advance(optimizer, problem, state, key, 1, done + 1, failure)[0], state, COUNTS)


@each()
def test_interrupted_and_resumed_anywhere_is_bit_identical(name, tmp_path):
    optimizer, problem = numeric(ROWS[name].optimizer), landscape("rosenbrock")
    whole = evolve.run(problem, optimizer, seed=3, generations=4)
    for stop in (1, 2, 3, 4):  # after every generation
        resumed = evolve.run(problem, optimizer, seed=3, generations=stop, directory=tmp_path, resume=stop > 1)
    same_bits((resumed.state, resumed.answer, resumed.loss), (whole.state, whole.answer, whole.loss))
    timeless = [{k: v for k, v in r.history.items() if k != "seconds"} for r in (resumed, whole)]
    same_bits(*timeless)


@pytest.mark.usefixtures("x64")
@each()
def test_device_count_changes_neither_draws_nor_results(name):
    """Eight devices, of which each measures a part of the members, and one that measures all."""
    optimizer, problem = ROWS[name].optimizer, landscape("rosenbrock")
    state, key = begin(optimizer, problem)
    assert jax.device_count() == 8
    for generations in (1, 3):
        one, all_of_them = (advance(optimizer, problem, state, key, generations, backend=b) for b in (Device(), Mesh()))
        close(all_of_them, one, 1e-10)


@pytest.mark.usefixtures("x64")
@each()
def test_chunks_change_neither_draws_nor_results(name):
    optimizer, problem = ROWS[name].optimizer, landscape("ellipsoid")
    state, key = begin(optimizer, problem)
    population = ask(optimizer, state, key)
    losses = [evaluate(problem, population, key, chunk) for chunk in (1, 6, population.size)]
    close(losses[0], losses[2], 1e-12)
    close(losses[1], losses[2], 1e-12)
    if isinstance(population.directions, Drawn):
        whole, *cut = (redrawn(population.directions, population.size, count) for count in (population.size, 2, 0))
        for parts in cut:
            same_bits(parts, whole)


@each()
def test_no_two_leaves_members_or_generations_share_noise(name):
    optimizer, start = ROWS[name].optimizer, {"a": jnp.zeros((8, 8)), "b": jnp.zeros((8, 8))}
    state = init(optimizer, start, jax.random.key(0))
    asked = [ask(optimizer, state, jax.random.key(0), t) for t in (1, 2, 3)]
    group = asked[0].directions.group
    # Members asked twice are where they were.
    fresh = asked[0].size - getattr(asked[0].directions, "copies", 0)
    trees = [take(members(population), slice(fresh)) for population in asked]
    draws = np.concatenate([leaf[::group].reshape(-1, 64) for tree in trees for leaf in tree.values()])
    lengths = np.linalg.norm(draws, axis=1)
    draws = draws[lengths > 0] / lengths[lengths > 0, None]  # elites and current states are where they were
    cosines = np.abs(draws @ draws.T) - np.eye(len(draws))
    assert np.max(cosines, initial=0.0) < 0.8


@pytest.mark.usefixtures("x64")
@each()
def test_vmap_over_seeds_and_every_number_is_a_loop(name):
    """Each member of the batch has a seed of its own, and from the third on a number of its own."""
    sweep, problem = sweeps(ROWS[name].optimizer), landscape("rosenbrock")
    keys = jax.vmap(jax.random.key)(jnp.arange(len(sweep)))

    def whole(optimizer, key):
        state, losses = advance(optimizer, problem, optimizer.init(problem.init(key), key), key, 6)
        return optimizer.answer(state), optimizer.status(state), losses

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *sweep)
    batched = jax.device_get(eqx.filter_jit(eqx.filter_vmap(whole))(stacked, keys))
    for k, optimizer in enumerate(sweep):
        state, losses = advance(optimizer, problem, *begin(optimizer, problem, k), 6)
        close(take(batched, k), (*look(optimizer, state), losses), 1e-6)


@each()
def test_sweeping_a_number_never_recompiles(name):
    one = numeric(ROWS[name].optimizer)
    other = jax.tree.map(larger, one)
    evolve.run(landscape(), one, generations=2)
    before = len(compilations)
    evolve.run(landscape(), other, generations=3, seed=1)
    assert len(compilations) == before


TREE = {
    "half": (jnp.ones((2, 3), jnp.bfloat16), jnp.ones(4, jnp.float16)),
    "empty": {},
    "x": [None, jnp.ones(2)],
    "scalar": jnp.ones(()),
}


@each()
def test_parameters_may_be_any_tree_of_floats(name):
    optimizer, problem = ROWS[name].optimizer, Squares(Geometry.of(TREE))
    state, key = begin(optimizer, problem)
    start = problem.init(key)
    found = answer(optimizer, advance(optimizer, problem, state, key, 30)[0])
    assert jax.tree.structure(found) == jax.tree.structure(start)
    assert Geometry.of(found) == Geometry.of(start)
    assert loss(problem, found) < loss(problem, start)
    # A generation of failures is not rounded away either.
    same_bits(advance(optimizer, problem, state, key, 1, 1, np.nan)[0], state, COUNTS)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        ({"w": jnp.ones(2), "k": jnp.ones(2, jnp.int32)}, TypeError, r"\['k'\] is int32"),
        (jnp.ones(2, jnp.complex64), TypeError, "complex64"),
        ({"empty": {}}, ValueError, "empty"),
        (jnp.array([1.0, jnp.nan]), ValueError, "1 non-finite"),
    ],
    ids=["integer", "complex", "empty", "not finite"],
)
@each()
def test_other_parameters_are_refused_by_name(name, start, error, message):
    with pytest.raises(error, match=message):
        evolve.minimize(lambda params: 0.0, start, ROWS[name].optimizer, generations=1)
    with pytest.raises(error, match=message):
        ROWS[name].optimizer.init(start, jax.random.key(0))


@pytest.mark.parametrize("n", [1, 2, 3])
@each()
def test_the_worst_leaves_the_state_without_nan(name, n):
    """In double precision with the smallest population, and in single precision with the row's own.

    A problem of one dimension has a bare number for its parameters.
    """
    optimizer, double = ROWS[name].optimizer, n != 2
    with jax.enable_x64(double):
        optimizer = numeric(smallest(optimizer) if double else optimizer)
        ends = jax.device_get(worst(optimizer, n, 1500))
    for k, what in enumerate(WORST):
        state, found, status, reason = take(ends, k)
        assert np.all(np.isfinite(found)), what
        assert not any(np.any(np.isnan(leaf)) for leaf in jax.tree.leaves((state, status))), what
        assert 0 <= reason <= len(optimizer.reasons), what


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if stops(row.optimizer) is not None])
def test_the_worst_ends_with_a_reason(name, n):
    """In double precision, with two members."""
    optimizer = stops(ROWS[name].optimizer)
    with jax.enable_x64(True):
        reasons, broken = jax.device_get(ended(numeric(smallest(optimizer)), n, 100_000))
    assert not np.any(broken)
    said = {what: [None, *optimizer.reasons][reason] for what, reason in zip(WORST, reasons, strict=True)}
    assert None not in said.values()
    assert said["failing"] in ("tolfailed", "restarts")
