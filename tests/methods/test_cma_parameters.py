"""What CMA-ES derives from dimension and population: pycma's numbers, known or traced."""

import functools

import cma
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.methods.cma_parameters import default_population, parameters

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("size", [None, 4, 6, 13, 200])
@pytest.mark.parametrize("n", [2, 5, 40, 100])
def test_parameters_are_pycmas(n, size):
    size = size or default_population(n)
    assert default_population(n) == cma.CMAEvolutionStrategy([0.0] * n, 1.0, {"verbose": -9}).popsize
    for active in (True, False):
        # By default pycma mirrors a member of populations below 6, and damps them differently.
        options = {"popsize": size, "verbose": -9, "CMA_active": active, "CMA_mirrors": 0}
        peer = cma.CMAEvolutionStrategy([0.0] * n, 1.0, options)
        ours, theirs = parameters(n, size, active), peer.sp
        mean_weights, weights = ours.tables()
        np.testing.assert_allclose(weights, theirs.weights, atol=1e-14)
        np.testing.assert_allclose(mean_weights, np.maximum(theirs.weights, 0), atol=1e-14)
        for one, other in ((ours.mu_eff, theirs.weights.mueff), (ours.c_1, theirs.c1), (ours.c_mu, theirs.cmu)):
            np.testing.assert_allclose(one, other, rtol=1e-13)
        np.testing.assert_allclose(ours.c_c, theirs.cc, rtol=1e-13)
        np.testing.assert_allclose(ours.c_sigma, peer.adapt_sigma.cs, rtol=1e-13)
        np.testing.assert_allclose(ours.d_sigma, peer.adapt_sigma.damps, rtol=1e-13)
        np.testing.assert_allclose(ours.chi, cma.utilities.math.Mh.chiN(n), rtol=1e-13)


@pytest.mark.parametrize("n", [10, 100, 300])
def test_the_matrix_is_decomposed_when_pycma_decomposes_it(n):
    peer = cma.CMAEvolutionStrategy([0.0] * n, 1.0, {"verbose": -9, "seed": 1})
    changed, before = [], None
    for generation in range(14):
        members = peer.ask()
        if before is not None and not np.array_equal(before, peer.sm.D):
            changed.append(generation)
        before = np.array(peer.sm.D)
        peer.tell(members, [float(x @ x) for x in members])
    gap = parameters(n, peer.popsize, True).gap
    assert changed == [generation for generation in range(1, 14) if generation % gap == 0]


@pytest.mark.parametrize(("n", "size"), [(4, 8), (10, 10), (1000, 24), (2, 50)])
def test_the_separable_variant_learns_n_plus_two_thirds_as_fast(n, size):
    full, separable = parameters(n, size, True), parameters(n, size, True, "separable")
    faster = (n + 2) / 3
    assert separable.c_1 == pytest.approx(min(1.0, full.c_1 * faster))
    assert separable.c_mu == pytest.approx(min(1 - separable.c_1, full.c_mu * faster))
    for name in ("up", "mu_eff", "c_sigma", "d_sigma", "c_c"):
        np.testing.assert_array_equal(getattr(separable, name), getattr(full, name))


@pytest.mark.parametrize("rates", ["full", "separable", "diagonal"])
@pytest.mark.parametrize("active", [True, False])
def test_constants_of_a_traced_population_are_those_of_a_known_one(active, rates):
    most = 64

    @functools.partial(jax.jit, static_argnums=1)
    def traced(size, n):
        p, ranks = parameters(n, size, active, rates, most), jnp.arange(most)
        return p, p.weights(ranks, (ranks < size).astype(int))

    for n in (1, 2, 10):
        for size in (2, 3, 4, 13, most):
            known, (found, tables) = parameters(n, size, active, rates), jax.device_get(traced(np.int32(size), n))
            np.testing.assert_allclose(np.array(found, float), np.array(known, float), rtol=1e-12, atol=1e-15)
            for one, other in zip(tables, known.tables(), strict=True):
                np.testing.assert_allclose(one[:size], other, rtol=1e-12, atol=1e-15)
                assert not np.any(one[size:])


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.booleans())
def test_tied_members_share_their_places_weights_whether_their_number_is_known_or_traced(groups, active):
    """Groups of equal members, one after the other."""
    size, ends = sum(groups), np.cumsum(groups)
    first, tied = np.repeat(ends - groups, groups), np.repeat(groups, groups)
    known, traced = (parameters(5, number, active, "full", 128) for number in (size, jnp.asarray(size, jnp.int32)))
    first, tied = (jnp.asarray(np.pad(each, (0, 128 - size))) for each in (first, tied))
    found, plain = traced.weights(first, tied), known.weights(first[:size], tied[:size])
    for table, one, other in zip(known.tables(), plain, found, strict=True):
        expected = np.repeat([np.mean(table[end - n : end]) for n, end in zip(groups, ends, strict=True)], groups)
        np.testing.assert_allclose(one, expected, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(other[:size], expected, rtol=1e-12, atol=1e-15)
