"""Coordinates on a grid: the margin of `cmaes.CMAwM`, the laws of a grid, and runs that do not freeze."""

import cmaes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.programs import ask, init, members, tell

import evolve
from evolve import CMAES, MAES, Bounded, Integers, OpenES, Restarts, UncertaintyHandling, Uniform
from evolve.methods.integers import Grid, with_margin

# Binary, ternary, steps of a half, steps that miss the upper edge, continuous.
LOW, HIGH = np.array([0.0, 0.0, -2.0, 1.0, -np.inf]), np.array([1.0, 2.0, 2.0, 2.0, np.inf])
STEP = np.array([1.0, 1.0, 0.5, 0.3, 0.0])


@jax.jit
def correct(*numbers):
    """The margin on this grid."""
    return with_margin(Grid(*map(jnp.asarray, (STEP, LOW, HIGH))), *numbers)


@jax.jit
def rounded(x):
    """To this grid."""
    return Grid(*map(jnp.asarray, (STEP, LOW, HIGH))).nearest(x)


def theirs(mean, stretch, sigma, covariance, margin=None):
    """What the reference makes of a mean and a stretch, given the rest of the distribution."""
    reference = cmaes.CMAwM(np.clip(mean, LOW, HIGH), sigma, np.stack([LOW, HIGH], 1), STEP, margin=margin)
    reference._cma.tell = lambda solutions: None  # the margin alone
    reference._cma._mean, reference._cma._C, reference._A = mean.copy(), covariance, stretch.copy()
    reference.tell([])
    return reference


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("margin", [None, 0.2])
def test_the_margin_is_the_references(margin):
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(200):
        root = rng.normal(size=(5, 5))
        covariance, sigma = root @ root.T, float(10 ** rng.uniform(-6, 0.5))
        mean = rng.uniform(-0.2, 1.2, 5) * np.where(np.isfinite(HIGH - LOW), HIGH - LOW, 1.0) + np.maximum(LOW, -9)
        stretch = np.where(STEP > 0, 10 ** rng.uniform(-1, 1, 5), 1.0)
        reference = theirs(mean, stretch, sigma, covariance, margin)
        margin_used = 1 / (5 * cmaes.CMA(mean, 1.0).population_size) if margin is None else margin
        ours = correct(mean, sigma * np.sqrt(np.diag(covariance)), stretch, margin_used)
        np.testing.assert_allclose(ours[0], reference._cma._mean, rtol=1e-9)
        np.testing.assert_allclose(ours[1], reference._A, rtol=1e-8)
        x = mean + rng.normal(size=5)
        reference._cma._mean, reference._A = mean, np.ones(5)
        nearest = reference._encode_discrete_params(x[STEP > 0])
        np.testing.assert_allclose(np.asarray(rounded(x))[STEP > 0], nearest, rtol=1e-12)
        moved += np.sum(np.asarray(ours[1]) != stretch)
    assert moved > 100


@pytest.mark.usefixtures("x64")
def test_where_margins_hold_nothing_moves():
    mean, stretch = np.array([0.6, 1.2, 0.1, 1.4, 3.0]), np.array([1.0, 2.0, 1.0, 3.0, 1.0])
    for one, other in zip(correct(mean, np.ones(5), stretch, 0.01), (mean, stretch), strict=True):
        np.testing.assert_array_equal(one, other)


def ellipsoid_onemax(x):
    """The mixed problem of the paper's section 5: an ellipsoid of one half, the ones among the other."""
    half = x.shape[0] // 2
    scales = 1000.0 ** (jnp.arange(half) / (half - 1))
    return jnp.sum((scales * x[:half]) ** 2) + half - jnp.sum(x[half:] > 0)


