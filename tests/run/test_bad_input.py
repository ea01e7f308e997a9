"""Bad input: said before any work, naming the value and the cure; and failures while running, which are data."""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evolve
import problems
import zeroth
from evolve.run import session
from evolve.run.prepare import UNTRACEABLE


def sphere(x):
    return jnp.sum(x**2)


SEARCH = evolve.RandomSearch(population=8)
START = jnp.ones(3)


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be compiled, and so nothing evaluated."""

    def compiling(*_):
        raise AssertionError("work was done")

    monkeypatch.setattr(session, "DeviceLoop", compiling)
    monkeypatch.setattr(session, "HostLoop", compiling)


@pytest.mark.usefixtures("no_work")
class TestSaidBeforeAnyWork:
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_non_finite_start(self, value):
        start = {"w": jnp.ones(3), "b": jnp.array([0.0, value, value])}
        with pytest.raises(ValueError, match=r"init: \['b'\] holds 2 non-finite value\(s\); start from finite"):
            evolve.minimize(lambda p: sphere(p["w"]), start, SEARCH, generations=1)

    @pytest.mark.parametrize("empty", [{}, [], jnp.zeros(0), {"a": jnp.zeros((3, 0))}, None])
    def test_empty_parameters(self, empty):
        with pytest.raises(ValueError, match=r"init: the parameters are empty .*; give at least one number to search"):
            evolve.minimize(lambda p: 0.0, empty, SEARCH, generations=1)

    @pytest.mark.parametrize("start", [jnp.arange(3), {"n": np.array([True])}, jnp.ones(2, jnp.complex64)])
    def test_parameters_that_are_no_floats(self, start):
        with pytest.raises(TypeError, match=r"only floating-point leaves can be searched: .*close over it instead"):
            evolve.minimize(lambda p: 0.0, start, SEARCH, generations=1)

    def test_odd_population_with_pairs(self):
        for method in (evolve.OpenES, zeroth.SPSA, zeroth.MeZO):
            with pytest.raises(ValueError, match="population is 5; antithetic pairs need an even number"):
                method(population=5)

    @pytest.mark.parametrize("size", [0, 1, -2])
    @pytest.mark.parametrize("method", [evolve.CMAES, evolve.SepCMAES, evolve.OpenES, evolve.GeneticAlgorithm])
    def test_population_too_small(self, method, size):
        with pytest.raises(ValueError, match=rf"{method.__name__}: population is {size}; it needs at least 2"):
            method(population=size)

    @pytest.mark.parametrize(
        ("loss", "words"),
        [
            (lambda x: x, r"the loss has shape \(3,\); return a scalar, such as its mean"),
            (lambda x: x[None, :1], r"the loss has shape \(1, 1\); return a scalar"),
            (lambda x: jnp.sum(x).astype(jnp.int32), "the loss is int32; return a floating-point number"),
            (lambda x: jnp.sum(x) > 0, "the loss is bool; return a floating-point number"),
            (lambda x: jnp.sum(x) * 1j, "the loss is complex64; return a floating-point number"),
            (lambda x: 3, "the loss is int32; return a floating-point number"),
            (lambda x: None, "the loss is a NoneType; return a floating-point scalar"),
            (lambda x: {"loss": jnp.sum(x)}, "the loss is a dict; return a floating-point scalar"),
            (lambda x: (jnp.sum(x), x), "the loss is a tuple; return a floating-point scalar"),
        ],
    )
    @pytest.mark.parametrize("optimizer", [SEARCH, evolve.Gradient(optax.sgd(0.1))])
    def test_losses_that_are_no_numbers(self, loss, words, optimizer, tmp_path):
        with pytest.raises((ValueError, TypeError), match=words):
            evolve.minimize(loss, START, optimizer, generations=1, directory=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_an_error_of_the_users_own_comes_through(self, tmp_path):
        def loss(x):
            return x @ jnp.ones(4)

        with pytest.raises(TypeError, match="dot_general"):
            evolve.minimize(loss, START, SEARCH, generations=1, directory=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_gradient_of_a_host_fitness(self, tmp_path):
        with pytest.raises(ValueError, match="Gradient needs gradients, which a host fitness cannot give; take a"):
            evolve.minimize(
                lambda x: 0.0, START, evolve.Gradient(optax.sgd(0.1)), host=True, generations=1, directory=tmp_path
            )
        assert not list(tmp_path.iterdir())

    def test_gradient_on_workers(self):
        with pytest.raises(ValueError, match=r"Gradient needs .* Workers\(\) cannot give; leave the backend out"):
            evolve.minimize(sphere, START, evolve.Gradient(optax.sgd(0.1)), backend=evolve.Workers(), generations=1)

    def test_device_for_a_host_fitness(self):
        with pytest.raises(ValueError, match=r"backend is Device\(.*a host fitness needs Workers\(\); give"):
            evolve.minimize(lambda x: 0.0, START, SEARCH, host=True, backend=evolve.Device(), generations=1)

    def test_what_is_no_backend(self):
        with pytest.raises(TypeError, match=r"backend is 'gpu'; give Device\(\), Mesh\(\) or Workers\(\)"):
            evolve.minimize(sphere, START, SEARCH, backend="gpu", generations=1)

    def test_classes_and_functions_in_place_of_instances(self):
        problem = problems.wrap(sphere, START)
        with pytest.raises(TypeError, match=r"optimizer is the class CMAES; make one: CMAES\(\.\.\.\)"):
            evolve.run(problem, evolve.CMAES, generations=1)
        with pytest.raises(TypeError, match=r"optimizer is 'cmaes', which is no Optimizer; give CMAES\(\), say"):
            evolve.run(problem, "cmaes", generations=1)
        with pytest.raises(TypeError, match=r"no Problem; wrap a function with problems\.wrap, or call minimize"):
            evolve.run(sphere, SEARCH, generations=1)

    @pytest.mark.usefixtures("unchecked")
    def test_what_is_no_function(self):
        with pytest.raises(TypeError, match=r"wrap: 3 is not callable; pass a function"):
            evolve.minimize(3, START, SEARCH)
        with pytest.raises(TypeError, match=r"the function needs \(a, b, c\); it m"):
            evolve.minimize(lambda a, b, c: 0.0, START, SEARCH)

    @pytest.mark.parametrize(
        "loss",
        [
            lambda x, data: jnp.sum((x - data) ** 2),
            lambda x, data: jnp.sum(data @ x),
            lambda x, data: jnp.sum(x - data[0]),
            lambda x, data: jnp.sum(x * float(data)),
        ],
    )
    def test_data_where_the_key_comes(self, loss):
        with pytest.raises(TypeError, match="; the second parameter of the function, data, is a random key: close ove"):
            evolve.minimize(loss, START, SEARCH, generations=1)

    def test_an_error_of_a_function_that_takes_a_key_is_its_own(self):
        with pytest.raises(ValueError, match="broadcast") as error:
            evolve.minimize(lambda x, key: jnp.broadcast_to(x, (2,)), START, SEARCH, generations=1)
        assert "second parameter" not in str(error.value)

        def refuse(x):
            raise ValueError("of my own")

        with pytest.raises(ValueError, match="of my own") as error:
            evolve.minimize(refuse, [1.0, 2.0], SEARCH, generations=1)
        assert str(error.value) == "of my own"

    def test_an_optax_optimizer(self):
        with pytest.raises(TypeError, match=r"run: optimizer is an optax optimizer; wrap it: Gradient\(optax\.adam\(0"):
            evolve.minimize(sphere, START, optax.adam(0.1), generations=1)

    def test_a_problem_whose_methods_lack_the_key(self):
        class Keyless(evolve.Problem):
            def init(self, key):
                return START

            def loss(self, p):
                return jnp.sum(p)

        class Startless(Keyless):
            def init(self):
                return START

        with pytest.raises(TypeError, match=r"Keyless\.loss takes \(p\); it needs \(params, key\), even if it draws"):
            evolve.run(Keyless(), SEARCH, generations=1)
        with pytest.raises(TypeError, match=r"Startless\.init takes \(\); it needs \(key\), even if it draws"):
            evolve.run(Startless(), SEARCH, generations=1)

    def test_misspelt_options(self):
        with pytest.raises(TypeError, match=r"there is no option 'evaluation'; did you mean evaluations\?"):
            evolve.minimize(sphere, START, SEARCH, evaluation=100)
        with pytest.raises(TypeError, match="there is no option 'colour'; known are evaluations, generations"):
            evolve.minimize(sphere, START, SEARCH, colour="red")

    @pytest.mark.parametrize(
        "loss", [lambda x: np.sum(np.sin(x)), lambda x: float(x[0]), lambda x: 1.0 if x[0] > 0 else 2.0]
    )
    def test_plain_python_as_a_jax_loss(self, loss):
        with pytest.raises(TypeError, match=r"; for a function that JAX cannot trace, .* pass host=True") as error:
            evolve.minimize(loss, START, SEARCH, generations=1)
        assert isinstance(error.value.__cause__, UNTRACEABLE)
        assert any(entry.path == Path(__file__) and entry.name == "<lambda>" for entry in error.traceback)

    @pytest.mark.parametrize("loss", [lambda x: jnp.sum(x**2), lambda x: x.sum()])
    @pytest.mark.parametrize("start", [[1.0, 2.0], (1.0, 2.0)])
    def test_a_list_in_place_of_a_vector(self, loss, start):
        kind = type(start).__name__
        with pytest.raises(TypeError, match=rf"the start is a {kind} of numbers; for a vector pass jnp\.array"):
            evolve.minimize(loss, start, SEARCH, generations=1)

    @pytest.mark.parametrize("watch", [3, [3], "f"])
    def test_what_is_no_watcher(self, watch):
        with pytest.raises(TypeError, match=r"watch is .*; give a function of a Progress, or a list of them"):
            evolve.minimize(sphere, START, SEARCH, generations=1, watch=watch)

    @pytest.mark.parametrize("value", [0, -1, 2.5, "often"])
    def test_watch_every(self, value):
        with pytest.raises(ValueError, match=rf"watch_every is {value}; it must be a whole number of at least 1"):
            evolve.minimize(sphere, START, SEARCH, generations=1, watch_every=value)

    @pytest.mark.parametrize("value", [-1, math.nan])
    def test_save_seconds(self, value):
        with pytest.raises(ValueError, match=rf"save_seconds is {value}; it must be at least 0"):
            evolve.minimize(sphere, START, SEARCH, generations=1, save_seconds=value)

    def test_zero_budget(self):
        with pytest.raises(ValueError, match="evaluations is 0; it must be positive and finite"):
            evolve.minimize(sphere, START, SEARCH, evaluations=0)


def test_one_watcher_needs_no_list():
    seen = []
    evolve.minimize(sphere, START, SEARCH, generations=3, watch=seen.append, watch_every=1)
    assert [progress.generation for progress in seen] == [1, 2, 3]


def nonzero(x):
    if x[0] > 1:
        raise ArithmeticError(f"cannot take {x[0]:.0f}")
    return float(np.sum(x**2))


@pytest.mark.parametrize("pool", [False, True])
def test_a_host_fitness_that_raises_fails_its_member_only(pool):
    with ThreadPoolExecutor(3) as executor:
        backend = evolve.Workers(executor if pool else None)
        result = evolve.minimize(nonzero, START, SEARCH, host=True, generations=20, backend=backend)
    seen = [x > 1 for x in _first_numbers(20)]
    assert (result.generations, result.reason) == (20, "generations")
    assert result.failed == sum(seen) == result.history["failed"][-1]
    assert result.evaluations == 160
    assert "ArithmeticError: cannot take" in result.error
    assert "in nonzero" in result.error
    assert np.isfinite(result.loss)
    assert result.answer[0] <= 1
    assert result.loss == pytest.approx(np.sum(np.asarray(result.answer, np.float64) ** 2), rel=1e-6)


def _first_numbers(generations):
    """What the fitness gets: recorded by a fitness that never fails."""
    calls = []

    def record(x):
        calls.append(float(x[0]))
        return 0.0

    evolve.minimize(record, START, SEARCH, host=True, generations=generations)
    return calls


def test_errors_belong_to_their_run():
    workers = evolve.Workers()
    assert evolve.minimize(nonzero, START, SEARCH, host=True, generations=2, backend=workers).error
    assert evolve.minimize(lambda x: 0.0, START, SEARCH, host=True, generations=2, backend=workers).error is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "TypeError: the loss is None; return a real number"),
        (np.ones(2), r"ValueError: the loss has shape \(2,\); return a scalar"),
        ("low", "TypeError: the loss is <U3; return a real number"),
        (1j, "TypeError: the loss is complex128; return a real number"),
        (True, "TypeError: the loss is bool; return a real number"),
    ],
)
def test_what_a_host_fitness_must_not_return(value, words):
    """Nobody knows before it is called, so every member fails; the result says why."""
    result = evolve.minimize(lambda x: value, START, SEARCH, host=True, generations=2)
    assert result.failed == 16
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(result.error)


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize(
    "optimizer", [SEARCH, evolve.CMAES(), evolve.OpenES(population=8), zeroth.SPSA()], ids=lambda o: type(o).__name__
)
def test_when_all_members_fail_the_run_ends_normally_at_the_start(host, optimizer):
    """Each in one of three ways: not a number, infinite, or too good to be true."""

    def loss(x):
        where = np.where if host else jnp.where
        value = where(x[0] > 1, math.nan, where(x[1] > 1, math.inf, -math.inf))
        return float(value) if host else value

    result = evolve.minimize(loss, START, optimizer, host=host, generations=5)
    size = result.evaluations // 5
    assert (result.generations, result.reason, result.failed) == (5, "generations", 5 * size)
    np.testing.assert_array_equal(result.answer, np.ones(3))
    assert result.loss == math.inf
    assert np.isnan(result.history["loss"]).all()
    assert result.history["failed"].tolist() == [size * g for g in range(1, 6)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(optimizer.answer(result.state)))
    assert result.error is None


def test_a_gradient_that_fails_stays_where_it_is():
    result = evolve.minimize(
        lambda x: jnp.sqrt(-1 - jnp.sum(x**2)), START, evolve.Gradient(optax.sgd(0.1)), generations=3
    )
    np.testing.assert_array_equal(result.answer, np.ones(3))
    assert result.failed == 3


def noisy(x, key):
    return jnp.sum((x - 1) ** 2) + 0.01 * jax.random.normal(key)


@pytest.mark.parametrize("loss", [sphere, noisy])
def test_workers_evaluate_a_jax_problem_as_the_device_does(loss):
    """Same members, same keys: equal to rounding."""
    search = evolve.SepCMAES()
    device = evolve.minimize(loss, START, search, generations=4)
    workers = evolve.minimize(loss, START, search, generations=4, backend=evolve.Workers())
    np.testing.assert_allclose(workers.answer, device.answer, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(workers.history["loss"], device.history["loss"], rtol=1e-4, atol=1e-6)
    assert workers.loss == pytest.approx(device.loss, rel=1e-4, abs=1e-6)
    assert workers.failed == 0


@pytest.mark.filterwarnings("always:run. no member")
class TestARunWithoutOneFiniteLossIsSaid:
    """In one warning, at the line that called; the result is as of any other run."""

    @staticmethod
    def said(found):
        assert [(str(one.filename), one.category) for one in found] == [(__file__, UserWarning)]
        return str(found[0].message)

    def test_with_the_first_error_of_a_host_fitness(self):
        with warnings.catch_warnings(record=True) as found:
            result = evolve.minimize(lambda x: np.sum(x) + ofset, START, SEARCH, generations=2, host=True)  # noqa: F821
        words = "no member had a finite loss (16 failed; the first said: NameError: name 'ofset' is not defined)"
        assert self.said(found) == f"run: {words}; what is answered is the start."
        assert result.loss == math.inf

    @pytest.mark.parametrize("loss", [lambda x: jnp.sum(x) * jnp.nan, lambda x, key: jnp.sum(x) / 0])
    def test_where_there_is_no_error(self, loss):
        with warnings.catch_warnings(record=True) as found:
            evolve.run(problems.wrap(loss, START), SEARCH, generations=2)
        assert "no member had a finite loss (16 failed); what" in self.said(found)

    def test_once_for_several_seeds_and_by_their_names(self):
        def loss(x):  # the starts of seeds 3, 4, 5 are 3, 4, 5
            return jnp.where(jnp.abs(x - 4) < 0.5, jnp.nan, x)

        starts = iter([3.0, 4.0, 5.0])
        problem = problems.wrap(loss, lambda key: jnp.asarray(next(starts)))
        with warnings.catch_warnings(record=True) as found:
            evolve.run(problem, evolve.RandomSearch(8, sigma=0.01), generations=2, seed=3, seeds=3)
        assert "no member of seed 4 had a finite loss (16 failed); what" in self.said(found)
        with warnings.catch_warnings(record=True) as found:
            evolve.minimize(lambda x: x * jnp.nan, 1.0, SEARCH, generations=2, seeds=12)
        assert "no member of seeds 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... had a finite loss (192 failed)" in self.said(found)

    def test_by_a_comparison_only_in_its_table(self):
        problem = problems.wrap(lambda x: np.sum(x) + ofset, START, host=True)  # noqa: F821
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = evolve.compare(problem, {"A": SEARCH}, seeds=2, generations=2, progress=False)
        assert "A had 32 members with a loss that is not finite: NameError" in " ".join(str(found).split())


def test_a_run_of_which_one_member_succeeds_is_not_complained_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evolve.minimize(lambda x: jnp.where(x > 1, jnp.nan, x), 1.0, SEARCH, generations=2)
