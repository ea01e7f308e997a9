"""Training a network on data: classification and regression by minibatches."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from evolve.core.problem import Problem
from evolve.core.trees import Params
from problems.checks import as_integer
from problems.datasets import Dataset
from problems.networks import Network

Criterion: TypeAlias = Callable[[Array, Array], Float[Array, ""]]

Batch: TypeAlias = int | Literal["auto"] | None

_USUAL = 256  # examples in a minibatch
_CHUNK = 1024  # examples at a time in reports: activations of a whole training set need not fit


class Supervised(Problem):
    """A network on a dataset; made by `Classification` or `Regression`.

    The data are leaves, so one compiled loss serves any data of the same shapes.
    """

    dataset: Dataset
    network: Network
    batch: int | None = eqx.field(static=True)
    criterion: Criterion = eqx.field(static=True)
    weight_decay: Float[Array, ""] | None

    def __init__(self, dataset: Dataset, network: Network, batch: Batch, criterion: Criterion, weight_decay: Any):
        where = type(self).__name__
        _check_network(network, where)
        batch = _batch(batch, dataset, where)
        found = _output_shape(network, dataset, where)
        wanted = dataset.targets.shape[1:] if dataset.classes is None else (dataset.classes,)
        if found != wanted:
            kind = "targets" if dataset.classes is None else "classes"
            raise ValueError(
                f"{where}: the network's outputs have shape {found} for each example, but the data's {kind}"
                f" want {wanted}; change its last layer."
            )
        self.dataset, self.network, self.batch, self.criterion = dataset, network, batch, criterion
        self.weight_decay = None if weight_decay is None else _decay(weight_decay, where)

    @property
    def noisy(self) -> bool:
        """True with minibatches; the loss over all training examples is deterministic."""
        return self.batch is not None

    def init(self, key: PRNGKeyArray) -> Params:
        """The network's own initialization."""
        return self.network.init(key)

    def loss(self, params: Params, key: PRNGKeyArray) -> Float[Array, ""]:
        """The mean loss over a minibatch drawn from the key, or over all training examples."""
        inputs, targets = self.dataset.inputs, self.dataset.targets
        if self.batch is not None:
            inputs, targets = self.dataset.minibatch(key, self.batch)
        value = self.criterion(_widened(self.network.apply(params, inputs)), targets)
        if self.weight_decay is None:
            return value
        squares = [jnp.sum(jnp.square(_widened(leaf))) for leaf in jax.tree.leaves(params)]
        return value + 0.5 * self.weight_decay * sum(squares)

    @eqx.filter_jit
    def report(self, params: Params) -> dict[str, Float[Array, ""]]:
        """Loss without weight decay and, of classes, accuracy: over all training and all held-out examples.

        Returns
        -------
        dict
            `train_loss` and `loss`, where the latter is held out; likewise `train_accuracy` and `accuracy` in
            [0, 1].
        """
        data = self.dataset
        sets = {"train_": (data.inputs, data.targets), "": (data.held_inputs, data.held_targets)}
        metrics: dict[str, Float[Array, ""]] = {}
        for prefix, (inputs, targets) in sets.items():
            outputs = _widened(_chunked(self.network.apply, params, inputs))
            metrics[f"{prefix}loss"] = self.criterion(outputs, targets)
            if data.classes is not None:
                metrics[f"{prefix}accuracy"] = jnp.mean(jnp.argmax(outputs, axis=-1) == targets)
        return metrics


class Classification(Supervised):
    """A network's class labels, by cross-entropy.

    Parameters
    ----------
    dataset
        Examples with labels.
    network
        Its outputs are logits, shape (batch, classes).
    batch
        How many training examples one loss averages, drawn anew from each key without replacement, each
        example equally likely, so the loss is an unbiased estimate. None: all of them, and the loss is
        deterministic. "auto": 256, or all where there are no more.
    loss
        "cross_entropy" (in nats), "mse" against one-hot targets, or a function `(outputs, targets) -> scalar`
        that returns a mean over the batch; outputs come in float32 or wider.
    weight_decay
        Adds half of this, at least 0, times the sum of all squared parameters. None: nothing.

    Raises
    ------
    ValueError
        The dataset has no labels; the batch is less than 1 or more than there is; the network does not take
        the inputs or does not give one output per class; an unknown loss; a weight decay below 0.
    TypeError
        The network is a module as it is: `flax_network` and its like make a `Network` of it.
    """

    def __init__(
        self,
        dataset: Dataset,
        network: Network,
        batch: Batch = "auto",
        loss: str | Criterion = "cross_entropy",
        weight_decay: Any = None,
    ):
        if dataset.classes is None:
            raise ValueError("Classification: targets are floats; give integer labels, or use Regression.")
        named = {"cross_entropy": _cross_entropy, "mse": _one_hot_mse}
        super().__init__(dataset, network, batch, _criterion(loss, named, "Classification"), weight_decay)