MIXED = np.repeat([0.0, 1.0], 5)
EDGES = {"low": np.where(MIXED > 0, 0.0, -np.inf), "high": np.where(MIXED > 0, 1.0, np.inf)}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("method", [CMAES, MAES])
def test_a_mixed_problem_is_solved_where_rounding_alone_freezes(method):
    start = np.where(MIXED > 0, 0.0, 2.0)
    result = evolve.minimize(ellipsoid_onemax, start, Integers(method(1.0), **EDGES, step=MIXED), evaluations=12_000)
    assert result.loss < 1e-10
    np.testing.assert_array_equal(result.answer[5:], 1.0)

    frozen = evolve.minimize(
        lambda x: ellipsoid_onemax(jnp.where(MIXED > 0, jnp.round(x), x)),
        start,
        method(1.0),
        evaluations=12_000,
        seed=3,
    )
    assert frozen.loss >= 1.0


@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_a_flat_first_generation_is_no_end(sigma):
    """All members of a distribution narrower than the step are the start; the margin then widens it."""
    result = evolve.minimize(lambda x: jnp.sum(x**2), jnp.full(3, 5.0), Integers(CMAES(sigma)), evaluations=2000)
    assert result.history["loss"][0] == result.history["mean"][0] == 75
    assert result.loss == 0


def test_members_are_on_the_grid_and_within_its_edges():
    optimizer = Integers(CMAES(3.0, 8), low=LOW, high=HIGH, step=STEP)
    state = init(optimizer, np.array([0.0, 1.0, -2.0, 2.0, 7.0]), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    drawn = members(population)
    x = np.asarray(drawn)
    assert set(x[:, 0]) == {0.0, 1.0}
    assert set(x[:, 1]) <= {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(x[:, 2] * 2, np.round(x[:, 2] * 2))
    assert np.max(x[:, 3]) <= 2.0  # 1.0, 1.3, 1.6, 1.9: two is not among them
    # Members from elsewhere are taken back through the map.
    foreign = evolve.core.Population.of(drawn, population.geometry, population.key)
    after = tell(optimizer, state, foreign, np.arange(8.0))
    assert np.all(np.isfinite(after.inner.mean))


def test_trees_types_and_restarts():
    start = {"layers": np.full((2, 1), 3.0, jnp.bfloat16), "rate": np.float32(0.1)}
    inner = Integers(CMAES(1.0), low=0.0, high={"layers": 9.0, "rate": 1.0}, step={"layers": 1.0, "rate": 0.0})

    def loss(x):
        return jnp.sum((x["layers"] - 7.2) ** 2) + (x["rate"] - 0.75) ** 2

    for optimizer in (inner, Restarts(inner, "ipop", 2, Uniform(0.0, 1.0))):
        answer = evolve.minimize(loss, start, optimizer, evaluations=3000).answer
        assert answer["layers"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(answer["layers"], 7.0)
        np.testing.assert_allclose(answer["rate"], 0.75, atol=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Integers(OpenES(8)), "Integers: OpenES has no normal distribution"),
        (lambda: Integers(Restarts(CMAES())), "put wrappers around Integers"),
        (lambda: Bounded(Integers(CMAES()), 0.0, 5.0), r"Bounded: .* give the edges to Integers itself: Integers\("),
        (
            lambda: Bounded(UncertaintyHandling(Restarts(Integers(CMAES()))), 0.0),
            "Bounded: .* edges to Integers itself",
        ),
        (
            lambda: Integers(Bounded(CMAES(), 0.0, 5.0)),
            r"Integers: .* itself: Integers\(\.\.\., low=\.\.\., high=\.\.\.\)",
        ),
        (lambda: Integers(Restarts(Bounded(CMAES(), 0.0, 5.0))), "Integers: .* give the edges to Integers itself"),
        (lambda: Integers(CMAES(), margin=0.0), r"Integers: margin is 0.0; it must lie in \(0, 0.5\)"),
        (lambda: Integers(CMAES(), margin=0.5), r"Integers: margin is 0.5; it must lie in \(0, 0.5\)"),
        (lambda: Integers(CMAES(), step=-1.0), "Integers: step is -1.0"),
        (lambda: Integers(CMAES(), 0.7, 1.5), "no second value of step 1.0"),
        (lambda: Integers(CMAES(), 2.0, 5.0), r"Integers: 3 value\(s\) of the start"),
        (lambda: Integers(CMAES(), step=np.ones(2)), "Integers: step does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make().init(jnp.full(3, 1.0), jax.random.key(0))
