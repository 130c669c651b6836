"""evaluation.json: true to the test rows, bounded, the same bits on any ranks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from mpipgd import evaluate, train
from mpipgd.comm import mpi
from mpipgd.data.hdf5.source import create, open_data
from mpipgd.data.matrix import Csr
from mpipgd.data.validation import hold_out
from mpipgd.reporting import plots
from mpipgd.training import final_evaluation, inference, summary
from mpipgd.training.final_evaluation import SAMPLE_ROWS, evaluate_final
from mpipgd.training.inference import ROWS_AT_ONCE
from mpipgd.training.metrics.base import BLOCK_ROWS

from ..support import options, problem

EXACT = {"rtol": 1e-12, "atol": 1e-12}
TEST_ROWS = 2 * BLOCK_ROWS + 77


def write(comm, path, *, classes=None, targets=None, weighted=False, sparse=False,
          n_train=200, n_test=TEST_ROWS):  # fmt: skip
    """Write a data file on rank 0; return its path."""
    header, X, y = problem(n_train + n_test, classes=classes)
    changes = {"sparse": sparse, "target": "price", "weight": "w" if weighted else None}
    if targets:
        changes |= {"targets": targets, "target": None}
        y = np.stack([y, np.arange(len(y))], axis=1)  # the second numbers the rows
    header = replace(header, **changes)
    w = np.random.default_rng(1).integers(0, 3, len(y)) if weighted else None
    if comm.rank == 0:
        rows = {"train": n_train, "test": n_test}
        with create(path, header, rows=rows) as writer:
            for split, part in (
                ("train", slice(n_train)),
                ("test", slice(n_train, None)),
            ):
                block = X[part]
                if sparse and len(block):
                    columns = np.tile(np.arange(X.shape[1]), len(block))
                    starts = X.shape[1] * np.arange(len(block) + 1)
                    block = Csr(block.reshape(-1), columns, starts, X.shape[1])
                if len(block):
                    weights = None if w is None else w[part].astype(float)
                    writer.write(split, 0, block, y[part], weights)
    comm.Barrier()
    return path


CASES = {
    "regression": ({}, {}),
    "binary": ({"classes": 2}, {}),
    "multiclass": ({"classes": 4}, {}),
    "margins": ({"classes": 2}, {"loss": "hinge"}),
    "network": ({"classes": 3}, {"model": "mlp", "hidden": (4,)}),
    "targets": ({"targets": ("a", "b")}, {}),
    "weights": ({"classes": 2, "weighted": True}, {}),
    "weighted-regression": ({"weighted": True}, {"model": "mlp", "hidden": (4,)}),
    "sparse": ({"classes": 3, "sparse": True}, {}),
    "sweep": ({"classes": 2}, {"many": "lr=0.1,0.01"}),
    "float32": ({}, {"dtype": "float32"}),
    "streamed": ({}, {"memory_limit": "1MB"}),
    "validation": ({"classes": 2, "n_test": 0}, {"validation": 0.25}),
    "training-only": ({"n_test": 0}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_ranks_do_not_change_a_bit(comm, folder, agree, case, monkeypatch):
    """The run itself writes what one rank computes from its model and its data."""
    monkeypatch.setattr(plots, "has_matplotlib", lambda: False)  # takes long
    data_options, more = CASES[case]
    path = write(comm, folder / "d.h5", **data_options)
    given = options(path, folder / "run", picture=True, workers=2, epochs=1, **more)
    train(given, comm=comm)
    mpi.wait_asleep(comm.Ibarrier())
    written = json.loads((folder / "run/evaluation.json").read_text())
    model, alone = inference.read(str(folder / "run")), mpi.comm_self()
    source = hold_out(alone, open_data(alone, path), given)
    expected = evaluate_final(model, source, comm=alone)
    agree(written == json.loads(json.dumps(expected)), comm)
    parts = {"validation": ["validation"], "training-only": []}
    agree(list(written) == parts.get(case, ["test"]), comm)
    if "test" in written:
        metrics = evaluate(folder / "run", path, comm=comm)["test"]
        found = written["test"]["metrics"]
        agree(found == {name: metrics[name] for name in found}, comm)
        agree(written["test"].get("confusion") == metrics.get("confusion_matrix"), comm)


@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_points_of_scikit_learns(comm, folder, agree, weighted):
    path = write(comm, folder / "d.h5", classes=2, weighted=weighted, n_test=9000)
    train(options(path, folder / "run", workers=2, epochs=1), comm=comm)
    comm.Barrier()
    model, source = inference.read(str(folder / "run")), open_data(comm, path)
    (roc,) = evaluate_final(model, source, comm=comm)["test"]["roc"]
    X, y = model.read_rows(source, "test", 0, 9000)
    w, output = source.read_weights("test", 0, 9000), model.objective.output
    score = output(model.weights, X)
    fpr, tpr, _ = sk.roc_curve(y, score, sample_weight=w, drop_intermediate=False)
    auc = sk.roc_auc_score(y, score, sample_weight=w)
    agree(np.isclose(roc["auc"], auc, **EXACT), comm)
    agree(50 < len(roc["fpr"]) <= final_evaluation.ROC_CELLS + 3, comm)
    points = {(float(f"{a:.6g}"), float(f"{b:.6g}")) for a, b in zip(fpr, tpr)}
    agree(set(zip(roc["fpr"], roc["tpr"])) <= points, comm)
    agree(np.isclose(np.trapezoid(roc["tpr"], roc["fpr"]), auc, atol=0.01), comm)
    agree((roc["fpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 1, 1), comm)
    source.close()


def test_predictions_are_a_sample_of_all_rows(comm, folder, agree, monkeypatch):
    monkeypatch.setattr(inference, "ROWS_AT_ONCE", 2 * BLOCK_ROWS)
    n = 4 * BLOCK_ROWS + 3
    path = write(comm, folder / "d.h5", targets=("a", "b"), n_test=n)
    train(options(path, folder / "run", workers=2, epochs=1), comm=comm)
    comm.Barrier()
    model, source = inference.read(str(folder / "run")), open_data(comm, path)
    found = evaluate_final(model, source, comm=comm)["test"]["predicted_true"]
    agree([one["target"] for one in found] == ["a", "b"], comm)
    X, y = model.read_rows(source, "test", 0, n)
    prediction = model.objective.predict(model.weights, X)
    rows = [int(number - y[0, 1]) for _, number in found[1]["pairs"]]
    agree(len(set(rows)) == SAMPLE_ROWS and rows == sorted(rows), comm)
    agree(max(np.histogram(rows, 8, (0, n))[0]) < 0.2 * SAMPLE_ROWS, comm)
    for k, one in enumerate(found):
        pairs = np.stack([prediction[rows, k], y[rows, k]], axis=1)
        agree(np.allclose(one["pairs"], pairs, rtol=1e-5), comm)
    agree(inference.ROWS_AT_ONCE < ROWS_AT_ONCE, comm)
    source.close()


def test_many_classes_leave_their_most_frequent_mistakes(tmp_path):
    comm, classes = mpi.comm_self(), final_evaluation.MAX_MATRIX_CLASSES + 5
    path = write(comm, tmp_path / "d.h5", classes=classes, n_train=3000, n_test=900)
    train(options(path, tmp_path / "run", workers=2), comm=comm)
    model, source = inference.read(str(tmp_path / "run")), open_data(comm, path)
    found = evaluate_final(model, source, comm=comm)["test"]
    matrix = np.array(
        evaluate(tmp_path / "run", path, comm=comm)["test"]["confusion_matrix"]
    )
    assert "confusion" not in found and found["roc"] == []
    assert found["metrics"]["roc_auc"] is None
    np.fill_diagonal(matrix, 0)
    rows = [row["rows"] for row in found["confused"]]
    assert rows == sorted(matrix[matrix > 0], reverse=True)[: len(rows)] and rows
    assert all(
        matrix[r["true"], r["predicted"]] == r["rows"] for r in found["confused"]
    )


def test_data_that_went_away_leaves_model_and_page(tmp_path, monkeypatch, capsys):
    comm, summarize = mpi.comm_self(), summary.summarize
    path = write(comm, tmp_path / "d.h5", classes=2)

    def removing(*args, **more):
        path.unlink()
        return summarize(*args, **more)

    monkeypatch.setattr(summary, "summarize", removing)
    run = tmp_path / "run"
    more = {"picture": True, "quiet": False, "workers": 1, "epochs": 1}
    train(options(path, run, **more), comm=comm)
    assert "warning: no scores on the page: " in capsys.readouterr().out
    assert (run / "model.h5").exists() and (run / "summary.json").exists()
    assert "Not evaluated" in (run / "report.html").read_text()
