"""Weights of rows and classes: as repeated rows, as scikit-learn's, on any ranks."""

import h5py
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from mpipgd.comm import mpi
from mpipgd.data.hdf5 import chunk_layout
from mpipgd.data.hdf5.header import Header
from mpipgd.data.hdf5.source import create, scan
from mpipgd.data.matrix import Csr
from mpipgd.errors import DataError, UsageError
from mpipgd.training import inference
from mpipgd.training.run import train

from ..support import options, problem

OPTIMUM = {"optimizer": "lbfgs", "epochs": 200, "alpha": (0.01,)}
N_TEST = 60
CLASSES = {"regression": None, "binary": 2, "multiclass": 3}


def data_of(task, *, integer=True):
    """Return header, X, y and weights, those of class 0 being rarer."""
    header, X, y = problem(classes=CLASSES[task])
    rng = np.random.default_rng(8)
    weights = rng.integers(0, 4, len(y)) if integer else rng.exponential(size=len(y))
    return header, X, y, weights.astype(np.float64)


def write(path, header, X, y, weights=None, *, n_test=N_TEST, sparse=False):
    """Write a data file of which the last rows are test rows."""
    values = vars(header) | {"weight": None if weights is None else "w"}
    values["sparse"] = sparse
    n = len(y) - n_test
    with create(path, Header(**values), rows={"train": n, "test": n_test}) as writer:
        for split, rows in (("train", slice(n)), ("test", slice(n, None))):
            if not len(y[rows]):
                continue
            block = X[rows]
            if sparse:
                width = X.shape[1]
                columns = np.tile(np.arange(width), len(block))
                starts = width * np.arange(len(block) + 1)
                block = Csr(block.reshape(-1), columns, starts, width)
            w = None if weights is None else weights[rows]
            writer.write(split, 0, block, y[rows], w)
    return str(path)


def repeated(header, X, y, weights):
    """Return what `write` takes, for rows repeated as often as their weights say."""
    rows = np.repeat(np.arange(len(y)), weights.astype(int))
    n_test = int(weights[len(y) - N_TEST :].sum())
    return (header, X[rows], y[rows]), n_test


def fit(path, run, **more):
    """Train on one rank; return the summary and the model."""
    known = OPTIMUM | {"workers": 3, "standardize": True} | more
    summary = train(options(path, run, **known), comm=mpi.comm_self())
    return summary, inference.read(str(run))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("task", CLASSES)
def test_integer_weights_are_repeated_rows(tmp_path, task, sparse):
    arrays = data_of(task)
    weighted = write(tmp_path / "w.h5", *arrays, sparse=sparse)
    copies, n_test = repeated(*arrays)
    copied = write(tmp_path / "c.h5", *copies, n_test=n_test, sparse=sparse)
    (a, model), (b, expected) = (
        fit(path, tmp_path / f"run{i}") for i, path in enumerate((weighted, copied))
    )
    for key in ("loss", "test_loss", "score"):
        assert a[key] == pytest.approx(b[key], rel=1e-8)
    np.testing.assert_allclose(model.weights, expected.weights, atol=1e-7)
    if not sparse:
        np.testing.assert_allclose(model.scaling.mean, expected.scaling.mean)
        np.testing.assert_allclose(model.scaling.deviation, expected.scaling.deviation)
    scores, expected_scores = (
        inference.evaluate(str(tmp_path / run), path, comm=mpi.comm_self())
        for run, path in (("run1", weighted), ("run1", copied))
    )
    for split in ("train", "test"):
        for key in ("loss", "score"):
            assert scores[split][key] == pytest.approx(expected_scores[split][key])


@pytest.mark.parametrize("more", [{}, {"model": "mlp", "dtype": "float64"}])
@pytest.mark.parametrize("way", ["memory", "shared", "streamed", "packed", "sparse"])
def test_rows_are_weighed_however_they_are_read(tmp_path, monkeypatch, way, more):
    monkeypatch.setattr(chunk_layout, "MIN_MAPPED_BYTES", 0)
    if way == "sparse" and more:
        return  # networks take dense rows
    header, X, y, weights = data_of("binary", integer=False)
    X = np.repeat(X, 3, axis=0)
    y, weights = y.repeat(3), weights.repeat(3)
    sparse = way == "sparse"
    path = write(tmp_path / "a.h5", header, X, y, weights, sparse=sparse)
    if way == "packed":
        with h5py.File(path, "a") as file:
            values = file["train/X"][...]
            del file["train/X"]
            file.create_dataset("train/X", data=values, compression="gzip")
    ways = {"shared": {"split": "replicate"}, "memory": {}}
    limited = ways.get(way, {"memory_limit": "20KB"})
    known = {"class_weight": "0=3,1=0.5", "batch_size": 10**6, "workers": 2} | more
    known |= {"optimizer": "sgd", "lr": 0.3, "epochs": 5}
    a, _ = fit(path, tmp_path / "a", **known, **limited)
    b, _ = fit(path, tmp_path / "b", **known, kernels="numpy")
    for key in ("loss", "test_loss"):
        tolerance = 1e-8 if way != "shared" else 0.2  # each worker reads all rows
        assert a[key] == pytest.approx(b[key], rel=tolerance)


def coefficients(model, task):
    """Return (intercepts, coefficients) of a linear model in standardised features."""
    outputs = 3 if task == "multiclass" else 1
    W = model.weights.reshape(-1, outputs)
    if outputs == 3:
        W = W - W.mean(axis=1, keepdims=True)
    return np.concatenate([W[-1:], W[:-1]])


