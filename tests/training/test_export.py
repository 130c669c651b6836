"""Coefficients by name, and models in other formats, used without this package."""

import csv
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from mpipgd import train
from mpipgd.comm import mpi
from mpipgd.data.hdf5.header import Header
from mpipgd.data.hdf5.source import create
from mpipgd.data.matrix import Csr
from mpipgd.errors import UsageError
from mpipgd.training import inference
from mpipgd.training.coefficients import INTERCEPT, coefficients
from mpipgd.training.export import EXPORTERS, export
from mpipgd.training.export.base import outputs_of

from ..support import options, problem

D = 6
NAMES = tuple(f"feature {j}" for j in range(D))
MODELS = {  # name -> classes, options
    "squared": (None, {}),
    "huber": (None, {"loss": "huber", "standardize": False}),
    "log": (("no", "yes"), {}),
    "hinge": ((3, 7), {"loss": "hinge"}),
    "squared_hinge": (("no", "yes"), {"loss": "squared_hinge", "intercept": False}),
    "softmax": (("a", "b", "c"), {}),
    "softmax of two": ((0, 1), {"loss": "softmax"}),
    "float32": (("a", "b", "c"), {"dtype": "float32"}),
    "mlp": (None, {"model": "mlp", "hidden": (5,), "lr": 0.01}),
    "mlp of two": (("no", "yes"), {"model": "mlp", "hidden": (5, 4)}),
    "mlp of three": ((1, 2, 5), {"model": "mlp", "activation": "tanh"}),
    "mlp sigmoid": (
        ("a", "b", "c"),
        {"model": "mlp", "activation": "sigmoid", "dtype": "float64"},
    ),
    "sparse": (("no", "yes"), {"sparse": True}),
    "sparse of three": ((1, 2, 3), {"sparse": True}),
}


def trained(comm, folder, name):
    """Return the run folder of a small model."""
    classes, more = MODELS[name]
    header, X, y = problem(300, D, classes=classes and len(classes))
    X = X * np.arange(1, D + 1) + np.arange(D)[::-1] * 3.0
    more = dict(more)
    sparse = more.pop("sparse", False)
    header = replace(header, feature_names=NAMES, classes=classes, sparse=sparse)
    if sparse:
        rows = random_sparse(300, D, 0.5, "csr", random_state=0)
        X = Csr(rows.data, rows.indices, rows.indptr, D)

    def write():
        with create(folder / "d.h5", header, rows={"train": 300}) as writer:
            writer.write("train", 0, X, y)

    mpi.on_root(comm, write)
    train(options(folder / "d.h5", folder / "run", workers=2, **more), comm=comm)
    comm.Barrier()
    return folder / "run"


def raw_rows(n=50):
    return np.random.default_rng(1).normal(size=(n, D)) * 3 + 2


def expected_labels(model, X):
    """Return the predictions of a model on dense raw rows."""
    output = outputs_of(model, X)
    classes = model.header.classes
    if classes is None:
        return output
    index = output.argmax(axis=1) if output.ndim == 2 else (output > 0).astype(int)
    return np.array(classes)[index]


BLOCKED = """
import sys
sys.modules["mpipgd"] = None  # importing it fails
import numpy as np

def run(X, path):
    BODY
    return prediction, output

for folder in sys.argv[1:]:
    prediction, output = run(np.load(f"{folder}/X.npy"), f"{folder}/exported")
    prediction = np.asarray(prediction)
    if prediction.dtype == object:
        prediction = prediction.astype("U")
    output = [] if output is None else output
    np.savez(f"{folder}/result.npz", prediction=prediction, output=output)
"""
LOADERS = {
    "sklearn": """
import skops.io
trusted = skops.io.get_untrusted_types(file=path)
model = skops.io.load(path, trusted=trusted)
prediction, output = model.predict(X), None
for name in ("predict_proba", "decision_function"):
    if output is None and hasattr(model, name):
        output = getattr(model, name)(X)
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
prediction, *rest = session.run(["prediction", *[
    o.name for o in session.get_outputs() if o.name != "prediction"]], {"X": X})
output = rest[0] if rest else None
""",
    "numpy": """
a = np.load(path)
assert "classes[1]" in str(a["README"])
h = (X - a["mean"]) / a["deviation"] if "mean" in a else X
L = sum(name[0] == "W" for name in a)
f = {"relu": lambda h: np.maximum(h, 0), "tanh": np.tanh,
     "sigmoid": lambda h: 1 / (1 + np.exp(-h))}
for k in range(1, L + 1):
    h = h @ a[f"W{k}"] + a[f"b{k}"]
    h = f[str(a["activation"])](h) if k < L else h
head = str(a["head"])
if head == "value":
    prediction = h[:, 0]
elif head in ("decision", "logistic"):
    prediction = a["classes"][(h[:, 0] > 0).astype(int)]
else:
    prediction = a["classes"][h.argmax(axis=1)]
output = None
""",
}


