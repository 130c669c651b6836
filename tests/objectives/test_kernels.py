"""Compiled passes: the same results as numpy's, whatever the cuts and the memory."""

import numpy as np
import pytest

from mpipgd.objectives.losses import LOSS_IDS
from mpipgd.objectives.mlp import MLP
from mpipgd.transforms import schedules
from mpipgd.transforms.base import chain
from mpipgd.transforms.optimizers import OPTIMIZERS, decay

from ..problems import STRENGTHS, linear, problem, sparse

KINDS = {"dense": lambda X: X, "sparse": sparse}
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}
each_loss = pytest.mark.parametrize("loss", LOSS_IDS)
each_kind = pytest.mark.parametrize("kind", KINDS)


def batches(n, size, steps):
    """Return (order, cuts): shuffled rows in steps of `size` rows, the third empty."""
    order = np.random.default_rng(5).integers(0, n, steps * size)
    cuts = size * np.arange(steps + 1)
    cuts[3] = cuts[2]
    return order, cuts


def step_by_step(objective, X, y, order, cuts, rate):
    """Return the weights after plain SGD in numpy, one transform a step."""
    w = np.zeros((1, objective.size), dtype=objective.dtype)
    descent = chain(
        decay(objective.l2_weights),
        OPTIMIZERS["sgd"](rate, l1_weights=objective.l1_weights),
    )
    state, g = descent.init(w), np.empty_like(w)
    for lo, hi in zip(cuts, cuts[1:]):
        objective.gradient(w[0], X, y, order[lo:hi], g[0])
        g /= max(1, hi - lo)
        u, state = descent.update(g, state, w)
        w += u
    return w[0]


def rate_of(name, steps):
    return schedules.make_schedule(
        name, lr=0.05, steps_per_epoch=10, epochs=steps // 10, alpha=0.2, every=1
    )


def assert_compiled_equals_plain(loss, penalty, kind, dtype, schedule, size):
    X, y = problem(loss, dtype=dtype)
    X, (order, cuts) = KINDS[kind](X), batches(len(y), size, 30)
    rate = rate_of(schedule, 30)
    plain = step_by_step(linear(loss, penalty, dtype=dtype), X, y, order, cuts, rate)
    objective = linear(loss, penalty, dtype=dtype, compiled=True)
    w = np.zeros_like(plain)
    objective.sgd_steps(w, X, y, order, cuts, rate(np.arange(30)))
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(w, plain, rtol=tolerance, atol=tolerance)
    assert np.abs(w).max() > 0.01


@each_kind
@pytest.mark.parametrize("penalty", STRENGTHS)
@each_loss
def test_compiled_pass_equals_plain_steps(loss, penalty, kind):
    for schedule in schedules.SCHEDULES:
        for size in (1, 7):
            assert_compiled_equals_plain(
                loss, penalty, kind, np.float64, schedule, size
            )


@each_kind
@each_loss
def test_compiled_pass_equals_plain_steps_in_float32(loss, kind):
    for size in (1, 7):
        assert_compiled_equals_plain(
            loss, "elasticnet", kind, np.float32, "constant", size
        )


@each_kind
@each_loss
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_compiled_gradient_and_tally_equal_plain(loss, kind, dtype):
    X, y = problem(loss, dtype=dtype)
    X = KINDS[kind](X)
    plain, objective = (linear(loss, dtype=dtype, compiled=c) for c in (False, True))
    w = np.random.default_rng(6).normal(size=plain.size).astype(dtype)
    g, h = np.empty_like(w), np.empty_like(w)
    for rows in (None, np.arange(7), np.arange(0)):
        total = plain.gradient(w, X, y, rows, g)
        assert objective.gradient(w, X, y, rows, h) == pytest.approx(total, rel=1e-5)
        np.testing.assert_allclose(h, g, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    tallies = [each.evaluate(w, X, y) for each in (plain, objective)]
    np.testing.assert_allclose(*tallies, rtol=1e-5)
    outputs = [each.output(w, X) for each in (plain, objective)]
    np.testing.assert_allclose(*outputs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(  # sparse rows with a penalty are cut by the grain: test_lazy
    "kind, penalty", [("dense", "none"), ("dense", "elasticnet"), ("sparse", "none")]
)
@each_loss
def test_cutting_a_run_of_steps_keeps_the_bits(loss, kind, penalty, size):
    X, y = problem(loss)
    X, objective = KINDS[kind](X), linear(loss, penalty, compiled=True)
    order, cuts = batches(len(y), size, 10)
    rates = rate_of("invscaling", 10)(np.arange(10))
    whole, parts = np.zeros(objective.size), np.zeros(objective.size)
    objective.sgd_steps(whole, X, y, order, cuts, rates)
    objective.sgd_steps(parts, X, y, order, cuts[:5], rates[:4])
    objective.sgd_steps(parts, X, y, order, cuts[4:], rates[4:])
    assert whole.any()
    np.testing.assert_array_equal(parts, whole)


def shifted(array, by):
    """Return a copy of `array` whose memory starts `by` items off its own."""
    store = np.empty(array.size + by + 16, dtype=array.dtype)
    first = -(store.ctypes.data // array.itemsize) % (64 // array.itemsize)
    copy = store[first % 8 + by :][: array.size].reshape(array.shape)
    copy[...] = array
    return copy


def unaligned_cases():
    """Yield (objective, X, y) with rows that are not whole cache lines."""
    rng = np.random.default_rng(0)
    for dtype in TOLERANCE:
        X = rng.normal(size=(33, 101)).astype(dtype)
        for loss in ("log", "softmax"):
            for compiled in (False, True):
                objective = linear(loss, dtype=dtype, compiled=compiled, n_features=100)
                yield objective, X, objective.targets(rng.integers(0, 2, 33))
        yield MLP(101, (17,), 3, dtype=dtype), X, rng.integers(0, 3, 33)


@pytest.mark.parametrize("objective, X, y", list(unaligned_cases()))
def test_bits_do_not_depend_on_alignment(objective, X, y):
    w = np.random.default_rng(1).normal(size=objective.size).astype(objective.dtype)
    rows, seen = np.arange(2, 31), set()
    for by in (0, 1, 3, 5):
        g = shifted(np.empty_like(w), by)
        total = objective.gradient(shifted(w, by), shifted(X, by), y, rows, g)
        seen.add((total, g.tobytes()))
    assert len(seen) == 1


@each_kind
@each_loss
def test_warming_up_changes_nothing(loss, kind):
    X, y = problem(loss)
    before, known = X.copy(), y.copy()
    linear(loss, "l2", compiled=True).warm_up(KINDS[kind](X), y)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(y, known)


def test_dense_softmax_is_left_to_numpy_where_that_is_better(monkeypatch):
    X, y = problem("softmax")
    w = np.random.default_rng(2).normal(size=18)
    plain, objective = linear("softmax"), linear("softmax", compiled=True)
    g, h = np.empty_like(w), np.empty_like(w)
    plain.gradient(w, np.asfortranarray(X), y, None, g)
    objective.gradient(w, np.asfortranarray(X), y, None, h)
    np.testing.assert_array_equal(h, g)
    monkeypatch.setattr("mpipgd.objectives.linear.MAX_KERNEL_WEIGHTS", 17)
    plain.gradient(w, X, y, None, g)
    objective.gradient(w, X, y, None, h)
    np.testing.assert_array_equal(h, g)
    assert not objective.supports_fused_sync(X)
