"""Losses to weights, against average ranks by NumPy and SciPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from evolve.core import Elite, TopPairs, by_rank, centered_ranks, difference, recombination, z_score

# Few sizes, one of which is sorted: every one compiles anew. Subnormal numbers are zero to XLA.
SIZES = st.sampled_from([2, 5, 8, 40])
NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
FAILED = st.sampled_from([np.nan, np.inf, -np.inf])


@eqx.filter_jit
def call(function, *arguments):
    """In one program, where each operation would be compiled alone."""
    return function(*arguments)


def vectors(numbers):
    """Losses of one of the sizes, often with ties."""
    return SIZES.flatmap(lambda n: st.lists(numbers | st.sampled_from([0.0, 1.0]), min_size=n, max_size=n))


def average_table(losses, table):
    """The oracle: sort, and let each group of equals share the mean of its places."""
    losses = np.where(np.isfinite(losses), losses, np.inf)
    order = np.argsort(losses, kind="stable")
    weights = np.empty(len(losses))
    for value in np.unique(losses):
        places = np.flatnonzero(losses[order] == value)
        weights[order[places]] = np.mean(table[places])
    return weights


@given(vectors(NUMBERS | FAILED), st.integers(0, 2**31))
def test_by_rank_is_the_mean_of_the_tied_places(losses, seed):
    losses = np.array(losses, np.float32)
    table = np.random.default_rng(seed).normal(size=len(losses)).astype(np.float32)
    weights = call(by_rank, losses, table)
    np.testing.assert_allclose(weights, average_table(losses, table), atol=1e-6)
    np.testing.assert_allclose(np.asarray(weights, np.float64).sum(), table.astype(np.float64).sum(), atol=1e-5)


@given(vectors(NUMBERS | FAILED), st.data())
def test_members_not_in_use_get_nothing_and_tie_with_nobody(losses, data):
    losses, count = np.array(losses, np.float32), data.draw(st.integers(1, len(losses)))
    table = np.where(np.arange(len(losses)) < count, np.linspace(1, 2, len(losses)), 0).astype(np.float32)
    told = np.where(np.arange(len(losses)) < count, losses, np.float32(np.inf))
    weights = np.asarray(call(by_rank, told, table, np.asarray(count)))
    np.testing.assert_allclose(weights[:count], average_table(losses[:count], table[:count]), atol=1e-6)
    np.testing.assert_array_equal(weights[count:], 0.0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("count", [2, 3, 6, 100, 600])
@pytest.mark.parametrize(
    "shaping", [centered_ranks, Elite(), Elite(0.29), TopPairs(), TopPairs(0.29), z_score, difference]
)
def test_the_members_in_use_weigh_what_they_do_alone(shaping, count):
    """Of pairs one that is half in use is none."""
    rng = np.random.default_rng(count)
    losses = rng.integers(0, 50, 600).astype(float)
    losses[rng.random(600) < 0.1] = np.nan
    even = count - count % 2 if isinstance(shaping, TopPairs) else count
    told = np.where(np.arange(600) < count, losses, np.inf)
    expected = np.append(np.asarray(call(shaping, losses[:even])), np.zeros(600 - even))
    np.testing.assert_allclose(call(shaping, told, count), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(call(shaping, told, jnp.asarray(count)), expected, rtol=1e-12, atol=1e-15)


@given(vectors(NUMBERS))
def test_centered_ranks_are_scipys(losses):
    losses = np.array(losses, np.float32)
    n = len(losses)
    expected = ((rankdata(losses) - 1) / (n - 1) - 0.5) / n
    weights = np.asarray(call(centered_ranks, losses))
    np.testing.assert_allclose(weights, expected, atol=1e-7)
    np.testing.assert_allclose(np.sum(weights), 0.0, atol=1e-6)


@given(st.lists(st.integers(0, 7), min_size=8, max_size=8), st.data())
def test_rank_shapings_are_invariant_bit_for_bit(places, data):
    """Any two increasing tables of values give the very same weights."""
    tables = st.lists(NUMBERS, min_size=8, max_size=8, unique=True).map(sorted)
    one, other = (np.array(data.draw(tables), np.float32)[places] for _ in range(2))
    for shaping in (centered_ranks, Elite(), Elite(0.25)):
        np.testing.assert_array_equal(call(shaping, one), call(shaping, other))


@given(st.permutations(range(8)))
def test_permuting_members_permutes_weights(order):
    """Ties included: members 1 and 2, and the failed ones, are equal."""
    losses = np.array([3.0, 1.0, 1.0, -2.0, np.nan, np.inf, 7.0, 0.5], np.float32)
    for shaping in (centered_ranks, Elite(), z_score, difference):
        weights, moved = (np.asarray(call(shaping, each)) for each in (losses, losses[list(order)]))
        np.testing.assert_allclose(moved, weights[list(order)], atol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("size", [512, 513])
@pytest.mark.parametrize("count", [None, 300])
def test_however_many_they_are_the_weights_are_those_of_places(size, count):
    """Compared pair by pair or sorted, from a table that is known or traced; members fail and tie."""
    losses = np.random.default_rng(size).integers(0, 200, size).astype(float)
    losses[7::50] = np.nan
    used = size if count is None else count
    table = np.where(np.arange(size) < used, np.linspace(2.0, -1.0, size), 0.0)
    told = np.where(np.arange(size) < used, losses, np.inf)
    expected = np.append(average_table(losses[:used], table[:used]), np.zeros(size - used))
    for found in (call(by_rank, told, table, count), jax.jit(lambda told: by_rank(told, table, count))(told)):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [16, 256])
def test_no_step_of_a_loss_is_repeated_for_the_comparisons(size):
    """XLA would fuse it into both kinds of them: one sine a member is what the program says."""
    program = jax.jit(lambda x: centered_ranks(jnp.sin(x))).lower(jnp.arange(float(size))).compile()
    assert program.cost_analysis()["transcendentals"] == size


def test_a_table_fits_the_losses():
    with pytest.raises(ValueError, match="by_rank: a table of 3 weights does not fit 4 losses"):
        by_rank(jnp.zeros(4), np.ones(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_failed_member_ranks_worst(bad):
    losses = np.array([bad, 1e30, -1e30, 0.0], np.float32)
    table = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(call(by_rank, losses, table), [3.0, 2.0, 0.0, 1.0])
    assert np.argmax(call(centered_ranks, losses)) == 0
    assert np.asarray(call(Elite(0.5), losses))[0] == 0.0


@given(vectors(NUMBERS | FAILED))
def test_z_score_is_numpys_over_those_that_succeeded(losses):
    losses = np.array(losses, np.float32)
    ok = np.isfinite(losses)
    expected = np.zeros(len(losses))
    if ok.any():
        kept = losses[ok].astype(np.float64)
        deviation = kept.std()
        expected[ok] = (kept - kept.mean()) / deviation / ok.sum() if len(set(kept)) > 1 else 0.0
    # Differences of nearly equal losses carry the rounding of float32 subtraction, which is exact, and no more.
    np.testing.assert_allclose(call(z_score, losses), expected, atol=2e-6)


@pytest.mark.parametrize("scale", [2.0**-60, 1.0, 2.0**60, 2.0**120])
def test_z_score_does_not_depend_on_the_unit(scale):
    losses = np.array([1.0, 5.0, 2.0, -3.0, np.nan], np.float32)
    np.testing.assert_array_equal(call(z_score, losses * np.float32(scale)), call(z_score, losses))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-3, 1e30, np.nan])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_flat_generation_has_no_direction(value, size):
    """Equal losses weigh exactly nothing: no rounding of their mean is magnified into a step."""
    losses = np.full(size, value, np.float32)
    np.testing.assert_array_equal(call(z_score, losses), np.zeros(size))
    np.testing.assert_allclose(call(centered_ranks, losses), np.zeros(size), atol=1e-8)


@given(vectors(NUMBERS | FAILED))
def test_difference_is_the_loss_over_the_number_that_succeeded(losses):
    losses = np.array(losses, np.float32)
    ok = np.isfinite(losses)
    expected = np.where(ok, losses, 0.0) / max(1, ok.sum())
    tiny = np.finfo(np.float32).tiny  # what a quotient falls below is zero to XLA
    np.testing.assert_allclose(call(difference, losses), expected, rtol=1e-6, atol=tiny)


@given(vectors(NUMBERS | FAILED), st.sampled_from([1e-9, 0.25, 0.5, 1.0]))
def test_elite_weights_sum_to_minus_one(losses, fraction):
    losses = np.array(losses, np.float32)
    weights = np.asarray(call(Elite(fraction), losses))
    failed = ~np.isfinite(losses)
    assert (weights <= 0).all()
    assert (weights[failed] == 0).all()  # a failed member never wins, however many there are
    np.testing.assert_allclose(weights.sum(), 0.0 if failed.all() else -1.0, rtol=1e-6)


@given(vectors(NUMBERS | FAILED), st.integers(0, 2**31))
def test_recombination_gives_the_part_of_failed_members_to_the_others(losses, seed):
    """Positive weights keep their sum, negative ones stay, and without a failure it is `by_rank` bit for bit."""
    losses = np.array(losses, np.float32)
    table = np.sort(np.random.default_rng(seed).normal(size=len(losses)).astype(np.float32))[::-1]
    table = table - table[-1] if table[0] <= 0 else table  # the best attracts
    plain, weights = (np.asarray(call(f, losses, table)) for f in (by_rank, recombination))
    failed = ~np.isfinite(losses)
    if not failed.any():
        np.testing.assert_array_equal(weights, plain)
    elif not failed.all():
        assert (weights[failed] <= 0).all()
        np.testing.assert_array_equal(weights[plain < 0], plain[plain < 0])
        attracted = np.sum(plain[(plain > 0) & ~failed])
        if attracted > 0:
            np.testing.assert_allclose(np.sum(weights[weights > 0]), np.sum(plain[plain > 0]), rtol=1e-5)


def test_elite_weights_are_hansens():
    """Hansen 2016, eq. 49 with mu of lambda = 3 of 6: ln(mu + 1/2) - ln(i), normalized."""
    raw = np.log(3.5) - np.log([1, 2, 3])
    weights = call(Elite(0.5), np.array([5, 0, 4, 1, 2, 3], np.float32))
    np.testing.assert_allclose(weights, -np.array([0, raw[0], 0, raw[1], raw[2], 0]) / raw.sum(), rtol=1e-6)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_elite_refuses_a_fraction_outside_its_range(fraction):
    with pytest.raises(ValueError, match=rf"Elite: fraction is {fraction}; it must lie in \(0, 1\]"):
        Elite(fraction)


@pytest.mark.parametrize("shaping", [centered_ranks, z_score, difference, Elite()])
def test_weights_keep_the_precision_of_the_losses(shaping, x64):
    for dtype in (jnp.float32, jnp.float64):
        assert jax.eval_shape(shaping, jax.ShapeDtypeStruct((3,), dtype)).dtype == dtype
