"""A population is a center plus scaled directions, whether stored, drawn or kept."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve import CMAES
from evolve.core import Antithetic, Drawn, Gaussian, Geometry, LowRank, Population, Stored, population
from evolve.core.lowrank import form

KEY = jax.random.key(5)
SIZE = 6
WEIGHTS = np.random.default_rng(1).normal(size=SIZE).astype(np.float32)
LAWS = [Gaussian(), Antithetic(LowRank(1))]
EVERY = [None, *LAWS]  # None: stored


def params():
    """In every dtype, with leaves that are factored and others that are drawn in full."""
    values = np.random.default_rng(5).normal(size=47).astype(np.float32)
    return {
        "w": values[:30].reshape(6, 5).astype(jnp.bfloat16),
        "b": [values[30:35].astype(jnp.bfloat16), ()],
        "s": values[35].astype(np.float16),
        "k": values[35:47].reshape(2, 2, 3),
    }


def made(law, tree, size=SIZE):
    geometry = Geometry.of(tree)
    if law is None:
        directions = Stored(form(Gaussian().batch(KEY, 0, size, geometry.like)))
    else:
        directions = Drawn.of(law, KEY, geometry, size)
    return Population(geometry.working(tree), jnp.asarray(0.25), directions, KEY, geometry, size)


@functools.cache
def asked(law, kept):
    """All that a population can be asked for, in one program."""

    @jax.jit
    def program(tree):
        many = made(law, tree)
        assert law is None or (many.directions.kept is not None) == kept
        alone, drawn_alone = jax.lax.map(lambda i: (many.member(i), form(many.directions.one(i))), jnp.arange(SIZE))
        return {
            "center": many.center,
            "members": many.members(),
            "one by one": alone,
            "directions": form(many.directions.batch(0, SIZE)),
            "directions, one by one": drawn_alone,
            "sum": many.combine(jnp.asarray(WEIGHTS)),
        }

    return jax.device_get(program(params()))


@pytest.fixture(params=[True, False], ids=["kept", "redrawn"])
def kept(request, monkeypatch):
    """Few directions are kept from `ask` to `tell`, many are drawn again: both ways must be one."""
    if not request.param:
        monkeypatch.setattr(population, "KEPT", 0)
    return request.param


def assert_close(tree, other, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("law", EVERY, ids=repr)
def test_a_member_is_center_plus_scaled_direction(law, kept):
    """In the user's dtypes, the sum taken in float32 and rounded once."""
    many = asked(law, kept)
    # float32 throughout, then one rounding: half a unit in the last place of bfloat16 would show.
    expected = jax.tree.map(
        lambda c, d, p: (c + np.float32(0.25) * d).astype(p.dtype),
        many["center"],
        many["directions, one by one"],
        params(),
    )
    assert_close(many["one by one"], expected)


@pytest.mark.parametrize("law", EVERY, ids=repr)
def test_members_stacks_them(law, kept):
    members = asked(law, kept)["members"]
    assert jax.tree.structure(members) == jax.tree.structure(params())
    assert_close(members, asked(law, kept)["one by one"])


@pytest.mark.parametrize("law", EVERY, ids=repr)
def test_combine_is_the_weighted_sum_of_directions(law, kept):
    many = asked(law, kept)
    expected = jax.tree.map(lambda leaf: np.tensordot(WEIGHTS, leaf, 1), many["directions"])
    assert_close(many["sum"], expected, 1e-5)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_kept_or_drawn_again_are_the_same_directions(law, monkeypatch):
    kept = asked(law, True)
    monkeypatch.setattr(population, "KEPT", 0)
    redrawn = asked(law, False)
    for name, one in kept.items():
        assert_close(one, redrawn[name], 1e-5 if name == "sum" else 1e-6)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_directions_do_not_depend_on_the_population(law, kept):
    few = jax.jit(lambda tree: made(law, tree, 2).members())(params())
    assert_close(few, jax.tree.map(lambda leaf: leaf[:2], asked(law, kept)["members"]))


@eqx.filter_jit
def call(method, *arguments):
    """In one program, where each operation would be compiled alone."""
    return method(*arguments)


def test_members_stored_whole_come_back():
    tree = params()
    members = jax.tree.map(lambda leaf: jnp.asarray(np.stack([leaf, -leaf])), tree)
    geometry = Geometry.of(tree)
    many = Population.of(members, geometry, KEY)
    assert many.size == 2
    assert_close(call(many.members), members, 0)
    assert_close(call(many.member, np.asarray(1)), jax.tree.map(lambda leaf: -leaf, tree), 0)


def test_evaluating_never_alters_the_center():
    """A thousand generations of perturbing bfloat16 weights leave their bits: nothing is added and taken away again."""
    tree = params()
    geometry = Geometry.of(tree)

    def generation(center, t):
        many = Population(
            center, jnp.asarray(0.01), Drawn(LAWS[1], jax.random.fold_in(KEY, t), geometry, None), KEY, geometry, 2
        )
        total = sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(many.members()))
        return many.center, total

    start = call(geometry.working, tree)
    center, _ = jax.jit(lambda c: jax.lax.scan(generation, c, jnp.arange(1000)))(start)
    for a, b in zip(jax.tree.leaves(center), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(a, b)
    assert_close(call(geometry.cast, center), tree, 0)


def test_a_drawn_population_has_nothing_stored():
    with pytest.raises(TypeError, match="tell: this population's directions are drawn, not stored"):
        _ = eqx.filter_eval_shape(made, Gaussian(), params()).stored


@jax.jit
def counted(size):
    """A population of CMA-ES with room for 128 members, of which so many are in use."""
    optimizer = CMAES(0.5, 8)
    state = optimizer.start(jnp.ones(3), jax.random.key(0), size, 128, 1.0)
    return optimizer.ask(state, jax.random.key(1))


def lowest(losses, factor):
    return jnp.argmin(losses), factor * jnp.min(losses)


@jax.jit
def brief(size, losses):
    return counted(size).brief(lowest, losses, 2.0)


several = jax.jit(jax.vmap(brief))


@pytest.mark.parametrize("size", [3, 64, 65, 128])
def test_a_function_of_few_members_is_that_of_all(size):
    losses = np.where(np.arange(128) < size, np.random.default_rng(size).normal(size=128), np.inf).astype(np.float32)
    np.testing.assert_array_equal(brief(size, losses), [np.argmin(losses), 2 * np.min(losses)])
    # A batch computes what its neediest asks for.
    batch = several(np.asarray([3, size]), np.stack([np.where(np.arange(128) < 3, losses, np.float32(np.inf)), losses]))
    np.testing.assert_array_equal(batch[0], [np.argmin(losses[:3]), np.argmin(losses)])


def test_a_member_is_drawn_where_it_is_wanted():
    population, other = counted(20), np.full(3, 7, np.float32)
    for wanted, expected in ((True, call(population.member, np.asarray(11))), (False, other)):
        chosen = call(population.member_if, np.asarray(wanted), np.asarray(11), other)
        np.testing.assert_array_equal(chosen, expected)
