"""A perturbed weight multiplies lazily, and every other use of it gives what the formed weight gives."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quax
from jax import lax

from evolve.core import perturbed
from evolve.core.perturbed import Perturbed


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


M, N, R, E = 6, 5, 2, 3
WEIGHT = Perturbed(normal(0, M, N), normal(1, M, R), normal(2, N, R))
X, Y, BATCH = normal(3, E, M), normal(4, E, N), normal(5, 2, E, M)
PLACES = jnp.asarray(np.array([0, 3, 3]))

LAZY = {
    "x @ W": lambda w: X @ w,
    "v @ W": lambda w: X[0] @ w,
    "W @ v": lambda w: w @ Y[0],
    "W @ y": lambda w: w @ Y.T,
    "y @ W.T": lambda w: Y @ w.T,
    "W.T @ x": lambda w: w.T @ X.T,
    "swapaxes": lambda w: jnp.swapaxes(w, 0, 1) @ X.T,
    "transposed twice": lambda w: X @ w.T.T,
    "batched x": lambda w: BATCH @ w,
    "einsum, weight last": lambda w: jnp.einsum("bi,io->bo", X, w),
    "einsum, weight first": lambda w: jnp.einsum("io,bi->bo", w, X),
    "einsum, output turned": lambda w: jnp.einsum("io,bi->ob", w, X),
    "einsum, other axis": lambda w: jnp.einsum("io,bo->bi", w, Y),
    "einsum, batch": lambda w: jnp.einsum("abi,io->aob", BATCH, w),
    "tensordot": lambda w: jnp.tensordot(BATCH, w, [[2], [0]]),
    "tensordot, weight first": lambda w: jnp.tensordot(w, BATCH, [[0], [2]]),
    "inner vmap": lambda w: jax.vmap(lambda row: row @ w)(X),
    "inner vmap, as Equinox": lambda w: jax.vmap(lambda row: w.T @ row)(X),
    "two inner vmaps": lambda w: jax.vmap(jax.vmap(lambda row: row @ w))(BATCH),
    "jit": lambda w: jax.jit(lambda a: X @ a)(w),
    "gradient through": lambda w: jax.grad(lambda a: jnp.sum(jnp.sin(a @ w)))(X),
    "jvp through": lambda w: jax.jvp(lambda a: a @ w, (X,), (X,)),
    "precision": lambda w: jnp.dot(X, w, precision="highest"),
    "relu behind": lambda w: jax.nn.relu(X @ w),
    "gelu, softmax behind": lambda w: jax.nn.softmax(jax.nn.gelu(X @ w)),
    "one-hot lookup": lambda w: jax.nn.one_hot(PLACES, M) @ w,
    "scan, closed over": lambda w: lax.scan(lambda c, _: (jnp.tanh(c @ w @ w.T), c[0, 0]), X, None, length=3),
    "map": lambda w: lax.map(lambda row: row @ w, X),
    "fori_loop": lambda w: lax.fori_loop(0, 3, lambda _, c: jnp.tanh(c @ w @ w.T), X),
    "cond, closed over": lambda w: lax.cond(X[0, 0] > 0, lambda: X @ w, lambda: -(X @ w)),
    "cond, operand": lambda w: lax.cond(X[0, 0] > 0, lambda a: X @ a, lambda a: -(X @ a), w),
    "shape and size": lambda w: jnp.zeros(w.shape) + w.ndim + w.size,
}


def own_sin():
    """The sine with a derivative rule of its own."""
    sine = jax.custom_jvp(jnp.sin)
    sine.defjvp(lambda primals, tangents: (jnp.sin(*primals), jnp.cos(*primals) * tangents[0]))
    return sine


FORMED = {
    "elementwise": lambda w: w * 2 + jnp.tanh(w),
    "scaled, then multiplied": lambda w: X @ (w * 0.5),
    "negated": lambda w: X @ -w,
    "reshape": lambda w: w.reshape(-1),
    "concatenate": lambda w: jnp.concatenate([w, w]),
    "stack": lambda w: jnp.stack([w, w]),
    "gather": lambda w: w[PLACES],
    "take": lambda w: jnp.take(w, PLACES, axis=0),
    "a column": lambda w: w[:, 1],
    "a slice": lambda w: w[1:3],
    "dynamic slice": lambda w: lax.dynamic_slice(w, (1, 1), (2, 2)),
    "pad": lambda w: jnp.pad(w, 1),
    "broadcast": lambda w: jnp.broadcast_to(w, (2, M, N)),
    "where": lambda w: jnp.where(jnp.arange(N) > 2, w, 0.0),
    "sum of squares": lambda w: jnp.sum(w**2),
    "norm": lambda w: jnp.linalg.norm(w, 2),
    "sort": lambda w: jnp.sort(w, axis=0),
    "copy": lambda w: X @ jnp.array(w, copy=True),
    "stop_gradient": lambda w: X @ lax.stop_gradient(w),
    "relu of the weight": lambda w: jax.nn.relu(w),
    "custom_jvp": lambda w: own_sin()(w),
    "vmap over its rows": lambda w: jax.vmap(lambda row: row * 2)(w),
    "vmap over its columns": lambda w: jax.vmap(lambda column, a: column * a, (1, 0))(w, Y[0]),
    "two axes at once": lambda w: jnp.tensordot(w, jnp.ones((M, N)), 2),
    "no axis": lambda w: jnp.tensordot(X[0], w, 0),
    "batch axis of a product": lambda w: lax.dot_general(w, w[:, :, None], (((1,), (1,)), ((0,), (0,)))),
    # A fault: the product of two perturbed weights forms both and says nothing.
    "with itself": lambda w: w.T @ w,
    "checkpoint": lambda w: jax.checkpoint(lambda a: jnp.tanh(a @ w))(X),
    "convolution": lambda w: lax.conv_general_dilated(BATCH, w.T.reshape(N, M, 1)[:, :E], (1,), "SAME"),
    "to integers": lambda w: (w * 8).astype(jnp.int32),
    "comparison": lambda w: w > 0,
}


def assert_close(lazy, formed, tolerance=1e-5):
    def plain(leaf):
        return leaf.materialise() if isinstance(leaf, Perturbed) else leaf

    lazy = jax.tree.map(plain, lazy, is_leaf=lambda leaf: isinstance(leaf, Perturbed))
    assert jax.tree.structure(lazy) == jax.tree.structure(formed)
    for a, b in zip(jax.tree.leaves(lazy), jax.tree.leaves(formed), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance)


def both(function, weight=WEIGHT):
    """Of the perturbed weight and of the formed one, in one program."""
    return jax.jit(lambda w: (quax.quaxify(function)(w), function(w.materialise())))(weight)


@pytest.fixture
def formed_anew(monkeypatch):
    """Nothing was said yet about forming."""
    monkeypatch.setattr(perturbed, "_formed", set())


@pytest.mark.usefixtures("formed_anew")
@pytest.mark.parametrize("name", LAZY)
def test_products_are_lazy_and_equal(name):
    """No warning: nothing was formed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lazy, formed = both(LAZY[name])
    assert_close(lazy, formed)


