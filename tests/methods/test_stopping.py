"""Stopping against pycma 4.5: told the same members, both stop in the same generation for the same reason."""

import dataclasses
from functools import partial

import cma
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.programs import ask, init, members, numeric, program, tell

import evolve
from evolve import CMAES, LMMAES, MAES, SepCMAES, Tolerances
from evolve.core import Problem
from evolve.methods.stopping import REASONS, Spread, Trail, limit, missed, patience, quantiles

N = 4


def noise(x):
    """A number in [0, 1) that looks drawn, a function of x alone."""
    return np.modf(np.abs(np.sin(1e6 * np.sum(x, axis=1)) * 1e4))[0]


def sphere(x):
    return np.sum(x**2, axis=1)


LOSSES_OFF = {"tolfun": 0.0, "tolfunhist": 0.0}
# Each with its sigma, the reason that pycma gives, and what differs from the defaults, for both.
CASES = {
    "sphere": (sphere, 0.3, "tolfun", {}),
    "steep": (lambda x: 1e12 * sphere(x), 0.3, "tolx", {}),
    "slope": (lambda x: x[:, 0], 0.3, "tolfacupx", {}),
    "plateau": (lambda x: np.sum(np.floor(np.abs(x)), axis=1), 0.3, "tolfunhist", {}),
    "far": (lambda x: 1e20 * np.sum((x - 1e9) ** 2, axis=1) ** 0.5, 1e8, "noeffectaxis", {}),
    "narrow": (lambda x: x[:, 0] ** 2 + 1e18 * np.sum(x[:, 1:] ** 2, axis=1), 0.3, "tolconditioncov", {}),
    "noise": (noise, 0.3, "tolstagnation", {}),
    "long": (noise, 0.3, "maxiter", {"maxiter": 0.02}),
    "flat": (lambda x: 0 * x[:, 0], 0.3, "tolflatfitness", LOSSES_OFF),
    "rest": (sphere, 0.3, "tolxstagnation", LOSSES_OFF | {"tolx": 0.0}),
    "tiny": (sphere, 4e-16, "noeffectcoord", LOSSES_OFF | {"tolx": 0.0}),
    "creeping": (lambda x: x[:, 0], 0.3, "tolupsigma", {"tolfacupx": np.inf, "tolupsigma": 1e3}),
}
stop = program(lambda optimizer, state: optimizer.stop(state))


class Sphere(Problem):
    """A number times the sphere in two dimensions: flat where it is 0, a failure where it is NaN."""

    factor: float

    @property
    def noisy(self):
        return False

    def init(self, key):
        return jnp.ones(2)

    def loss(self, params, key):
        return self.factor * jnp.sum(params**2)


# A diagonal has no condition to judge, and no axes beside the coordinates.
ALONG_COORDINATES = CASES | {
    "narrow": (lambda x: x[:, 0] ** 2 + 1e8 * np.sum(x[:, 1:] ** 2, axis=1), 0.3, "tolfun", {"tolconditioncov": 1e4}),
    "noise": (lambda x: noise(x + 1), 0.3, "tolstagnation", {"tolfacupx": np.inf}),
}
del ALONG_COORDINATES["far"]  # see `test_no_diagonal_has_axes_whose_effect_counts`


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
def test_stops_when_and_why_pycma_stops(case):
    loss, sigma, reason, changed = CASES[case]
    # Where C is too narrow pycma would move its scales elsewhere first.
    peer = started(sigma, changed, conditioncov_alleviate=[0, 0])
    peer.sm.C, peer.sm.B, peer.sm.D = np.eye(N), np.eye(N), np.ones(N)

    def decompose():
        # It would when it asks next, and judge a condition that is one generation old.
        peer.sm.update_now()
        peer._updateBDfromSM(peer.sm)

    together(CMAES(sigma, 8, stopping=Tolerances(**changed)), peer, loss, reason, decompose)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ALONG_COORDINATES)
def test_a_diagonal_stops_when_and_why_pycmas_stops(case):
    loss, sigma, reason, changed = ALONG_COORDINATES[case]
    peer = started(sigma, changed, CMA_diagonal=True)
    together(CMAES(sigma, 8, stopping=Tolerances(**changed), diagonal=True), peer, loss, reason)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("diagonal", "reasons"), [(False, {"noeffectaxis"}), (True, set())])
