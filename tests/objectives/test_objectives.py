"""Objectives: gradients, tallies, weights by name, and what does not fit together."""

from types import SimpleNamespace

import numpy as np
import pytest

from mpipgd.data.hdf5.header import Header
from mpipgd.data.matrix import append_intercept, n_rows, product, slice_rows, take_rows
from mpipgd.errors import DataError, UsageError
from mpipgd.objectives import ACTIVATIONS, LOSSES, build_objective
from mpipgd.objectives.mlp import MLP
from mpipgd.objectives.weights import views

from ..problems import linear, problem, sparse

KINDS = {"dense": lambda X: X, "sparse": sparse}
NETWORKS = [(a, loss, n) for a in ACTIVATIONS for loss, n in
            (("softmax", 3), ("squared", 3), ("squared", 1))]  # fmt: skip


def network(activation="tanh", loss="softmax", outputs=3, **options):
    return MLP(4, (6, 5), outputs, activation=activation, loss=loss, **options)


def network_problem(outputs, dtype=np.float64, n=12):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, 4)).astype(dtype)
    if outputs == 1:
        return X, rng.normal(size=n).astype(dtype)
    return X, rng.integers(0, outputs, n)


def differences(objective, w, X, y, h=1e-6):
    """Return the central differences of the loss sum in each weight."""
    scratch = np.empty_like(w)
    loss = [
        [objective.gradient(w + sign * h * e, X, y, None, scratch) for sign in (1, -1)]
        for e in np.eye(w.size)
    ]
    return np.array([(up - down) / (2 * h) for up, down in loss])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_equals_finite_differences(loss, kind):
    objective, (X, y) = linear(loss), problem(loss)
    w = 0.3 * np.random.default_rng(2).normal(size=objective.size)
    g = np.empty_like(w)
    objective.gradient(w, KINDS[kind](X), y, None, g)
    np.testing.assert_allclose(g, differences(objective, w, X, y), atol=1e-6)


@pytest.mark.parametrize("activation, loss, outputs", NETWORKS)
def test_gradient_of_network_equals_finite_differences(activation, loss, outputs):
    objective = network(activation, loss, outputs, dtype=np.float64)
    X, y = network_problem(outputs)
    w = objective.init(np.random.default_rng(0))
    g = np.empty_like(w)
    objective.gradient(w, X, y, None, g)
    np.testing.assert_allclose(g, differences(objective, w, X, y), atol=2e-7)


def cases():
    """Yield (objective, X, y): every loss, dense and sparse, and networks."""
    for loss in LOSSES:
        X, y = problem(loss)
        yield linear(loss), X, y
        yield linear(loss), sparse(X), y
    for outputs in (1, 3):
        loss = "squared" if outputs == 1 else "softmax"
        yield network(loss=loss, outputs=outputs), *network_problem(outputs, np.float32)


@pytest.mark.parametrize("objective, X, y", list(cases()))
def test_gradient_is_the_sum_over_parts(objective, X, y):
    w = objective.init(np.random.default_rng(0)) + np.asarray(0.1, objective.dtype)
    rows = np.random.default_rng(3).permutation(n_rows(X))
    whole, *parts = (np.empty_like(w) for _ in range(4))
    total = objective.gradient(w, X, y, None, whole)
    cut = [rows[:5], rows[5:5], rows[5:]]
    losses = [objective.gradient(w, X, y, r, g) for r, g in zip(cut, parts)]
    tolerance = 1e-12 if w.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(sum(parts), whole, rtol=tolerance, atol=10 * tolerance)
    assert losses[1] == 0 and not parts[1].any()
    assert sum(losses) == pytest.approx(total, rel=tolerance)


@pytest.mark.parametrize("objective, X, y", list(cases()))
def test_tally_counts_the_loss_and_what_predict_gets_right(objective, X, y):
    w = np.random.default_rng(4).normal(size=objective.size).astype(objective.dtype)
    total, hits = objective.evaluate(w, X, y)
    assert total == pytest.approx(
        objective.gradient(w, X, y, None, np.empty_like(w)), rel=1e-6
    )
    predicted = objective.predict(w, X)
    if predicted.dtype.kind == "f":
        assert hits == pytest.approx(np.square(predicted - y).sum(), rel=1e-5)
    else:
        known = (y > 0) if y.dtype.kind == "f" else y
        assert hits == np.sum(predicted == known)


