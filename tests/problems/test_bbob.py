"""The BBOB suite: equal to COCO's own program, in every function, instance and dimension of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from problems import BBOB, BBOB_FUNCTIONS

NUMBERS = range(1, 25)
GROUPS = [5, 4, 5, 5, 5]
COUNT = 20

# COCO 2.8.2, at x = linspace(-4.5, 3.5, dimension), one value for each function.
RECORDED = {
    # (dimension, instance)
    (2, 1): """123.75489408000001 8944179.44495304 -414.5902666047625 -378.2591266333369 15.29 913383.9428697821
        181.64709940430453 5063.0938277476735 145926.8358898978 18618385.663983732 27049100.184316777 132895.91181631607
        2022.5228214925598 116.59744254358921 1030.9685933330543 384.5683011961685 1210.6768311750902 20067.318531758232
        266.76748655935506 15036.010223142852 60.46160333132124 -952.1527064694282 31.46622061647725
        197.42685343089528""",
    (5, 7): """-970.6473664 430200.9502318493 217.73383210163533 7840.0084427993 25.49017203768561 177090.8174388577
        973.1803633750146 19178.939807017694 107527.90812865933 12502977.297399746 8976356.042773474 61496968.05578918
        1940.9618297484176 -112.07113974162716 1926.192120258432 55.62214371396767 134.82383865376622
        219.81562532461191 69.74406724783117 77571.94570881562 178.74853844055852 216.92181387765368 -948.0784487657716
        -95.47752179381561""",
}


@eqx.filter_jit
def losses(problem, points):
    """One program for all functions and instances of a dimension; tests give `COUNT` points each, to share it."""
    return jax.vmap(lambda x: (problem.loss(x), problem.excess(x)))(jnp.asarray(points))


def points(problem, seed):
    """Inside, at the boundary, outside, and ever nearer to the minimizer: `COUNT` of them."""
    random, n = np.random.default_rng(seed), problem.dimension
    near = np.asarray(problem.x_opt) + random.normal(size=(3, n)) * np.array([[1e-1], [1e-3], [1e-7]])
    corner, beyond = random.choice([-5.0, 5.0], (1, n)), random.uniform(-10, 10, (2, n))
    inside, optimum = random.uniform(-5, 5, (COUNT - 7, n)), np.asarray(problem.x_opt)[None]
    return np.concatenate([inside, corner, beyond, near, optimum])


@pytest.mark.parametrize("dimension", [2, 3, 5, 10, 20, 40])
@pytest.mark.usefixtures("x64")
def test_every_function_and_instance_equals_coco(dimension):
    """With known numbers, and with traced ones through one program for all."""
    cocoex, traces = pytest.importorskip("cocoex"), []

    @jax.jit
    def traced(function, instance, points):
        traces.append(1)
        return losses(BBOB(function, dimension, instance), points)

    suite = cocoex.Suite("bbob", "instances:1-15", f"dimensions:{dimension}")
    for coco in suite:
        function, _, instance = coco.id_triple
        problem = BBOB(function, dimension, instance)
        x = points(problem, 100 * function + instance)
        values = np.array([coco(point) for point in x])
        # Relative to the excess where that is larger: where the loss is near 0 they cancel, in COCO too.
        scale = np.maximum(np.abs(values), np.abs(values - problem.f_opt))
        for made in (losses(problem, x), traced(function, instance, x)):
            found, gaps = map(np.asarray, made)
            assert np.all(np.abs(found - values) <= 1e-10 * scale), coco.id
            np.testing.assert_allclose(found[-1], problem.f_opt, rtol=1e-14)
            assert 0 <= gaps[-1] < 1e-15, coco.id
    assert len(traces) == 1


@pytest.mark.parametrize("number", [9, 19])
@pytest.mark.usefixtures("x64")
def test_a_rotated_optimum_is_where_coco_shifts_it(number):
    """COCO adds 1/2 to Q x, where the optimum is 1. Q is not quite orthogonal: in instance 9 Q^T/2 is off by 2e-13."""
    for instance in range(1, 16):
        problem = BBOB(number, 40, instance)
        np.testing.assert_allclose(problem.x_opt @ problem.landscape.first, 0.5, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("dimension", "instance"), RECORDED)
@pytest.mark.usefixtures("x64")
def test_recorded_values_without_coco(dimension, instance):
    x = np.tile(np.linspace(-4.5, 3.5, dimension), (COUNT, 1))
    found = [losses(BBOB(number, dimension, instance), x)[0][0] for number in NUMBERS]
    np.testing.assert_allclose(found, np.array(RECORDED[dimension, instance].split(), float), rtol=1e-10)


@pytest.mark.parametrize("x64", [False, True])
def test_traced_numbers_make_the_same_landscape(x64):
    functions, instances = (grid.ravel() for grid in np.meshgrid(NUMBERS, [1, 6, 15]))
    with jax.enable_x64(x64):
        made = jax.jit(jax.vmap(lambda function, instance: BBOB(function, 5, instance)))(functions, instances)
        known = [BBOB(f, 5, i) for f, i in zip(functions, instances, strict=True)]
        expected = jax.tree.map(lambda *leaves: np.stack(leaves), *known)
        tolerance = 1e-12 if x64 else 1e-7  # the last digit of a logarithm, which a rotation magnifies
        for leaf, other in zip(jax.tree.leaves(made), jax.tree.leaves(expected), strict=True):
            assert leaf.dtype == other.dtype
            np.testing.assert_allclose(leaf, other, rtol=tolerance, atol=100 * tolerance)


def test_one_program_serves_all_and_stacked_ones_equal_a_loop():
    traces = []

    @eqx.filter_jit
    def loss(problem, x):
        traces.append(1)
        return problem.loss(x)

    problems, x = [BBOB(number, 3, 2) for number in NUMBERS], jnp.asarray(np.array([0.5, -1.0, 3.0], np.float32))
    alone = [loss(problem, x) for problem in problems]
    assert len(traces) == 1
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *problems)
    together = eqx.filter_jit(eqx.filter_vmap(lambda problem: problem.loss(x)))(stacked)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert stacked.x_opt.shape == (24, 3)
    assert stacked.f_opt.shape == (24,)


@pytest.mark.parametrize("dimension", [5, 40])
def test_float32_is_finite_far_outside(dimension):
    x = np.random.default_rng(0).uniform(-100, 100, (5, dimension)).astype(np.float32)
    x = np.concatenate([x, 100 * np.sign(x)])
    for number in NUMBERS:
        found, gaps = losses(BBOB(number, dimension), x)
        assert found.dtype == jnp.float32
        assert np.isfinite(found).all(), number
        assert np.all(gaps >= 0)


def test_float32_keeps_its_digits_near_the_minimum():
    step = np.random.default_rng(0).normal(size=(10, 5)) * np.logspace(-5, -2, 10)[:, None]
    narrow = [BBOB(number, 5, 3) for number in NUMBERS]
    x = [np.asarray(problem.x_opt + step.astype(np.float32)) for problem in narrow]
    found = np.stack([losses(problem, point)[1] for problem, point in zip(narrow, x, strict=True)])
    with jax.enable_x64(True):
        for row, problem, point in zip(found, narrow, x, strict=True):
            wide = BBOB(int(problem.function), 5, 3)
            offset = point.astype(float) - np.asarray(problem.x_opt, float)
            expected = np.asarray(losses(wide, wide.x_opt + offset)[1])
            np.testing.assert_allclose(row, expected, rtol=2e-3, err_msg=f"f{problem.function}")


def test_gradients_are_finite():
    gradient = eqx.filter_jit(lambda problem, x: jax.vmap(jax.grad(lambda x: problem.excess(x)))(x))
    far = np.random.default_rng(0).uniform(-60, 60, (30, 4)).astype(np.float32)
    for number in NUMBERS:
        problem = BBOB(number, 4)
        x = np.concatenate([np.asarray(problem.x_opt)[None], np.zeros((1, 4), np.float32), far])
        assert np.isfinite(gradient(problem, x)).all(), number


def test_what_it_says_of_itself():
    problem = BBOB(8, 5, 2)
    assert problem.domain == (-5.0, 5.0)
    assert not problem.noisy
    np.testing.assert_allclose(np.asarray(problem.targets)[[0, 5, -1]], [100.0, 10.0, 1e-8], rtol=1e-5)
    starts = jax.jit(jax.vmap(problem.init))(jax.random.split(jax.random.key(0), 100))
    assert starts.shape == (100, 5)
    assert 3.9 < np.abs(starts).max() <= 4


def test_a_minimum_of_zero_makes_the_loss_the_excess():
    x = np.ones((10, 5), np.float32)
    loss, excess = losses(BBOB(8, 5, 2, f_opt=0), x)
    np.testing.assert_array_equal(loss, excess)
    np.testing.assert_array_equal(loss, losses(BBOB(8, 5, 2), x)[1])


def test_the_report_is_how_far_it_is_from_the_minimum():
    problem = BBOB(1, 5)
    report = eqx.filter_jit(problem.report)(np.asarray(problem.x_opt) + np.array([3, 0, 0, 4, 0], np.float32))
    np.testing.assert_allclose(report["distance"], 5.0, rtol=1e-6)
    np.testing.assert_allclose(report["gap"], 25.0, rtol=1e-6)


def test_the_table_has_the_five_groups_in_order():
    groups = list(dict.fromkeys(row.group for row in BBOB_FUNCTIONS))
    assert [sum(row.group == group for row in BBOB_FUNCTIONS) for group in groups] == GROUPS
    assert len({row.name for row in BBOB_FUNCTIONS}) == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "BBOB: function is 0; give an integer from 1 to 24"),
        ((25,), "function is 25; give an integer from 1 to 24"),
        ((True,), "function is True"),
        (("sphere",), "function is 'sphere'; give an integer"),
        ((1, 1), "dimension is 1; give an integer of at least 2"),
        ((1, 2.5), "dimension is 2.5"),
        ((1, 2, 0), "instance is 0; give an integer from 1 to 200000"),
        ((1, 2, 10**6), "instance is 1000000; give an integer from 1"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BBOB(*arguments)


@pytest.mark.usefixtures("unchecked")
def test_parameters_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"dimension is 3, the parameters have shape \(2,\); .* shape \(3,\)"):
        BBOB(1, 3).loss(jnp.ones(2))