@pytest.mark.programs
@pytest.mark.parametrize("to", EXPORTERS)
def test_exported_models_predict_the_same_without_this_package(tmp_path, to):
    pytest.importorskip({"sklearn": "skops", "onnx": "onnxruntime"}.get(to, "numpy"))
    comm, models = mpi.comm_self(), {}
    for name in MODELS:
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        model = models[folder] = inference.read(trained(comm, folder, name))
        np.save(folder / "X.npy", raw_rows().astype(model.objective.dtype))
        line = export(folder / "run", to, folder / "exported", comm=comm)
        assert line.startswith(str(folder / "exported"))
    body = textwrap.indent(LOADERS[to], "    ")
    program = BLOCKED.replace("    BODY", body)
    words = [sys.executable, "-c", program, *map(str, models)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    for folder, model in models.items():
        X, found = np.load(folder / "X.npy"), np.load(folder / "result.npz")
        expected, output = expected_labels(model, X), outputs_of(model, X)
        tolerance = 1e-6 if X.dtype == np.float64 else 1e-5
        if expected.dtype.kind == "f":
            error = np.abs(found["prediction"] - expected).max()
            assert error <= tolerance * np.abs(expected).max(), folder
        else:
            assert (found["prediction"] == expected).all(), folder
        if found["output"].size:
            own = found["output"]
            assert np.allclose(own, output, rtol=tolerance, atol=tolerance), folder


def test_export_says_what_it_cannot_do(comm, folder, agree, monkeypatch):
    home = trained(comm, folder, "squared")
    with pytest.raises(UsageError, match="is read from"):
        export(home, "numpy", home / "model.h5", comm=comm, overwrite=True)
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    for to, extra in (("sklearn", "sklearn-export"), ("onnx", "onnx")):
        with pytest.raises(UsageError, match=rf"pip install 'mpipgd\[{extra}\]'"):
            export(home, to, folder / "out", comm=comm)
    agree(not (folder / "out").exists(), comm)


@pytest.mark.parametrize(
    "name", [name for name in MODELS if not name.startswith("mlp")]
)
def test_coefficients_are_those_of_raw_features(comm, folder, agree, name):
    home = trained(comm, folder, name)
    model = inference.read(home)
    table = coefficients(home, comm=comm, by_size=False)
    X = raw_rows()
    n_features = len([n for n in table.names if n != INTERCEPT])
    agree(tuple(table.names[:n_features]) == NAMES, comm)
    raw = X @ table.values[:D]
    if len(table.names) > D:
        raw += table.values[D]
    if model.objective.loss == "softmax":
        raw = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    elif model.objective.loss == "log":
        raw = 1 / (1 + np.exp(-raw))
        raw = np.column_stack([1 - raw, raw])
    own = outputs_of(model, X).reshape(raw.shape)
    tolerance = 1e-4 if model.objective.dtype == np.float32 else 1e-9
    agree(np.allclose(raw, own, rtol=tolerance, atol=tolerance), comm)


def test_coefficients_are_sorted_by_standardised_size(comm, folder, agree):
    home = trained(comm, folder, "softmax")
    scaled = coefficients(home, comm=comm, standardized=True)
    sizes = np.abs(scaled.values[:D]).max(axis=1)
    agree((np.diff(sizes) <= 0).all() and scaled.names[-1] == INTERCEPT, comm)
    raw = coefficients(home, comm=comm, top=2, output=folder / "c.csv")
    agree(raw.names == [*scaled.names[:2], INTERCEPT], comm)
    comm.Barrier()
    header, *rows = csv.reader((folder / "c.csv").open())
    agree(header == ["name", "a", "b", "c"], comm)
    agree(np.array_equal([list(map(float, r[1:])) for r in rows], raw.values), comm)
    comm.Barrier()
    with pytest.raises(UsageError, match="exists already"):
        coefficients(home, comm=comm, output=folder / "c.csv")


def test_a_network_has_no_coefficients(comm, folder):
    home = trained(comm, folder, "mlp")
    with pytest.raises(UsageError, match="is a network") as caught:
        coefficients(home, comm=comm)
    assert caught.value.agreed


def test_the_header_has_no_names(comm, folder, agree):
    header, X, y = problem(50, 3)
    assert header == Header("regression", 3)

    def write():
        with create(folder / "d.h5", header, rows={"train": 50}) as writer:
            writer.write("train", 0, X, y)

    mpi.on_root(comm, write)
    train(options(folder / "d.h5", folder / "run", workers=1), comm=comm)
    comm.Barrier()
    table = coefficients(folder / "run", comm=comm, by_size=False)
    agree(table.names == ["x0", "x1", "x2", INTERCEPT], comm)
