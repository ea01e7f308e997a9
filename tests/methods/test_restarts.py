"""Restarts: the regimes' books, populations that grow without compiling anew, and the same numbers under `vmap`."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.programs import ask, directions, init, members, start, tell
from laws.tools import compilations

import evolve
import problems
from evolve import (
    CMAES,
    CRFMNES,
    PGPE,
    SNES,
    XNES,
    Bounded,
    Gradient,
    OpenES,
    Restarts,
    SepCMAES,
    Tolerances,
    UncertaintyHandling,
    Uniform,
)
from evolve.compare.suite.record import Recorded
from evolve.core import Optimizer, Stored, Wrapper
from evolve.core.optimizer import Clean, Growing, Guarding
from evolve.methods.cma_parameters import default_population
from evolve.methods.restarts import RestartsState

SHORT = Tolerances(maxiter=0.01)  # a run of a few generations
IPOP = Restarts(CMAES(stopping=SHORT), "ipop", 5)
BIPOP = Restarts(CMAES(stopping=SHORT), "bipop", 5)


class Ending(OpenES):
    """One that stops, of one size."""

    reasons: ClassVar[tuple[str, ...]] = ("enough",)


def name(kind):
    """Of a class, or of what is made of one."""
    return getattr(kind, "func", kind).__name__


def never(x):
    """Nothing to be found."""
    return jnp.sum(jnp.sin(1e3 * x))


def history(optimizer, evaluations, seed=0):
    """Run number, population and generations, run by run."""
    result = evolve.minimize(never, jnp.zeros(3), optimizer, seed=seed, evaluations=evaluations)
    rows = result.history
    runs, first = np.unique(rows["run"], return_index=True)
    # A row is written after a generation, when the next run may have begun.
    return result, runs, rows["population"][first].astype(int), rows


@pytest.mark.parametrize("size", [7, 8, 56, 200])
@pytest.mark.parametrize("method", [CMAES(2.0), XNES(2.0, 7), SNES(2.0)], ids=lambda method: type(method).__name__)
def test_what_a_generation_costs_is_known_without_asking_for_it(method, size):
    state = method.start(jnp.zeros(3), jax.random.key(0), jnp.asarray(size), 224, 1.0)
    assert int(method.more(state)) == int(Growing.more(method, state)) == size - 7
    assert int(method.more(method.init(jnp.zeros(3), jax.random.key(0)))) == 0


def test_ipop_doubles():
    result, runs, sizes, rows = history(IPOP, 100_000)
    assert result.reason == "restarts"
    assert list(runs) == [0, 1, 2, 3, 4, 5]
    assert list(sizes) == [7 * 2**k for k in range(6)]
    # What was spent is what the generations asked for.
    before = np.concatenate([[7], rows["population"][:-1]])
    np.testing.assert_array_equal(np.diff(np.concatenate([[0], rows["evaluations"]])), before)
    assert result.evaluations == np.sum(before)


def test_bipop_takes_turns():
    """A small run whenever the small ones have spent less; sizes and limits as pycma draws them."""
    result, runs, sizes, rows = history(BIPOP, 1_000_000)
    assert result.reason == "restarts"
    used = np.concatenate([[7], rows["population"][:-1]])
    of = np.concatenate([[0], rows["run"][:-1]])
    spent = np.array([np.sum(used[of == run]) for run in runs])
    large, grown = {0: False}, 0
    small_books, large_books, ended = spent[0], 0, []
    for run in runs[1:]:
        large[run] = small_books >= max(1, large_books)
        if large[run]:
            grown += 1
            large_books += spent[run]
            assert sizes[run] == 7 * 2**grown
        else:
            assert 7 <= sizes[run] <= 7 * 2**grown
            generations = np.sum(of == run)
            # pycma stops at the first generation that is at least this number, which need not be a whole one.
            limit = max(1.0, 0.5 * large_books / sizes[run])
            assert generations < limit + 1
            ended += [limit] if generations >= limit else []
            small_books += spent[run]
    assert grown == 5
    assert sum(not is_large for is_large in large.values()) > 5
    assert len(set(sizes)) > 8
    assert any(limit % 1 for limit in ended)  # where it differs from the whole number below


def test_the_same_regime_restarts_any_method_that_stops():
    result, runs, sizes, _ = history(Restarts(SepCMAES(stopping=SHORT), "same", 3), 10_000)
    assert result.reason == "restarts"
    assert list(runs) == [0, 1, 2, 3]
    assert set(sizes) <= {1, 7}


def test_the_budget_holds_to_the_member():
    """The last generation is not begun where its population no longer fits."""
    for evaluations in (500, 1234, 4999):
        result = evolve.minimize(never, jnp.zeros(3), IPOP, evaluations=evaluations)
        assert result.reason == "evaluations"
        assert evaluations - result.state.size < result.evaluations <= evaluations


def test_growing_never_compiles_anew():
    evolve.minimize(never, jnp.zeros(3), BIPOP, evaluations=200)
    before = len(compilations)
    result = evolve.minimize(never, jnp.zeros(3), BIPOP, seed=5, evaluations=30_000)
    assert int(result.state.grown) >= 4
    assert [each["fun_name"] for each in compilations[before:]] == []


@pytest.mark.usefixtures("x64")
def test_seeds_are_single_runs():
    """Restarts fall at different times, and populations differ, from one seed to the next."""
    optimizer = Restarts(CMAES(stopping=SHORT), "bipop", 3, Uniform(-1.0, 1.0))
    many = evolve.minimize(never, jnp.zeros(3), optimizer, evaluations=4000, seeds=3)
    for seed, one in enumerate(many):
        alone = evolve.minimize(never, jnp.zeros(3), optimizer, evaluations=4000, seed=seed)
        assert alone.generations == one.generations
        assert alone.reason == one.reason
        np.testing.assert_array_equal(alone.history["population"], one.history["population"][: alone.generations])
        np.testing.assert_allclose(alone.loss, one.loss, rtol=1e-6)


def told_the_same(optimizer, plain, n, size, most, generations, rtol):
    """States after each generation: of a population that may grow, and of one of that size told the same directions."""
    counted = start(optimizer, np.ones(n), jax.random.key(0), np.asarray(size), most, 1.0)
    state = init(plain, np.ones(n), jax.random.key(0))
    for t in range(generations):
        some = ask(optimizer, counted, jax.random.key(t))
        assert (some.size, some.count) == (most, size)
        x = np.asarray(members(some))
        losses = np.sum(10.0 ** (2 * np.arange(n)) * x**2, axis=1)
        losses[2] = np.nan if t % 3 == 0 else losses[2]
        losses[5] = losses[6]
        own = ask(plain, state, jax.random.key(t))
        own = dataclasses.replace(own, directions=Stored(np.asarray(directions(some))[:size]))
        np.testing.assert_allclose(members(own), x[:size], rtol=rtol, atol=1e-13)  # some cross zero, from about one
        counted = tell(optimizer, counted, some, np.where(np.arange(most) < size, losses, np.inf))
        state = tell(plain, state, own, losses[:size])
        yield t, counted, state


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("size", [8, 14, 100])
@pytest.mark.parametrize("kind", [XNES, SNES, CRFMNES, functools.partial(PGPE, sigma_rate=1.0)], ids=name)
def test_natural_strategies_learn_from_a_counted_population_what_they_learn_from_a_plain_one(kind, size):
    """A block, a part of one behind it, and more than a window of 64; in six dimensions, below which a rate is zero."""
    n, block, most = 6, 8, 128
    forever = Tolerances(maxiter=jnp.inf)
    optimizer, plain = (kind(sigma=0.5, population=each, stopping=forever) for each in (block, size))
    for t, counted, state in told_the_same(optimizer, plain, n, size, most, 40, 1e-9):
        np.testing.assert_allclose(optimizer.answer(counted), plain.answer(state), rtol=1e-9, atol=1e-12)
        for name, value in plain.status(state).items():
            np.testing.assert_allclose(optimizer.status(counted)[name], value, rtol=1e-8)
        # The ring of the larger population is shorter.
        recent = (each.watch.trail.recent[: min(t + 1, 10)] for each in (counted, state))
        np.testing.assert_allclose(*(recent if t < 10 else (counted.watch.trail.width, state.watch.trail.width)))
    assert abs(np.log10(float(plain.status(state)["condition"]))) > 0.5  # something was learned


@pytest.mark.parametrize("kind", [XNES, SNES, CRFMNES, PGPE])
def test_natural_strategies_grow(kind):
    method = kind(population=None, stopping=SHORT)
    result, _, sizes, rows = history(Restarts(method, "ipop", 4), 100_000)
    least = method.default_size(3)
    assert result.reason == "restarts"
    assert list(sizes) == [least * 2**k for k in range(5)]
    before = np.concatenate([[least], rows["population"][:-1]])
    np.testing.assert_array_equal(np.diff(np.concatenate([[0], rows["evaluations"]])), before)


@pytest.mark.parametrize("kind", [CRFMNES, functools.partial(PGPE, 8)], ids=name)
def test_natural_strategies_grow_within_wrappers(kind):
    """Small runs of BIPOP have odd sizes too, of which the last pair has one member in use."""
    inside = UncertaintyHandling(Bounded(kind(stopping=SHORT), -9.0, 9.0))
    result, runs, sizes, _ = history(Restarts(inside, "bipop", 3), 100_000)
    assert result.reason == "restarts"
    assert len(runs) > 4
    assert set(sizes) > {8, 64}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", [XNES, SNES, CRFMNES, PGPE])
def test_a_run_of_a_small_radius_is_one_of_that_radius(kind):
    """All lengths follow from the radius, the speed of PGPE's update too: 0.8 times a quarter is 0.2."""
    one, other = kind(sigma=0.8, population=8), kind(sigma=0.2, population=8)
    states = tuple(
        start(each, np.ones(3), jax.random.key(0), np.asarray(8), 16, spread)
        for each, spread in ((one, 0.25), (other, 1.0))
    )
    for t in range(5):
        some = ask(one, states[0], jax.random.key(t)), ask(other, states[1], jax.random.key(t))
        losses = np.append(np.sum(np.asarray(members(some[0]))[:8] ** 2, axis=1), np.full(8, np.inf))
        states = tell(one, states[0], some[0], losses), tell(other, states[1], some[1], losses)
        np.testing.assert_allclose(one.answer(states[0]), other.answer(states[1]), rtol=1e-12)
    assert np.linalg.norm(one.answer(states[0])) < np.sqrt(3)


