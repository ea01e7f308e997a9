"""Networks as a pair of functions: parameters from a key, outputs from parameters and a batch.

Adapters make the pair of a Flax, Flax NNX or Equinox module as it is. What is searched is its floating-point
parameters; whatever else it holds (batch statistics, buffers) stays as built, and dropout is off.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Shaped

from evolve.core.problem import takes
from evolve.core.trees import Params
from problems.checks import as_integer

Batch: TypeAlias = Shaped[Array, "batch ..."]


class Network(eqx.Module):
    """A network to be searched.

    Attributes
    ----------
    init
        key -> params, any pytree of floating-point arrays.
    apply
        (params, inputs of shape (batch, ...)) -> outputs of shape (batch, ...).
    """

    init: Callable[[PRNGKeyArray], Params] = eqx.field(static=True)
    apply: Callable[[Params, Batch], Batch] = eqx.field(static=True)


def mlp(sizes: Sequence[int], activation: Callable[[Array], Array] = jax.nn.relu) -> Network:
    """A multilayer perceptron; inputs of any shape are flattened to (batch, sizes[0]).

    Each layer is `x @ w + b`, so that a perturbed `w` that knows how to multiply is never formed. Biases
    start at zero. Weights that feed a rectifier start with variance 2 / inputs (He et al. 2015, eq. 10),
    others with 2 / (inputs + outputs) (Glorot & Bengio 2010, eq. 12).

    Parameters
    ----------
    sizes
        Widths from input to output, two or more, each at least 1.
    activation
        Between layers; not after the last.

    Returns
    -------
    Network
        Parameters are `{"layer_0": {"w": (inputs, outputs), "b": (outputs,)}, ...}`. The same arguments give
        the same object, so what is compiled for one serves all.

    Raises
    ------
    ValueError
        There are fewer than two sizes, or one is no integer or less than 1.
    TypeError
        The activation is no function.
    """
    if not callable(activation):
        raise TypeError(f"mlp: activation is {activation!r}; give a function such as jax.nn.relu.")
    widths = tuple(as_integer(size) or 0 for size in sizes) if np.iterable(sizes) else ()
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(
            f"mlp: sizes are {sizes!r}; give two or more widths, integers of at least 1, such as (64, 32, 10)."
        )
    return _mlp(widths, activation)


@functools.lru_cache(maxsize=64)
def _mlp(sizes: tuple[int, ...], activation: Callable[[Array], Array]) -> Network:
    layers = len(sizes) - 1
    rectifier = activation in (
        jax.nn.relu,
        jax.nn.relu6,
        jax.nn.leaky_relu,
        jax.nn.elu,
        jax.nn.gelu,
        jax.nn.silu,
    )

    def init(key: PRNGKeyArray) -> Params:
        params: dict[str, dict[str, Array]] = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            hidden = rectifier and i < layers - 1
            draw = jax.nn.initializers.he_normal() if hidden else jax.nn.initializers.glorot_normal()
            w = draw(jax.random.fold_in(key, i), (fan_in, fan_out))
            params[f"layer_{i}"] = {"w": w, "b": jnp.zeros(fan_out, w.dtype)}
        return params

    def apply(params: Params, inputs: Batch) -> Batch:
        x = inputs.reshape(inputs.shape[0], -1)
        for i in range(layers):
            layer = params[f"layer_{i}"]
            x = x @ layer["w"] + layer["b"]
            if i < layers - 1:
                x = activation(x)
        return x

    return Network(init, apply)


def flax_network(module: Any, example: Any) -> Network:
    """A network of a Flax (linen) module.

    Parameters
    ----------
    module
        The module, built for inference: `deterministic=True`, `use_running_average=True` where it has them. Collections
        that it would change, such as batch statistics in training, are not supported.
    example
        A batch of inputs, or anything with its `shape` and `dtype`; only those two are used.

    Returns
    -------
    Network
        Parameters are the module's collection "params". Other collections are kept as `module.init` gives
        them.

    Raises
    ------
    TypeError
        The module has no `init` or no `apply`.
    ValueError
        The module has no parameters, or changes its other collections or draws random numbers while it is applied. When
        it is applied: to inputs of another shape than the example's that do not fit its parameters.
    """
    if not (callable(getattr(module, "init", None)) and callable(getattr(module, "apply", None))):
        raise TypeError(
            f"flax_network: {type(module).__name__} has no init and apply; pass a flax.linen module"
            " (nnx_network and equinox_network take the others)."
        )
    example = example if hasattr(example, "dtype") else np.asarray(example)
    shape, dtype = example.shape, jax.dtypes.canonicalize_dtype(example.dtype)

    def variables(key: PRNGKeyArray) -> dict[str, Any]:
        return dict(module.init(key, jnp.zeros(shape, dtype)))

    if "params" not in jax.eval_shape(variables, jax.random.key(0)):
        raise ValueError(f"flax_network: {type(module).__name__} has no parameters to search.")

    # jit, so that parameters that are drawn only to be dropped are never computed.
    rest = jax.jit(lambda key: _without(variables(key), "params"))(jax.random.key(0))

    def apply(params: Params, inputs: Batch) -> Batch:
        try:
            return module.apply({"params": params, **rest}, inputs)
        except Exception as error:
            said = _FLAX_ERRORS.get(type(error).__name__)  # by name: Flax itself need not be imported
            if said is None:
                raise
            words = f"flax_network: {type(module).__name__} {said.format(given=inputs.shape, example=shape)}."
            raise ValueError(words) from error

    network = Network(lambda key: variables(key)["params"], apply)
    jax.eval_shape(apply, jax.eval_shape(network.init, jax.random.key(0)), jax.ShapeDtypeStruct(shape, dtype))
    return network


_FLAX_ERRORS = {
    "ScopeParamShapeError": "is given inputs of shape {given}, and its example has shape {example}; pass an example "
    "of the data's shape",
    "ModifyScopeVariableError": "changes a collection while it is applied, and mutable collections are not supported; "
    "build it for inference, with use_running_average=True",
    "InvalidRngError": "draws random numbers while it is applied; build it for inference, with deterministic=True",
}


def nnx_network(make: Callable[[PRNGKeyArray], Any]) -> Network:
    """A network of a Flax NNX module.

    Parameters
    ----------
    make
        key -> module, such as `lambda key: Net(rngs=nnx.Rngs(key))`. The module takes a batch.

    Returns
    -------
    Network
        Parameters are the module's `nnx.Param`s as a plain nested dict. Other variables are kept as built.

    Raises
    ------
    TypeError
        A module was passed, or `make` does not return one.
    ValueError
        The module has no parameters.
    """
    from flax import nnx

    _check_make(make, nnx.Module, "nnx_network", "lambda key: Net(rngs=nnx.Rngs(key))")

    def parts(key: PRNGKeyArray) -> tuple[Any, Any, Any]:
        module = make(key)
        if not isinstance(module, nnx.Module):
            raise TypeError(f"nnx_network: make returned {type(module).__name__}, not an nnx.Module.")
        module.eval()
        graph, params, others = nnx.split(module, nnx.Param, ...)
        return graph, params, others

    graph, shapes, _ = jax.eval_shape(parts, jax.random.key(0))
    rest = jax.jit(lambda key: parts(key)[2])(jax.random.key(0))
    if not jax.tree.leaves(shapes):
        raise ValueError("nnx_network: the module has no nnx.Param to search.")

    def apply(params: Params, inputs: Batch) -> Batch:
        state = jax.tree.map(lambda leaf: leaf, shapes)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state, rest)(inputs)

    return Network(init=lambda key: nnx.to_pure_dict(parts(key)[1]), apply=apply)


def equinox_network(make: Callable[[PRNGKeyArray], Any]) -> Network:
    """A network of an Equinox module.

    Parameters
    ----------
    make
        key -> module, such as `lambda key: eqx.nn.MLP(64, 10, 32, 1, key=key)`. The module takes ONE example.

    Returns
    -------
    Network
        Parameters are the module with everything but its floating-point arrays taken out. The rest is kept as
        built.

    Raises
    ------
    TypeError
        A module was passed, or what `make` returns cannot be called.
    ValueError
        The module has no parameters.
    """
    _check_make(make, eqx.Module, "equinox_network", "lambda key: eqx.nn.MLP(64, 10, 32, 1, key=key)")

    def parts(key: PRNGKeyArray) -> tuple[Any, Any]:
        module = make(key)
        if not callable(module):
            raise TypeError(f"equinox_network: make returned {type(module).__name__}, which cannot be called.")
        return eqx.partition(eqx.nn.inference_mode(module), eqx.is_inexact_array)

    rest = eqx.filter_jit(lambda key: parts(key)[1])(jax.random.key(0))
    if not jax.tree.leaves(eqx.filter_eval_shape(lambda key: parts(key)[0], jax.random.key(0))):
        raise ValueError("equinox_network: the module has no floating-point array to search.")
    return Network(
        init=lambda key: parts(key)[0],
        apply=lambda params, inputs: jax.vmap(eqx.combine(params, rest))(inputs),
    )


def _check_make(make: Any, module: type, where: str, cure: str) -> None:
    """Refuse a module where a function that makes one is wanted: a key could not draw its parameters."""
    if isinstance(make, module) or not callable(make):
        raise TypeError(f"{where}: {type(make).__name__} is not a function of a key; pass {cure}.")
    if not takes(make, "key"):
        raise TypeError(f"{where}: make takes {inspect.signature(make)}; it must take (key): pass {cure}.")


def _without(tree: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key != name}
