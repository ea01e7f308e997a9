"""Handwritten digits, 8 x 8 pixels (Alpaydin & Kaynak 1998): the default task for a network."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from problems.classification import Classification
from problems.datasets import Dataset
from problems.networks import mlp


class Digits(Classification):
    """A small perceptron of tanh units on the 1797 digits that scikit-learn bundles: nothing is downloaded.

    Inputs are pixels in [0, 1], shape (64,). They are divided by their maximum and not standardized: corner
    pixels are nearly always blank, and dividing by their tiny deviation would make the few marks in them
    outliers.

    Parameters
    ----------
    batch
        How many training examples one loss averages; None: all.
    hidden
        Widths of the hidden layers; () is softmax regression.
    held_out
        The part held out, stratified by class; 0.2 leaves 1437 examples to train on and holds out 360.
    seed
        Of the split.

    Raises
    ------
    ValueError
        As for `Classification`, `Dataset.split` and `mlp`; `hidden` is no sequence.
    """

    def __init__(self, batch: int | None = 256, hidden: Sequence[int] = (32,), held_out: float = 0.2, seed: int = 0):
        if not np.iterable(hidden):
            raise ValueError(f"Digits: hidden is {hidden!r}; give a sequence of widths, such as (32,).")
        # Imported here: scikit-learn takes longer to import than this whole library.
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        inputs = np.asarray(pixels, np.float32) / np.float32(16)
        dataset = Dataset.split(inputs, np.asarray(labels), held_out, seed, classes=10)
        super().__init__(dataset, mlp((64, *hidden, 10), jnp.tanh), batch)
