"""Datasets: what a split keeps, what a minibatch draws, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import Dataset


def _labelled(size, classes, seed=0):
    generator = np.random.default_rng(seed)
    return np.arange(size, dtype=np.float32)[:, None], generator.integers(0, classes, size)


@given(st.integers(2, 300), st.integers(1, 12), st.floats(0.02, 0.8), st.integers(0, 9))
def test_split_is_a_stratified_partition(size, classes, held_out, seed):
    inputs, labels = _labelled(size, classes, seed)
    held = int(np.ceil(held_out * size - 1e-9))
    if held >= size:
        return
    data = Dataset.split(inputs, labels, held_out, seed, classes=classes)
    assert (len(data.inputs), len(data.held_inputs)) == (size - held, held)
    both = np.concatenate([data.inputs, data.held_inputs])[:, 0].astype(int)
    np.testing.assert_array_equal(np.sort(both), np.arange(size))
    np.testing.assert_array_equal(np.concatenate([data.targets, data.held_targets]), labels[both])
    share = np.bincount(labels, minlength=classes) * held / size
    found = np.bincount(np.asarray(data.held_targets), minlength=classes)
    assert np.abs(found - share).max() <= 1 + 1e-9


def test_split_depends_on_the_seed_only():
    inputs, labels = _labelled(50, 3)
    first, again, other = (Dataset.split(inputs, labels, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert not np.array_equal(first.inputs, other.inputs)


def test_split_does_not_sort_by_class():
    inputs, labels = _labelled(400, 4)
    targets = np.asarray(Dataset.split(inputs, labels).targets)
    assert np.mean(targets[1:] == targets[:-1]) < 0.4


def test_labels_become_int32_and_classes_are_counted():
    data = Dataset(np.zeros((3, 2)), np.array([0, 2, 1], np.uint8), np.zeros((1, 2)), np.array([5], np.uint8))
    assert data.targets.dtype == jnp.int32
    assert data.classes == 6
    assert Dataset(np.zeros((2, 1)), [True, False], np.zeros((1, 1)), [True]).classes == 2


def test_regression_targets_become_a_column():
    data = Dataset.split(np.ones((10, 3)), np.arange(10) / 3)
    assert data.classes is None
    assert data.targets.shape == (8, 1)
    assert Dataset.split(np.ones((10, 3)), np.ones((10, 4, 2))).targets.shape == (8, 4, 2)


def test_pixels_stay_bytes():
    data = Dataset.split(np.zeros((10, 4, 4), np.uint8), np.arange(10) % 2)
    assert data.inputs.dtype == jnp.uint8


def test_standardized_uses_the_training_statistics_only():
    generator = np.random.default_rng(0)
    inputs = generator.normal(5, 3, (200, 4))
    inputs[:, 2] = 7.0
    data = Dataset.split(inputs, generator.integers(0, 2, 200))
    done = data.standardized()
    np.testing.assert_allclose(np.mean(done.inputs, 0), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(done.inputs, 0), [1, 1, 0, 1], atol=1e-5)
    train = np.asarray(data.inputs)
    held = (np.asarray(data.held_inputs) - train.mean(0)) / np.where(train.std(0) > 0, train.std(0), 1)
    np.testing.assert_allclose(done.held_inputs, held, atol=1e-4)
    np.testing.assert_array_equal(done.targets, data.targets)
    measured = Dataset.split(inputs, generator.normal(9, 3, 200))
    np.testing.assert_array_equal(measured.standardized().targets, measured.targets)


def test_standardized_only_centers_what_never_varies(x64):
    """Ten rows of 0.1 have a mean and a deviation that are rounding errors."""
    inputs = np.column_stack([np.full(10, 0.1), np.arange(10) * 1e-12])
    done = Dataset(inputs, np.zeros(10), [[0.1, 0.0], [0.2, 0.0]], np.zeros(2)).standardized()
    np.testing.assert_array_equal(done.inputs[:, 0], 0.0)
    np.testing.assert_array_equal(done.held_inputs[:, 0], [0.0, 0.1])
    np.testing.assert_allclose(np.std(done.inputs[:, 1]), 1.0)


@pytest.mark.parametrize(("size", "batch"), [(1, 1), (13, 12), (200, 64)])
def test_a_minibatch_holds_different_examples_with_their_targets(size, batch):
    data = Dataset(np.arange(size), np.arange(size) * 2.0, np.zeros(1, int), np.zeros(1))
    keys = jax.random.split(jax.random.key(size), 100)
    inputs, targets = jax.jit(jax.vmap(lambda key: data.minibatch(key, batch)))(keys)
    assert all(len(set(row)) == batch for row in np.asarray(inputs).tolist())
    np.testing.assert_array_equal(targets[..., 0], inputs * 2.0)


@pytest.mark.parametrize("batch", [1, 7, 10])
def test_minibatches_draw_all_examples_alike(batch):
    """Counts over many keys, also where the batch does not divide the examples."""
    size, draws = 10, 6000
    data = Dataset(np.arange(size), np.zeros(size), np.zeros(1, int), np.zeros(1))
    drawn = jax.jit(jax.vmap(lambda key: data.minibatch(key, batch)[0]))(jax.random.split(jax.random.key(0), draws))
    rate = np.bincount(np.asarray(drawn).ravel(), minlength=size) / draws
    part = batch / size
    np.testing.assert_allclose(rate, part, atol=5 * np.sqrt(part * (1 - part) / draws) + 1e-12)


def test_two_constructions_from_separate_sets_agree():
    train, held = _labelled(8, 3, 0), _labelled(4, 3, 1)
    data = Dataset(*train, *held, classes=3)
    np.testing.assert_array_equal(data.held_inputs, held[0])
    np.testing.assert_array_equal(data.targets, train[1])


ONE = np.zeros((2, 3)), np.array([0, 1])


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ((np.zeros((3, 3)), [0, 1], *ONE), ValueError, "training there are 3 inputs but 2 targets"),
        ((*ONE, np.zeros((0, 3)), []), ValueError, r"held-out inputs have shape \(0, 3\)"),
        ((*ONE, np.zeros((2, 4)), [0, 1]), ValueError, r"\(3,\) each, held-out inputs are float64 of shape \(4,\)"),
        ((*ONE, np.zeros((2, 3)), [0.0, 1.0]), ValueError, "training targets are int64 .* float64"),
        (([[1.0], [np.nan], [np.inf]], [0, 1, 0], *ONE), ValueError, r"2 non-finite .* first nan at index \(1, 0\)"),
        ((*ONE, np.zeros((2, 3)), [0, -1]), ValueError, "1 held-out label.* the first -1 at example 1; with 2 classes"),
        ((np.zeros((2, 3)), np.eye(2, dtype=int), *ONE), ValueError, "both sets must be alike"),
        ((np.zeros((2, 3)), np.eye(2, dtype=int)) * 2, ValueError, r"labels have shape \(2, 2\).*argmax"),
        ((np.array([["a"], ["b"]]), [0, 1], *ONE), TypeError, "training inputs are <U1; .* encode them"),
        ((np.zeros((2, 3), complex), [0, 1], *ONE), TypeError, "complex128"),
        ((np.zeros((2, 3)), np.array([None, 1]), *ONE), TypeError, "targets are object"),
        ((np.array(3.0), [0], *ONE), ValueError, r"shape \(\)"),
    ],
)
def test_unusable_examples_are_refused(arrays, error, message):
    with pytest.raises(error, match=message):
        Dataset(*arrays)


BEYOND = [
    (
        ([[1.0], [1e39]], [0, 1]),
        r"inputs hold 1 value.* beyond float32, the first 1e\+39 at index \(1, 0\); scale them",
    ),
    (
        (ONE[0], [-1e39, 1e300]),
        r"targets hold 2 value.* beyond float32, the first -1e\+39 at index \(0,\).*jax_enable_x64",
    ),
    (([[1], [2**40]], [0, 1]), r"inputs hold 1 value.* beyond int32, the first 1099511627776 at index \(1, 0\)"),
    ((np.array([[2**40], [0]], np.uint64), [0, 1]), "inputs hold 1 value.* beyond uint32, the first 1099511627776"),
    ((ONE[0], [1, 2**40]), r"targets hold 1 value.* beyond int32, .* at index \(1,\); number the classes from 0"),
]


@pytest.mark.parametrize(("examples", "message"), BEYOND)
def test_values_that_the_arrays_cannot_hold_are_refused(examples, message):
    """Without x64 they would become infinite, or another integer."""
    for where, make in (
        ("training ", lambda: Dataset(*examples, *examples)),
        ("held-out ", lambda: Dataset(np.zeros_like(examples[0]), np.zeros_like(examples[1]), *examples)),
        ("split: ", lambda: Dataset.split(*examples, held_out=0.5)),
    ):
        with pytest.raises(ValueError, match=where + message):
            make()


def test_double_precision_holds_what_needs_it(x64):
    data = Dataset([[1.0], [1e39]], [1e39, 0.0], [[1.0]], [0.0])
    assert (data.inputs[1, 0], data.targets[0, 0]) == (1e39, 1e39)
    assert Dataset([[2**40]], [0], [[1]], [0]).inputs[0, 0] == 2**40
    with pytest.raises(ValueError, match=r"training targets hold 1 value.* beyond int32"):
        Dataset([[1.0]], [2**40], [[1.0]], [0])


def test_labels_beyond_the_given_classes_are_refused():
    with pytest.raises(ValueError, match=r"the first 3 at example 0; with 3 classes they must lie in 0\.\.2"):
        Dataset(np.zeros((2, 1)), [3, 3], np.zeros((1, 1)), [0], classes=3)
    with pytest.raises(ValueError, match="classes is 3, but the targets are floats"):
        Dataset.split(np.zeros((9, 1)), np.zeros(9), classes=3)


@pytest.mark.parametrize(
    ("held_out", "message"),
    [(0.0, r"held_out is 0.0; it must lie in \(0, 1\)"), (1.5, "held_out is 1.5"), (0.9, "leaves none to train on")],
)
def test_useless_splits_are_refused(held_out, message):
    with pytest.raises(ValueError, match=message):
        Dataset.split(np.zeros((3, 1)), np.zeros(3), held_out)
