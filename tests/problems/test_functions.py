"""Test functions: their known minima, and the laws of shift and rotation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from problems import FUNCTIONS, Function

NAMES = sorted(FUNCTIONS)
SMOOTH = sorted(set(NAMES) - {"different_powers", "ackley", "schaffer", "step"})


@eqx.filter_jit
def _losses(problem, points):
    """One compiled call: op by op, each operation would be compiled alone."""
    return jax.vmap(lambda x: problem.loss(x))(points)


@eqx.filter_jit
def _loss(problem, point):
    return problem.loss(point)


@eqx.filter_jit
def _report(problem, points):
    return jax.vmap(problem.report)(points)


@eqx.filter_jit
def _init(problem, seed):
    return problem.init(jax.random.key(seed))


def _points(name, dimension, count=20):
    low, high = FUNCTIONS[name].domain
    return np.random.default_rng(dimension).uniform(low, high, (count, dimension))


def test_half_precision_is_evaluated_in_float32():
    point = jax.ShapeDtypeStruct((10,), jnp.bfloat16)
    assert jax.eval_shape(lambda x: Function("rastrigin").loss(x), point).dtype == jnp.float32


@pytest.mark.parametrize("name", NAMES)
def test_one_dimension_where_it_is_defined(name):
    if FUNCTIONS[name].least > 1:
        with pytest.raises(ValueError, match=f"{name} needs a dimension of at least 2; found 1"):
            Function(name, 1)
        return
    problem = Function(name, 1)
    np.testing.assert_allclose(_loss(problem, problem.optimum), problem.minimum, rtol=1e-6, atol=1e-6)
    assert np.isfinite(_loss(problem, np.ones(1, np.float32)))


@pytest.mark.parametrize("name", NAMES)
def test_minimum_is_reached_at_the_optimum_and_nowhere_undercut(name):
    with jax.enable_x64(True):
        problem = Function(name, 5, shift=3, rotation=4)
        optimum, least = np.asarray(problem.optimum), float(problem.minimum)
        low, high = FUNCTIONS[name].domain
        steps = np.random.default_rng(0).normal(size=(500, 5)) * np.logspace(-8, 0, 500)[:, None] * (high - low)
        points = np.concatenate([optimum[None], optimum + steps])
        losses, report = np.asarray(_losses(problem, points)), jax.device_get(_report(problem, points))
        np.testing.assert_allclose(losses[0], least, atol=1e-10)
        assert report["distance"][0] == 0
        assert abs(report["gap"][0]) < 1e-10
        assert np.all(losses >= least - 1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_gap_at_the_optimum_is_rounding_and_never_negative(name):
    problem = Function(name, 10, shift=3, rotation=4)
    optimum = np.asarray(problem.optimum)
    steps = np.random.default_rng(0).normal(size=(300, 10)) * np.logspace(-6, 1, 300)[:, None]
    gap = np.asarray(_report(problem, np.concatenate([optimum[None], optimum + steps.astype(np.float32)]))["gap"])
    assert gap[0] <= 1e-10
    assert np.all(gap >= 0)


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient_vanishes_at_a_smooth_optimum(name):
    with jax.enable_x64(True):
        problem = Function(name, 5, shift=3, rotation=4)
        gradient, hessian = jax.jit(lambda x: (jax.grad(problem.loss)(x), jax.hessian(problem.loss)(x)))(
            problem.optimum
        )
        curvature = np.abs(hessian).max()
        assert np.abs(gradient).max() <= 1e-10 * curvature


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_finite_at_kinks(name):
    problem = Function(name, 4)
    points = np.stack([problem.optimum, np.zeros(4, np.float32)])
    assert np.isfinite(jax.jit(jax.vmap(jax.grad(lambda x: problem.loss(x))))(points)).all()


@pytest.mark.parametrize("name", NAMES)
def test_shift_moves_the_function(name):
    with jax.enable_x64(True):
        shift = np.linspace(-1.5, 2.25, 6)
        plain, moved = Function(name, 6), Function(name, 6, shift=shift)
        points = _points(name, 6)
        np.testing.assert_allclose(_losses(moved, points + shift), _losses(plain, points), rtol=1e-9)
        np.testing.assert_allclose(moved.optimum, np.asarray(plain.optimum) + shift)


@pytest.mark.parametrize("name", NAMES)
def test_rotation_turns_the_function_about_its_minimum(name):
    with jax.enable_x64(True):
        plain, turned = Function(name, 6), Function(name, 6, rotation=7)
        points = _points(name, 6)
        center = np.asarray(plain.optimum)
        turned_back = center + (points - center) @ np.asarray(turned.rotation)
        np.testing.assert_allclose(_losses(turned, turned_back), _losses(plain, points), rtol=1e-9)
        np.testing.assert_array_equal(turned.optimum, plain.optimum)


def test_ellipsoid_has_condition_number_one_million_in_any_rotation():
    with jax.enable_x64(True):
        hessian = jax.jit(jax.hessian(lambda x: Function("ellipsoid", 8, rotation=1).loss(x)))(np.zeros(8))
        np.testing.assert_allclose(np.linalg.cond(hessian), 1e6, rtol=1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 10, 50])
def test_rotation_is_orthogonal(dimension):
    rotation = np.asarray(Function("sphere", dimension, rotation=True).rotation)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(dimension), atol=1e-6)


def test_rotations_are_uniform():
    """Of a Haar matrix every entry has mean 0 and variance 1/n; without the correction of signs the mean is off."""
    drawn = np.stack([np.asarray(Function("sphere", 3, rotation=seed).rotation) for seed in range(600)])
    np.testing.assert_allclose(drawn.mean(0), 0.0, atol=4 * np.sqrt(1 / 3 / 600))
    np.testing.assert_allclose((drawn**2).mean(0), 1 / 3, atol=0.06)
    assert 0.4 < np.mean(np.linalg.det(drawn) > 0) < 0.6


def test_a_rotation_matrix_may_be_given():
    matrix = np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert Function("discus", 2, rotation=matrix).loss(jnp.array([3.0, 0.0])) == 9.0


def test_seeds_draw_the_same_landscape_in_both_precisions():
    narrow = Function("sphere", 5, shift=1, rotation=1)
    with jax.enable_x64(True):
        wide = Function("sphere", 5, shift=1, rotation=1)
        np.testing.assert_allclose(narrow.shift, wide.shift, rtol=1e-6)
        np.testing.assert_allclose(narrow.rotation, wide.rotation, rtol=1e-6, atol=1e-7)
    assert not np.allclose(narrow.shift, Function("sphere", 5, shift=2).shift)


@pytest.mark.usefixtures("unchecked")
def test_seed_and_dimension_may_be_integers_of_any_library():
    found = Function("sphere", np.int64(3), shift=np.int32(2), rotation=jnp.array(5))
    assert eqx.tree_equal(found, Function("sphere", 3, shift=2, rotation=5))
    assert type(found.dimension) is int
    assert Function("sphere", 1, shift=np.array([2])).optimum == 2.0, "a vector of one integer is no seed"


@pytest.mark.parametrize("name", NAMES)
def test_drawn_optimum_and_start_lie_in_the_domain(name):
    low, high = FUNCTIONS[name].domain
    problem = Function(name, 100, shift=0, rotation=0)
    optimum = np.asarray(problem.optimum)
    assert optimum.min() >= low + 0.09 * (high - low)
    assert optimum.max() <= high - 0.09 * (high - low)
    start, again, other = (np.asarray(_init(problem, np.asarray(seed))) for seed in (0, 0, 1))
    assert start.min() >= low
    assert start.max() <= high
    assert start.max() - start.min() > 0.8 * (high - low)
    assert not np.array_equal(start, other)
    np.testing.assert_array_equal(start, again)


def test_given_start_is_kept_whatever_the_key():
    problem = Function("sphere", 3, start=np.array([1, 2, 3]))
    np.testing.assert_array_equal(problem.init(jax.random.key(5)), [1.0, 2.0, 3.0])
    assert problem.init(jax.random.key(0)).dtype == jnp.float32
    np.testing.assert_array_equal(Function("sphere", 3, start=2.5).init(jax.random.key(0)), [2.5, 2.5, 2.5])
    assert Function("sphere", 3, start=jnp.ones(3, jnp.bfloat16)).init(jax.random.key(0)).dtype == jnp.bfloat16


def test_numbers_are_leaves_so_another_landscape_does_not_recompile():
    traces = []

    @eqx.filter_jit
    def loss(problem, x):
        traces.append(1)
        return problem.loss(x)

    for seed in range(3):
        problem = Function("levy", 4, shift=seed, rotation=seed)
        np.testing.assert_allclose(loss(problem, problem.optimum), 0.0, atol=1e-9)
    assert len(traces) == 1


def test_vmap_over_stacked_problems_equals_a_loop():
    problems = [Function("ackley", 4, shift=seed, rotation=seed) for seed in range(5)]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *problems)
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    together = eqx.filter_jit(eqx.filter_vmap(_loss, in_axes=(0, None)))(stacked, x)
    np.testing.assert_allclose(together, [_loss(problem, x) for problem in problems], rtol=1e-5)


def test_it_is_deterministic_and_says_so():
    problem = Function()
    assert not problem.noisy
    assert not problem.host
    x = _init(problem, np.asarray(0))
    assert problem.loss(x, jax.random.key(1)) == problem.loss(x, jax.random.key(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rosenbrok"}, r"no function 'rosenbrok'; did you mean rosenbrock\?"),
        ({"name": "Sphere"}, r"did you mean sphere\?"),
        ({"name": "xyzzy"}, "known are sphere, ellipsoid"),
        ({"name": "sphere", "dimension": 0}, "at least 1; found 0"),
        ({"name": "rosenbrock", "dimension": 1}, "at least 2; found 1"),
        ({"dimension": 3, "shift": [1.0, 2.0]}, r"shift has shape \(2,\); it must be \(3,\)"),
        ({"dimension": 3, "shift": 1.5}, r"shift is 1.5; give a vector of shape \(3,\), an integer seed, or None"),
        ({"dimension": 2, "shift": [1.0, np.nan]}, "shift.*non-finite"),
        ({"dimension": 3, "shift": True}, "shift is True; .* integer seed, or None for no shift"),
        ({"dimension": 3, "shift": np.False_}, "shift is np.False_; .* None for no shift"),
        ({"dimension": 3, "shift": -2}, "shift is -2; an integer is a seed, give one of at least 0"),
        ({"dimension": 3, "rotation": -1}, "rotation is -1; an integer is a seed, give one of at least 0"),
        ({"name": "sphere", "dimension": 10.0}, "Function: dimension is 10.0; give an integer of at least 1"),
        ({"name": "rosenbrock", "dimension": "10"}, "Function: dimension is '10'; give an integer of at least 2"),
        ({"name": "sphere", "dimension": True}, "dimension is True; give an integer"),
        ({"dimension": 3, "start": [[1.0, 2.0, 3.0]]}, r"start has shape \(1, 3\)"),
        ({"dimension": 2, "start": np.inf}, "start.*non-finite"),
        ({"dimension": 3, "rotation": np.eye(2)}, r"rotation has shape \(2, 2\); it must be \(3, 3\)"),
        ({"dimension": 2, "rotation": [[1.0, 1.0], [0.0, 1.0]]}, "rotation is not orthogonal, .* off by 1"),
        ({"dimension": 2, "rotation": np.full((2, 2), np.nan)}, "rotation is not orthogonal"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Function(**arguments)


def test_parameters_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"sphere has dimension 3, the parameters have shape \(1,\); .* \(3,\)"):
        Function("sphere", 3).loss(jnp.ones(1), jax.random.key(0))
