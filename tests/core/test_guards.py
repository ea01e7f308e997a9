"""What stands in front of every optimizer: misspelt options, numbers with axes, and what is no key or population."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zeroth
from evolve import CMAES, SNES, Bounded, OpenES, RandomSearch, Restarts, SimulatedAnnealing
from evolve.core import Optimizer
from evolve.core.guards import check_names

KEY, START = jax.random.key(0), jnp.ones(3)
METHODS = [CMAES(), SNES(), OpenES(), SimulatedAnnealing(), zeroth.SPSA(), Restarts(CMAES()), Bounded(CMAES(), 0, 2)]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


def test_a_misspelt_option_is_answered_with_the_nearest_and_all():
    with pytest.raises(TypeError, match=r"CMAES: there is no option 'sigm'; did you mean sigma\? Known are sigma, pop"):
        CMAES(sigm=1)
    with pytest.raises(TypeError, match="OpenES: there is no option 'lr'; known are population, sigma, learning_rate"):
        OpenES(lr=0.1)
    with pytest.raises(TypeError, match="MeZO: there is no option 'popsize'; known are population, sigma,"):
        zeroth.MeZO(popsize=4)
    with pytest.raises(TypeError, match="F: there is no option 'a'; known are b"):
        check_names("F", ["b", "a"], {"b": 1})


def test_what_a_class_of_its_own_takes_is_known_from_its_init():
    class Own(RandomSearch):
        def __init__(self, size, **more):
            super().__init__(population=size)

    assert Own(4, whatever=3).population == 4


def test_a_class_that_lacks_a_method_is_told_which():
    class Old(Optimizer):
        def init(self, params, key):
            return params

        def ask(self, state, key):
            raise NotImplementedError

        def tell(self, state, population, losses):
            return state

        def answer(self, state):
            return state

    with pytest.raises(TypeError, match=r"Old does not define learn: .*tell is learn behind a guard"):
        Old()


@each_method
def test_an_optimizer_is_made_and_copied_as_any_record(method):
    again = [copy.copy(method), copy.deepcopy(method), pickle.loads(pickle.dumps(method))]
    assert all(type(one) is type(method) and jax.tree.all(jax.tree.map(np.array_equal, one, method)) for one in again)


@each_method
@pytest.mark.parametrize(
    ("key", "words"),
    [
        (0, "is 0"),
        (None, "is None"),
        (START, r"is an array of float32, shape \(3,\)"),
        (jax.random.split(KEY), r"is an array of key<fry>, shape \(2,\)"),
        ("a", "is of class str"),
    ],
)
def test_what_is_no_key_is_refused_alike(method, key, words):
    cure = rf"the key {words}; give a random key, such as jax\.random\.key\(0\)"
    with pytest.raises(TypeError, match=rf"{type(method).__name__}\.init: {cure}"):
        method.init(START, key)
    state = jax.eval_shape(method.init, START, KEY)
    with pytest.raises(TypeError, match=rf"\.ask: {cure}"):
        method.ask(state, key=key)


def test_keys_of_both_kinds_are_taken_in_and_out_of_transformations():
    method = CMAES()
    state = method.init(START, jax.random.PRNGKey(0))
    old, new = method.ask(state, jax.random.PRNGKey(1)), jax.jit(method.ask)(state, jax.random.key(1))
    np.testing.assert_array_equal(old.members(), new.members())
    assert jax.eval_shape(jax.vmap(method.ask, (None, 0)), state, jax.random.split(KEY, 5)).scale.shape == (5,)


@pytest.mark.parametrize("method", [CMAES, SNES, OpenES, RandomSearch, zeroth.SPSA])
def test_a_sigma_with_an_axis_is_refused_before_work(method):
    cure = "; for one per coordinate see stds" if method is CMAES else r"\."
    with pytest.raises(ValueError, match=rf"{method.__name__}: sigma has shape \(3,\); it must be one number{cure}"):
        method(sigma=START).init(START, KEY)


def test_a_sigma_with_an_axis_that_vmap_takes_off_is_fine():
    several = jax.vmap(lambda sigma: CMAES(sigma=sigma))(jnp.arange(1.0, 4.0))
    states = jax.vmap(lambda method: method.init(START, KEY))(several)
    np.testing.assert_array_equal(states.sigma, [1, 2, 3])
    with pytest.raises(ValueError, match=r"CMAES: sigma has shape \(3,\)"):
        Restarts(several).init(START, KEY)


@pytest.mark.usefixtures("unchecked")
@each_method
def test_what_is_no_population_is_refused(method):
    state = jax.eval_shape(method.init, START, KEY)
    cure = "pass the population that ask returned, then the losses"
    for told in (jnp.ones((4, 3)), jnp.ones(4), None, state):
        with pytest.raises(TypeError, match=rf"{type(method).__name__}\.tell: the population is .*; {cure}"):
            method.tell(state, told, jnp.ones(4))
