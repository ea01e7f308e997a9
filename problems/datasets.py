"""Supervised data: training and held-out examples as arrays."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Shaped
from numpy.typing import ArrayLike

from evolve.core import draws
from problems.checks import check_storable, is_label


class Dataset(eqx.Module):
    """Training examples, and held-out examples that no optimizer sees.

    The arrays are leaves: passed to a compiled function as arguments, they are not baked into its code. Two sets that
    come apart make one directly, `Dataset(*read_idx(...), *read_idx(...))`; `split` makes one of a single set.

    Parameters
    ----------
    inputs, held_inputs
        Finite numbers, shapes (n, ...) and (m, ...) with n, m >= 1. Integers stay integers (tokens, raw
        pixels).
    targets, held_targets
        Integers of shapes (n,) and (m,) are class labels from 0; floats are regression targets, and floats of
        shape (n,) become a column (n, 1), which is what a network gives.
    classes
        How many classes the labels have; None counts them as the largest label + 1.

    Raises
    ------
    ValueError
        Lengths or shapes disagree, there is no example, a label is out of range, a value is not finite or does
        not fit the array: without x64 that has 32 bits.
    TypeError
        Arrays are not numeric.
    """

    inputs: Shaped[Array, "n ..."]
    targets: Shaped[Array, "n ..."]
    held_inputs: Shaped[Array, "m ..."]
    held_targets: Shaped[Array, "m ..."]
    classes: int | None = eqx.field(static=True)

    def __init__(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        held_inputs: ArrayLike,
        held_targets: ArrayLike,
        classes: int | None = None,
    ):
        train = check_storable(inputs, targets, "Dataset: training")
        held = check_storable(held_inputs, held_targets, "Dataset: held-out")
        for what, one, other in zip(("inputs", "targets"), train, held, strict=True):
            if one.shape[1:] != other.shape[1:] or is_label(one) != is_label(other):
                raise ValueError(
                    f"Dataset: training {what} are {_each(one)}, held-out {what} are {_each(other)};"
                    " both sets must be alike."
                )
        if is_label(train[1]):
            classes = _count_classes(train[1], held[1], classes)
        elif classes is not None:
            raise ValueError(f"Dataset: classes is {classes}, but the targets are floats; give integer labels.")
        self.inputs, self.targets = jnp.asarray(train[0]), _as_targets(train[1])
        self.held_inputs, self.held_targets = jnp.asarray(held[0]), _as_targets(held[1])
        self.classes = classes

    @classmethod
    def split(
        cls,
        inputs: ArrayLike,
        targets: ArrayLike,
        held_out: float = 0.2,
        seed: int = 0,
        classes: int | None = None,
    ) -> "Dataset":
        """Hold out a random part of the examples.

        Parameters
        ----------
        inputs, targets, classes
            As for `Dataset`.
        held_out
            The part to hold out, in (0, 1); rounded up to whole examples.
        seed
            Of the draw: the same seed always holds out the same examples.

        Returns
        -------
        Dataset
            Both parts shuffled. With labels, every class keeps its share in both, to within one example.

        Raises
        ------
        ValueError
            As for `Dataset`; `held_out` is out of range or leaves no training example.
        """
        inputs, targets = check_storable(inputs, targets, "Dataset.split:")
        if not 0 < held_out < 1:
            raise ValueError(f"Dataset.split: held_out is {held_out}; it must lie in (0, 1).")
        size = len(inputs)
        held = math.ceil(held_out * size - 1e-9)
        if held >= size:
            raise ValueError(f"Dataset.split: held_out={held_out} of {size} example(s) leaves none to train on.")
        generator = np.random.default_rng(seed)
        order = generator.permutation(size)
        if is_label(targets) and targets.ndim == 1:
            order = order[np.argsort(targets[order], kind="stable")]
        # Evenly spaced places in an order sorted by class: each class gives its share, the total is exact.
        chosen = np.zeros(size, bool)
        chosen[((np.arange(held) + 0.5) * size / held).astype(int)] = True
        test, train = generator.permutation(order[chosen]), generator.permutation(order[~chosen])
        return cls(inputs[train], targets[train], inputs[test], targets[test], classes)

    def standardized(self) -> "Dataset":
        """The same examples, each input feature with mean 0 and deviation 1 over the training examples.

        The held-out examples are transformed with the training examples' statistics. A feature that never
        varies over the training examples is only centered, at its one value.
        Targets stay as they are: for regression scale them yourself, and the answer's outputs back.
        """
        train = np.asarray(self.inputs, np.float64)
        # Of equal numbers the mean is off by rounding and the deviation is that rounding, not 0.
        varies = train.max(0) > train.min(0)
        mean = np.where(varies, train.mean(0), train[0])
        deviation = np.where(varies, train.std(0), 1.0)
        held = (np.asarray(self.held_inputs, np.float64) - mean) / deviation
        return Dataset((train - mean) / deviation, self.targets, held, self.held_targets, self.classes)

    def minibatch(self, key: PRNGKeyArray, size: int) -> tuple[Shaped[Array, "b ..."], Shaped[Array, "b ..."]]:
        """Draw `size` different training examples, each equally likely; the inputs and targets of a batch.

        Stratified: the training set, thought of as a ring turned by a random amount, is cut into `size` arcs,
        and each gives one example. That costs O(size), whatever the number of training examples; a
        permutation would sort them all, and drawing with replacement would give a noisier loss.
        """
        total = self.inputs.shape[0]
        cuts = np.arange(size + 1) * total // size
        turn_key, place_key = jax.random.split(key)
        place = draws.integers(place_key, (size,), cuts[:-1], cuts[1:])
        # Where size does not divide total, arcs differ by one; the turn makes all examples equally likely.
        index = (place + draws.integers(turn_key, (), 0, total)) % total
        return self.inputs[index], self.targets[index]


def _count_classes(train: np.ndarray, held: np.ndarray, classes: int | None) -> int:
    """The number of classes, after the checks of the labels."""
    if train.ndim != 1:
        raise ValueError(
            f"Dataset: labels have shape {train.shape}; give one integer per example"
            " (one-hot targets: targets.argmax(-1)), or floats for regression."
        )
    count = classes if classes is not None else int(max(train.max(), held.max())) + 1
    for what, labels in (("training", train), ("held-out", held)):
        bad = (labels.astype(np.int64) < 0) | (labels.astype(np.int64) >= count)
        if bad.any():
            first = int(np.argmax(bad))
            raise ValueError(
                f"Dataset: {int(bad.sum())} {what} label(s) are out of range, the first {labels[first]} at"
                f" example {first}; with {count} classes they must lie in 0..{count - 1}."
            )
    return count


def _as_targets(targets: np.ndarray) -> Array:
    """Labels as int32, regression targets as floats with an axis of features."""
    if is_label(targets):
        return jnp.asarray(targets, jnp.int32)
    return jnp.asarray(targets[:, None] if targets.ndim == 1 else targets)


def _each(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape[1:]} each"