@pytest.mark.parametrize("objective, X, y", list(cases()))
def test_tally_adds_up_over_blocks(objective, X, y):
    w = np.random.default_rng(4).normal(size=objective.size).astype(objective.dtype)
    n = n_rows(X)
    blocks = [(slice_rows(X, lo, lo + 5), y[lo : lo + 5]) for lo in range(0, n, 5)]
    parts = sum(objective.evaluate(w, *block) for block in blocks)
    np.testing.assert_allclose(parts, objective.evaluate(w, X, y), rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_outputs_stay_finite_in_float32(loss):
    objective, (X, y) = linear(loss, dtype=np.float32), problem(loss, dtype=np.float32)
    w = np.full(objective.size, 1e4, dtype=np.float32)
    w[::2] = -3e4
    g = np.empty_like(w)
    with np.errstate(over="raise", invalid="raise"):
        total = objective.gradient(w, X, y, None, g)
    assert np.isfinite(total) and np.isfinite(g).all()


def test_sigmoid_network_is_finite_at_extreme_inputs():
    objective, (X, y) = network("sigmoid"), network_problem(3, np.float32)
    w = objective.init(np.random.default_rng(0)) * 1000
    g = np.empty_like(w)
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(objective.gradient(w, X, y, None, g))
    assert np.isfinite(g).all()


def test_sparse_rows_equal_dense_rows():
    X, rows = problem("squared")[0][:, :5], np.array([7, 3, 3, 0, 39])
    w = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(product(sparse(X), w), X @ w)
    np.testing.assert_allclose(product(take_rows(sparse(X), rows), w), X[rows] @ w)
    np.testing.assert_allclose(product(slice_rows(sparse(X), 2, 9), w), X[2:9] @ w)
    ones, w = append_intercept(X), np.arange(6.0)
    np.testing.assert_array_equal(ones[:, 5], 1)
    np.testing.assert_allclose(product(append_intercept(sparse(X)), w), ones @ w)


def test_views_share_memory_and_cover_the_weights_in_order():
    for objective in (linear("softmax"), linear("log"), network()):
        w = np.arange(objective.size, dtype=float)
        parts = views(w, objective.shapes)
        flat = np.concatenate([part.ravel() for part in parts.values()])
        np.testing.assert_array_equal(flat, w)
        assert all(np.shares_memory(part, w) for part in parts.values())


def test_penalty_spares_intercepts_and_biases():
    objective = linear("softmax", "elasticnet")
    parts = views(w := np.ones(objective.size), objective.shapes)
    expected = (0.014 / 2 + 0.006) * parts["coef"].size
    assert objective.penalty(w) == pytest.approx(expected)
    deep = network(alpha=(1.0, 10.0, 100.0))
    assert deep.penalty(np.ones(deep.size)) == pytest.approx((24 + 300 + 1500) / 2)


def test_first_weights_of_a_network():
    narrow = network(init_std=(0.0, 0.1)).init(np.random.default_rng(0))
    parts = views(narrow, network().shapes)
    assert not parts["W1"].any() and parts["b2"].all()
    bound = np.sqrt(2 / 10)
    w = views(network("sigmoid").init(np.random.default_rng(0)), network().shapes)
    assert 0.8 * bound < np.abs(w["W1"]).max() <= bound


def misfit(task, classes, **changes):
    options = SimpleNamespace(
        model="linear", loss=None, hidden=(8,), activation="sigmoid", penalty="l2",
        alpha=(1e-4,), l1_ratio=0.15, intercept=True, epsilon=0.1, dtype=None,
        init_std=None, kernels="auto", many=None,
    )  # fmt: skip
    names = None if task == "regression" else tuple(range(classes))
    header = Header(task, 4, classes=names, sparse=changes.pop("sparse", False))
    options.__dict__.update(changes)
    return options, header


@pytest.mark.parametrize(
    "task, classes, changes, words",
    [
        ("multiclass", 10, {"loss": "hinge"}, "--loss hinge takes two classes; the data"
         " has 10: use softmax"),
        ("multiclass", 3, {"loss": "squared"}, "the data has 3 classes: use softmax"),
        ("regression", 0, {"loss": "log"}, "the data is for regression: use squared"),
        ("regression", 0, {"loss": "softmax", "model": "mlp"}, "takes classes"),
        ("binary", 2, {"loss": "squared_error"}, "expected one of"),
        ("binary", 2, {"model": "tree"}, "--model tree: expected one of linear"),
        ("binary", 2, {"penalty": "l3"}, "--penalty l3: expected one of none"),
        ("binary", 2, {"alpha": (1.0, 2.0)}, "a linear model takes one"),
        ("binary", 2, {"alpha": (1.0,) * 3, "model": "mlp"}, "2 layers takes 1 or 2"),
        ("binary", 2, {"model": "mlp", "sparse": True}, "the data is sparse"),
        ("binary", 2, {"model": "mlp", "penalty": "l1"}, "--penalty l1"),
        ("binary", 2, {"model": "mlp", "kernels": "numba"}, "--kernels numba"),
        ("binary", 2, {"model": "mlp", "activation": "swish"}, "swish: expected one"),
    ],
)  # fmt: skip
def test_misfits_are_refused(task, classes, changes, words):
    with pytest.raises(UsageError, match=words):
        build_objective(*misfit(task, classes, **changes))


@pytest.mark.parametrize(
    "task, changes, loss, compiled",
    [
        ("regression", {}, "squared", True),
        ("binary", {}, "log", True),
        ("multiclass", {}, "softmax", True),
        ("multiclass", {"sparse": True}, "softmax", True),
        ("binary", {"kernels": "numpy"}, "log", False),
        ("binary", {"loss": "softmax", "kernels": "numpy"}, "softmax", False),
        ("multiclass", {"model": "mlp"}, "softmax", False),
        ("regression", {"model": "mlp"}, "squared", False),
    ],
)
def test_build_takes_the_loss_from_the_task(task, changes, loss, compiled):
    objective = build_objective(*misfit(task, 2 if task == "binary" else 3, **changes))
    assert (objective.loss, objective.compiled) == (loss, compiled)


@pytest.mark.parametrize("y", [[0, 1, 3], [0, -1, 1], [0, 0.5, 1]])
def test_strange_classes_are_refused(y):
    with pytest.raises(DataError, match="numbered 0 to 2"):
        linear("softmax").targets(np.array(y))