class Regression(Supervised):
    """A network's numbers, by mean squared error.

    Parameters
    ----------
    dataset
        Examples with floating-point targets, shape (n, ...).
    network
        Its outputs have the targets' shape, (batch, ...).
    batch, weight_decay
        As for `Classification`.
    loss
        "mse" over all outputs, or a function `(outputs, targets) -> scalar` that returns a mean over the
        batch.

    Raises
    ------
    ValueError, TypeError
        As for `Classification`; the dataset has labels; the outputs are not shaped as the targets.
    """

    def __init__(
        self,
        dataset: Dataset,
        network: Network,
        batch: Batch = "auto",
        loss: str | Criterion = "mse",
        weight_decay: Any = None,
    ):
        if dataset.classes is not None:
            raise ValueError("Regression: the targets are integer labels; give floats, or use Classification.")
        super().__init__(dataset, network, batch, _criterion(loss, {"mse": _mse}, "Regression"), weight_decay)


def _cross_entropy(outputs: Float[Array, "n c"], targets: Shaped[Array, " n"]) -> Float[Array, ""]:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, targets))


def _one_hot_mse(outputs: Float[Array, "n c"], targets: Shaped[Array, " n"]) -> Float[Array, ""]:
    return _mse(outputs, jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype))


def _mse(outputs: Float[Array, "n ..."], targets: Float[Array, "n ..."]) -> Float[Array, ""]:
    return jnp.mean(jnp.square(outputs - targets))


def _widened(array: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """At least float32: a mean of many losses taken in 8 or 11 bits would not tell members apart."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _chunked(apply: Callable[[Params, Array], Array], params: Params, inputs: Shaped[Array, "n ..."]) -> Array:
    """The outputs for all inputs, a chunk at a time."""
    whole = len(inputs) - len(inputs) % _CHUNK
    if whole == 0:
        return apply(params, inputs)
    chunks = inputs[:whole].reshape(-1, _CHUNK, *inputs.shape[1:])
    outputs = jax.lax.map(lambda chunk: apply(params, chunk), chunks)
    outputs = outputs.reshape(whole, *outputs.shape[2:])
    return outputs if whole == len(inputs) else jnp.concatenate([outputs, apply(params, inputs[whole:])])


def _criterion(loss: str | Criterion, named: dict[str, Criterion], where: str) -> Criterion:
    """The loss by its name, or as given."""
    if callable(loss):
        return loss
    if loss not in named:
        raise ValueError(f"{where}: there is no loss {loss!r}; give a function or one of {', '.join(named)}.")
    return named[loss]


def _check_network(network: Any, where: str) -> None:
    if not isinstance(network, Network):
        raise TypeError(
            f"{where}: network is a {type(network).__name__}, not a problems.Network; make one by mlp(sizes),"
            " equinox_network(make), nnx_network(make) or flax_network(module, example)."
        )


def _batch(batch: Batch, dataset: Dataset, where: str) -> int | None:
    """How many examples a loss averages; None for all."""
    size = len(dataset.inputs)
    if isinstance(batch, str) and batch == "auto":
        return _USUAL if size > _USUAL else None
    if batch is None:
        return None
    number = as_integer(batch)
    if number is None or not 1 <= number <= size:
        cure = f"of {size} training examples give an integer in 1..{size}, or None for all"
        raise ValueError(f"{where}: batch is {batch!r}; {cure}.")
    return number


def _decay(given: Any, where: str) -> Float[Array, ""]:
    decay = jnp.asarray(given, float)
    if not isinstance(decay, jax.core.Tracer) and not np.all(np.isfinite(decay) & (np.asarray(decay) >= 0)):
        raise ValueError(f"{where}: weight_decay is {given!r}; give a finite number of at least 0, or None for none.")
    return decay


def _output_shape(network: Network, dataset: Dataset, where: str) -> tuple[int, ...]:
    """The shape of one example's outputs, found without computing any."""
    params = jax.eval_shape(network.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((2, *dataset.inputs.shape[1:]), dataset.inputs.dtype)
    try:
        outputs = jax.eval_shape(network.apply, params, inputs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: the network does not take inputs of shape {inputs.shape[1:]} ({inputs.dtype}) each: {error}"
        ) from error
    if outputs.shape[:1] != (2,):
        raise ValueError(
            f"{where}: the network turns a batch of 2 into outputs of shape {outputs.shape}; the first axis"
            " must stay the batch."
        )
    return outputs.shape[1:]