def test_a_shaping_must_know_how_many_are_in_use():
    method = PGPE(8, shaping=lambda losses: losses - jnp.mean(losses), stopping=SHORT)
    with pytest.raises(TypeError, match=r"PGPE: shaping is .*how many members are in use, beside the losses"):
        history(Restarts(method, "ipop"), 1000)


@pytest.mark.usefixtures("x64")
def test_a_counted_population_learns_what_a_plain_one_learns():
    """Told the same directions, of which the last block is only partly in use."""
    n, size, block = 4, 13, 8
    optimizer, plain = CMAES(0.5), CMAES(0.5, size)
    for t, counted, state in told_the_same(optimizer, plain, n, size, 4 * block, 19, 1e-12):
        np.testing.assert_allclose(counted.mean, state.mean, rtol=1e-9)
        np.testing.assert_allclose(counted.sigma, state.sigma, rtol=1e-9)
        np.testing.assert_allclose(counted.shape.covariance, state.shape.covariance, rtol=1e-7, atol=1e-10)
        # The ring of the larger population is shorter.
        recent = np.asarray(counted.trail.recent), np.asarray(state.trail.recent)
        np.testing.assert_allclose(recent[0][: t + 1], recent[1][: t + 1])


@pytest.mark.parametrize("inside", [lambda method: method, lambda method: Bounded(method, -9.0, 9.0)])
def test_a_run_of_which_all_fails_is_counted_and_left(inside):
    """On the host, where calls can be counted; a start in fifteen or so succeeds."""
    calls = []

    def fitness(x):
        calls.append(x)
        return float(np.sum((x - 0.5) ** 2)) if np.all(np.abs(x) < 1) else np.nan

    method = inside(CMAES(0.05, 8, stopping=Tolerances(tolfailed=3.0)))
    optimizer = Restarts(method, "ipop", 8, Uniform(-4.0, 4.0))
    result = evolve.minimize(fitness, np.full(2, 3.0), optimizer, evaluations=9000, host=True)
    assert result.history["run"][3:5].tolist() == [1, 1]  # four generations are more than three
    assert result.reason in ("evaluations", "restarts")
    assert len(calls) == result.evaluations <= 9000
    assert result.failed > 100
    assert result.loss < 1e-6