def test_no_diagonal_has_axes_whose_effect_counts(diagonal, reasons):
    """A fifth of the deviations moves the mean, a tenth does not."""
    sigma, start, changed = 3.5 * np.finfo(float).eps, np.full(N, 1.5), LOSSES_OFF | {"tolx": 0.0}
    peer = cma.CMAEvolutionStrategy(start, sigma, {"popsize": 8, "verbose": -9, "CMA_diagonal": diagonal, **changed})
    optimizer = CMAES(sigma, 8, stopping=Tolerances(**changed), diagonal=diagonal)
    state = init(optimizer, start, jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(3))
    x = np.asarray(members(population))
    peer.ask()
    peer.tell(list(x), list(sphere(x)), check_points=False)
    why = int(stop(optimizer, tell(optimizer, state, population, sphere(x))))
    assert ({REASONS[why - 1]} if why else set()) == set(peer.stop()) == reasons


def started(sigma, changed, **options):
    """pycma with the same tolerances."""
    changed = {name: value * (limit(N, 8) if name == "maxiter" else 1) for name, value in changed.items()}
    return cma.CMAEvolutionStrategy(N * [1.0], sigma, {"popsize": 8, "verbose": -9, "seed": 1, **options, **changed})


def together(optimizer, peer, loss, reason, settle=lambda: None):
    """Both go on until one stops; then the other does too, both for this reason."""
    optimizer = numeric(optimizer)
    state = init(optimizer, np.ones(N), jax.random.key(0))
    why, theirs = 0, {}
    while not why and not theirs:
        population = ask(optimizer, state, jax.random.fold_in(jax.random.key(3), peer.countiter))
        x = np.asarray(members(population))
        losses = loss(x)
        state = tell(optimizer, state, population, losses)
        peer.ask()
        peer.tell(list(x), list(losses), check_points=False)
        settle()
        why, theirs = int(stop(optimizer, state)), dict(peer.stop())
    assert why, f"pycma stops for {theirs} after {peer.countiter} generations"
    assert REASONS[why - 1] in theirs, f"ours: {REASONS[why - 1]} after {peer.countiter} generations"
    assert REASONS[why - 1] == reason


@pytest.mark.parametrize(("n", "size"), [(1, 4), (3, 7), (10, 10), (40, 300)])
def test_patience_and_limit_are_pycmas(n, size):
    options = cma.CMAEvolutionStrategy(n * [0.0], 1.0, {"popsize": size, "verbose": -9}).opts
    assert patience(n, size) == options["tolstagnation"]
    assert limit(n, size) == options["maxiter"]


def test_the_run_says_why_and_when():
    result = evolve.run(Sphere(1.0), CMAES(), evaluations=10_000)
    assert result.reason == "tolfun"
    assert result.evaluations < 5000
    forever = evolve.run(Sphere(1.0), CMAES(stopping=None), evaluations=6000)
    assert forever.reason == "evaluations"
    assert forever.evaluations == 6000


def test_each_seed_has_a_reason_of_its_own():
    """Two equal wells, one of them with the target on its ground: the seeds in the other end for want of progress."""

    def wells(x):
        return jnp.sum((jnp.abs(x) - 1) ** 2) + 0.01 * (x[0] < 0)

    each = evolve.minimize(wells, jnp.zeros(2), CMAES(0.5), evaluations=20_000, target=5e-3, seeds=8)
    reasons = {result.reason for result in each}
    assert "target" in reasons
    assert len(reasons) > 1
    assert reasons <= {"target", *REASONS}


@pytest.mark.parametrize("optimizer", [CMAES(), CMAES(diagonal=True), SepCMAES()], ids=repr)
def test_flat_and_failing_losses_end_with_a_reason(optimizer):
    flat = evolve.run(Sphere(0.0), optimizer, evaluations=10_000)
    assert flat.reason == "tolfun"
    failing = evolve.run(Sphere(np.nan), optimizer, evaluations=1000)
    assert failing.reason == "tolfailed"
    assert failing.generations == 31
    assert failing.failed == failing.evaluations
    assert all(np.all(~np.isnan(leaf)) for leaf in jax.tree.leaves(failing.state))


