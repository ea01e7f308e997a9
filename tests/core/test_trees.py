"""Pytrees: round trips over arbitrary trees, and refusals that name the leaf and the cure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.core import Geometry
from evolve.core.trees import as_array, as_arrays, check_params, fitted, float_dtype, keep, scaled, select, take
from evolve.run.compiled import numeric

DTYPES = ["float16", "bfloat16", "float32"]


@st.composite
def arrays(draw):
    """Scalars, empty arrays and half precision among them; numbers that every precision holds exactly."""
    shape = draw(st.sampled_from([(), (1,), (3,), (0,), (2, 3), (0, 2), (2, 1, 2)]))
    dtype = draw(st.sampled_from(DTYPES))
    numbers = draw(st.lists(st.integers(-100, 100), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return jnp.asarray(np.reshape(numbers, shape) / 8, dtype)


def trees():
    """Dictionaries, lists and tuples of them, empty subtrees and None included."""
    leaf = arrays() | st.sampled_from([{}, [], (), None])
    deeper = lambda inner: (  # noqa: E731
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        | st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
    )
    return st.recursive(leaf, deeper, max_leaves=5).filter(jax.tree.leaves)


def assert_same(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(np.asarray(a, np.float64), np.asarray(b, np.float64))


@given(trees())
def test_geometry_round_trips(tree):
    geometry = Geometry.of(tree)
    vector = geometry.ravel(tree)
    assert vector.shape == (geometry.size,)
    assert vector.dtype == float_dtype()
    np.testing.assert_array_equal(
        vector, np.concatenate([np.ravel(np.asarray(x, np.float32)) for x in jax.tree.leaves(tree)])
    )
    assert_same(geometry.cast(geometry.unravel(vector)), tree)
    assert_same(geometry.cast(geometry.working(tree)), tree)


@given(trees())
def test_geometry_is_what_a_member_looks_like_and_nothing_else(tree):
    geometry = Geometry.of(tree)
    assert jax.tree.leaves(geometry) == []
    assert geometry == Geometry.of(jax.tree.map(jnp.zeros_like, tree))
    assert hash(geometry) == hash(Geometry.of(tree))
    for like, leaf, working in zip(*map(jax.tree.leaves, (geometry.like, tree, geometry.working(tree))), strict=True):
        assert (like.shape, like.dtype) == (leaf.shape, jnp.float32) == (working.shape, working.dtype)


@settings(max_examples=10)
@given(trees())
def test_cast_works_with_a_leading_axis(tree):
    geometry = Geometry.of(tree)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), geometry.working(tree))
    assert_same(take(geometry.cast(many), 0), tree)


def test_double_precision_stays(x64):
    tree = {"a": jnp.asarray([1 / 3, 2 / 3], jnp.float64), "b": jnp.ones((), jnp.float16)}
    geometry = Geometry.of(tree)
    assert geometry.like["a"].dtype == jnp.float64
    assert geometry.like["b"].dtype == jnp.float32
    assert_same(geometry.cast(geometry.unravel(geometry.ravel(tree))), tree)


@pytest.mark.parametrize("empty", [{}, [], None, {"a": (), "b": None}, {"w": jnp.zeros((0, 3))}])
def test_empty_parameters_are_refused(empty):
    with pytest.raises(ValueError, match=r"here: the parameters are empty .*give at least one number"):
        check_params(empty, "here")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_parameters_are_refused(dtype, bad):
    params = {"layers": [jnp.ones(2, dtype), jnp.asarray([1.0, bad, bad], dtype)]}
    with pytest.raises(ValueError, match=r"here: \['layers'\]\[1\] holds 2 non-finite.*start from finite parameters"):
        check_params(params, "here")


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        (jnp.arange(3), "int32"),
        (jnp.ones(2, jnp.complex64), "complex64"),
        (jnp.asarray(True), "bool"),
        (jax.random.key(0), "key<fry>"),
        (1.5, "float"),
        ("text", "str"),
    ],
)
def test_what_is_no_floating_point_array_is_refused(leaf, kind):
    with pytest.raises(TypeError, match=rf"here: \['b'\] is {kind}; only floating-point.*close over it instead"):
        check_params({"a": jnp.ones(2), "b": leaf}, "here")


@pytest.mark.parametrize("dtype", DTYPES)
def test_finite_parameters_pass(dtype):
    check_params({"a": jnp.ones((), dtype), "b": (), "c": jnp.ones((0, 2), dtype)}, "here")
    jax.jit(lambda x: check_params(x, "here"))(jnp.ones(2, dtype))


def test_a_lone_array_is_named_too():
    with pytest.raises(TypeError, match="here: the parameter is int32"):
        check_params(jnp.arange(3), "here")


@pytest.mark.parametrize("choose", [select, keep])
@pytest.mark.parametrize("condition", [True, False])
def test_one_of_two_trees_is_whole_and_in_its_own_dtypes(choose, condition):
    yes = {"a": jnp.ones(2, jnp.bfloat16), "n": jnp.asarray(1)}
    no = {"a": jnp.zeros(2, jnp.bfloat16), "n": jnp.asarray(7)}
    expected = yes if condition else no
    assert_same(choose(jnp.asarray(condition), yes, no), expected)
    # What is wider than what it stands for is narrowed; numbers may be those of Python.
    wide, plain = {"a": jnp.ones(2), "n": 1}, {"a": no["a"], "n": 7}
    assert_same(choose(jnp.asarray(condition), wide, plain), expected)
    both = jnp.asarray([True, False])
    batch = jax.vmap(lambda condition, a: choose(condition, wide | {"a": a}, plain))(both, jnp.ones((2, 2)))
    assert_same(take(batch, 0 if condition else 1), expected)


def test_what_is_large_is_kept_as_a_whole():
    """By one branch, also where a leaf is narrowed: `select` goes through every number, which is for a few."""
    for size, branched in ((2000, True), (3, False)):
        old = {"a": jnp.zeros(size, jnp.bfloat16), "b": jnp.zeros(size)}
        program = str(jax.make_jaxpr(keep)(True, {"a": jnp.ones(size), "b": jnp.ones(size)}, old))
        assert ("cond[" in program) == branched
        assert ("select_n" in program) != branched


@pytest.mark.parametrize("condition", [True, False])
def test_keeping_is_selecting_for_few_numbers_and_for_many(condition):
    """Compiled, in and out of `vmap`; few are selected, many go through a branch."""
    new = {"few": jnp.arange(3), "many": jnp.arange(2000.0), "one": jnp.float16(2), "lots": jnp.ones((40, 40), bool)}
    old = jax.tree.map(jnp.zeros_like, new)
    for asked in (condition, jnp.full(2, condition)):
        function = keep if asked is condition else jax.vmap(keep, (0, None, None))
        kept = jax.jit(function)(jnp.asarray(asked), new, old)
        wanted = new if condition else old
        for name, leaf in kept.items():
            assert leaf.dtype == wanted[name].dtype
            np.testing.assert_array_equal(leaf, np.broadcast_to(wanted[name], leaf.shape))


def test_scaled_keeps_dtypes(x64):
    tree = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones((), jnp.float64)}
    doubled = scaled(tree, jnp.asarray(2.0, jnp.float64))
    assert_same(doubled, jax.tree.map(lambda leaf: leaf + leaf, tree))


def test_as_arrays_takes_numbers():
    made = as_arrays({"a": 1.5, "b": np.ones(2, np.float16), "c": [2.0]})
    check_params(made, "here")
    assert made["b"].dtype == jnp.float16


@pytest.mark.parametrize(
    ("given", "like", "shown"),
    [
        ([1.0, 2.0, 3.0], jnp.ones(3), r"whose shapes are \(3,\): it is \[1.0, 2.0, 3.0\]"),
        ([0.0] * 99, jnp.ones(99), r"it is \[0.0, 0.0, .*, \.\.\."),
        (None, jnp.ones(3), "it is None"),
        (np.ones(2), jnp.ones(3), r"it is f64\[2\]"),
        ([np.ones(3)], [jnp.ones(2), jnp.ones(3)], r"shapes are \[\(2,\), \(3,\)\]: it is \[f64\[3\]"),
        ({"a": 0.0, "b": None}, {"a": jnp.ones(3), "b": jnp.ones(())}, r"it is {'a': 0.0, 'b': None}"),
        ({"a": 0.0}, {"a": jnp.ones(3), "b": jnp.ones(())}, r"it is {'a': 0.0}"),
    ],
)
def test_what_does_not_fit_is_shown_beside_a_cure(given, like, shown):
    cure = r"give a number, an array such as jnp\.array\(\[1\.0, 2\.0\]\), or a tree like the parameters"
    with pytest.raises(ValueError, match=rf"^Me: edge does not fit the parameters, .*{shown}.*; {cure}\.$"):
        fitted("Me", "edge", given, like)
    with pytest.raises(ValueError, match=rf"; {cure}; leave it out for none\.$"):
        fitted("Me", "edge", given, like, "leave it out for none")


def test_trees_of_numbers_fit_trees_of_arrays():
    like = [jnp.ones((2, 3), jnp.bfloat16), jnp.ones(()), None]
    assert_same(fitted("Me", "edge", [1.0, 2, None], like), [jnp.ones((2, 3), jnp.bfloat16), jnp.asarray(2.0), None])
    assert_same(
        fitted("Me", "edge", [np.arange(3), 2, None], like)[0], jnp.tile(jnp.arange(3, dtype="bfloat16"), (2, 1))
    )
    assert_same(fitted("Me", "edge", 7, like), [jnp.full((2, 3), 7, jnp.bfloat16), jnp.asarray(7.0), None])


def test_an_array_of_numpy_s_may_change_afterwards():
    """On a CPU, JAX takes a NumPy array whose memory is aligned as it is."""
    memory = np.zeros(64 + 16, np.float32)
    begin = -memory.ctypes.data % 64 // 4
    theirs = memory[begin : begin + 16]
    made = [as_array(theirs), as_arrays({"w": theirs})["w"], numeric([theirs])[0]]
    theirs[:] = 9.0
    for array in made:
        np.testing.assert_array_equal(array, 0.0)