@pytest.mark.parametrize("inside", [lambda method: method, UncertaintyHandling], ids=["plain", "handled"])
def test_where_losses_are_noisy_a_generation_that_fails_changes_no_answer(inside):
    """Wholly or for the greater part, in the run that answers or as its end."""
    optimizer = Restarts(inside(CMAES(1.0, 8, stopping=Tolerances(tolfailed=0.0))), "same", 2).under_noise()
    state = init(optimizer, np.full(3, 5.0), jax.random.key(0))
    for t in range(60):
        population = ask(optimizer, state, jax.random.key(t))
        state = tell(optimizer, state, population, np.sum(np.asarray(members(population)) ** 2, axis=1))
    before = optimizer.answer(state)
    assert np.linalg.norm(before) < 0.1
    population = ask(optimizer, state, jax.random.key(60))
    losses = np.full(population.size, np.nan)
    losses[2] = 1e-3
    part = tell(optimizer, state, population, losses)
    np.testing.assert_allclose(optimizer.answer(part), before, atol=0.1)
    over = tell(optimizer, state, population, np.full(population.size, np.nan))
    assert int(over.run) == 1
    np.testing.assert_array_equal(optimizer.answer(over), before)


class Louder(Restarts):
    """A subclass that learns something more."""

    def learn(self, state, population, losses):
        after = super().learn(state, population, losses)
        return dataclasses.replace(after, run=after.run + 100)


