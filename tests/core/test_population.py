"""A population is a center plus scaled directions, whether stored, drawn or kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve import CMAES
from evolve.core import Antithetic, Drawn, Gaussian, Geometry, LowRank, Population, Stored, population
from evolve.core.lowrank import form

KEY = jax.random.key(5)
SIZE = 6
LAWS = [Gaussian(), Antithetic(LowRank(1))]


def params(dtype=jnp.float32):
    values = jax.random.normal(KEY, (47,))
    return {
        "w": values[:30].reshape(6, 5).astype(dtype),
        "b": [values[30:35], ()],
        "s": values[35].astype(jnp.float16),
        "k": values[35:47].reshape(2, 2, 3).astype(dtype),
    }


def drawn(law, tree, size=SIZE):
    geometry = Geometry.of(tree)
    directions = Drawn.of(law, KEY, geometry, size)
    return Population(geometry.working(tree), jnp.asarray(0.25), directions, KEY, geometry, size)


def stored(tree, size=SIZE):
    geometry = Geometry.of(tree)
    directions = Stored(form(Gaussian().batch(KEY, 0, size, geometry.like)))
    return Population(geometry.working(tree), jnp.asarray(0.25), directions, KEY, geometry, size)


@pytest.fixture(params=["kept", "redrawn"])
def keeping(request, monkeypatch):
    """Few directions are kept from `ask` to `tell`, many are drawn again: both ways must be one."""
    if request.param == "redrawn":
        monkeypatch.setattr(population, "_KEPT", 0)


def everyone(dtype=jnp.float32):
    return [stored(params(dtype)), *(drawn(law, params(dtype)) for law in LAWS)]


def assert_close(tree, other, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("keeping")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_member_is_center_plus_scaled_direction(dtype):
    """In the user's dtypes, the sum taken in float32 and rounded once."""
    for many in everyone(dtype):
        for i in (0, 5):
            direction = form(many.directions.one(i))
            # float32 throughout, then one rounding: half a unit in the last place of bfloat16 would show.
            expected = jax.tree.map(
                lambda c, d, p: (c + np.float32(0.25) * d).astype(p.dtype), many.center, direction, params(dtype)
            )
            assert_close(many.member(i), expected)


@pytest.mark.usefixtures("keeping")
def test_members_stacks_them():
    for many in everyone():
        members = many.members()
        assert jax.tree.structure(members) == jax.tree.structure(params())
        for i in range(SIZE):
            assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], members), many.member(i))


@pytest.mark.usefixtures("keeping")
def test_combine_is_the_weighted_sum_of_directions():
    weights = jax.random.normal(jax.random.key(1), (SIZE,))
    for many in everyone():
        formed = form(many.directions.batch(0, SIZE))
        expected = jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), formed)
        assert_close(many.combine(weights), expected, 1e-5)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_kept_or_drawn_again_are_the_same_directions(law, monkeypatch):
    kept = drawn(law, params())
    monkeypatch.setattr(population, "_KEPT", 0)
    redrawn = drawn(law, params())
    assert kept.directions.kept is not None
    assert redrawn.directions.kept is None
    weights = jnp.arange(SIZE) - 2.0
    assert_close(kept.members(), redrawn.members())
    assert_close(kept.member(3), redrawn.member(3))
    assert_close(kept.combine(weights), redrawn.combine(weights), 1e-5)


@pytest.mark.usefixtures("keeping")
def test_directions_do_not_depend_on_the_population():
    for law in LAWS:
        few, many = drawn(law, params(), 2), drawn(law, params(), 10)
        assert_close(few.members(), jax.tree.map(lambda leaf: leaf[:2], many.members()))


def test_members_stored_whole_come_back():
    tree = params()
    members = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), tree)
    geometry = Geometry.of(tree)
    many = Population.of(members, geometry, KEY)
    assert many.size == 2
    assert_close(many.members(), members, 0)
    assert_close(many.member(1), jax.tree.map(lambda leaf: -leaf, tree), 0)


def test_evaluating_never_alters_the_center():
    """A thousand generations of perturbing bfloat16 weights leave their bits: nothing is added and taken away again."""
    tree = params(jnp.bfloat16)
    geometry = Geometry.of(tree)

    def generation(center, t):
        many = Population(
            center, jnp.asarray(0.01), Drawn(LAWS[1], jax.random.fold_in(KEY, t), geometry, None), KEY, geometry, 2
        )
        total = sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(many.members()))
        return many.center, total

    start = geometry.working(tree)
    center, _ = jax.jit(lambda c: jax.lax.scan(generation, c, jnp.arange(1000)))(start)
    for a, b in zip(jax.tree.leaves(center), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(a, b)
    assert_close(geometry.cast(center), tree, 0)


def test_a_drawn_population_has_nothing_stored():
    with pytest.raises(TypeError, match="tell: this population's directions are drawn, not stored"):
        _ = drawn(Gaussian(), params()).stored


def counted(size):
    """A population of CMA-ES with room for 128 members, of which so many are in use."""
    optimizer = CMAES(0.5, 8)
    state = optimizer.start(jnp.ones(3), jax.random.key(0), jnp.asarray(size), 128, 1.0)
    return optimizer.ask(state, jax.random.key(1))


@pytest.mark.parametrize("size", [3, 64, 65, 128])
def test_a_function_of_few_members_is_that_of_all(size):
    losses = jnp.where(jnp.arange(128) < size, jnp.asarray(np.random.default_rng(size).normal(size=128)), jnp.inf)

    def lowest(losses, factor):
        return jnp.argmin(losses), factor * jnp.min(losses)

    brief = jax.jit(lambda size, losses: counted(size).brief(lowest, losses, 2.0))
    for one, other in zip(brief(size, losses), lowest(losses, 2.0), strict=True):
        np.testing.assert_array_equal(one, other)
    # A batch computes what its neediest asks for.
    sizes = jnp.asarray([3, size])
    batch = jax.vmap(brief)(sizes, jnp.stack([jnp.where(jnp.arange(128) < 3, losses, jnp.inf), losses]))
    np.testing.assert_array_equal(batch[0], [jnp.argmin(losses[:3]), jnp.argmin(losses)])


def test_a_member_is_drawn_where_it_is_wanted():
    population, other = counted(20), jnp.full(3, 7.0)
    for wanted, expected in ((True, population.member(11)), (False, other)):
        np.testing.assert_array_equal(population.member_if(jnp.asarray(wanted), jnp.asarray(11), other), expected)
