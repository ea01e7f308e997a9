"""CMA-ES against the tutorial in NumPy and cmaes: single updates and whole traces."""

import math
from functools import partial

import cmaes
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.programs import ask, init, members, numeric, program, start, tell
from laws.tools import COUNTS, same_bits

from evolve import CMAES, LMMAES, MAES, SepCMAES
from evolve.core import Stored
from evolve.methods.cma_parameters import parameters
from evolve.methods.full import _factor

pytestmark = pytest.mark.usefixtures("x64")
Cholesky = partial(CMAES, root="cholesky")
FULL = pytest.mark.parametrize("kind", [CMAES, Cholesky], ids=["symmetric", "cholesky"])
stop = program(lambda optimizer, state: optimizer.stop(state))
ALL = pytest.mark.parametrize("kind", [CMAES, Cholesky, SepCMAES], ids=["symmetric", "cholesky", "separable"])


def ellipsoid(x):
    """Condition 1e6; x has shape (members, n)."""
    return np.sum(10.0 ** (6 * np.arange(x.shape[1]) / (x.shape[1] - 1)) * x**2, axis=1)


class Tutorial:
    """Hansen (2016), arXiv:1604.00772, table 1 and figure 6, written from the paper alone."""

    def __init__(self, mean, sigma, size, active):
        self.n, self.m, self.sigma, self.t = len(mean), np.array(mean), sigma, 0
        self.C, self.p_sigma, self.p_c = np.eye(self.n), np.zeros(self.n), np.zeros(self.n)
        n, mu = self.n, size // 2
        raw = np.log((size + 1) / 2) - np.log(np.arange(1, size + 1))  # eq. 49
        mu_eff = raw[:mu].sum() ** 2 / (raw[:mu] ** 2).sum()
        mu_eff_minus = raw[mu:].sum() ** 2 / (raw[mu:] ** 2).sum()
        self.c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)  # eq. 56
        self.c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)  # eq. 57
        self.c_mu = min(1 - self.c_1, 2 * (mu_eff - 2 + 1 / mu_eff + 1 / 4) / ((n + 2) ** 2 + mu_eff))  # eq. 58
        # Eq. 55 has n + mu_eff + 5, no limit and a damping of its own for large populations; the library does as pycma.
        self.c_sigma = min(0.5, (mu_eff + 2) / (n + mu_eff + 3))
        more = max(1, 3 * (1 - 0.5 ** (n / 9)))
        self.d_sigma = 1 + 2 * max(0, more * math.sqrt((mu_eff - 1) / (n + 1)) - 1) + self.c_sigma
        minus = min(
            1 + self.c_1 / self.c_mu,  # eq. 50
            1 + 2 * mu_eff_minus / (mu_eff + 2),  # eq. 51
            (1 - self.c_1 - self.c_mu) / (n * self.c_mu),  # eq. 52
        )
        scaled = np.where(raw >= 0, raw / raw[raw > 0].sum(), minus * raw / -raw[raw < 0].sum())  # eq. 53
        self.w, self.mu, self.mu_eff = scaled if active else np.maximum(scaled, 0), mu, mu_eff

    def tell(self, y, losses):
        """One generation of directions y, shape (size, n), of members of which none are tied."""
        n, self.t = self.n, self.t + 1
        values, B = np.linalg.eigh(self.C)
        root = B @ np.diag(values**-0.5) @ B.T
        y = y[np.argsort(losses)]
        y_w = self.w[: self.mu] @ y[: self.mu]  # eq. 41
        self.m = self.m + self.sigma * y_w  # eq. 42
        pull = math.sqrt(self.c_sigma * (2 - self.c_sigma) * self.mu_eff)
        self.p_sigma = (1 - self.c_sigma) * self.p_sigma + pull * root @ y_w  # eq. 43
        # The tutorial's chi is an approximation of this, 4e-4 off at n = 5.
        length, chi = np.linalg.norm(self.p_sigma), math.sqrt(2) * math.gamma((n + 1) / 2) / math.gamma(n / 2)
        self.sigma *= math.exp(self.c_sigma / self.d_sigma * (length / chi - 1))  # eq. 44
        # The tutorial asks whether the length is below (1.4 + 2 / (n + 1)) chi; pycma asks this of its square.
        h = length**2 / (1 - (1 - self.c_sigma) ** (2 * self.t)) < (2 + 4 / (n + 1)) * n
        self.p_c = (1 - self.c_c) * self.p_c + h * math.sqrt(self.c_c * (2 - self.c_c) * self.mu_eff) * y_w  # eq. 45
        # Eq. 46, with pycma's guard against a member in the very center
        w = np.where(self.w >= 0, self.w, self.w * n / (np.linalg.norm(y @ root, axis=1) + 1e-9) ** 2)
        delta = (1 - h) * self.c_c * (2 - self.c_c)
        self.C = (1 + self.c_1 * delta - self.c_1 - self.c_mu * self.w.sum()) * self.C  # eq. 47
        self.C = self.C + self.c_1 * np.outer(self.p_c, self.p_c) + self.c_mu * (y.T * w) @ y