@pytest.mark.usefixtures("formed_anew")
@pytest.mark.parametrize("name", FORMED)
def test_every_other_use_forms_the_weight_and_says_so(name):
    with pytest.warns(UserWarning, match="LowRank: .* forms the perturbed weight of every member"):
        value, formed = both(FORMED[name])
    assert_close(value, formed)


@pytest.mark.usefixtures("formed_anew")
def test_forming_is_said_once():
    with pytest.warns(UserWarning, match="'sin' has no low-rank rule"):
        jax.eval_shape(lambda w: quax.quaxify(jnp.sin)(w), WEIGHT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.eval_shape(lambda w: quax.quaxify(jnp.sin)(w), WEIGHT)


def test_a_scan_over_rows_is_refused():
    """Its parts do not share rows; evaluation then forms the weights (`scanned_layers` in test_evaluation)."""
    with pytest.raises(TypeError, match="no low-rank form"):
        quax.quaxify(lambda w: lax.scan(lambda c, row: (c + row, row.sum()), jnp.zeros(N), w))(WEIGHT)


@pytest.mark.parametrize("name", ["x @ W", "W @ v", "W.T @ x", "einsum, weight first", "inner vmap", "batched x"])
def test_a_population_shares_the_weight(name):
    """Under vmap over the factors alone, each member gets what its own formed weight gives."""
    left, right = normal(1, 4, M, R), normal(2, 4, N, R)

    def lazy(a, b):
        return quax.quaxify(LAZY[name])(Perturbed(WEIGHT.weight, a, b))

    members = np.asarray(WEIGHT.weight) + np.einsum("kmr,knr->kmn", left, right)
    assert_close(jax.jit(jax.vmap(lazy))(left, right), jax.jit(functools.partial(jax.lax.map, LAZY[name]))(members))


@pytest.mark.parametrize("order", ["xw", "wy"])
def test_gradients_with_respect_to_its_parts(order):
    """d/d(W, A, B) of a lazy product is that of the formed one."""
    product = {"xw": lambda w: X @ w, "wy": lambda w: w @ Y.T}[order]

    def lazy(weight):
        return jnp.sum(jnp.sin(quax.quaxify(product)(weight)))

    def formed(weight):
        return jnp.sum(jnp.sin(product(weight.materialise())))

    gradients = jax.jit(lambda w: (jax.grad(lazy)(w), jax.grad(formed)(w)))(WEIGHT)
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def halved(dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf).astype(dtype)), WEIGHT)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(dtype):
    """Shapes and dtypes of plain arithmetic; values to the rounding of a few half-precision sums."""
    half = halved(dtype)
    inputs = np.asarray(X).astype(dtype)
    lazy, product = both(lambda w: jnp.asarray(inputs) @ w, half)
    assert lazy.dtype == product.dtype == dtype
    weight, left, right = (np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(half))
    exact = np.asarray(inputs, np.float64) @ (weight + left @ right.T)
    size = np.abs(exact).max()
    assert np.abs(np.asarray(lazy, np.float64) - exact).max() <= 4 * float(jnp.finfo(dtype).eps) * size
    assert_close(*both(lambda w: w.astype(jnp.float32), half), 0.1)


def test_mixed_precision_promotes_as_arrays_do():
    half = halved(jnp.bfloat16)
    for product in (lambda w: X @ w, lambda w: X.astype(jnp.bfloat16) @ w.astype(jnp.float32)):
        lazy, formed = jax.eval_shape(lambda w, f=product: (quax.quaxify(f)(w), f(w.materialise())), half)
        assert lazy.dtype == formed.dtype
    asked = lambda w: lax.dot_general(  # noqa: E731
        X.astype(jnp.bfloat16), w, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    assert jax.eval_shape(quax.quaxify(asked), half).dtype == jnp.float32
