"""Losses of members: unmodified models, low-rank weights never formed, and losses that are not scalars refused."""

import warnings

import equinox as eqx
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from evolve.core import Antithetic, Drawn, Gaussian, Geometry, LowRank, Population, perturbed, wrap
from evolve.core.evaluation import batch_losses, checked, graded

KEY = jax.random.key(2)
SIZE, E, M, H, N = 22, 5, 19, 17, 13  # all different, so that a shape says what it is
TOKENS = jnp.asarray(np.array([[0, 3, 3], [7, 1, 2]]))


def normal(*shape):
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    return jnp.asarray(values / shape[0] ** 0.5, jnp.float32)


X, IMAGES = normal(E, M), normal(2, 6, 6, 3)


def around(params, law=None, size=SIZE):
    """Low-rank pairs around the parameters, redrawn whenever wanted."""
    geometry = Geometry.of(params)
    directions = Drawn(law or Antithetic(LowRank(2)), KEY, geometry, None)
    return Population(geometry.working(params), jnp.asarray(0.1), directions, KEY, geometry, size)


losses_of = eqx.filter_jit(batch_losses)


def both_losses(loss, params, law=None):
    """The losses, and the oracle: each member's weights formed, and the loss called plainly."""
    problem = wrap(loss, params)

    @jax.jit
    def program(params):
        many = around(params, law, size=4)
        return batch_losses(problem, many, KEY, 0, 4), jax.lax.map(lambda i: loss(many.member(i)), jnp.arange(4))

    return program(params)


def filled(shapes):
    """A tree of random numbers in place of its shapes."""
    return jax.tree.map(lambda leaf: normal(*leaf.shape), shapes)


def plain_network():
    def loss(p):
        return jnp.mean((jax.nn.relu(X @ p["in"] + p["b"]) @ p["out"]) ** 2)

    return {"in": normal(M, H), "b": normal(H), "out": normal(H, N)}, loss


def linen_network():
    network = flax.linen.Sequential([flax.linen.Dense(H), flax.linen.relu, flax.linen.Dense(N)])
    return filled(jax.eval_shape(network.init, KEY, X)), lambda p: jnp.mean(network.apply(p, X) ** 2)