@pytest.mark.parametrize("class_weight", [None, "balanced", "0=3,1=0.5"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_optimum_is_scikit_learns(tmp_path, task, weighted, class_weight):
    header, X, y, weights = data_of(task, integer=False)
    w = weights if weighted else None
    path = write(tmp_path / "a.h5", header, X, y, w)
    _, model = fit(path, tmp_path / "run", class_weight=class_weight)
    n = len(y) - N_TEST
    X, y, w = X[:n], y[:n], weights[:n] if weighted else np.ones(n)
    Z = StandardScaler().fit_transform(X, sample_weight=w)
    theirs = {"balanced": "balanced", "0=3,1=0.5": {0: 3.0, 1: 0.5}, None: None}
    factors = np.ones(len(header.classes))
    if class_weight == "balanced":
        labels = np.arange(len(factors))
        factors = compute_class_weight("balanced", classes=labels, y=y, sample_weight=w)
    elif class_weight:
        factors[:2] = 3.0, 0.5
    total = (w * factors[y]).sum()
    sklearn = LogisticRegression(
        C=1 / (0.01 * total),
        class_weight=theirs[class_weight],
        tol=1e-10,
        max_iter=10_000,
    ).fit(Z, y, sample_weight=w)
    expected = np.concatenate([sklearn.intercept_[None], sklearn.coef_.T])
    expected -= expected.mean(axis=1, keepdims=True) if task == "multiclass" else 0
    np.testing.assert_allclose(coefficients(model, task), expected, atol=1e-5)


def test_weighted_least_squares_are_scikit_learns(tmp_path):
    header, X, y, weights = data_of("regression", integer=False)
    path = write(tmp_path / "a.h5", header, X, y, weights)
    summary, model = fit(path, tmp_path / "run")
    n = len(y) - N_TEST
    scaler = StandardScaler().fit(X[:n], sample_weight=weights[:n])
    ridge = Ridge(alpha=0.01 * weights[:n].sum())
    ridge.fit(scaler.transform(X[:n]), y[:n], sample_weight=weights[:n])
    np.testing.assert_allclose(model.weights[:-1], ridge.coef_, atol=1e-6)
    np.testing.assert_allclose(model.weights[-1], ridge.intercept_, atol=1e-6)
    Z = scaler.transform(X[n:])
    expected = ridge.score(Z, y[n:], sample_weight=weights[n:])
    assert summary["score"] == pytest.approx(expected, abs=1e-6)


def test_many_settings_are_weighted_alike(tmp_path):
    path = write(tmp_path / "a.h5", *data_of("binary", integer=False))
    known = {"optimizer": "sgd", "lr": 0.1, "epochs": 4, "class_weight": "balanced"}
    one, _ = fit(path, tmp_path / "one", validation=0.2, **known)
    many, _ = fit(path, tmp_path / "many", many="lr=0.1", **known)
    assert many["loss"] == pytest.approx(one["loss"], rel=1e-9)


def test_foreign_files_have_weights(tmp_path):
    header, X, y, weights = data_of("binary", integer=False)
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        file["a/X"], file["a/y"], file["a/w"] = X, y, weights
    source = scan(path, x="a/X", y="a/y", weight="/a/w")
    np.testing.assert_array_equal(source.read_weights("train", 3, 90), weights[3:90])
    names = {"x": "a/X", "y": "a/y"}
    foreign, _ = fit(path, tmp_path / "f", **names, weight="a/w")
    own = write(tmp_path / "o.h5", header, X, y, weights, n_test=0)
    assert foreign["loss"] == fit(own, tmp_path / "o")[0]["loss"]
    with pytest.raises(DataError, match="has no a/v, the row weights"):
        scan(path, **names, weight="a/v")
    with pytest.raises(UsageError, match="--weight PATH takes --x"):
        scan(path, weight="a/w")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"train/weight": -1.0}, "holds -1.0 at row 5, expected weights from 0"),
        ({"train/weight": np.nan}, "holds nan at row 5"),
        ({"test/weight": np.inf}, "test/weight holds inf at row 5"),
    ],
)
@pytest.mark.parametrize("limit", [None, "8KB"])
def test_bad_weights_are_refused(tmp_path, damage, message, limit):
    path = write(tmp_path / "a.h5", *data_of("binary"))
    with h5py.File(path, "a") as file:
        for name, value in damage.items():
            file[name][5] = value
    with pytest.raises(DataError, match=message):
        fit(path, tmp_path / "run", memory_limit=limit)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    header, X, y, weights = data_of("binary")
    path = write(tmp_path / "zero.h5", header, X, y, 0 * weights)
    with pytest.raises(DataError, match="row weights of train add up to 0"):
        fit(path, tmp_path / "run")
    path = write(tmp_path / "short.h5", header, X, y, weights)
    with h5py.File(path, "a") as file:
        del file["test/weight"]
        file["test/weight"] = np.ones(7)
    with pytest.raises(DataError, match="has 60 rows but test/weight has 7"):
        scan(path)
    with h5py.File(path, "a") as file:
        del file["test/weight"]
    with pytest.raises(DataError, match="has no test/weight, the row weights 'w'"):
        scan(path)
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, w in enumerate((None, weights)):
        write(shards / f"{number}.h5", header, X, y, w)
    with pytest.raises(DataError, match="weight"):
        scan(shards)


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("binary", "2=3", "no class '2'; the data has 0, 1"),
        ("binary", "0=-1", "found '0=-1', expected balanced"),
        ("binary", "fair", "found 'fair', expected balanced"),
        ("binary", "0=0,1=0", "no training row has a weight above 0"),
        ("regression", "balanced", "the task is regression"),
    ],
)
def test_bad_class_weights_are_refused(tmp_path, task, text, message):
    path = write(tmp_path / "a.h5", *data_of(task))
    with pytest.raises(UsageError, match=message):
        fit(path, tmp_path / "run", class_weight=text)