class Box(Bounded):
    """As above."""

    def learn(self, state, population, losses):
        after = super().learn(state, population, losses)
        return dataclasses.replace(after, inner=dataclasses.replace(after.inner, sigma=2 * after.inner.sigma))


class Handled(UncertaintyHandling):
    """As above."""

    def learn(self, state, population, losses):
        after = super().learn(state, population, losses)
        return dataclasses.replace(after, noise=after.noise + 100)


class Pair(NamedTuple):
    """A state that is no dataclass."""

    inner: Any
    told: Any


class Gain(Wrapper):
    """A wrapper of the user's own: made in a way of its own, with a state of its own, that knows `learn` alone."""

    gain: float

    def __init__(self, inner, gain):
        self.optimizer, self.gain = inner, gain

    def around(self, inner):
        return Pair(inner, jnp.zeros((), jnp.int32))

    def ask(self, state, key):
        return self.optimizer.ask(state.inner, key)

    def learn(self, state, population, losses):
        return Pair(self.optimizer.learn(state.inner, population, self.gain * losses), state.told + 1)


def test_wrappers_of_the_users_own_are_asked_and_guarded():
    """Subclasses that learn something more, and one that knows nothing of guards, on which a restart goes through."""
    for optimizer, seen in (
        (Louder(CMAES(0.5, 8)), lambda state: state.run >= 100),
        (Box(CMAES(0.5, 8)), lambda state: state.inner.sigma > 0.7),
        (Handled(CMAES(0.5, 8)), lambda state: state.noise >= 99),
        (Gain(CMAES(0.5, 8), 2.0), lambda state: state.told == 1),
    ):
        state = init(optimizer, np.ones(3), jax.random.key(0))
        population = ask(optimizer, state, jax.random.key(1))
        losses = np.sum(np.asarray(members(population)) ** 2, axis=1)
        assert seen(tell(optimizer, state, population, losses)), optimizer
        assert not seen(tell(optimizer, state, population, np.full(population.size, np.nan))), optimizer
    outside = Gain(Restarts(UncertaintyHandling(CMAES(0.5, 8, stopping=Tolerances(tolfailed=3.0))), "ipop", 3), 2.0)
    failing = evolve.minimize(lambda x, key: jnp.nan * x[0], jnp.ones(3), outside, evaluations=20_000)
    assert failing.reason == "restarts"
    noisy = evolve.minimize(lambda x, key: x @ x + jax.random.normal(key), jnp.ones(3), outside, evaluations=2000)
    assert noisy.failed == 0


class Looking(Gain):
    """A wrapper that evaluates ten more points a generation, and says so."""

    def extra(self, state):
        return 10 * state.told


def test_what_a_method_evaluates_beside_its_populations_counts_in_all_runs():
    looking = Looking(CMAES(0.5, 7, stopping=SHORT), 1.0)
    for optimizer in (Restarts(looking, "same", 20), Gain(Restarts(looking, "ipop", 2), 1.0)):
        result = evolve.minimize(never, jnp.zeros(3), optimizer, evaluations=1000)
        rows = result.history
        assert rows["run"].max() > 0
        runs = np.concatenate([[0], rows["run"][:-1]])  # a row is written after a generation
        sizes = 7 * 2**runs if rows["population"].max() > 7 else 7
        np.testing.assert_array_equal(rows["evaluations"], np.cumsum(sizes + np.full(len(runs), 10)))
        assert result.evaluations <= 1000 + 10


class Counted(NamedTuple):
    """A state of a method that looks at ten more points a generation."""

    inner: Any
    seen: Any


class Searching(Wrapper):
    """It counts them in `learn`, also in vain."""

    def around(self, inner):
        return Counted(inner, jnp.zeros((), jnp.int32))

    def ask(self, state, key):
        return self.optimizer.ask(state.inner, key)

    def learn(self, state, population, losses):
        return Counted(self.optimizer.learn(state.inner, population, losses), state.seen + 10)

    def counted(self, state, learned):
        return Counted(state.inner, learned.seen)

    def extra(self, state):
        return state.seen


@pytest.mark.parametrize("around", [lambda method: method, lambda method: Gain(method, 1.0)], ids=["alone", "within"])
def test_what_is_evaluated_in_vain_counts_once_in_whatever_run(around):
    """Runs begin in failed generations, and in those that teach."""
    method = Searching(CMAES(0.5, 8, stopping=Tolerances(tolfailed=2.0, maxiter=0.02)))
    optimizer = around(Restarts(method, "same", 20))
    state = init(optimizer, np.ones(3), jax.random.key(0))
    for t in range(40):
        population = ask(optimizer, state, jax.random.key(t))
        losses = np.sum(np.asarray(members(population)) ** 2, axis=1)
        state = tell(optimizer, state, population, np.full(8, np.nan) if t % 7 > 2 else losses)
        assert int(optimizer.extra(state)) == 10 * (t + 1)
    assert int(optimizer.status(state)["run"]) > 2