def nnx_network():
    def network():
        return nnx.Sequential(nnx.Linear(M, H, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(H, N, rngs=nnx.Rngs(1)))

    graph, state = nnx.split(nnx.eval_shape(network))
    return filled(state), lambda s: jnp.mean(nnx.merge(graph, s)(X) ** 2)


def equinox_network():
    network = eqx.filter_eval_shape(eqx.nn.MLP, M, N, H, 1, key=KEY)
    shapes, rest = eqx.partition(network, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    return filled(shapes), lambda p: jnp.mean(jax.vmap(eqx.combine(p, rest))(X) ** 2)


NETWORKS = [plain_network, linen_network, nnx_network, equinox_network]


def shapes(jaxpr):
    """Of every intermediate result, inner programs included."""
    for equation in jaxpr.eqns:
        yield from (getattr(var.aval, "shape", ()) for var in equation.outvars)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from shapes(inner)


@pytest.mark.parametrize("make", NETWORKS)
def test_no_weight_of_a_member_is_ever_formed(make):
    """No intermediate result has a layer's both axes beside the population's, in a model that knows nothing of us."""
    params, loss = make()
    many = around(params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jaxpr = jax.make_jaxpr(lambda k: batch_losses(wrap(loss, params), many, k, 0, SIZE))(KEY)
    seen = [set(shape) for shape in shapes(jaxpr.jaxpr)]
    assert any({SIZE, E, H} <= shape for shape in seen)  # activations of all members together
    for layer in ({M, H}, {H, N}):
        assert not any(layer <= shape and shape & {SIZE, SIZE // 2} for shape in seen)


def test_the_inspection_finds_formed_weights():
    """Its own check: full directions are of course formed, and seen."""
    params, loss = plain_network()
    many = around(params, Gaussian())
    jaxpr = jax.make_jaxpr(lambda k: batch_losses(wrap(loss, params), many, k, 0, SIZE))(KEY)
    assert any({SIZE, M, H} <= set(shape) for shape in shapes(jaxpr.jaxpr))


@pytest.mark.parametrize("make", NETWORKS)
def test_networks_have_the_losses_of_their_formed_members(make):
    params, loss = make()
    np.testing.assert_allclose(*both_losses(loss, params), rtol=1e-5)


def scanned_layers():
    def loss(p):
        def layer(h, each):
            weight, bias = each
            return jnp.tanh(h @ weight + bias), None

        return jnp.mean(lax.scan(layer, X, (p["w"], p["b"]))[0] ** 2)

    return {"w": normal(3, M, M), "b": normal(3, M)}, loss


def convolution():
    def loss(p):
        h = lax.conv_general_dilated(IMAGES, p["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.mean(jnp.mean(jax.nn.relu(h), (1, 2)) @ p["w"])

    return {"k": normal(3, 3, 3, 8), "w": normal(8, 4)}, loss


def embedding():
    def loss(p):
        return jnp.mean((p["table"][TOKENS] @ p["table"].T) ** 2) + 0.01 * jnp.sum(p["table"] ** 2)

    return {"table": normal(9, 6)}, loss


def branches():
    def loss(p):
        h = lax.cond(p["b"][0] > 0, lambda: X @ p["w"], lambda: -(X @ p["w"]))
        return jnp.mean(jnp.where(jnp.arange(H) > 2, p["w"], 0.0)) + jnp.mean(h**2)

    return {"w": normal(M, H), "b": normal(3)}, loss


def own_backward():
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(lambda x, w: (x @ w, (x, w)), lambda saved, g: (g @ saved[1].T, saved[0].T @ g))
    return {"w": normal(M, H)}, lambda p: jnp.mean(product(X, p["w"]) ** 2)


@pytest.mark.filterwarnings("ignore:LowRank")
@pytest.mark.parametrize("make", [convolution, embedding, branches, own_backward, scanned_layers])
def test_everything_else_has_the_losses_of_its_formed_members(make):
    params, loss = make()
    np.testing.assert_allclose(*both_losses(loss, params), rtol=1e-5)


def test_what_cannot_be_traced_lazily_is_formed_and_said():
    params, loss = own_backward()
    with pytest.warns(UserWarning, match="LowRank: the loss cannot be traced lazily .*custom_vjp.*weights are formed"):
        both_losses(loss, params)


def test_half_precision_networks_agree_to_rounding():
    params, loss = plain_network()
    half = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf).astype(jnp.bfloat16)), params)
    losses, formed = both_losses(loss, half)
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(losses, formed, rtol=0.05)


@pytest.mark.filterwarnings("ignore:LowRank")
def test_an_error_of_the_loss_itself_comes_through():
    def loss(p):
        raise KeyError(f"no {p['w'].shape} today")

    with pytest.raises(KeyError, match="today"):
        both_losses(loss, {"w": normal(M, H)})


def test_common_and_own_keys():
    """All members share the key, or each pair has one of its own, whatever the chunk."""
    many = around({"w": normal(M, H)}, size=6)
    problem = wrap(lambda p, key: jax.random.uniform(key), many.center)
    common = losses_of(problem, many, KEY, np.asarray(0), 6)
    np.testing.assert_array_equal(common, np.full(6, jax.random.uniform(KEY)))
    own = np.asarray(losses_of(problem, many, KEY, np.asarray(0), 6, common=False))
    np.testing.assert_array_equal(own[0::2], own[1::2])
    assert len(set(own.tolist())) == 3
    np.testing.assert_array_equal(losses_of(problem, many, KEY, np.asarray(2), 4, common=False), own[2:])


def test_graded_is_the_gradient_at_the_one_member():
    params, loss = plain_network()
    geometry = Geometry.of(params)
    one = Population.of(jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[None]), params), geometry, KEY)
    oracle = eqx.filter_jit(graded)(wrap(loss, params), one, KEY)
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(oracle.losses, [value], rtol=1e-6)
    for a, b in zip(jax.tree.leaves(oracle.gradient), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(jax.jit(oracle.function)(params), value, rtol=1e-6)


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), jnp.asarray(1.5, jnp.bfloat16), jnp.asarray(1.5)])
def test_scalars_pass_in_at_least_single_precision(value):
    loss = checked(value)
    assert (float(loss), loss.dtype) == (1.5, jnp.float32)


def test_double_precision_losses_stay(x64):
    assert checked(jnp.asarray(1.5, jnp.float64)).dtype == jnp.float64


@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3)])
def test_a_loss_with_a_shape_is_refused(shape):
    with pytest.raises(ValueError, match=rf"the loss has shape \({shape[0]},.*return a scalar, such as its mean"):
        checked(np.zeros(shape))


@pytest.mark.parametrize(("value", "dtype"), [(3, "int32"), (True, "bool"), (1j, "complex64")])
def test_a_loss_of_the_wrong_dtype_is_refused(value, dtype):
    with pytest.raises(TypeError, match=f"the loss is {dtype}; return a floating-point number"):
        checked(jnp.asarray(value))


@pytest.mark.filterwarnings("ignore:LowRank")
@pytest.mark.parametrize("lazy", [True, False])
def test_a_bad_loss_is_named_from_within_a_population(lazy):
    with pytest.raises(ValueError, match=r"the loss has shape \(5, 17\)"):
        both_losses(lambda p: X @ p["w"], {"w": normal(M, H)}, LowRank(1) if lazy else Gaussian())


def test_a_plain_product_never_warns(monkeypatch):
    monkeypatch.setattr(perturbed, "_formed", set())
    params, loss = plain_network()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both_losses(loss, params)
    assert perturbed._formed == set()