def resized(state, factor):
    """The same distribution, written with a C that is factor^2 as large."""
    state = jax.device_get(state)
    shape = eqx.tree_at(lambda s: s.scales, state.shape, state.shape.scales * factor)
    if hasattr(shape, "covariance"):
        shape = eqx.tree_at(lambda s: s.covariance, shape, shape.covariance * factor**2)
    if hasattr(shape, "lower"):
        shape = eqx.tree_at(lambda s: s.lower, shape, shape.lower * factor)
    return eqx.tree_at(
        lambda s: (s.shape, s.sigma, s.path_c), state, (shape, state.sigma / factor, state.path_c * factor)
    )


def trace(optimizer, start, loss, generations, size_of_c=1.0):
    """Population, losses and the state after each generation; sigma makes good for what C is larger."""
    optimizer, key = numeric(optimizer), jax.random.key(0)
    state = resized(init(optimizer, start, key), size_of_c)
    for t in range(generations):
        population = ask(optimizer, state, jax.random.fold_in(key, t))
        losses = loss(np.asarray(members(population)))
        state = tell(optimizer, state, population, losses)
        yield population, losses, state


@jax.jit
def there_and_back(shape, white):
    """Directions in the shape, and what is left when it is taken from them."""
    colored = shape.color(white)
    return colored, shape.whiten(colored)