@pytest.mark.parametrize(
    ("tolfailed", "vain"),
    [(20.0, lambda t: t % 3 == 1), (2.0, lambda t: t % 17 > 14 or t % 29 in (20, 21, 22))],
    ids=["seldom", "ending"],
)
@pytest.mark.parametrize("around", [lambda method: method, lambda method: Gain(method, 1.0)], ids=["alone", "within"])
def test_what_is_evaluated_in_vain_counts_in_the_books(around, tolfailed, vain):
    """All of it, also where a run ends by what failed, or ends only if it did not."""
    method = Searching(CMAES(0.5, 8, stopping=Tolerances(tolfailed=tolfailed, maxiter=0.1)))
    optimizer = around(Restarts(method, "bipop", 4))
    state, asked = init(optimizer, np.ones(3), jax.random.key(0)), 0
    for t in range(300):
        population = ask(optimizer, state, jax.random.key(t))
        asked += int(population.evaluations)
        losses = jnp.sum(members(population) ** 2, axis=1)
        state = tell(optimizer, state, population, jnp.full(len(losses), jnp.nan) if vain(t) else losses)
        own = state if isinstance(optimizer, Restarts) else state.inner
        assert int(own.spent) >= 0  # no run counts what another's method did
    booked = int(jnp.sum(own.books)) + int(own.spent) + int(method.extra(own.inner))
    assert int(own.run) > 2
    assert booked == asked + 10 * 300


def test_a_small_run_ends_by_all_that_it_evaluates():
    """Its populations, and what its method looks at beside them."""
    optimizer = Restarts(Looking(CMAES(0.5, 8), 1.0), "bipop", 4)
    state = init(optimizer, np.ones(3), jax.random.key(0))
    state = dataclasses.replace(state, run=jnp.asarray(1), limit=jnp.asarray(5 * 18))
    for t in range(5):
        assert int(state.run) == 1
        population = ask(optimizer, state, jax.random.key(t))
        state = tell(optimizer, state, population, jnp.sum(members(population) ** 2, axis=1))
    assert int(state.run) == 2


def test_a_run_without_a_limit_goes_on_whatever_it_has_cost():
    optimizer = Restarts(Looking(CMAES(0.5, 8), 1.0), "ipop", 4)
    state = init(optimizer, np.ones(3), jax.random.key(0))
    state = dataclasses.replace(state, spent=jnp.asarray(2**31 - 9), inner=Pair(state.inner.inner, jnp.asarray(2**27)))
    population = ask(optimizer, state, jax.random.key(1))
    after = tell(optimizer, state, population, jnp.sum(members(population) ** 2, axis=1))
    assert int(after.run) == 0


def test_books_beyond_what_is_counted_are_compared_all_the_same():
    """A large run begins as soon as small ones have had as much."""
    optimizer = Restarts(CMAES(0.5, 8), "bipop", 9)
    state = init(optimizer, np.ones(3), jax.random.key(0))
    many = jnp.asarray([2**30 + 10**8, 2**30], jnp.int32)
    state = dataclasses.replace(state, books=many, small=jnp.asarray(True), grown=jnp.asarray(3))
    for run in range(40):
        state = dataclasses.replace(state, spent=jnp.asarray(10**7))
        state = dataclasses.replace(state, **optimizer._again(state, jax.random.key(run)))
        if not bool(state.small):
            assert run == 5  # books are halved at 2^30, and so is what small runs lack
            return
    pytest.fail("there were small runs only")


class Logged(evolve.Device):
    """A device that makes other losses of a device's."""

    def evaluate(self, problem, population, key):
        return jnp.log(super().evaluate(problem, population, key) - 1.0)


class Low(Gain):
    """A wrapper that looks at what it is told."""

    def tell(self, state, population, losses):
        return super().tell(state, population, jnp.maximum(losses, jnp.min(losses)))


def test_devices_and_methods_of_the_users_own_are_told_plain_losses():
    """Where populations grow too, of which a device's own losses are clean."""
    problem = evolve.wrap(lambda x: x @ x, np.ones(3))
    result = evolve.run(problem, Restarts(CMAES(0.5, 8), "ipop", 2), backend=Logged(), evaluations=400)
    assert result.failed > 0
    assert np.isfinite(result.state.best_loss)
    assert result.state.best_loss == np.float32(result.loss)
    assert evolve.run(problem, Low(Restarts(CMAES(0.5, 8), "ipop", 2), 1.0), evaluations=400).generations > 0


