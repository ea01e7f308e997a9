"""Costly work: where nothing is due it costs nothing, and a batch does no more than its neediest asks for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve.core.refresh import at_least, refresh

DUE = [[False] * 4, [True] * 4, [True, False, False, True]]


def compute(operand):
    return {"square": operand["x"] ** 2, "sum": jnp.sum(operand["x"])}


def operands(number):
    return {"x": jnp.arange(number * 3.0).reshape(number, 3) + 1}


def old(number):
    return {"square": -jnp.ones((number, 3)), "sum": -jnp.arange(float(number))}


def row(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def assert_equal(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


@pytest.mark.parametrize("due", [True, False])
def test_alone_it_is_a_condition(due):
    operand, before = row(operands(1), 0), row(old(1), 0)
    value = jax.jit(lambda d: refresh(d, compute, operand, before))(jnp.asarray(due))
    assert_equal(value, compute(operand) if due else before)


@pytest.mark.parametrize("due", DUE)
@pytest.mark.parametrize("compiled", [True, False])
def test_under_vmap_it_is_a_loop(due, compiled):
    due = jnp.asarray(due)

    def one(d, operand, before):
        return refresh(d, compute, operand, before)

    many = jax.vmap(one)
    batched = (jax.jit(many) if compiled else many)(due, operands(4), old(4))
    for i in range(4):
        assert_equal(row(batched, i), one(due[i], row(operands(4), i), row(old(4), i)))


@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (None, None, 0), (None, 0, 0), (0, None, 0)])
@pytest.mark.parametrize("due", [True, False])
def test_what_is_not_batched_is_shared(axes, due):
    """Any subset of (due, operand, old) may carry the batch: under sweeps of a hyperparameter, often only one does."""
    args = (jnp.full(4, due), operands(4), old(4))
    given = [arg if axis == 0 else row(arg, 2) for arg, axis in zip(args, axes, strict=True)]
    batched = jax.vmap(lambda d, o, b: refresh(d, compute, o, b), axes)(*given)
    for i in range(4):
        own = [row(arg, i) if axis == 0 else arg for arg, axis in zip(given, axes, strict=True)]
        assert_equal(row(batched, i), compute(own[1]) if due else own[2])


def test_nested_vmaps():
    due = jnp.asarray([[True, False], [False, False], [True, True]])
    operand = {"x": jnp.arange(18.0).reshape(3, 2, 3)}
    before = {"square": -jnp.ones((3, 2, 3)), "sum": -jnp.ones((3, 2))}
    value = jax.vmap(jax.vmap(lambda d, o, b: refresh(d, compute, o, b)))(due, operand, before)
    new = jax.vmap(jax.vmap(compute))(operand)
    assert_equal(value["sum"], jnp.where(due, new["sum"], before["sum"]))
    assert_equal(value["square"], jnp.where(due[..., None], new["square"], before["square"]))


@pytest.mark.parametrize(("due", "expected"), [([False] * 4, 0), ([False, True, False, False], 4), ([True] * 4, 4)])
def test_nothing_due_computes_nothing(due, expected):
    """Counted by a callback inside the work, which `vmap` calls once a member: a plain `cond` would always count."""
    calls = []

    def counted(operand):
        jax.debug.callback(lambda x: calls.append(x), operand["x"][0])
        return compute(operand)

    many = jax.jit(jax.vmap(lambda d, o, b: refresh(d, counted, o, b)))
    jax.block_until_ready(many(jnp.asarray(due), operands(4), old(4)))
    jax.effects_barrier()
    assert len(calls) == expected


def test_inside_a_scan():
    """Every third step, as a lazy eigendecomposition does it, for a batch of two."""

    def one(start):
        def step(carry, t):
            total, root = carry
            total = total + 1.0
            root = refresh((t + 1) % 3 == 0, jnp.sqrt, total, root)
            return (total, root), root

        return jax.lax.scan(step, (start, jnp.zeros(())), jnp.arange(7))[1]

    starts = jnp.asarray([0.0, 10.0])
    expected = [[0, 0, s + 3, s + 3, s + 3, s + 6, s + 6] for s in (0.0, 10.0)]
    np.testing.assert_allclose(jax.vmap(one)(starts), np.sqrt(expected), rtol=1e-6)


def tiers(calls=None):
    """Three branches; which of them computed it can be told from the result, and from the calls."""

    def tier(k):
        def branch(operand):
            if calls is not None:
                jax.debug.callback(lambda x: calls.append(k), operand["x"][0])
            return operand["law"](operand["x"][: operand["count"]]) + 100.0 * k

        return branch

    return [tier(k) for k in range(3)]


def needy(x):
    """An operand of which only x is an array: the length of a slice, and a function."""
    return {"x": x, "count": 2, "law": jnp.sum}


@pytest.mark.parametrize("index", range(3))
def test_alone_it_is_a_choice(index):
    x = jnp.asarray([1.0, 2.0, 4.0])
    assert at_least(jnp.asarray(index), tiers(), needy(x)) == 3 + 100 * index
    assert jax.jit(lambda i: at_least(i, tiers(), needy(x)))(index) == 3 + 100 * index


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_a_batch_takes_the_branch_of_its_neediest(axes):
    """Counted by a callback inside the branches, of which a plain `switch` would compute all."""
    index, x, calls = jnp.asarray([0, 1, 0, 1]), operands(4)["x"], []
    given = [arg if axis == 0 else arg[1] for arg, axis in zip((index, x), axes, strict=True)]
    many = jax.jit(jax.vmap(lambda i, x: at_least(i, tiers(calls), needy(x)), axes))
    expected = x[:, 0] + x[:, 1] if axes[1] == 0 else jnp.full(4, x[1, 0] + x[1, 1])
    np.testing.assert_array_equal(many(*given), expected + 100)
    jax.effects_barrier()
    assert set(calls) == {1}