@pytest.mark.parametrize(("n", "size", "active"), [(2, 6, True), (5, 8, False), (6, 21, True)])
def test_a_trace_is_the_tutorials(n, size, active):
    start = np.linspace(1.0, 2.0, n)
    oracle = Tutorial(start, 0.5, size, active)
    for population, losses, state in trace(CMAES(0.5, size, active), start, ellipsoid, 60):
        # Not (x - m) / sigma, which rounds.
        oracle.tell(np.asarray(population.stored), losses)
        np.testing.assert_allclose(state.mean, oracle.m, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(state.sigma, oracle.sigma, rtol=1e-9)
        np.testing.assert_allclose(state.shape.covariance, oracle.C, rtol=1e-8, atol=1e-9 * np.max(oracle.C))
        np.testing.assert_allclose(state.path_sigma, oracle.p_sigma, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(state.path_c, oracle.p_c, rtol=1e-8, atol=1e-9 * np.max(np.abs(oracle.p_c)) + 1e-300)
        # What is drawn next is N(0, C): the factor's square is C.
        factor, white = map(np.asarray, there_and_back(state.shape, np.eye(n)))
        np.testing.assert_allclose(factor.T @ factor, oracle.C, rtol=1e-8, atol=1e-9 * np.max(oracle.C))
        np.testing.assert_allclose(white @ white.T, np.eye(n), atol=1e-8)


def test_a_separable_trace_is_that_of_cmaes():
    """The `cmaes` package's SepCMA is told our members, and our rates: its own lack the factor (n + 2) / 3."""
    n, size = 6, 9
    start = np.linspace(1.0, 2.0, n)
    peer = cmaes.SepCMA(mean=start.copy(), sigma=0.5, population_size=size)
    p = parameters(n, size, False, "separable")
    own = {"_c1": p.c_1, "_cmu": p.c_mu, "_cc": p.c_c, "_mu_eff": p.mu_eff, "_d_sigma": p.d_sigma}
    for name, value in own.items():
        setattr(peer, name, value)
    peer._c_sigma, peer._weights, peer._chi_n = p.c_sigma, p.tables()[1], p.chi
    for population, losses, state in trace(SepCMAES(0.5, size, False), start, ellipsoid, 60):
        peer.tell(list(zip(np.asarray(members(population)), losses, strict=True)))
        np.testing.assert_allclose(state.mean, peer._mean, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(state.sigma, peer._sigma, rtol=1e-8)
        np.testing.assert_allclose(state.shape.scales**2, peer._C, rtol=1e-7)


@pytest.mark.parametrize("least", [-1e-14, 0.0, 1e-12])
def test_a_cholesky_factor_is_that_of_c_even_where_rounding_has_cost_its_positive_definiteness(least):
    """Of an indefinite C it is that of C and as much of the identity as a decomposition adds."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    covariance = (basis * np.array([least, 1e-9, 1e-6, 1e-3, 1.0, 2.0])) @ basis.T
    covariance = (covariance + covariance.T) / 2
    assert least >= 0 or np.any(np.isnan(jax.lax.linalg.cholesky(covariance)))
    lower = np.asarray(jax.jit(_factor)(covariance))
    np.testing.assert_allclose(lower @ lower.T, covariance, rtol=0, atol=2e-14)
    assert np.all(np.triu(lower, 1) == 0)
    assert np.all(np.diagonal(lower) > 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"root": "qr"}, "CMAES: root is 'qr'; it must be 'symmetric' or 'cholesky'"),
        ({"root": "cholesky", "diagonal": True}, "CMAES: root is 'cholesky', but with diagonal=True no matrix is kept"),
    ],
)
def test_a_root_that_cannot_be_is_refused(options, error):
    with pytest.raises(ValueError, match=error):
        CMAES(**options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("option", ["active", "mirrored", "elitist", "diagonal"])
def test_what_is_neither_true_nor_false_is_refused(option):
    with pytest.raises(TypeError, match=f"CMAES: {option} is 'no'; it must be True or False"):
        CMAES(**{option: "no"})


@pytest.mark.parametrize("kind", [CMAES, Cholesky, partial(CMAES, diagonal=True), SepCMAES, MAES, LMMAES])
def test_the_least_deviation_holds_in_the_first_generation_of_each_run(kind):
    """And growing to it is no growth: `tolfacupx` counts from there."""
    optimizer, x, key = kind(1e-4, 8, min_std=np.array([0.5, 0.5, 0.5, 1e-5])), np.ones(4), jax.random.key(0)
    first, deviations = init(optimizer, x, key), jax.jit(lambda state: state.sigma * state.shape.deviations)
    np.testing.assert_allclose(deviations(first), [0.5, 0.5, 0.5, 1e-4])
    population = ask(optimizer, first, key)
    told = tell(optimizer, first, population, ellipsoid(np.asarray(members(population))))
    assert stop(optimizer, told) == 0
    again = start(optimizer, x, key, np.int32(16), 16, 0.01)
    np.testing.assert_allclose(deviations(again), [0.5, 0.5, 0.5, 1e-5])


@pytest.mark.parametrize("kind", [CMAES, Cholesky, SepCMAES, MAES, LMMAES])
def test_a_generation_that_fails_widens_nothing(kind):
    """Sigma was made smaller from outside, so that all deviations are below the least: learning widens them."""
    optimizer = kind(0.1, 8, min_std=0.1)
    state = init(optimizer, np.ones(4), jax.random.key(0))
    state = eqx.tree_at(lambda s: s.sigma, state, state.sigma / 8)
    population = ask(optimizer, state, jax.random.key(1))
    failed = tell(optimizer, state, population, np.full(8, np.nan))
    jax.tree.map(np.testing.assert_array_equal, *map(jax.device_get, (failed.shape, state.shape)))
    learned = tell(optimizer, state, population, np.arange(8.0))
    assert np.min(learned.sigma * jax.jit(lambda shape: shape.deviations)(learned.shape)) >= 0.1 * (1 - 1e-12)


@pytest.mark.parametrize("kind", [CMAES, Cholesky, SepCMAES, MAES, LMMAES])
def test_a_mean_that_overflows_is_not_learned(kind):
    """Members of half precision end at 65504; the losses are finite, but where they lead is not."""
    optimizer = kind(3e4, 8)
    state = init(optimizer, np.full(4, 6e4, np.float16), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    losses = -np.sum(np.asarray(population.stored), axis=1)
    told = tell(optimizer, state, population, losses.astype(float))
    same_bits(*map(jax.device_get, (told, state)), COUNTS)
    back = tell(optimizer, state, population, -losses.astype(float))
    assert np.all(np.asarray(back.mean) < np.asarray(state.mean).max())


class Doubling(CMAES):
    """A method of the user's own that learns as CMA-ES does, and something more."""

    def learn(self, state, population, losses):
        after = super().learn(state, population, losses)
        return eqx.tree_at(lambda s: s.sigma, after, 2 * after.sigma)


def test_a_subclass_that_learns_something_more_is_asked_and_guarded():
    doubling, plain = Doubling(0.5, 8), CMAES(0.5, 8)
    state = init(plain, np.ones(4), jax.random.key(0))
    population = ask(plain, state, jax.random.key(1))
    losses = ellipsoid(np.asarray(members(population)))
    mine, theirs = (tell(optimizer, state, population, losses) for optimizer in (doubling, plain))
    np.testing.assert_array_equal(mine.sigma, 2 * theirs.sigma)
    np.testing.assert_array_equal(mine.shape.covariance, theirs.shape.covariance)
    failed = tell(doubling, state, population, np.full(8, np.nan))
    same_bits(*map(jax.device_get, (failed, state)), COUNTS)


class Lazy(CMAES):
    """Decomposes every third generation only, as large dimensions do."""

    def _parameters(self, state):
        return super()._parameters(state)._replace(gap=3)


def test_lazy_decomposition_is_due_when_it_is_due():
    for t, (_, _, state) in enumerate(trace(Lazy(0.5, 8), np.ones(4), ellipsoid, 9), start=1):
        values = np.linalg.eigvalsh(state.shape.covariance)
        decomposed = np.allclose(np.sort(np.square(state.shape.scales)), values, rtol=1e-10)
        assert decomposed == (t % 3 == 0)


def test_a_cholesky_factor_is_renewed_when_that_is_due_and_the_axes_once_in_n_generations():
    for t, (_, _, state) in enumerate(trace(Lazy(0.5, 8, root="cholesky"), np.ones(4), ellipsoid, 12), start=1):
        shape = jax.device_get(state.shape)
        factored = np.allclose(shape.lower @ shape.lower.T, shape.covariance, rtol=1e-10)
        decomposed = np.allclose(np.sort(np.square(shape.scales)), np.linalg.eigvalsh(shape.covariance), rtol=1e-10)
        assert (factored, decomposed) == (t % 3 == 0, t % 4 == 0)


def test_lazy_decomposition_under_vmap_is_a_loop():
    """The members of the batch are one generation apart, so that in each generation one of three is due."""
    optimizer, keys = Lazy(0.5, 8), [jax.random.key(seed) for seed in range(3)]

    @jax.jit
    def begin(offset):
        state = optimizer.init(jnp.ones(4), jax.random.key(0))
        return eqx.tree_at(lambda s: s.generation, state, offset)

    def generation(state, key):
        population = optimizer.ask(state, key)
        scale = 10.0 ** (2 * jnp.arange(4))
        return optimizer.tell(state, population, jnp.sum(scale * population.members() ** 2, axis=1))

    loop = [begin(np.int32(offset)) for offset in range(3)]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *loop)
    batched, single = jax.jit(jax.vmap(generation)), jax.jit(generation)
    for t in range(7):
        draws = [jax.random.fold_in(key, t) for key in keys]
        batch = batched(batch, jnp.stack(draws))
        loop = [single(state, key) for state, key in zip(loop, draws, strict=True)]
    batch = jax.device_get(batch)
    for k, state in enumerate(loop):
        mine = jax.tree.map(lambda leaf, k=k: leaf[k], batch)
        np.testing.assert_allclose(mine.mean, state.mean, rtol=1e-10)
        np.testing.assert_allclose(mine.shape.covariance, state.shape.covariance, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.abs(mine.shape.basis), np.abs(state.shape.basis), atol=1e-8)


@ALL
@pytest.mark.parametrize("factor", [2.0**-66, 2.0**66])  # about 1e-20 and 1e20, and exact
def test_scaling_all_parameters_scales_the_run(kind, factor):
    """No threshold is absolute: a power of two even leaves the very same digits."""
    plain = trace(kind(0.5, 8), np.ones(4), ellipsoid, 80)
    scaled = trace(kind(0.5 * factor, 8), factor * np.ones(4), lambda x: ellipsoid(x / factor), 80)
    for (_, _, one), (_, _, other) in zip(plain, scaled, strict=True):
        one = jax.device_get(one)
        np.testing.assert_array_equal(other.mean, one.mean * factor)
        np.testing.assert_array_equal(other.sigma, one.sigma * factor)
        np.testing.assert_array_equal(other.shape.scales, one.shape.scales)


@ALL
def test_only_the_product_of_sigma_and_c_matters(kind):
    """Floors of the eigenvalues are relative to the largest: an absolute one would drown a small C."""
    plain = trace(kind(0.5, 8), np.ones(4), ellipsoid, 60)
    small = trace(kind(0.5, 8), np.ones(4), ellipsoid, 60, 2.0**-66)
    for (_, _, one), (_, _, other) in zip(plain, small, strict=True):
        one, other = jax.device_get((one, other))
        np.testing.assert_allclose(other.mean, one.mean, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(other.sigma * other.shape.scales, one.sigma * one.shape.scales, rtol=1e-6)


@FULL
def test_a_singular_covariance_stays_usable(kind):
    """Losses that only see one axis squeeze it without end; C must stay positive and the condition number finite."""
    optimizer = kind(0.5, 8)
    *_, (_, _, state) = trace(optimizer, np.ones(4), lambda x: np.abs(x[:, 0]), 1500)
    assert np.all(np.isfinite(state.mean))
    assert np.all(np.asarray(state.shape.scales) > 0)
    assert np.isfinite(optimizer.status(state)["condition"])
    assert np.abs(np.asarray(state.mean)[0]) < 1e-6


def test_members_come_from_center_scale_and_stored_directions():
    """y is kept from sampling, never recomputed as (x - m) / sigma."""
    optimizer = CMAES(1e-12, 8)
    state = init(optimizer, np.full(4, 1e6), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    assert isinstance(population.directions, Stored)
    # At this radius every member rounds to the center; the directions do not.
    np.testing.assert_array_equal(members(population), np.full((8, 4), 1e6))
    told = tell(optimizer, state, population, np.arange(8.0))
    white = np.asarray(jax.random.normal(jax.random.key(1), (8, 4)))
    expected = parameters(4, 8, True).tables()[0] @ white
    p = parameters(4, 8, True)
    np.testing.assert_allclose(told.path_sigma, np.sqrt(p.c_sigma * (2 - p.c_sigma) * p.mu_eff) * expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 10])
@pytest.mark.parametrize("kind", [CMAES, SepCMAES])
def test_sigma_does_not_drift_where_nothing_is_selected(kind, n):
    """Ties, random losses and failures leave log sigma a random walk without drift, seen over 200 runs."""
    size, runs = 12, 200
    optimizer = kind(1.0, size)

    def generation(state, key, how):
        draw, chance = jax.random.split(key)
        losses = jax.random.uniform(chance, (size,))
        fail = jax.random.bernoulli(jax.random.fold_in(chance, 1), 0.8, (size,))
        losses = jnp.stack([jnp.zeros(size), losses, jnp.where(fail, jnp.nan, losses)])[how]
        return optimizer.tell(state, optimizer.ask(state, draw), losses)

    def run(seed, how):
        state = optimizer.init(jnp.zeros(n), jax.random.key(0))
        keys = jax.random.split(jax.random.key(seed), 60)
        state = jax.lax.scan(lambda s, k: (generation(s, k, how), None), state, keys)[0]
        return jnp.log(state.sigma)

    every = jax.jit(jax.vmap(run, (0, None)))
    for how in range(3):
        logs = np.asarray(every(np.arange(runs), how))
        # ||N(0, I)|| is taken against its mean, so exp(change) drifts by no more than the change's variance.
        assert abs(logs.mean()) < 4 * logs.std() / np.sqrt(runs) + 0.1 * logs.std() ** 2 + 0.05, how


@pytest.mark.parametrize("root", ["symmetric", "cholesky"])
def test_moving_the_size_of_c_into_sigma_changes_nothing(root):
    """A state written with a C of another size has the same members and future, to the eigensolver's rounding."""
    optimizer = numeric(Lazy(0.5, 8, root=root))
    one = init(optimizer, np.ones(4), jax.random.key(0))
    other = resized(one, 2.0**17)
    for t in range(20):
        populations = [ask(optimizer, state, jax.random.fold_in(jax.random.key(5), t)) for state in (one, other)]
        first, second = (np.asarray(members(population)) for population in populations)
        np.testing.assert_allclose(first, second, rtol=1e-9)
        losses = ellipsoid(first)
        one, other = (tell(optimizer, s, p, losses) for s, p in zip((one, other), populations, strict=True))
    assert np.max(other.shape.scales) < 2.0**16


@pytest.mark.parametrize(
    "optimizer",
    [CMAES, Cholesky, partial(CMAES, diagonal=True), SepCMAES, MAES, LMMAES],
    ids=["full", "triangular", "factors", "separable", "root", "vectors"],
)
def test_deviations_are_those_asked_for(optimizer):
    """At the start, and never below the least: on the sphere they would shrink beyond it."""
    optimizer = optimizer(0.5, 8, stds=np.array([1.0, 10.0, 0.1]), min_std=0.05)

    @jax.jit
    def run():
        def generation(state, seed):
            population = optimizer.ask(state, jax.random.key(seed))
            state = optimizer.tell(state, population, jnp.sum(population.members() ** 2, axis=1))
            return state, state.sigma * state.shape.deviations

        first = optimizer.init(jnp.zeros(3), jax.random.key(0))
        return first.shape.deviations, jax.lax.scan(generation, first, jnp.arange(300))[1]

    first, later = jax.device_get(run())
    np.testing.assert_allclose(first, [1.0, 10.0, 0.1])
    assert np.all(later >= 0.05 * (1 - 1e-12))
    assert np.min(later[-1]) < 0.1
