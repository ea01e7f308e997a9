"""The digits are scikit-learn's, and can be learned."""

import equinox as eqx
import jax
import numpy as np
import pytest
import sklearn.datasets

from problems import Digits

KEY = jax.random.key(0)


def test_digits_are_scikit_learns():
    data = Digits().dataset
    assert (data.inputs.shape, data.held_inputs.shape) == ((1437, 64), (360, 64))
    assert data.classes == 10
    both = np.concatenate([data.inputs, data.held_inputs])
    assert (both.min(), both.max()) == (0.0, 1.0)
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    want = np.column_stack([pixels, labels])
    found = np.column_stack([both * 16, np.concatenate([data.targets, data.held_targets])])
    np.testing.assert_array_equal(found[np.lexsort(found.T)], want[np.lexsort(want.T)])
    for targets in (data.targets, data.held_targets):
        np.testing.assert_allclose(np.bincount(targets) / len(targets), np.bincount(labels) / 1797, atol=0.003)


def test_digits_network_has_the_hidden_layers_asked_for():
    params = jax.eval_shape(Digits(hidden=(5, 7)).network.init, KEY)
    assert [layer["w"].shape for layer in params.values()] == [(64, 5), (5, 7), (7, 10)]


def test_digits_can_be_learned_by_gradient():
    """The problem is what it says: a few hundred steps of plain gradient descent classify held-out digits."""
    problem = Digits(batch=None)
    step = eqx.filter_jit(lambda p, w: jax.tree.map(lambda a, g: a - 0.5 * g, w, jax.grad(p.loss)(w, KEY)))
    weights = problem.init(KEY)
    for _ in range(300):
        weights = step(problem, weights)
    assert problem.report(weights)["accuracy"] > 0.93


@pytest.mark.usefixtures("unchecked")
def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"Digits: hidden is 32; give a sequence of widths, such as \(32,\)"):
        Digits(hidden=32)
    with pytest.raises(ValueError, match=r"mlp: sizes are \(64, 8.5, 10\)"):
        Digits(hidden=(8.5,))