class Minimum:
    """Something more, before what a method is told; no optimizer by itself."""

    def tell(self, state, population, losses):
        return super().tell(state, population, jnp.maximum(losses, jnp.min(losses)))


class Mindful(Minimum, Restarts):
    """A method that somebody else's `tell` stands before."""


class Aware(Restarts):
    """A method that knows of losses that were cleaned."""

    takes_clean = True

    def tell(self, state, population, losses):
        TOLD.append(isinstance(losses, Clean))
        return super().tell(state, population, losses)


class Unsure(Aware, Mindful):
    """It knows of them, and what it goes on with does not."""


class Plainly(Aware):
    """It does not want them, nor does what is made of it."""

    takes_clean = False


class More(Plainly):
    """As that."""


class Surely(Mindful):
    """Who writes it has looked at all of it."""

    takes_clean = True


class Clipped(Optimizer):
    """A method around another one, by somebody who inherits nothing else."""

    optimizer: Any

    def init(self, params, key):
        return self.optimizer.init(params, key)

    def ask(self, state, key):
        return self.optimizer.ask(state, key)

    def more(self, state):
        return self.optimizer.more(state)

    def answer(self, state):
        return self.optimizer.answer(state)

    def learn(self, state, population, losses):
        return self.optimizer.learn(state, population, losses)

    def tell(self, state, population, losses):
        return super().tell(state, population, jnp.minimum(losses, 100.0))


class Alike(Aware):
    """As that, written before the two below: what is asked of it changes nothing of them."""


class Unaware(Aware):
    """With a tell of its own, which does not know."""

    def tell(self, state, population, losses):
        return super().tell(state, population, jnp.minimum(losses, 100.0))


class Akin(Aware):
    """As that."""


TOLD = []


def test_a_tell_of_anothers_is_told_plain_losses_and_one_that_knows_of_clean_ones_those():
    problem = evolve.wrap(lambda x: x @ x, np.ones(3))
    assert evolve.run(problem, Mindful(CMAES(0.5, 8), "ipop", 2), evaluations=200).generations > 0
    knowing, not_knowing = (Aware, Surely, Alike, Akin), (Mindful, Unsure, Plainly, More, Clipped, Unaware)
    assert [kind.takes_clean for kind in (*knowing, *not_knowing)] == [True] * 4 + [False] * 6
    assert all(issubclass(kind, kind) for kind in (*knowing, *not_knowing))
    restarted = Restarts(CMAES(0.5, 8), "ipop", 2)
    for optimizer in (Unsure(CMAES(0.5, 8), "ipop", 2), Unaware(CMAES(0.5, 8), "ipop", 2), Clipped(restarted)):
        assert evolve.run(problem, optimizer, evaluations=200).generations > 0
    for backend, clean in ((evolve.Device(), True), (Logged(), False)):
        TOLD.clear()
        evolve.run(problem, Aware(CMAES(0.5, 8), "ipop", 2), evaluations=200, backend=backend)
        assert set(TOLD) == {clean}


def test_a_small_run_costs_what_it_may_also_where_members_are_evaluated_several_times():
    """Half of all large ones, up to its last generation."""
    method = UncertaintyHandling(CMAES(0.1, 6, stopping=Tolerances(tolfailed=10.0)))
    optimizer = Restarts(method, "bipop", 3, Uniform(-4.0, 4.0))
    state, random, small = init(optimizer, np.ones(2), jax.random.key(2)), np.random.default_rng(2), 0
    for t in range(1500):
        population = ask(optimizer, state, jax.random.key(t))
        x = np.asarray(members(population))
        losses = np.where(x[:, 0] > 0, np.nan, np.sum(x**2, axis=1) + 100 * random.normal(size=len(x)))
        after = tell(optimizer, state, population, losses)
        if int(after.run) > int(state.run) and bool(state.small) and int(state.run) > 0:
            cost = int(after.books[1] - state.books[1])
            assert cost - int(population.evaluations) < int(state.books[0]) / 2
            small += 1
        if small > 1:
            return
        state = after
    pytest.fail(f"there were {small} small runs")


class Counting(Bounded):
    """A subclass that counts generations of which no member succeeded."""

    def failed(self, state, population):
        after = super().failed(state, population)
        return dataclasses.replace(after, inner=dataclasses.replace(after.inner, sigma=2 * after.inner.sigma))


class Mixin:
    """Something more, before what a class has told."""

    def told(self, state, population, losses, some):
        return super().told(state, population, losses, some)


class Mixed(Mixin, Counting):
    """Whose `failed` is that of another class than its `told`."""


class Both(Counting):
    """Which writes both."""

    def told(self, state, population, losses, some):
        return super().told(state, population, losses, some)

    def failed(self, state, population):
        return super().failed(state, population)


