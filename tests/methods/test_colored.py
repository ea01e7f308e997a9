"""Members drawn in windows and evaluated in blocks: however they are asked for, they are the same ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evolve.core import Geometry, Population
from evolve.methods.again import Again
from evolve.methods.cma_parameters import parameters
from evolve.methods.colored import Colored, Growth
from evolve.methods.full import Full

N, BLOCK, WINDOW, SIZE = 3, 4, 16, 48
LIKE = {"a": jnp.zeros(2), "b": jnp.zeros(())}


def grown(n, mirrored):
    return Growth.of(lambda size, most: parameters(n, size, True, "full", most), BLOCK, SIZE, BLOCK, mirrored, n)


def drawn(mirrored, used=SIZE):
    shape = Full.start(jnp.asarray([1.0, 2.0, 3.0]))
    growth = grown(N, mirrored)
    assert growth.window == WINDOW
    return Colored.of(shape, jax.random.key(2), Geometry.of(LIKE), growth, used)


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
@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
def test_a_window_that_would_be_many_numbers_has_fewer_blocks(mirrored):
    """What is kept from `ask` to `tell` is at most 2^22 numbers, or as few as it can be."""

    def growth(n):
        return grown(n, mirrored)

    most = 2**22 // WINDOW
    windows = [growth(n).window for n in (N, most, most + 1, 2 * most + 1, 10**6)]
    assert windows == [WINDOW, WINDOW, WINDOW // 2, BLOCK, BLOCK]
    directions = Colored.of(Full.start(jnp.ones(N)), jax.random.key(2), Geometry.of(LIKE), growth(10**6), SIZE)
    whole = rows(directions, 0, SIZE)
    assert len(np.unique(np.abs(whole[:, 0]))) == (SIZE // 2 if mirrored else SIZE)
    for first in range(0, SIZE, BLOCK):
        held = jax.jit(lambda first: directions.ahead(first, SIZE))(jnp.asarray(first))
        np.testing.assert_allclose(rows(held, first, BLOCK), whole[first : first + BLOCK], rtol=1e-12)
    total = jax.jit(lambda w: directions.total(jnp.asarray(20), (w,), lambda shape, y, z, w: w @ y))
    weights = np.where(np.arange(SIZE) < 20, np.linspace(-1.0, 2.0, SIZE), 0.0)
    np.testing.assert_allclose(total(weights), weights @ whole, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
def test_no_more_of_the_first_window_is_drawn_than_is_in_use(mirrored):
    whole = rows(drawn(mirrored), 0, SIZE)
    few, more = (jax.jit(lambda used: drawn(mirrored, used))(used) for used in (BLOCK, BLOCK + 1))
    np.testing.assert_allclose(rows(few, 0, BLOCK), whole[:BLOCK], rtol=1e-12)
    np.testing.assert_array_equal(few.head[BLOCK:], 0.0)
    np.testing.assert_allclose(rows(more, 0, WINDOW), whole[:WINDOW], rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("count", [1, 4, 5, 16, 17, 20, 33, 48])
def test_a_sum_reaches_as_far_as_members_are_in_use(count):
    """The weights of the others are zero, as `recombination` leaves them."""
    directions, whole = drawn(False), rows(drawn(False), 0, SIZE)
    weights = np.where(np.arange(SIZE) < count, np.linspace(-1.0, 2.0, SIZE), 0.0)
    found = jax.jit(lambda count, w: directions.total(count, (w,), lambda shape, y, z, w: (w @ y, (y.T * w) @ y)))
    mean, square = found(count, weights)
    np.testing.assert_allclose(mean, weights @ whole, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(square, (whole.T * weights) @ whole, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_a_batch_draws_no_more_than_its_neediest_asks_for():
    """Under `vmap` a choice between a block and a window stays a choice, and gives what single ones give."""
    directions, used = drawn(False), jnp.asarray([2, 3, 4])
    ahead = jax.vmap(lambda used: directions.ahead(jnp.asarray(0), used).batch(0, WINDOW)["a"])
    assert "cond[" in str(jax.make_jaxpr(ahead)(used))
    held = jax.jit(ahead)(used)
    np.testing.assert_array_equal(held[:, BLOCK:], 0.0)
    np.testing.assert_allclose(held[1, :BLOCK], rows(directions, 0, BLOCK)[:, :2], rtol=1e-12)
    np.testing.assert_allclose(jax.jit(ahead)(used + 9)[2], rows(directions, 0, WINDOW)[:, :2], rtol=1e-12)


def test_a_window_is_never_taken_for_all_members():
    whole = drawn(False)
    for directions in (whole, Again(whole, 40, 3, SIZE)):
        held = directions.ahead(jnp.asarray(WINDOW), 43)
        population = Population(None, jnp.ones(()), held, whole.key, whole.geometry, SIZE)
        with pytest.raises(TypeError, match="drawn, not stored"):
            _ = population.stored
        with pytest.raises(TypeError, match="combine those of the whole population"):
            population.combine(jnp.ones(SIZE))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("used", [5, 16, 30, 44])
def test_copies_are_those_of_the_first_wherever_a_window_begins(used):
    directions = drawn(False)
    again = Again(directions, jnp.asarray(used), 3, SIZE)
    assert (again.group, again.block, again.window) == (1, BLOCK, WINDOW)
    whole = rows(directions, 0, SIZE)
    expected = np.concatenate([whole[:used], whole[:3]])
    for first in range(0, used + 3, WINDOW):
        held = jax.jit(lambda again, first: again.ahead(first, again.used + 3))(again, jnp.asarray(first))
        end = min(first + WINDOW, used + 3)
        for begin in range(first, end, BLOCK):
            some = expected[begin : begin + BLOCK]
            np.testing.assert_allclose(rows(held, begin, BLOCK)[: len(some)], some, rtol=1e-12)
        one_by_one = jax.jit(lambda held, places: jax.lax.map(held.one, places))(held, jnp.arange(first, end))
        np.testing.assert_allclose(one_by_one["a"], expected[first:end, :2], rtol=1e-12)
