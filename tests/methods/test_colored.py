"""Members drawn in windows and evaluated in blocks: however they are asked for, they are the same ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve.core import Geometry
from evolve.methods.colored import Colored
from evolve.methods.covariance import Full

N, BLOCK, WINDOW, SIZE = 3, 4, 16, 48
LIKE = {"a": jnp.zeros(2), "b": jnp.zeros(())}


def drawn(mirrored):
    shape = Full.start(jnp.asarray([1.0, 2.0, 3.0]))
    return Colored(shape, jax.random.key(2), Geometry.of(LIKE), BLOCK, WINDOW, mirrored)


def rows(directions, first, count):
    """As an array; one program for all places."""
    tree = jax.jit(lambda directions, first: directions.batch(first, count))(directions, jnp.asarray(first))
    return np.concatenate([tree["a"], np.asarray(tree["b"])[:, None]], axis=1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
def test_a_member_is_the_same_however_it_is_asked_for(mirrored):
    directions = drawn(mirrored)
    whole = rows(directions, 0, SIZE)
    assert len(np.unique(np.abs(whole[:, 0]))) == (SIZE // 2 if mirrored else SIZE)
    one = jax.jit(lambda i: directions.one(i))
    for i in range(SIZE):
        np.testing.assert_allclose(np.append(one(i)["a"], one(i)["b"]), whole[i], rtol=1e-12)
    for first, count in ((0, BLOCK), (12, BLOCK), (16, WINDOW), (10, 11), (20, SIZE - 20)):
        np.testing.assert_allclose(rows(directions, first, count), whole[first : first + count], rtol=1e-12)
    for first, used in ((0, 3), (0, 48), (32, 34), (16, 21)):
        held = jax.jit(lambda first, used: directions.ahead(first, used))(first, used)
        for begin in range(first, min(first + WINDOW, used), BLOCK):
            np.testing.assert_allclose(rows(held, begin, BLOCK), whole[begin : begin + BLOCK], rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("count", [1, 4, 5, 16, 17, 20, 33, 48])
def test_a_sum_reaches_as_far_as_members_are_in_use(count):
    """The weights of the others are zero, as `recombination` leaves them."""
    directions, whole = drawn(False), rows(drawn(False), 0, SIZE)
    weights = np.where(np.arange(SIZE) < count, np.linspace(-1.0, 2.0, SIZE), 0.0)
    found = jax.jit(lambda count, w: directions.total(count, (w,), lambda y, z, w: (w @ y, (y.T * w) @ y)))
    mean, square = found(count, weights)
    np.testing.assert_allclose(mean, weights @ whole, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(square, (whole.T * weights) @ whole, rtol=1e-12, atol=1e-12)
