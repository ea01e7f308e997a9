"""What CMA-ES derives from dimension and population: pycma's numbers, known or traced."""

import functools

import cma
import jax
import numpy as np
import pytest

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
        p = parameters(n, size, active, rates, most)
        return p, p.tables(most)

    for n in (1, 2, 10):
        for size in (2, 3, 4, 13, most):
            known, (found, tables) = parameters(n, size, active, rates), jax.device_get(traced(np.int32(size), n))
            np.testing.assert_allclose(np.array(found, float), np.array(known, float), rtol=1e-12, atol=1e-15)
            for one, other in zip(tables, known.tables(most), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
                assert not np.any(one[size:])
