"""Laws of directions: reproducible, independent, of mean 0 and variance 1, and summed without being formed."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.core import Antithetic, Factored, Gaussian, LowRank, Rademacher, Sparse, perturbation
from evolve.core.lowrank import form

BASE = [Gaussian(), LowRank(1), LowRank(3, Rademacher()), Sparse(0.3, Rademacher()), Sparse(0.5, LowRank(2))]
PAIRED = [Antithetic(Rademacher()), Antithetic(LowRank(2)), Antithetic(Sparse(0.5))]
EVERY = [*BASE, *PAIRED, Antithetic(Antithetic(LowRank(1)))]
KEY = jax.random.key(7)


def shape(*axes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(axes, dtype)


# A matrix, a scalar, a kernel: every way a leaf is drawn.
LIKE = {"a": shape(6, 5), "b": [shape()], "c": shape(4, 3, 5)}


@functools.cache
def single(law):
    return jax.jit(lambda key, i: form(law.direction(key, i, LIKE)))


@functools.cache
def many(law, count):
    return jax.jit(lambda key, first: form(law.batch(key, first, count, LIKE)))


def rows(tree, count):
    """Formed directions as a matrix, one member a row."""
    return np.concatenate([np.reshape(leaf, (count, -1)) for leaf in jax.tree.leaves(tree)], axis=1)


def flat(tree):
    return rows(jax.tree.map(lambda leaf: leaf[None], tree), 1)[0]


@pytest.mark.parametrize("law", EVERY, ids=repr)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), member=st.integers(12, 2**20), back=st.integers(0, 2))
def test_a_direction_depends_on_key_leaf_and_member_alone(law, seed, member, back):
    """The same member alone, and at any place of a batch."""
    key = jax.random.key(seed)
    alone = flat(single(law)(key, member))
    first = (member // law.group - back) * law.group
    batch = rows(many(law, 12)(key, first), 12)
    np.testing.assert_allclose(batch[member - first], alone, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("law", EVERY, ids=repr)
def test_a_direction_looks_like_the_parameters(law):
    formed = single(law)(KEY, 0)
    assert jax.tree.structure(formed) == jax.tree.structure(LIKE)
    for leaf, like in zip(jax.tree.leaves(formed), jax.tree.leaves(LIKE), strict=True):
        assert (leaf.shape, leaf.dtype) == (like.shape, like.dtype)


@pytest.mark.parametrize("law", BASE, ids=repr)
def test_nothing_shares_noise(law):
    """Leaves of one shape, members, generations: no two of 48 draws of 480 numbers are alike or opposite."""
    like = {"a": shape(24, 20), "b": [shape(24, 20)]}
    drawn = jax.jit(lambda key: form(law.batch(key, 0, 8, like)))
    run = jax.random.key(3)
    each = [leaf for t in range(3) for leaf in jax.tree.leaves(drawn(jax.random.fold_in(run, t)))]
    correlation = np.corrcoef(np.concatenate(each).reshape(48, -1))
    assert np.abs(correlation - np.eye(48)).max() < 0.6


@pytest.mark.parametrize("law", [LowRank(4), *BASE], ids=repr)
def test_mean_zero_variance_one_and_no_correlation(law):
    """E d = 0 and E d d^T = 1 within six standard errors of the sample, which is what the estimator needs."""
    count, like = 4096, {"w": shape(10, 9), "b": shape(4)}
    drawn = rows(jax.jit(lambda: form(law.batch(KEY, 0, count, like)))(), count).astype(np.float64)
    second = np.einsum("ki,kj->kij", drawn, drawn[:, -12:])
    for sample, expected in ((drawn, 0.0), (second, np.eye(drawn.shape[1])[:, -12:])):
        error = sample.std(axis=0) / np.sqrt(count)
        assert (np.abs(sample.mean(axis=0) - expected) <= 6 * error + 1e-6).all()
    # Pooled over coordinates the error is smaller: a variance of 1.1 would show.
    variance = np.mean(drawn[:, :90] ** 2, axis=1)
    assert abs(variance.mean() - 1) <= 6 * variance.std() / np.sqrt(count) + 1e-6 < 0.1


@pytest.mark.parametrize("law", PAIRED, ids=repr)
def test_antithetic_pairs_are_exactly_opposite(law):
    batch = rows(many(law, 12)(KEY, 4), 12)
    np.testing.assert_array_equal(batch[0::2], -batch[1::2])
    np.testing.assert_array_equal(flat(single(law)(KEY, 8)), -flat(single(law)(KEY, 9)))
    inner = flat(single(law.inner)(KEY, 2))
    np.testing.assert_allclose(batch[0], inner, rtol=1e-6)


@pytest.mark.parametrize("pieces", ["whole", "split"])
@pytest.mark.parametrize("law", EVERY, ids=repr)
def test_combine_is_the_sum_of_the_formed(law, pieces, monkeypatch):
    """Whether drawn at once or a few at a time, with a last piece that is not full."""
    if pieces == "split":
        monkeypatch.setattr(perturbation, "_DRAWN_AT_ONCE", 500)
    size = 12
    formed = rows(many(law, size)(KEY, 0), size).astype(np.float64)
    combine = jax.jit(lambda weights: law.combine(KEY, weights, LIKE))
    for seed in range(3):
        weights = np.random.default_rng(seed).normal(size=size).astype(np.float32)
        total = combine(weights)
        assert jax.tree.structure(total) == jax.tree.structure(LIKE)
        bound = 1e-6 * (np.abs(weights) @ np.abs(formed) + 1)
        assert (np.abs(flat(total) - weights @ formed) <= bound).all()


@pytest.mark.parametrize("law", [Gaussian(), LowRank(1), Antithetic(LowRank(1, Rademacher())), Sparse(0.5)], ids=repr)
def test_combine_in_double_precision(law, x64):
    like = {"w": shape(6, 5, dtype=jnp.float64), "b": shape(3)}
    weights = np.random.default_rng(7).normal(size=8)
    total, formed = jax.jit(lambda w: (law.combine(KEY, w, like), form(law.batch(KEY, 0, 8, like))))(weights)
    for leaf, each in zip(jax.tree.leaves(total), jax.tree.leaves(formed), strict=True):
        assert leaf.dtype == each.dtype
        tolerance = 1e-12 if leaf.dtype == jnp.float64 else 1e-5
        np.testing.assert_allclose(leaf, np.tensordot(weights, each, 1), atol=tolerance)


@jax.jit
def sparse_signs(fraction):
    return Sparse(fraction, Rademacher()).batch(KEY, 0, 400, shape(250))


@pytest.mark.parametrize("fraction", [0.05, 0.5, 1.0])
def test_sparse_keeps_its_fraction(fraction):
    drawn = np.asarray(sparse_signs(fraction))
    kept = drawn != 0
    error = np.sqrt(fraction * (1 - fraction) / kept.size)
    assert abs(kept.mean() - fraction) <= 5 * error
    np.testing.assert_allclose(np.abs(drawn[kept]), 1 / np.sqrt(fraction), rtol=1e-6)
    assert abs(np.mean(drawn[kept] > 0) - 0.5) <= 5 * 0.5 / np.sqrt(kept.sum())


def test_sparse_fraction_can_be_swept():
    fractions = np.array([0.1, 0.5, 1.0], np.float32)

    def draw(fraction):
        return Sparse(fraction).direction(KEY, 3, shape(50))

    swept = jax.jit(jax.vmap(draw))(fractions)
    looped = [draw(float(fraction)) for fraction in fractions]
    np.testing.assert_allclose(swept, looped, rtol=1e-6)


@pytest.mark.parametrize("axes", [(), (1,), (31,), (32,), (33,), (5, 13)])
def test_rademacher_is_exactly_plus_or_minus_one(axes):
    drawn = np.asarray(jax.jit(lambda: Rademacher().direction(KEY, 0, shape(*axes)))())
    assert drawn.shape == axes
    assert set(np.unique(drawn)) <= {-1.0, 1.0}


def test_rademacher_bits_are_unbiased_and_independent():
    """At each place of the 32-bit word, and between places."""
    drawn = np.asarray(jax.jit(lambda: Rademacher().batch(KEY, 0, 4096, shape(96)))())
    products = drawn.T @ drawn / 4096 - np.eye(96)
    assert np.abs(drawn.mean(axis=0)).max() <= 5.5 / np.sqrt(4096)
    assert np.abs(products).max() <= 6 / np.sqrt(4096)


@pytest.mark.parametrize("law", [Gaussian(), Rademacher()], ids=repr)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_low_rank_directions_have_their_rank(law, rank):
    like = {"matrix": shape(12, 9), "kernel": shape(3, 4, 8), "stack": shape(2, 2, 3, 10)}
    formed = jax.jit(lambda: form(LowRank(rank, law).direction(KEY, 5, like)))()
    for leaf in jax.tree.leaves(formed):
        assert np.linalg.matrix_rank(np.reshape(leaf, (-1, leaf.shape[-1]))) <= rank
    if law == Gaussian():  # of signs, two columns may be equal
        assert np.linalg.matrix_rank(formed["matrix"]) == rank


@pytest.mark.parametrize(
    ("axes", "rank", "factored"),
    [
        ((8, 8), 1, True),
        ((8, 8), 4, False),  # 4 * 16 numbers are no fewer than 64
        ((8, 9), 4, True),
        ((2, 2), 1, False),
        ((50, 1), 1, False),
        ((64,), 1, False),
        ((), 1, False),
        ((3, 3, 8), 1, True),
    ],
)
def test_only_what_becomes_smaller_is_factored(axes, rank, factored):
    leaf = jax.eval_shape(lambda: LowRank(rank).direction(KEY, 0, shape(*axes)))
    assert isinstance(leaf, Factored) == factored
    assert leaf.shape == axes


@pytest.mark.parametrize("rank", [0, -1])
def test_low_rank_refuses_a_rank_below_one(rank):
    with pytest.raises(ValueError, match=f"LowRank: rank is {rank}; it must be at least 1"):
        LowRank(rank)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_sparse_refuses_a_fraction_outside_its_range(fraction):
    with pytest.raises(ValueError, match=rf"Sparse: fraction is {fraction}; it must lie in \(0, 1\]"):
        Sparse(fraction)


def test_sparse_refuses_pairs_inside():
    with pytest.raises(ValueError, match=r"Sparse: .*write Antithetic\(Sparse\(\.\.\.\)\) instead"):
        Sparse(0.5, Antithetic())


def test_a_perturbation_is_static_but_for_its_numbers():
    """Only what may be swept is a leaf, so that a sweep never recompiles."""
    assert jax.tree.leaves(Antithetic(LowRank(2, Rademacher()))) == []
    assert jax.tree.leaves(Antithetic(Sparse(0.25))) == [0.25]
    assert eqx.tree_equal(Antithetic(Sparse(0.25)), Antithetic(Sparse(0.25)))
