"""Averaged SGD: the model is the mean of the iterates, however that is kept."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.comm import mpi
from mpipgd.data.create.make import make
from mpipgd.errors import UsageError
from mpipgd.objectives.losses import LOSS_IDS, LOSSES
from mpipgd.stores.averaged import AveragedSgd
from mpipgd.training.run import resume, train

from ..problems import STRENGTHS, linear, problem, sparse
from ..support import options


def iterates(objective, X, y, order, cuts, rates):
    """Return the weights after each step of plain SGD, (steps, size), by numpy."""
    w, found = np.zeros(objective.size), []
    for lo, hi, rate in zip(cuts, cuts[1:], rates):
        g = np.empty(objective.size)
        objective.gradient(w, X, y, order[lo:hi], g)
        g /= max(1, hi - lo)
        if objective.l2_weights is not None:
            g += objective.l2_weights * w
        w = w - rate * g
        if objective.l1_weights is not None:
            w = np.sign(w) * np.maximum(np.abs(w) - rate * objective.l1_weights, 0)
        found.append(w)
    return np.array(found)


@settings(max_examples=150, deadline=None)
@given(
    loss=st.sampled_from(sorted(LOSS_IDS)),
    penalty=st.sampled_from(sorted(STRENGTHS)),
    kind=st.sampled_from(["dense", "sparse"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    batch=st.sampled_from([0, 1, 3]),
    first=st.integers(0, 40),
    cut=st.integers(0, 30),
    rate=st.sampled_from([0.02, 0.3]),
)
def test_compiled_steps_keep_the_mean(
    loss, penalty, kind, dtype, batch, first, cut, rate
):
    X, y = problem(loss)
    objective = linear(loss, penalty, dtype=dtype, compiled=True)
    if kind == "sparse" and not objective.supports_sparse_averaging:
        return
    if penalty == "l2" and rate > 0.1:  # steps that turn weights round at once
        objective = replace(objective, l2=4.0)
    order = np.random.default_rng(1).integers(0, len(y), 30 * batch)
    cuts, rates = batch * np.arange(31), np.full(30, rate / (1 + 3 * batch))
    plain = replace(objective, dtype=np.dtype(np.float64), compiled=False)
    known = iterates(plain, X, y, order, cuts, rates)
    rows = X.astype(dtype) if kind == "dense" else sparse(X.astype(dtype))
    y = objective.targets((y > 0) if LOSSES[loss].task == "binary" else y)
    store = AveragedSgd(np.zeros(objective.size, dtype), first, independent=True)
    steps = store.sgd_kernel(objective)
    for a, b in ((0, cut), (cut, 30)):
        steps(store.pull()[0], rows, y, order, cuts[a : b + 1], rates[a:b])
    expected = known[-1] if first >= 30 else known[first:].mean(axis=0)
    tolerance = 1e-9 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(
        store.consensus(30), expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("first", [0, 3, 7])
def test_pushed_updates_keep_the_mean(first):
    rng = np.random.default_rng(2)
    store, seen = AveragedSgd(rng.normal(size=5), first), []
    for _ in range(7):
        store.push(rng.normal(size=(1, 5)))
        seen.append(store.pull()[0].copy())
    expected = np.mean(seen[first:], axis=0) if first < 7 else seen[-1]
    np.testing.assert_allclose(store.consensus(7), expected)


WAYS = {
    "alone": {"workers": 1, "batch_size": 1},
    "together": {"workers": 4, "batch_size": 4},
    "momentum": {"workers": 2, "optimizer": "momentum"},
    "piles": {"workers": 2, "batch_size": 4, "memory_limit": "100KB"},
}


@pytest.mark.parametrize("way", WAYS)
def test_resumed_is_straight_on(comm, folder, agree, way):
    path, known = folder / "data.h5", {**WAYS[way], "average_from": 1.0, "lr": 0.01}
    make(comm, "regression", str(path), rows=600, features=20)
    straight = train(options(path, folder / "all", **known, epochs=4), comm=comm)
    train(options(path, folder / "cut", **known, epochs=2), comm=comm)
    further = resume(str(folder / "cut"), {"epochs": 4}, comm=comm)
    same = not further or further["weights_sha256"] == straight["weights_sha256"]
    agree(same, comm)


def test_the_mean_is_nearer_to_the_optimum(tmp_path):
    make(mpi.comm_self(), "regression", str(tmp_path / "x.h5"), rows=3000, features=10)
    known = {"workers": 1, "batch_size": 1, "lr": 0.03, "epochs": 10, "seed": 2}
    best, last, mean = (
        train(options(tmp_path / "x.h5", tmp_path / name, **each), comm=mpi.comm_self())
        for name, each in {
            "best": {"workers": 1, "optimizer": "lbfgs"},
            "last": known,
            "mean": {**known, "average_from": 2.0},
        }.items()
    )
    gaps = [each["loss"] - best["loss"] for each in (last, mean)]
    assert 0 <= gaps[1] < gaps[0] / 20


@pytest.mark.parametrize("more", [{"strategy": "average"}, {"optimizer": "lbfgs"}])
def test_only_steps_together_are_averaged(more):
    with pytest.raises(UsageError, match="--average-from takes --strategy sync"):
        options("digits", "run", average_from=1.0, **more)