class Bare(Guarding):
    """A method whose `told` may come from somewhere else."""

    def init(self, params, key):
        del key
        return jnp.asarray(params)

    def ask(self, state, key):
        return ask(CMAES(0.5, 8), init(CMAES(0.5, 8), state, key), key)

    def answer(self, state):
        return state


class Elsewhere:
    """Where it comes from."""

    def told(self, state, population, losses, some):
        del population, some
        return state / jnp.min(losses)


class Lent(Elsewhere, Bare):
    """It is guarded as any other."""


def test_what_a_mixin_has_told_is_guarded():
    optimizer = Lent()
    state = optimizer.init(jnp.ones(3), jax.random.key(0))
    population = optimizer.ask(state, jax.random.key(1))
    np.testing.assert_array_equal(optimizer.tell(state, population, jnp.full(8, 2.0)), state / 2)
    np.testing.assert_array_equal(optimizer.tell(state, population, jnp.full(8, jnp.nan)), state)
    np.testing.assert_array_equal(optimizer.tell(state, population, jnp.zeros(8)), state)


class Mine(Restarts):
    """A subclass that is made in a way of its own."""

    def __init__(self, sigma):
        self.optimizer, self.regime, self.restarts, self.start, self.noisy = CMAES(sigma), "ipop", 3, None, False


@pytest.mark.parametrize("kind", [Counting, Mixed, Both], ids=["plain", "mixed", "both"])
@pytest.mark.parametrize("method", [CMAES(0.5, 8), SNES(0.5, 8)], ids=lambda method: type(method).__name__)
def test_what_a_subclass_does_where_all_fail_is_done(method, kind):
    optimizer = kind(method, -9.0, 9.0)
    state = init(optimizer, np.ones(3), jax.random.key(0))
    population = ask(optimizer, state, jax.random.key(1))
    after = tell(optimizer, state, population, np.full(population.size, np.nan))
    np.testing.assert_array_equal(after.inner.sigma, 2 * state.inner.sigma)


def test_a_subclass_that_is_made_in_a_way_of_its_own_is_copied_for_noise():
    noisy = Mine(0.5).under_noise()
    assert isinstance(noisy, Mine)
    assert noisy.noisy
    assert noisy.restarts == 3
    assert evolve.minimize(lambda x, key: x @ x + jax.random.normal(key), jnp.ones(3), Mine(0.5)).generations > 0


def test_one_that_cannot_grow_is_restarted_within_wrappers():
    optimizer = Restarts(Bounded(Ending(16), -9.0, 9.0), "same", 2)
    assert evolve.minimize(never, jnp.zeros(3), optimizer, evaluations=64).evaluations == 64


@pytest.mark.parametrize("around", [lambda method: Bounded(method, -9.0, 9.0), UncertaintyHandling, Restarts])
def test_what_records_in_tell_stands_outside(around):
    recorded = Recorded(CMAES(), 0.0, np.array([1.0]), np.array([1]))
    with pytest.raises(ValueError, match=r"it would pass over the tell of Recorded; put it inside: Recorded\("):
        around(recorded)


def test_where_losses_are_noisy_the_answer_is_a_methods_own_and_not_the_luckiest_member():
    def noisy(x, key):
        return jnp.sum(x**2) + jax.random.normal(key)

    short = Tolerances(maxiter=0.1, tolstagnation=0.0)
    problem = evolve.IndependentNoise(evolve.wrap(noisy, jnp.full(8, 3.0)))
    plain, restarted = CMAES(1.0, 20, stopping=short), Restarts(CMAES(1.0, 20, stopping=short), "same", 2)
    one = evolve.run(problem, plain, evaluations=20_000)
    many = evolve.run(problem, restarted, evaluations=30_000)
    assert (one.reason, many.reason) == ("maxiter", "restarts")
    alone = evolve.run(problem, Restarts(plain, "same", 0), evaluations=20_000)
    np.testing.assert_array_equal(alone.answer, one.answer)  # its first run is that of the method alone
    # No member is that near: a population lies around the mean.
    assert np.linalg.norm(many.answer) < 1.0
    quiet = evolve.run(problems.Function("sphere", 8), restarted, evaluations=30_000)
    assert quiet.loss == quiet.history["best"].min()


@pytest.mark.usefixtures("x64")
def test_a_second_valley_is_found():
    """Rastrigin in five dimensions: the first run ends in a local minimum, a later one does not."""
    problem, optimizer = problems.Function("rastrigin", 5, shift=1), Restarts(CMAES(2.0), "ipop", 3, Uniform(-4.0, 4.0))
    result = evolve.run(problem, optimizer, seed=4, evaluations=100_000, target=1e-4)
    run, best = result.history["run"], result.history["best"]
    assert best[run == 0].min() > 0.1
    assert run[-1] > 0
    assert result.reason == "target"
    assert result.loss <= 1e-4


