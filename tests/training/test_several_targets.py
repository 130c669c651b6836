"""Regression of several targets: scikit-learn's optimum and scores, as one by one."""

import h5py
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from mpipgd.comm import mpi
from mpipgd.data.hdf5.header import Header
from mpipgd.data.hdf5.source import create, scan
from mpipgd.data.matrix import Csr
from mpipgd.data.weighted import WeightedTargets
from mpipgd.errors import DataError, UsageError
from mpipgd.objectives.mlp import MLP
from mpipgd.objectives.multi_output import MultiOutputLinear
from mpipgd.training import inference
from mpipgd.training.run import resume, train

from ..support import options

N, N_TEST, D, M = 300, 60, 5, 3
OPTIMUM = {"optimizer": "lbfgs", "epochs": 200, "alpha": (0.01,)}


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)) * [1, 2, 3, 4, 5]
    y = X @ rng.normal(size=(D, M)) + rng.normal(size=(N, M)) + [0, 5, 9]
    return X, y, rng.exponential(size=N)


def write(path, X, y, weights=None, *, sparse=False, names=("a", "b", "c")):
    weight = None if weights is None else "w"
    header = Header("regression", D, sparse=sparse, targets=names, weight=weight)
    n = N - N_TEST
    with create(path, header, rows={"train": n, "test": N_TEST}) as writer:
        for split, rows in (("train", slice(n)), ("test", slice(n, None))):
            block = X[rows]
            if sparse:
                columns = np.tile(np.arange(D), len(block))
                starts = D * np.arange(len(block) + 1)
                block = Csr(block.reshape(-1), columns, starts, D)
            w = None if weights is None else weights[rows]
            writer.write(split, 0, block, y[rows], w)
    return str(path)


def fit(path, run, **more):
    known = OPTIMUM | {"workers": 3} | more
    summary = train(options(path, run, **known), comm=mpi.comm_self())
    return summary, inference.read(str(run))


@pytest.mark.parametrize("way", ["memory", "shared", "streamed", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_and_its_scores_are_ridges(tmp_path, way, weighted):
    X, y, w = arrays()
    sparse = way == "sparse"
    path = write(tmp_path / "a.h5", X, y, w if weighted else None, sparse=sparse)
    more = {"streamed": {"memory_limit": "9KB"}, "shared": {"split": "replicate"}}
    summary, model = fit(path, tmp_path / "run", **more.get(way, {}))
    w = w if weighted else np.ones(N)
    n = N - N_TEST
    scaler = StandardScaler(with_mean=not sparse, with_std=not sparse)
    Z = scaler.fit(X[:n], sample_weight=w[:n]).transform(X)
    ridge = Ridge(alpha=0.01 * w[:n].sum()).fit(Z[:n], y[:n], sample_weight=w[:n])
    W = model.weights.reshape(-1, M)
    np.testing.assert_allclose(W[:-1], ridge.coef_.T, atol=1e-6)
    np.testing.assert_allclose(W[-1], ridge.intercept_, atol=1e-6)
    expected = r2_score(y[n:], ridge.predict(Z[n:]), sample_weight=w[n:])
    assert summary["score"] == pytest.approx(expected, abs=1e-7)
    scores = inference.evaluate(str(tmp_path / "run"), path, comm=mpi.comm_self())
    assert scores["test"]["score"] == pytest.approx(expected, abs=1e-7)
    loss = summary["test_loss"] - model.objective.penalty(model.weights)
    assert scores["test"]["loss"] == pytest.approx(loss)
    out = str(tmp_path / "out.h5")
    inference.predict(str(tmp_path / "run"), path, out, comm=mpi.comm_self())
    with h5py.File(out) as file:
        prediction = file["test/prediction"][...]
    np.testing.assert_allclose(prediction, ridge.predict(Z[n:]), atol=1e-5)


def test_a_network_predicts_as_scikit_learns_with_the_same_weights():
    X, y, _ = arrays()
    theirs = MLPRegressor(
        hidden_layer_sizes=(7,), activation="tanh", max_iter=2, random_state=0
    )
    with pytest.warns(match="Maximum iterations"):
        theirs.fit(X, y)
    model = MLP(
        D, (7,), M, regression=True, activation="tanh", loss="squared", dtype=np.float64
    )
    pairs = zip(theirs.coefs_, theirs.intercepts_)
    w = np.concatenate([a.reshape(-1) for pair in pairs for a in pair])
    np.testing.assert_allclose(model.predict(w, X), theirs.predict(X), rtol=1e-10)
    loss, *squares = model.evaluate(w, X, y)
    np.testing.assert_allclose(squares, np.square(theirs.predict(X) - y).sum(axis=0))
    assert loss == pytest.approx(0.5 * sum(squares))


@pytest.mark.parametrize("loss", ["squared", "huber", "mlp"])
def test_the_gradient_is_that_of_finite_differences(loss):
    X, y, u = arrays()
    if loss == "mlp":
        known = {"activation": "tanh", "loss": "squared", "dtype": np.float64}
        model = MLP(D, (4,), M, regression=True, **known)
    else:
        X = np.column_stack([X, np.ones(N)])
        model = MultiOutputLinear(D, M, loss=loss, epsilon=2.0)
    rng = np.random.default_rng(2)
    w, rows = 0.3 * rng.normal(size=model.size), rng.integers(0, N, 70)
    targets, g = WeightedTargets(y, u), np.empty(model.size)
    model.gradient(w, X, targets, rows, g)
    unused = np.empty_like(g)
    for j in range(model.size):
        step = np.zeros_like(w)
        step[j] = 1e-6
        above = model.gradient(w + step, X, targets, rows, unused)
        below = model.gradient(w - step, X, targets, rows, unused)
        assert (above - below) / 2e-6 == pytest.approx(g[j], rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("model", ["linear", "mlp"])
@pytest.mark.parametrize("strategy", ["sync", "average", "elastic", "hogwild"])
def test_resumed_is_straight_on(tmp_path, strategy, model):
    path = write(tmp_path / "a.h5", *arrays())
    known = {"optimizer": "momentum", "lr": 0.001, "strategy": strategy}
    known |= {"model": model, "hidden": (4,), "sync_every": 3}
    straight, _ = fit(path, tmp_path / "all", **known | {"epochs": 5})
    fit(path, tmp_path / "cut", **known | {"epochs": 2})
    resumed = resume(str(tmp_path / "cut"), {"epochs": 5}, comm=mpi.comm_self())
    assert resumed["weights_sha256"] == straight["weights_sha256"]
    assert straight["score"] == pytest.approx(resumed["score"])


def test_foreign_files_have_several_targets(tmp_path):
    X, y, _ = arrays()
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["X"], file["y"] = X, y
    assert scan(tmp_path / "f.h5", x="X", y="y").header.targets == ("y0", "y1", "y2")


def test_what_does_not_fit_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", *arrays())
    for more, message in (
        ({"many": "lr=0.1,0.2", "optimizer": "sgd"}, "--many takes one target"),
        ({"kernels": "numba"}, "--kernels numba takes one target"),
        ({"loss": "log"}, "--loss log takes two classes"),
        ({"class_weight": "balanced"}, "the task is regression"),
    ):
        with pytest.raises(UsageError, match=message):
            fit(path, tmp_path / "run", **more)
    with h5py.File(path, "a") as file:
        file.attrs["targets"] = ["a", "b"]
    with pytest.raises(DataError, match=r"train/y has shape \(240, 3\), expected"):
        scan(path)
