"""A row with an integer weight counts as so many rows, in every kernel."""

import numpy as np
import pytest

from mpipgd.data.weighted import WeightedTargets
from mpipgd.objectives.losses import LOSSES
from mpipgd.objectives.mlp import MLP
from mpipgd.objectives.sweep import LinearSweep
from mpipgd.transforms import schedules

from ..problems import linear, problem, sparse
from .test_kernels import batches, step_by_step

KINDS = {"dense": lambda X: X, "sparse": sparse, "strided": np.asfortranarray}
STEPS = 12


def models(loss, dtype):
    """Return name -> objective of what can have the loss."""
    found = {
        "numpy": linear(loss, dtype=dtype),
        "compiled": linear(loss, dtype=dtype, compiled=True),
    }
    if loss != "softmax":
        for name, model in list(found.items()):
            found[f"sweep {name}"] = LinearSweep([model] * 3, [{}] * 3)
    if loss in ("softmax", "squared"):
        outputs = 3 if loss == "softmax" else 1
        found["mlp"] = MLP(6, (4,), outputs, loss=loss, dtype=dtype, activation="tanh")
    return found


def weighted_and_repeated(loss, dtype):
    """Return X, y, weights 0 … 3, and the numbers of the rows so often."""
    X, y = problem(loss, dtype=dtype)
    weights = np.random.default_rng(1).integers(0, 4, len(y))
    return X, y, weights.astype(dtype), np.repeat(np.arange(len(y)), weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_weight_counts_as_rows(loss, kind, dtype):
    X, y, u, repeated = weighted_and_repeated(loss, dtype)
    tolerance = {"rtol": 2e-5 if dtype == np.float32 else 1e-12}
    tolerance["atol"] = tolerance["rtol"]
    for name, model in models(loss, dtype).items():
        if name == "mlp" and kind == "sparse":
            continue
        rng = np.random.default_rng(2)
        w = rng.normal(size=model.size).astype(dtype)
        g, h = np.empty_like(w), np.empty_like(w)
        rows, targets = KINDS[kind](X), WeightedTargets(y, u)
        expected = model.gradient(w, rows, y, repeated, g)
        for order in (None, np.random.default_rng(3).permutation(len(y))):
            total = model.gradient(w, rows, targets, order, h)
            np.testing.assert_allclose(total, expected, **tolerance)
            np.testing.assert_allclose(h, g, **tolerance)
        copies = KINDS[kind](X[repeated])
        np.testing.assert_allclose(
            model.evaluate(w, rows, targets),
            model.evaluate(w, copies, y[repeated]),
            **tolerance,
        )


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("penalty", ["none", "l2", "elasticnet"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("loss", LOSSES)
def test_compiled_steps_weigh_as_plain_ones(loss, kind, penalty, size):
    X, y, u, _ = weighted_and_repeated(loss, np.float64)
    X, targets = KINDS[kind](X), WeightedTargets(y, u)
    order, cuts = batches(len(y), size, STEPS)
    rate = schedules.make_schedule("constant", lr=0.05, steps_per_epoch=1, epochs=1)
    plain = step_by_step(linear(loss, penalty), X, targets, order, cuts, rate)
    unweighted = step_by_step(linear(loss, penalty), X, y, order, cuts, rate)
    objective = linear(loss, penalty, compiled=True)
    w = np.zeros_like(plain)
    objective.sgd_steps(w, X, targets, order, cuts, rate(np.arange(STEPS)))
    np.testing.assert_allclose(w, plain, rtol=1e-12, atol=1e-12)
    assert not np.allclose(plain, unweighted)


def test_a_weight_does_not_cancel_in_its_batch():
    X, y = problem("squared")
    objective, rate = linear("squared"), np.array([0.1])
    one = {"order": np.array([3]), "cuts": np.array([0, 1])}
    steps = []
    for weight in (1.0, 2.5):
        targets = WeightedTargets(y, np.full(len(y), weight))
        w = step_by_step(objective, X, targets, *one.values(), lambda t: rate[t * 0])
        steps.append(w)
    np.testing.assert_allclose(steps[1], 2.5 * steps[0], rtol=1e-15)


@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_row_weights_of_one_change_no_bit(loss):
    X, y = problem(loss)
    objective = linear(loss, compiled=True)
    order, cuts = batches(len(y), 4, STEPS)
    results = []
    for targets in (y, WeightedTargets(y, np.ones(len(y)))):
        w = np.zeros(objective.size)
        objective.sgd_steps(w, X, targets, order, cuts, np.full(STEPS, 0.05))
        results.append(w)
    np.testing.assert_array_equal(*results)