@pytest.mark.parametrize("optimizer", [CMAES(0.5, diagonal=True), SepCMAES(0.5)], ids=["factors", "separable"])
def test_scales_far_apart_cost_a_diagonal_no_digits(optimizer):
    """In single precision, of which a matrix of this condition would leave none."""
    weights = np.logspace(0, 8, 10, dtype=np.float32)
    result = evolve.minimize(lambda x: jnp.sum(weights * x**2), np.ones(10, np.float32), optimizer, evaluations=10_000)
    assert result.reason == "tolfun"
    assert result.loss < 1e-12


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("condition", [1e16, 1e30])
@pytest.mark.parametrize("optimizer", [CMAES(0.5, diagonal=True), SepCMAES(0.5)], ids=["factors", "separable"])
def test_a_diagonal_reaches_the_ground_under_any_condition(optimizer, condition):
    """pycma's `CMA_diagonal` ends at 1.4e-14 for tolfun where the condition is 1e16."""
    weights = condition ** np.linspace(0, 1, 10)
    result = evolve.minimize(lambda x: jnp.sum(weights * x**2), np.ones(10), optimizer, evaluations=20_000)
    assert result.reason == "tolfun"
    assert result.loss < 1e-12


@pytest.mark.parametrize(
    "optimizer",
    [CMAES, partial(CMAES, root="cholesky"), partial(CMAES, diagonal=True), SepCMAES, MAES, LMMAES],
    ids=["full", "triangular", "factors", "separable", "root", "vectors"],
)
def test_standard_deviations_far_apart_are_no_condition(optimizer):
    """In single precision: in units of them, the function is a sphere."""
    stds = np.array([1e-4, 1.0, 1e2, 1e4], np.float32)
    result = evolve.minimize(lambda x: jnp.sum((x / stds) ** 2), stds, optimizer(0.5, stds=stds), evaluations=3000)
    assert result.reason == "tolfun"
    assert result.loss < 1e-11


