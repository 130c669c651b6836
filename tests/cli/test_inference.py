"""evaluate, predict, coef and export from the command line."""

import csv
import json

import numpy as np
import pytest

from mpipgd.comm import mpi
from mpipgd.data.create.bundled import make_bundled
from mpipgd.training import inference

from ..training.test_metrics import trained


@pytest.fixture
def binary(tmp_path):
    """A run folder of a model of two classes, and its data file."""
    return trained(mpi.comm_self(), tmp_path, 2, rows=300, n_test=60)


def test_evaluate_prints_a_table_or_json(mpipgd, binary):
    home, data = binary
    code, out, _ = mpipgd("evaluate", home, data)
    assert code == 0 and "balanced accuracy" in out and "true \\ predicted" in out
    code, out, _ = mpipgd("evaluate", home, data, "--json")
    found = json.loads(out)
    assert code == 0 and found == inference.evaluate(home, data, comm=mpi.comm_self())
    assert found["test"]["rows"] == 60


def test_evaluate_writes_curves_once(mpipgd, binary, tmp_path):
    home, data = binary
    words = "evaluate", home, data, "--curves", tmp_path / "c.csv"
    assert mpipgd(*words)[0] == 0
    code, _, err = mpipgd(*words)
    assert code == 2 and "--overwrite" in err
    assert mpipgd(*words, "--overwrite")[0] == 0
    code, _, err = mpipgd("evaluate", home, data, "--overwrite")
    assert code == 2 and "--curves" in err


def test_predict_writes_a_table(mpipgd, binary, tmp_path):
    home, data = binary
    words = "-o", tmp_path / "p.csv", "--probabilities", "--split", "test"
    code, out, _ = mpipgd("predict", home, data, *words)
    assert code == 0 and "60 predictions" in out
    header, *rows = csv.reader((tmp_path / "p.csv").open())
    assert header == ["prediction", "class 0", "class 1"] and len(rows) == 60
    p = np.array([row[1:] for row in rows], dtype=float)
    assert np.allclose(p.sum(axis=1), 1)
    assert [row[0] for row in rows] == [f"class {c}" for c in p.argmax(axis=1)]
    before = data.read_bytes()
    code, _, err = mpipgd("predict", home, data, "-o", data, "--overwrite")
    assert code == 2 and "is read from" in err and data.read_bytes() == before


def test_coef_prints_names(mpipgd, tmp_path):
    data = tmp_path / "d.h5"
    make_bundled("breast_cancer", str(data))
    mpipgd("train", data, "--epochs", 2, "--quiet", "--run", tmp_path / "run")
    code, out, _ = mpipgd("coef", tmp_path / "run", "--top", 3)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 5 and lines[-1].startswith("(intercept)")
    code, _, err = mpipgd("coef", tmp_path / "run", "--top", 0)
    assert code == 2 and "--top 0" in err


def test_export_says_how_to_load(mpipgd, binary, tmp_path):
    home, _ = binary
    code, out, _ = mpipgd("export", home, "--to", "numpy", "-o", tmp_path / "m.npz")
    assert code == 0 and "numpy.load" in out
    arrays = np.load(tmp_path / "m.npz")
    assert list(arrays["classes"]) == ["class 0", "class 1"]
