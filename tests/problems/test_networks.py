"""Networks against the modules they are made of, and the multilayer perceptron against NumPy."""

import re

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from problems import equinox_network, flax_network, mlp, nnx_network

KEY = jax.random.key(3)
BATCH = jax.random.normal(jax.random.key(4), (5, 6))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(7)(x))
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=True)(x))


class Training(nn.Module):
    """Built for training, by one of two layers."""

    layer: object

    @nn.compact
    def __call__(self, x):
        return self.layer(nn.Dense(3)(x))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(6, 7, rngs=rngs), nnx.Linear(7, 3, rngs=rngs)])
        self.norm = nnx.BatchNorm(7, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.dropout(self.norm(nnx.relu(self.layers[0](x)))))


class Counted(eqx.Module):
    """One example in; an integer table and a function among its leaves."""

    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    order: jax.Array
    activation: object

    def __init__(self, key):
        self.linear = eqx.nn.Linear(6, 3, key=key)
        self.dropout = eqx.nn.Dropout(0.5)
        self.order = jnp.array([2, 0, 1])
        self.activation = jnp.tanh

    def __call__(self, x):
        return self.activation(self.dropout(self.linear(x)))[self.order]


# mlp


@pytest.mark.parametrize("activation", [jax.nn.relu, jnp.tanh])
def test_mlp_equals_numpy(activation):
    network = mlp((6, 5, 4, 3), activation)
    params = jax.tree.map(lambda leaf: leaf + 0.1, network.init(KEY))
    x = np.asarray(BATCH)
    for i in range(3):
        layer = params[f"layer_{i}"]
        x = x @ np.asarray(layer["w"]) + np.asarray(layer["b"])
        if i < 2:
            x = np.maximum(x, 0) if activation is jax.nn.relu else np.tanh(x)
    np.testing.assert_allclose(network.apply(params, BATCH), x, rtol=1e-5, atol=1e-6)


def test_mlp_flattens_images():
    network = mlp((6, 3))
    params = network.init(KEY)
    np.testing.assert_array_equal(network.apply(params, BATCH.reshape(5, 2, 3)), network.apply(params, BATCH))


@pytest.mark.parametrize(("activation", "hidden"), [(jax.nn.relu, 2 / 400), (jnp.tanh, 2 / 700)])
def test_mlp_starts_with_the_variance_of_its_source(activation, hidden):
    params = jax.jit(mlp((400, 300, 200), activation).init)(KEY)
    np.testing.assert_allclose(np.var(params["layer_0"]["w"]), hidden, rtol=0.03)
    np.testing.assert_allclose(np.var(params["layer_1"]["w"]), 2 / 500, rtol=0.03)
    assert not np.any(params["layer_0"]["b"])


def test_mlp_layers_of_one_shape_start_apart():
    params = mlp((4, 4, 4)).init(KEY)
    assert not np.allclose(params["layer_0"]["w"], params["layer_1"]["w"])


@pytest.mark.usefixtures("unchecked")
def test_mlp_of_the_same_arguments_is_the_same_object():
    assert mlp((4, 3)) is mlp([4, 3]) is mlp(np.array([4, 3]))
    assert mlp((4, 3)) is not mlp((4, 3), jnp.tanh)


@pytest.mark.parametrize("sizes", [(4,), (), (4, 0, 3), (4, 2.7, 2), (4, True, 2), (4, "8", 2), 32])
@pytest.mark.usefixtures("unchecked")
def test_mlp_refuses_useless_sizes(sizes):
    with pytest.raises(
        ValueError, match=re.escape(f"sizes are {sizes}; give two or more widths, integers of at least")
    ):
        mlp(sizes)


# Modules


def test_flax_network_is_the_module():
    module = Linen()
    variables = module.init(KEY, BATCH)
    network = flax_network(module, jax.ShapeDtypeStruct((1, 6), jnp.float32))
    params = network.init(KEY)
    jax.tree.map(np.testing.assert_array_equal, params, variables["params"])
    moved = jax.tree.map(lambda leaf: leaf + 0.3, params)
    want = module.apply({**variables, "params": moved}, BATCH)
    np.testing.assert_array_equal(network.apply(moved, BATCH), want)


def test_nnx_network_is_the_module():
    network = nnx_network(lambda key: Nnx(nnx.Rngs(key)))
    params = network.init(KEY)
    module = Nnx(nnx.Rngs(KEY))
    module.eval()
    np.testing.assert_array_equal(network.apply(params, BATCH), module(BATCH))
    moved = jax.tree.map(lambda leaf: leaf + 0.3, params)
    for i, layer in enumerate(module.layers):
        layer.kernel[...] += 0.3
        layer.bias[...] += 0.3
        np.testing.assert_array_equal(moved["layers"][i]["kernel"], layer.kernel[...])
    module.norm.scale[...] += 0.3
    module.norm.bias[...] += 0.3
    np.testing.assert_array_equal(network.apply(moved, BATCH), module(BATCH))