def test_one_endless_loss_does_not_hide_the_others():
    """A failed member makes the range infinite, so no criterion on losses holds in that generation."""
    optimizer = CMAES(0.3, 8)
    state = init(optimizer, np.ones(N), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    flat, holed = np.zeros(8), np.where(np.arange(8) == 3, np.nan, 0.0)
    assert REASONS[int(stop(optimizer, tell(optimizer, state, population, flat))) - 1] == "tolfun"
    assert stop(optimizer, tell(optimizer, state, population, holed)) == 0


def test_long_histories_are_thinned():
    """The windows that stagnation compares grow with the run; what is kept of them does not."""
    trail = Trail.start(jnp.zeros(300), jnp.ones(300), 21)
    assert trail.stride > 1
    assert trail.best.shape[0] <= 1024


def test_tolerances_are_checked():
    with pytest.raises(ValueError, match=r"Tolerances: tolfun is -1.0; it must be at least 0"):
        Tolerances(tolfun=-1.0)


NEVER = {name: 0.0 for name in ("tolfun", "tolfunhist", "tolx", "tolstagnation", "tolxstagnation")}
COUNTED = "tolfacupx", "tolupsigma", "tolconditioncov", "tolflatfitness", "maxiter", "tolfailed"
NEVER |= {name: np.inf for name in COUNTED}


@pytest.mark.parametrize("options", [{}, NEVER], ids=["default", "never"])
def test_each_tolerance_has_a_number_that_never_stops(options):
    """After 2000 flat generations of a mean that creeps, and as many that fail.

    Deviations have vanished, or grown without end.
    """
    assert set(NEVER) == {field.name for field in dataclasses.fields(Tolerances)}

    @jax.jit
    def found(tolerances):
        zeros, ones, huge = jnp.zeros(2), jnp.ones(2), jnp.full(2, 1e30)

        def generation(t, trail):
            return trail.after(jnp.zeros(4), 1e-12 * t * ones, t, tolerances.tolxstagnation)

        trail = jax.lax.fori_loop(0, 2000, generation, Trail.start(zeros, ones, 6))
        trail = jax.lax.fori_loop(0, 2000, lambda _, trail: missed(trail), trail)
        narrow = Spread(zeros, zeros, zeros).found(tolerances, ones)
        wide = Spread(zeros, huge, axes=jnp.asarray([1.0, 1e-30]), creep=huge[0]).found(tolerances, ones)
        either = {name: narrow.get(name, False) | held for name, held in wide.items()}
        return either | trail.found(tolerances, jnp.asarray(2000), 2, 6, 6)

    held = {name for name, each in found(numeric(Tolerances(**options))).items() if each}
    assert held & set(NEVER) == (set() if options else set(NEVER))


@pytest.mark.parametrize("name", COUNTED)
def test_those_whose_number_is_an_infinity_stop_at_once_at_zero(name):
    loss = np.nan if name == "tolfailed" else 0.0
    result = evolve.run(Sphere(loss), CMAES(stopping=Tolerances(**NEVER | {name: 0.0})), evaluations=1000)
    assert (result.reason, result.evaluations) == (name, 6)


def test_a_million_parameters_have_a_trail_that_can_be_counted():
    """Their patience is beyond what an int32 holds."""
    n = 10_000_000
    large = jax.eval_shape(lambda mean: Trail.start(mean, mean, 52), jax.ShapeDtypeStruct((n,), jnp.float32))

    @jax.jit
    def found(losses, generation):
        trail = Trail.start(jnp.zeros(1), jnp.ones(1), 52)
        rings = jnp.zeros(2000), jnp.zeros(9), jnp.zeros(9)
        trail = eqx.tree_at(lambda t: (t.recent, t.best, t.median), trail, rings)
        trail = Trail(**{**vars(trail), "stride": large.stride})
        after = trail.after(quantiles(losses, jnp.arange(52), 52), jnp.zeros(1), generation, 1e-9)
        return after.found(evolve.Tolerances(), generation + 1, n, 52, 52)

    assert not any(map(bool, found(np.arange(52, dtype=np.float32), 7).values()))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("optimizer", "white"),
    [(CMAES(), False), (SepCMAES(), False), (CMAES(diagonal=True), True), (MAES(), True), (LMMAES(), True)],
)
def test_narrow_deviations_stop_by_tolx_only_once_the_path_is_short(optimizer, white):
    """Of the step of the path in the parameters' units, which is formed where deviations are narrow only."""
    state = init(optimizer, np.ones(N), jax.random.key(0))
    for t in range(20):
        population = ask(optimizer, state, jax.random.key(t))
        state = tell(optimizer, state, population, np.arange(population.size) * 1e3 + sphere(members(population)))
    shape, tolx = state.shape, optimizer.stopping.tolx
    path = shape.color(state.path_c) if white else state.path_c
    cases = {}
    for wide, far in ((0.99, 0.99), (0.99, 1.01), (1.01, 0.99), (1.01, 1.01)):
        sigma = wide * tolx / jnp.max(shape.deviations)
        scale = far * tolx / (sigma * jnp.max(jnp.abs(path)))
        cases[wide, far] = dataclasses.replace(state, sigma=sigma, path_c=scale * state.path_c)
    found = {case: int(stop(optimizer, each)) for case, each in cases.items()}
    assert {case for case, one in found.items() if one} == {(0.99, 0.99)}
    assert optimizer.reasons[found[0.99, 0.99] - 1] == "tolx"
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases.values())
    assert list(jax.vmap(optimizer.stop)(several)) == list(found.values())


def test_one_success_is_enough_to_go_on():
    optimizer = CMAES(0.5, 8, stopping=Tolerances(tolfailed=2.0))
    state = init(optimizer, np.zeros(3), jax.random.key(0))
    for t, fails in enumerate([True, True, False, True, True, True]):
        assert int(optimizer.stop(state)) == 0
        losses = np.full(8, np.nan)
        losses[5] = np.nan if fails else 1.0
        state = tell(optimizer, state, ask(optimizer, state, jax.random.key(t)), losses)
    assert optimizer.reasons[int(optimizer.stop(state)) - 1] == "tolfailed"