def test_a_host_fitness_sees_only_members_in_use():
    seen = []

    def plain(x):
        seen.append(x)
        return float(np.sum(np.sin(1e3 * np.asarray(x))))

    optimizer = Restarts(CMAES(stopping=SHORT), "ipop", 3)
    result = evolve.minimize(plain, np.zeros(3), optimizer, evaluations=300, host=True)
    assert len(seen) == result.evaluations <= 300


def test_a_growing_population_is_the_same_on_the_host_as_on_a_device():
    """The first coordinate has no rounding of its own; 112 members are more than are formed for a small population."""
    optimizer = Restarts(CMAES(stopping=SHORT), "ipop", 4)
    host = evolve.minimize(lambda x: float(x[0]), np.zeros(3), optimizer, evaluations=2000, host=True)
    device = evolve.minimize(lambda x: x[0], jnp.zeros(3), optimizer, evaluations=2000)
    assert host.evaluations == device.evaluations
    assert host.history["population"].max() == 112
    for name in ("loss", "mean", "best"):
        np.testing.assert_allclose(host.history[name], device.history[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("size", [7, 200])
def test_what_a_device_has_cleaned_teaches_what_is_cleaned_when_told(size):
    """To the bit, and a device does clean; members that are not in use, and failed ones, are +inf."""
    method = CMAES(0.5)
    state = start(method, np.ones(3), jax.random.key(0), jnp.asarray(size), 224, 1.0)
    population = ask(method, state, jax.random.key(1))

    def loss(x):
        return jnp.where(x[0] > 1.2, jnp.nan, jnp.where(x[1] > 1.5, -jnp.inf, x @ x))

    losses = jax.jit(evolve.Device().evaluate)(evolve.wrap(loss, np.ones(3)), population, jax.random.key(2))
    values = np.asarray(jax.vmap(loss)(population.members()))[:size]
    failed = ~np.isfinite(values)
    assert 0 < failed.sum() < size
    np.testing.assert_array_equal(np.isposinf(losses), np.concatenate([failed, np.ones(len(losses) - size, bool)]))
    raw = jnp.asarray(losses).at[jnp.flatnonzero(failed)].set(jnp.nan).at[size:].set(-1.0)
    told = [tell(method, state, population, each) for each in (Clean(losses), raw)]
    for one, other in zip(*map(jax.tree.leaves, told), strict=True):
        np.testing.assert_array_equal(one, other)


def test_uniform_starts():
    tree = {"a": jnp.zeros((2, 3)), "b": jnp.zeros((), jnp.bfloat16)}
    drawn = Uniform({"a": jnp.array([0.0, 1.0, 2.0]), "b": 5.0}, {"a": jnp.array([1.0, 2.0, 3.0]), "b": 6.0})(
        jax.random.key(0), tree
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), drawn) == jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert np.all((drawn["a"] >= jnp.arange(3.0)) & (drawn["a"] <= jnp.arange(3.0) + 1))
    assert 5 <= drawn["b"] <= 6
    assert len(np.unique(drawn["a"] % 1)) == 6


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Restarts(OpenES()), "OpenES never stops by itself"),
        (lambda: Restarts(Ending(), "ipop"), "the population of Ending cannot grow; say regime='same'"),
        (lambda: Restarts(Bounded(Ending(), -1.0, 1.0)), "the population of Bounded cannot grow; say regime='same'"),
        (lambda: Uniform(np.full(2, 3.0), np.full(1, -1.0))(jax.random.key(0), jnp.zeros(2)), "low is 3.0 where high"),
        (lambda: Restarts(Gradient(optax.lbfgs()), "same"), "Restarts: Gradient learns from gradients; take a method"),
        (lambda: Restarts(CMAES(), restarts=-1), "restarts is -1; it must be at least 0"),
        (lambda: Restarts(CMAES(stopping=None)), "CMAES never stops by itself"),
        (lambda: Restarts(Bounded(CMAES(stopping=None), -1.0, 1.0)), "Bounded never stops by itself"),
    ],
)
def test_misuse_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("start", [jnp.zeros(2), np.zeros(2), 1.0, "zero"])
def test_a_start_that_is_no_function_is_refused(start):
    with pytest.raises(
        TypeError, match=r"Restarts: start is .*; give a function of \(key, first start\), such as Unif"
    ):
        Restarts(CMAES(), start=start)
    assert Restarts(CMAES(), start=None).start is None


def test_a_state_is_a_record():
    state = Restarts(CMAES()).init(jnp.zeros(3), jax.random.key(0))
    assert isinstance(state, RestartsState)
    assert state.size == default_population(3)
