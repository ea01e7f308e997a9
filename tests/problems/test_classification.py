"""Training problems against scikit-learn's metrics, and the laws of minibatches."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from problems import Classification, Dataset, Digits, Network, Regression, mlp

KEY = jax.random.key(0)


@eqx.filter_jit
def _loss(problem, params, key=KEY):
    """One compiled call: op by op, each operation would be compiled alone."""
    return problem.loss(params, key)


@eqx.filter_jit
def _outputs(network, params, inputs):
    return network.apply(params, inputs)


@eqx.filter_jit
def _report(problem, params):
    return problem.report(params)


def _start(problem):
    return jax.device_get(eqx.filter_jit(problem.init)(KEY))


@pytest.fixture(scope="module")
def digits():
    return Digits(batch=64)


@pytest.fixture(scope="module")
def params(digits):
    # Larger than the start's, so that the outputs are far from uniform.
    return jax.tree.map(lambda leaf: 3 * leaf, _start(digits))


def _regression(batch=None, **options):
    generator = np.random.default_rng(0)
    data = Dataset.split(generator.normal(size=(40, 3)), generator.normal(size=(40, 2)))
    return Regression(data, mlp((3, 4, 2)), batch, **options)


def _log_loss(targets, logits):
    # In float64: scikit-learn clips probabilities at the epsilon of their dtype.
    return sklearn.metrics.log_loss(
        targets, scipy.special.softmax(np.asarray(logits, float), axis=-1), labels=range(10)
    )


# The loss


@pytest.mark.parametrize("batch", [64, None])
def test_cross_entropy_equals_scikit_learn(batch, params):
    problem = Digits(batch=batch)
    data = problem.dataset
    inputs, targets = (data.inputs, data.targets) if batch is None else eqx.filter_jit(data.minibatch)(KEY, batch)
    logits = _outputs(problem.network, params, inputs)
    want = _log_loss(targets, logits)
    np.testing.assert_allclose(_loss(problem, params), want, rtol=1e-5)


def test_cross_entropy_survives_large_logits():
    data = Dataset(np.eye(2), [0, 1], np.eye(2), [0, 1])
    problem = Classification(data, mlp((2, 2)), batch=None)
    huge = {"layer_0": {"w": jnp.array([[-1e30, 1e30], [0.0, 0.0]]), "b": jnp.zeros(2)}}
    assert np.isfinite(_loss(problem, huge))


def test_mse_of_classes_is_against_one_hot(digits, params):
    problem = Classification(digits.dataset, digits.network, None, loss="mse")
    outputs = np.asarray(_outputs(digits.network, params, digits.dataset.inputs))
    want = np.mean((outputs - np.eye(10)[np.asarray(digits.dataset.targets)]) ** 2)
    np.testing.assert_allclose(_loss(problem, params), want, rtol=1e-5)


def test_regression_equals_scikit_learn():
    problem = _regression()
    params = _start(problem)
    data = problem.dataset
    want = sklearn.metrics.mean_squared_error(data.targets, _outputs(problem.network, params, data.inputs))
    np.testing.assert_allclose(_loss(problem, params), want, rtol=1e-5)
    report = _report(problem, params)
    assert set(report) == {"train_loss", "loss"}
    np.testing.assert_allclose(report["train_loss"], want, rtol=1e-5)


def test_a_loss_may_be_any_function():
    problem = _regression(loss=lambda outputs, targets: jnp.mean(jnp.abs(outputs - targets)))
    params = _start(problem)
    data = problem.dataset
    want = sklearn.metrics.mean_absolute_error(data.held_targets, _outputs(problem.network, params, data.held_inputs))
    np.testing.assert_allclose(_report(problem, params)["loss"], want, rtol=1e-5)


def test_weight_decay_adds_half_the_squares(digits, params):
    plain = Classification(digits.dataset, digits.network, 64)
    decayed = Classification(digits.dataset, digits.network, 64, weight_decay=0.01)
    squares = sum(float(np.sum(np.square(leaf))) for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(_loss(decayed, params), _loss(plain, params) + 0.005 * squares, rtol=1e-5)
    np.testing.assert_array_equal(_report(decayed, params)["loss"], _report(plain, params)["loss"])

    @jax.jit
    @jax.vmap
    def sweep(decay):
        return _loss(Classification(digits.dataset, digits.network, 64, weight_decay=decay), params)

    np.testing.assert_allclose(
        sweep(np.array([0.0, 0.01], np.float32)), [_loss(plain, params), _loss(decayed, params)], rtol=1e-5
    )


def test_half_precision_networks_are_judged_in_float32(digits, params):
    outputs = []

    def criterion(output, target):
        outputs.append(output.dtype)
        return jnp.mean(output)

    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    data = digits.dataset
    inputs, held = (jnp.asarray(np.asarray(part).astype(jnp.bfloat16)) for part in (data.inputs, data.held_inputs))
    problem = Classification(Dataset(inputs, data.targets, held, data.held_targets), digits.network, 8, loss=criterion)
    assert eqx.filter_eval_shape(problem.loss, half, KEY).dtype == jnp.float32
    assert outputs == [jnp.float32]


# Minibatches


@pytest.mark.parametrize(("examples", "batch"), [(300, 256), (257, 256), (256, None), (6, None)])
def test_a_batch_is_256_or_all(examples, batch):
    inputs, numbers = np.ones((examples, 3)), np.arange(examples)
    held = inputs[:2]
    labelled = Dataset(inputs, numbers % 2, held, np.array([0, 1]))
    measured = Dataset(inputs, numbers / examples, held, np.zeros(2))
    for problem in (Classification(labelled, mlp((3, 2))), Regression(measured, mlp((3, 1)))):
        assert problem.batch == batch
        assert problem.noisy == (batch is not None)


def test_a_key_is_a_minibatch(digits, params):
    losses = [float(_loss(digits, params, jax.random.key(seed))) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert digits.noisy
    assert not Digits(batch=None).noisy


def test_minibatch_losses_average_to_the_full_loss(digits, params):
    keys = jax.random.split(KEY, 2000)
    losses = np.asarray(eqx.filter_jit(eqx.filter_vmap(digits.loss, in_axes=(None, 0)))(params, keys))
    full = float(_loss(Digits(batch=None), params))
    assert abs(losses.mean() - full) < 4 * losses.std() / np.sqrt(2000)


def test_a_batch_of_all_is_the_full_loss(digits, params):
    everything = Classification(digits.dataset, digits.network, 1437)
    np.testing.assert_allclose(_loss(everything, params), _loss(Digits(batch=None), params), rtol=1e-5)


def test_members_under_vmap_share_the_minibatch(digits, params):
    members = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), params)
    together = jax.jit(jax.vmap(lambda member: digits.loss(member, KEY)))(members)
    alone = [_loss(digits, jax.tree.map(lambda leaf, f=f: f * leaf, params)) for f in (1, 2)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_data_are_not_baked_into_the_compiled_code(digits, params):
    traces = []

    @eqx.filter_jit
    def loss(problem, weights):
        traces.append(1)
        return problem.loss(weights, KEY)

    for seed in range(3):
        problem = Digits(batch=64, seed=seed)
        np.testing.assert_allclose(loss(problem, params), _loss(problem, params), rtol=1e-5)
    assert len(traces) == 1


# Reports


def test_report_equals_scikit_learn(digits, params):
    data = digits.dataset
    report = _report(digits, params)
    for prefix, inputs, targets in (("train_", data.inputs, data.targets), ("", data.held_inputs, data.held_targets)):
        logits = _outputs(digits.network, params, inputs)
        accuracy = sklearn.metrics.accuracy_score(targets, np.argmax(logits, -1))
        np.testing.assert_allclose(report[f"{prefix}accuracy"], accuracy, rtol=1e-6)
        want = _log_loss(targets, logits)
        np.testing.assert_allclose(report[f"{prefix}loss"], want, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 3072])
def test_reports_of_any_size_take_each_example_once(size):
    inputs = np.random.default_rng(size).normal(size=(size, 2))
    data = Dataset(inputs, inputs[:, :1], inputs[:1], inputs[:1, :1])
    problem = Regression(data, Network(lambda key: jnp.ones(()), lambda params, x: params * x[:, 1:]), None)
    found = _report(problem, np.ones((), np.float32))["train_loss"]
    np.testing.assert_allclose(found, np.mean((inputs[:, 0] - inputs[:, 1]) ** 2), rtol=1e-5)


# Mistakes

LABELLED = Dataset(np.zeros((6, 2, 2)), np.arange(6) % 3, np.zeros((1, 2, 2)), [0], classes=3)
NUMBERS = Dataset(np.zeros((6, 4)), np.zeros((6, 2)), np.zeros((1, 4)), np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Classification(LABELLED, mlp((4, 3)), 7), r"batch is 7; of 6 training examples .* in 1\.\.6, or None"),
        (lambda: Classification(LABELLED, mlp((4, 3)), 256), "Classification: batch is 256; of 6"),
        (lambda: Classification(LABELLED, mlp((4, 3)), 0), "batch is 0"),
        (lambda: Classification(LABELLED, mlp((4, 3)), True), "batch is True"),
        (lambda: Classification(LABELLED, mlp((4, 3)), 2, weight_decay=-1), "weight_decay is -1; give a finite number"),
        (lambda: Regression(NUMBERS, mlp((4, 2)), 2, weight_decay=np.nan), "Regression: weight_decay is nan"),
        (lambda: Digits(batch=2000), "Digits: batch is 2000; of 1437"),
        (lambda: Classification(LABELLED, mlp((4, 5)), 2), r"shape \(5,\) .* data's classes want \(3,\)"),
        (lambda: Classification(LABELLED, mlp((7, 3)), 2), r"does not take inputs of shape \(2, 2\) \(float32\) each"),
        (lambda: Classification(LABELLED, mlp((4, 3)), 2, loss="hinge"), "no loss 'hinge'; .* cross_entropy, mse"),
        (lambda: Classification(NUMBERS, mlp((4, 2)), 2), "give integer labels, or use Regression"),
        (lambda: Regression(LABELLED, mlp((4, 3)), 2), "give floats, or use Classification"),
        (lambda: Regression(NUMBERS, mlp((4, 1)), 2), r"shape \(1,\) .* data's targets want \(2,\)"),
        (lambda: Regression(NUMBERS, mlp((4, 2)), 2, loss="cross_entropy"), "no loss 'cross_entropy'"),
        (
            lambda: Regression(NUMBERS, Network(lambda key: jnp.ones(()), lambda params, x: params * jnp.sum(x)), 2),
            r"turns a batch of 2 into outputs of shape \(\)",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.usefixtures("unchecked")
def test_a_module_is_no_network():
    """Nor is one with an `init` and `apply` of its own, such as Flax's: they take other arguments."""
    module = eqx.nn.Linear(4, 3, key=KEY)
    with pytest.raises(
        TypeError, match=r"Classification: network is a Linear, .*equinox_network\(make\).*flax_network"
    ):
        Classification(LABELLED, module, None)


def test_importing_problems_imports_nothing_heavy():
    heavy = ("sklearn", "scipy", "flax", "matplotlib", "pandas")
    code = f"import sys, problems; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