@pytest.mark.parametrize("make", [Counted, lambda key: eqx.nn.MLP(6, 3, 8, 2, key=key)])
def test_equinox_network_is_the_module(make):
    network = equinox_network(make)
    params = network.init(KEY)
    module = eqx.nn.inference_mode(make(KEY))
    np.testing.assert_allclose(network.apply(params, BATCH), jax.vmap(module)(BATCH), rtol=1e-6)
    moved = jax.tree.map(lambda leaf: leaf + 0.3, params)
    other = jax.tree.map(lambda leaf: leaf + 0.3 if eqx.is_inexact_array(leaf) else leaf, module)
    np.testing.assert_allclose(network.apply(moved, BATCH), jax.vmap(other)(BATCH), rtol=1e-6)


NETWORKS = {
    "mlp": lambda: mlp((6, 4, 3)),
    "flax": lambda: flax_network(Linen(), np.zeros((1, 6))),
    "nnx": lambda: nnx_network(lambda key: Nnx(nnx.Rngs(key))),
    "equinox": lambda: equinox_network(Counted),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_floats_drawn_from_the_key(name):
    network = NETWORKS[name]()
    params = network.init(KEY)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))
    jax.tree.map(np.testing.assert_array_equal, params, network.init(KEY))
    flat, other = (jax.flatten_util.ravel_pytree(network.init(key))[0] for key in (KEY, jax.random.key(9)))
    assert not np.allclose(flat, other)
    assert not jax.tree.leaves(network), "a network is structure only: nothing of it is searched or traced"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_population_is_a_vmap(name):
    network = NETWORKS[name]()
    members = jax.jit(jax.vmap(network.init))(jax.random.split(KEY, 4))
    together = jax.jit(jax.vmap(network.apply, in_axes=(0, None)))(members, BATCH)
    assert together.shape == (4, 5, 3)
    for i in range(4):
        alone = jax.jit(network.apply)(jax.tree.map(lambda leaf, i=i: leaf[i], members), BATCH)
        np.testing.assert_allclose(together[i], alone, rtol=1e-5, atol=1e-6)


class Empty(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: flax_network(jnp.tanh, BATCH), TypeError, "has no init and apply; pass a flax.linen module"),
        (lambda: flax_network(Empty(), BATCH), ValueError, "Empty has no parameters to search"),
        (
            lambda: flax_network(Training(nn.BatchNorm(use_running_average=False)), BATCH),
            ValueError,
            "flax_network: Training changes a collection .*mutable collections are not supported; .*running_average",
        ),
        (
            lambda: flax_network(Training(nn.Dropout(0.5, deterministic=False)), BATCH),
            ValueError,
            "flax_network: Training draws random numbers while it is applied; .* with deterministic=True",
        ),
        (lambda: nnx_network(Nnx(nnx.Rngs(0))), TypeError, r"Nnx is not a function of a key; pass lambda key: Net"),
        (lambda: nnx_network(lambda key: jnp.tanh), TypeError, "not an nnx.Module"),
        (lambda: nnx_network(lambda key: nnx.Dropout(0.5)), ValueError, "no nnx.Param to search"),
        (lambda: equinox_network(Counted(KEY)), TypeError, "Counted is not a function of a key"),
        (lambda: equinox_network(lambda: 3), TypeError, r"make takes \(\); it must take \(key\): pass lambda key: eqx"),
        (
            lambda: nnx_network(lambda a, b: 3),
            TypeError,
            r"make takes \(a, b\); it must take \(key\): pass lambda key: N",
        ),
        (lambda: equinox_network(lambda key: 3), TypeError, "make returned int, which cannot be called"),
        (lambda: equinox_network(lambda key: eqx.nn.Identity()), ValueError, "no floating-point array to search"),
    ],
)
def test_mistakes_are_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_inputs_of_another_shape_than_the_example_are_named_with_both():
    network = flax_network(Linen(), BATCH)
    params = network.init(KEY)
    with pytest.raises(
        ValueError, match=r"Linen is given inputs of shape \(5, 4\), and its example has shape \(5, 6\)"
    ):
        network.apply(params, BATCH[:, :4])
    assert network.apply(params, BATCH[:2]).shape == (2, 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("activation", ["relu", None, 3])
def test_an_activation_that_is_no_function_is_refused(activation):
    with pytest.raises(TypeError, match=rf"mlp: activation is {activation!r}; give a function such as jax\.nn\.relu"):
        mlp((5, 8, 2), activation)
