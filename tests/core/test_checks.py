"""What an optimizer's options may be: every refusal names class, option, value and cure."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evolve
from evolve.core import Elite, Exponential
from evolve.core.checks import check_between, check_count, check_edges, check_flags, check_population, check_positive


class Toy:
    """Whoever is checked."""


OWNER = Toy()


@pytest.mark.parametrize(("size", "least"), [(0, 2), (1, 2), (-3, 2), (0, 1)])
def test_a_population_too_small_is_refused(size, least):
    with pytest.raises(ValueError, match=f"Toy: population is {size}; it needs at least {least} members"):
        check_population(OWNER, size, least)


@pytest.mark.parametrize(("size", "group", "kind"), [(7, 2, "an even number"), (6, 4, "a multiple of 4")])
def test_a_population_that_pairs_do_not_divide_is_refused(size, group, kind):
    with pytest.raises(ValueError, match=f"Toy: population is {size}; antithetic pairs need {kind}"):
        check_population(OWNER, size, group=group)
    check_population(OWNER, 8, group=group)


@pytest.mark.parametrize("value", [0, 0.0, -1.0, np.nan, np.inf])
def test_a_number_that_must_be_positive(value):
    with pytest.raises(ValueError, match=f"Toy: step is {value}; it must be positive and finite"):
        check_positive(OWNER, step=value)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_a_number_that_must_lie_between(value):
    with pytest.raises(ValueError, match=rf"Toy: chance is {value}; it must lie in \[0, 1\]"):
        check_between(OWNER, 0, 1, chance=value)


@pytest.mark.parametrize(
    ("above", "below", "kind", "inside"),
    [
        (False, False, r"\[0, 1\]", [0, 1]),
        (True, False, r"\(0, 1\]", [1]),
        (False, True, r"\[0, 1\)", [0]),
        (True, True, r"\(0, 1\)", []),
    ],
)
def test_ends_that_are_left_out(above, below, kind, inside):
    for value in (0.5, *inside):
        check_between(OWNER, 0, 1, above=above, below=below, chance=value)
    for value in {0, 1} - set(inside):
        with pytest.raises(ValueError, match=rf"Toy: chance is {value}; it must lie in {kind}\."):
            check_between(OWNER, 0, 1, above=above, below=below, chance=value)


def test_schedules_and_traced_numbers_pass():
    check_positive(OWNER, a=lambda t: -1.0, c=1e-30, d=1)
    check_between(OWNER, 0, 1, a=lambda t: 2.0, b=0, c=1)
    jax.vmap(lambda x: check_positive(OWNER, step=x))(jnp.asarray([-1.0]))


@pytest.mark.parametrize("value", ["0.1", True, None, object()])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match=r"Toy: step is .*; it must be a number or a function of the generation"):
        check_positive(OWNER, step=value)


@pytest.mark.parametrize("value", [np.float32(-1), np.asarray([1.0, -1.0]), jnp.asarray(0.0)])
def test_numbers_of_numpy_and_jax_are_judged_too(value):
    with pytest.raises(ValueError, match="must be positive"):
        check_positive(OWNER, step=value)


def test_a_schedule_where_none_is_allowed():
    with pytest.raises(TypeError, match=r"CMAES: sigma is .*; it must be a number"):
        evolve.CMAES(sigma=Exponential(1.0, 0.1, 10))


@pytest.mark.parametrize("value", [16.0, "16", True, None])
def test_what_is_no_count(value):
    with pytest.raises(TypeError, match=r"Toy: rank is .*; it must be a whole number"):
        check_count(OWNER, 1, rank=value)
    check_count(OWNER, 1, rank=np.int64(3))


CROSSING = [
    (4, -4),
    (np.float32(4.0), jnp.full(2, -4)),
    (np.asarray([-9.0, 4.0]), np.asarray([5.0, -4.0])),
    ({"a": -9.0, "b": 4.0}, -4.0),
    (4.0, {"a": 9.0, "b": jnp.asarray([7.0, -4.0], jnp.bfloat16)}),
    # Neither is as deep as the other everywhere.
    ({"a": {"x": -9.0, "y": 4.0}, "b": 0.0}, {"a": -4.0, "b": [1.0, 2.0]}),
]


@pytest.mark.parametrize(("low", "high"), CROSSING)
@pytest.mark.parametrize("apart", [True, False])
def test_edges_that_cross(low, high, apart):
    with pytest.raises(ValueError, match=r"Toy: low is 4.0 where high is -4.0; it must (be below|not be above)\."):
        check_edges(OWNER, low, high, apart=apart)


def test_edges_of_other_shapes_may_be_those_of_a_sweep():
    """Two boxes of two coordinates, whose lower edges are one number each: that is not known before the parameters."""
    check_edges(OWNER, jnp.asarray([-1.0, 3.0]), jnp.asarray([[0.0, 0.0], [5.0, 5.0]]), apart=True)


@pytest.mark.parametrize("value", [3, {"a": np.full(2, 3.0), "b": 3}])
def test_equal_edges(value):
    check_edges(OWNER, value, 3.0)
    with pytest.raises(ValueError, match=r"Toy: low is 3.0 where high is 3.0; it must be below\."):
        check_edges(OWNER, value, 3.0, apart=True)


@pytest.mark.parametrize("option", ["low", "high"])
def test_edges_that_are_no_numbers_or_not_finite(option):
    def check(value, **more):
        check_edges(OWNER, **{"low": 0.0, "high": 1.0} | {option: value}, **more)

    for value in ("0", True, object(), 1j, np.asarray(["0"]), np.asarray([1j])):
        with pytest.raises(TypeError, match=rf"Toy: {option} is .*; it must be a number\."):
            check([value])
    for finite in (True, False):
        with pytest.raises(ValueError, match=f"Toy: {option} is nan; it must be"):
            check({"a": np.asarray([0.5, np.nan])}, finite=finite)
    infinite = {"low": -np.inf, "high": np.inf}[option]
    check(infinite)
    with pytest.raises(ValueError, match=f"Toy: {option} is {infinite}; it must be finite"):
        check(infinite, finite=True)


def test_edges_that_only_the_parameters_can_judge():
    check_edges(OWNER, np.full(2, 5.0), np.zeros(3))  # one of them will not fit
    check_edges(OWNER, {"a": 5.0}, [0.0, 0.0])
    jax.vmap(lambda low: check_edges(OWNER, {"a": low, "b": 0}, 1.0, finite=True))(jnp.asarray([2.0, jnp.nan]))


def test_numbers_in_half_precision_are_numbers():
    check_positive(OWNER, step=jnp.ones(2, jnp.bfloat16))


@pytest.mark.parametrize("value", ["no", 1, None, np.ones(2, bool)])
def test_what_is_neither_true_nor_false(value):
    with pytest.raises(TypeError, match=r"Toy: local is .*; it must be True or False\."):
        check_flags(OWNER, local=value)
    check_flags(OWNER, local=True, common=np.False_)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: evolve.OpenES(16.0), "OpenES: population is 16.0; it must be a whole number"),
        (lambda: evolve.OpenES(perturbation=evolve.Gaussian), "OpenES: perturbation is .* no Perturbation; give"),
        (lambda: evolve.OpenES(shaping="centered_ranks"), "OpenES: shaping is 'centered_ranks'; give a function"),
        (lambda: evolve.OpenES(update=optax.adam), "OpenES: adam is no optax optimizer; give one"),
        (lambda: evolve.Gradient(0.1), "Gradient: 0.1 is no optax optimizer; give one"),
        (lambda: evolve.SimulatedAnnealing(chains=2.5), "chains is 2.5; it must be a whole number"),
        (lambda: evolve.LowRank(1, evolve.LowRank(1)), "LowRank: law is .* no Law"),
        (lambda: evolve.Bounded(evolve.CMAES(), "0", 2.0), "Bounded: low is '0'; it must be a number"),
        (lambda: evolve.Integers(evolve.CMAES(), step="1"), "Integers: step is '1'; it must be a number"),
        (lambda: evolve.Uniform(-4, "4"), "Uniform: high is '4'; it must be a number"),
        (lambda: evolve.RandomSearch(local="no"), "RandomSearch: local is 'no'; it must be True or False"),
        (lambda: evolve.SimulatedAnnealing(exchange=1), "SimulatedAnnealing: exchange is 1; it must be True or False"),
        (lambda: evolve.SimulatedAnnealing(reevaluate="no"), "SimulatedAnnealing: reevaluate is 'no'; it must be True"),
        (lambda: evolve.Device(common="no"), "Device: common is 'no'; it must be True or False"),
        (lambda: evolve.Device(chunk=2.5), "Device: chunk is 2.5; it must be a whole number"),
        (lambda: evolve.Device(memory="1GB"), "Device: memory is '1GB'; it must be a whole number"),
    ],
)
def test_an_option_of_the_wrong_kind(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: evolve.OpenES(16, update=optax.adam(0.01), weight_decay=0.1), "weight_decay is 0.1, but the update"),
        (lambda: evolve.Uniform(4, -4), "Uniform: low is 4.0 where high is -4.0; it must not be above"),
        (lambda: evolve.Uniform(-np.inf, 4), "Uniform: low is -inf; it must be finite"),
        (lambda: evolve.Bounded(evolve.CMAES(), 2.0, 2.0), "Bounded: low is 2.0 where high is 2.0; it must be below"),
        (lambda: evolve.Bounded(evolve.CMAES(), np.nan), "Bounded: low is nan; it must be a number, or infinite"),
        (lambda: evolve.Mesh(0), "Mesh: devices is 0; it must be at least 1"),
        (lambda: evolve.Device(chunk="big"), "Device: chunk is 'big'; it must be 'auto' or a whole number"),
        (lambda: Exponential(1.0, 0.1, 0), "Exponential: steps is 0; it must be positive"),
        (lambda: Exponential(-1.0, 0.1, 9), "Exponential: initial is -1.0; it must be positive"),
        (
            lambda: evolve.GeneticAlgorithm(16, 4, mutation=evolve.Antithetic()),
            "population - elites is 15; antithetic mutations need a multiple of 2",
        ),
        (
            lambda: evolve.SimulatedAnnealing(chains=4, proposal=evolve.Antithetic()),
            "cannot be antithetic; give the inner law",
        ),
    ],
)
def test_an_option_of_the_wrong_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_elite_is_not_one_short_by_rounding():
    assert int(jnp.sum(Elite(0.29)(jnp.arange(100.0)) < 0)) == 29
