"""Metrics: equal to scikit-learn's, the same bits on any number of ranks."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from mpipgd import evaluate, train
from mpipgd.comm import mpi
from mpipgd.comm.even_partition import even_partition
from mpipgd.comm.reduction_tree import SubtreeSums
from mpipgd.data.hdf5.source import create, scan
from mpipgd.errors import UsageError
from mpipgd.training import inference
from mpipgd.training.metrics.base import BLOCK_ROWS
from mpipgd.training.metrics.classification import classification_sums
from mpipgd.training.metrics.curves import count_scores, curve
from mpipgd.training.metrics.regression import regression_sums

from ..support import options, problem

EXACT = {"rtol": 1e-12, "atol": 1e-12}
ROWS = 9 * BLOCK_ROWS + 17


def scores(kind, rng, n=ROWS):
    """Return scores (n,), whether rows are positive, and weights or None."""
    positive = rng.random(n) < 0.3
    score = rng.normal(size=n) + positive
    if kind == "ties":
        score = np.round(score, 1)
    if kind == "constant":
        score = np.full(n, 0.25)
    weights = None
    if kind == "weights":
        weights = rng.integers(0, 4, n) * rng.random(n)
        score = np.round(score, 1)
    return score, positive, weights


def pieces(comm, n, block_rows=BLOCK_ROWS):
    """Yield (number, rows) of the blocks of this rank."""
    first, last = even_partition(-(-n // block_rows), comm.size, comm.rank)
    for number in range(first, last):
        yield number, slice(number * block_rows, min(n, (number + 1) * block_rows))


def part(values, rows):
    """Return the rows of an array, or None."""
    return None if values is None else values[rows]


def curve_of(comm, score, positive, weights):
    """Return the curve of scores that all ranks know, each counting its blocks."""
    blocks = [
        (number, count_scores(score[rows], positive[rows], part(weights, rows)))
        for number, rows in pieces(comm, len(score))
    ]
    return curve(comm, blocks, len(score))


@pytest.mark.parametrize("kind", ["distinct", "ties", "constant", "weights"])
def test_curves_are_those_of_scikit_learn_and_of_one_rank(comm, rng, agree, kind):
    score, positive, weights = scores(kind, rng)
    found = curve_of(comm, score, positive, weights)
    auc = sk.roc_auc_score(positive, score, sample_weight=weights)
    precision = sk.average_precision_score(positive, score, sample_weight=weights)
    agree(np.isclose(found.auc, auc, **EXACT), comm)
    agree(np.isclose(found.average_precision, precision, **EXACT), comm)
    alone = curve_of(mpi.comm_self(), score, positive, weights)
    agree(found[:4] == alone[:4], comm)
    fpr, tpr, thresholds = sk.roc_curve(
        positive, score, sample_weight=weights, drop_intermediate=False
    )
    gathered = [np.concatenate(a) for a in zip(*comm.allgather(found[4:]))]
    agree(np.array_equal(gathered[0], thresholds[1:]), comm)
    agree(np.allclose(gathered[1] / found.positives, tpr[1:], **EXACT), comm)
    agree(np.allclose(gathered[2] / found.negatives, fpr[1:], **EXACT), comm)
    for of_ranks, of_one in zip(gathered, alone[4:]):
        agree(np.array_equal(of_ranks, of_one), comm)


def test_no_rank_holds_more_points_than_its_share(comm, rng, agree):
    score, positive, _ = scores("distinct", rng)
    found = curve_of(comm, score, positive, None)
    agree(len(found.threshold) <= 2 * ROWS / min(comm.size, 4), comm)


def merged(comm, sums_of, n):
    """Return the metrics of rows that all ranks know, each adding its blocks."""
    tree = SubtreeSums(lambda a, b: a.merge(b))
    for number, rows in pieces(comm, n):
        tree.add(number, sums_of(rows))
    return tree.allreduce(comm, -(-n // BLOCK_ROWS)).metrics()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", [1, 3])
def test_regression_is_that_of_scikit_learn(comm, rng, agree, weighted, targets):
    y = rng.normal(size=(ROWS, targets)) * [1, 100, 3][:targets] + 1e4
    p = y + rng.normal(size=y.shape)
    w = rng.integers(0, 4, ROWS) * rng.random(ROWS) if weighted else None

    def sums_of(rows):
        return regression_sums(y[rows], p[rows], part(w, rows))

    found = merged(comm, sums_of, ROWS)
    expected = {
        "rmse": sk.root_mean_squared_error(y, p, sample_weight=w),
        "mae": sk.mean_absolute_error(y, p, sample_weight=w),
        "r2": sk.r2_score(y, p, sample_weight=w),
    }
    agree(found == merged(mpi.comm_self(), sums_of, ROWS), comm)
    for name, value in expected.items():
        agree(np.isclose(found[name], value, rtol=1e-12), comm)
    raw = {"sample_weight": w, "multioutput": "raw_values"}
    agree(len(found.get("targets", [])) == (targets if targets > 1 else 0), comm)
    if targets > 1:
        r2 = [of_target["r2"] for of_target in found["targets"]]
        rmse = [of_target["rmse"] for of_target in found["targets"]]
        agree(np.allclose(r2, sk.r2_score(y, p, **raw), rtol=1e-12), comm)
        expected_rmse = sk.root_mean_squared_error(y, p, **raw)
        agree(np.allclose(rmse, expected_rmse, rtol=1e-12), comm)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_classification_is_that_of_scikit_learn(comm, rng, agree, weighted, classes):
    y = rng.integers(0, classes, ROWS)
    raw = rng.normal(size=(ROWS, classes)) + 2 * np.eye(classes)[y]
    probability = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    p = raw.argmax(axis=1)
    w = rng.integers(0, 4, ROWS) * rng.random(ROWS) if weighted else None

    def sums_of(rows):
        of_rows = y[rows], p[rows], probability[rows]
        return classification_sums(*of_rows, classes, part(w, rows))

    found = merged(comm, sums_of, ROWS)
    agree(found == merged(mpi.comm_self(), sums_of, ROWS), comm)
    scalars = {
        "accuracy": sk.accuracy_score(y, p, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p, sample_weight=w),
        "log_loss": sk.log_loss(y, probability, sample_weight=w),
    }
    for name, value in scalars.items():
        agree(np.isclose(found[name], value, **EXACT), comm)
    matrix = sk.confusion_matrix(y, p, sample_weight=w)
    agree(np.allclose(found["confusion_matrix"], matrix, **EXACT), comm)
    for average in ("macro", "weighted", None):
        values = sk.precision_recall_fscore_support(
            y, p, average=average, sample_weight=w
        )
        for name, value in zip(("precision", "recall", "f1"), values):
            own = found[average] if average else found["classes"]
            own = own[name] if average else [row[name] for row in own]
            agree(np.allclose(own, value, **EXACT), comm)
    if weighted:
        return  # scikit-learn's calibration curve takes no weights
    for c, bins in enumerate(found["calibration"]):
        true, predicted = calibration_curve(y == c, probability[:, c], n_bins=10)
        agree(np.allclose([b["observed"] for b in bins], true, **EXACT), comm)
        agree(np.allclose([b["predicted"] for b in bins], predicted, **EXACT), comm)


def test_whole_weights_count_rows_as_often(rng):
    y, times = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    p, probability = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    again = np.repeat(np.arange(200), times)
    weighted = classification_sums(y, p, probability, 3, times).metrics()
    repeated = classification_sums(y[again], p[again], probability[again], 3).metrics()
    assert np.isclose(weighted.pop("log_loss"), repeated.pop("log_loss"), rtol=1e-13)
    for bins, other in zip(weighted.pop("calibration"), repeated.pop("calibration")):
        for one, two in zip(bins, other, strict=True):
            assert np.allclose([*one.values()], [*two.values()], rtol=1e-13)
    assert weighted == repeated
    score = rng.normal(size=200).round(1)
    assert np.allclose(
        curve(mpi.comm_self(), [(0, count_scores(score, y == 0, times))], 200)[:4],
        curve(mpi.comm_self(), [(0, count_scores(score[again], y[again] == 0))], 200)[
            :4
        ],
        rtol=1e-13,
    )


def test_undefined_metrics_are_none_with_a_note_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_row = regression_sums(np.ones(1), np.zeros(1)).metrics()
        assert one_row["r2"] is None and "all equal" in one_row["notes"][0]
        assert one_row["rmse"] == 1
        y, p = np.array([0, 0, 1]), np.array([0, 2, 1])
        absent = classification_sums(y, p, None, 3).metrics()
        assert absent["classes"][2]["recall"] is None
        assert absent["macro"]["f1"] is None and absent["log_loss"] is None
        assert absent["balanced_accuracy"] == 0.75
        blocks = [(0, count_scores(np.arange(3.0), y == 2))]
        assert curve(mpi.comm_self(), blocks, 3).auc is None


def written(comm, path, header, X, y, n_test):
    """Write a data file on rank 0, its last rows the test split; return its path."""
    if comm.rank == 0:
        n = len(y) - n_test
        rows = {"train": n, "test": n_test}
        with create(path, header, rows=rows) as writer:
            writer.write("train", 0, X[:n], y[:n])
            writer.write("test", 0, X[n:], y[n:])
    comm.Barrier()
    return path


def trained(
    comm, folder, n_classes, rows=3 * BLOCK_ROWS, n_test=BLOCK_ROWS + 5, **more
):
    """Return a run folder and its data file."""
    header, X, y = problem(rows, classes=n_classes)
    if n_classes:
        labels = tuple(f"class {c}" for c in range(n_classes))
        header = replace(header, classes=labels)
    data = written(comm, folder / "d.h5", header, X, y, n_test)
    train(options(data, folder / "run", epochs=1, workers=2, **more), comm=comm)
    comm.Barrier()
    return folder / "run", data


@pytest.mark.parametrize(
    "n_classes, loss",
    [(None, "squared"), (2, "log"), (2, "hinge"), (2, "softmax"), (4, "softmax")],
)
def test_evaluate_is_scikit_learn_on_the_predictions(
    comm, folder, agree, n_classes, loss
):
    home, data = trained(comm, folder, n_classes, loss=loss)
    found = evaluate(home, data, comm=comm)
    alone = evaluate(home, data, comm=mpi.comm_self())
    agree(json.dumps(found) == json.dumps(alone), comm)
    model, source = inference.read(home), scan(data)
    for split, n in source.rows.items():
        own = found[split]
        X, y = model.read_rows(source, split, 0, n)
        output = model.objective.output(model.weights, X)
        p = model.objective.predict(model.weights, X)
        if n_classes is None:
            agree(np.isclose(own["r2"], sk.r2_score(y, p), **EXACT), comm)
            agree(own["score"] == own["r2"], comm)
            continue
        agree(np.isclose(own["accuracy"], sk.accuracy_score(y, p), **EXACT), comm)
        if n_classes == 2:
            score = output if output.ndim == 1 else output[:, 1]
            auc, ap = sk.roc_auc_score(y, score), sk.average_precision_score(y, score)
        else:
            auc = sk.roc_auc_score(y, output, multi_class="ovr")
            ap = sk.average_precision_score(y, output)
        agree(np.isclose(own["roc_auc"], auc, **EXACT), comm)
        agree(np.isclose(own["average_precision"], ap, **EXACT), comm)
        probability = model.probability(output)
        if loss == "hinge":
            agree(own["log_loss"] is None and "hinge" in own["notes"][0], comm)
        else:
            expected = sk.log_loss(y, probability)
            agree(np.isclose(own["log_loss"], expected, rtol=1e-12), comm)
            agree(np.isclose(own["loss"], expected, rtol=1e-12), comm)
    source.close()


def test_a_class_without_test_rows_is_said(comm, folder, agree):
    header, X, y = problem(400, classes=3)
    order = np.argsort(y != 2, kind="stable")  # the last rows have no class 2
    data = written(comm, folder / "d.h5", header, X[order], y[order], 100)
    train(options(data, folder / "run", epochs=1, workers=2), comm=comm)
    comm.Barrier()
    found = evaluate(folder / "run", data, comm=comm)["test"]
    agree(found["classes"][2]["roc_auc"] is None, comm)
    agree(found["roc_auc"] is None and found["classes"][0]["roc_auc"] > 0, comm)
    agree("no rows (2)" in found["notes"][0], comm)
    json.dumps(found, allow_nan=False)


def test_curves_are_written_and_replace_nothing(comm, folder, agree):
    home, data = trained(comm, folder, 2, loss="log")
    out = folder / "curves.csv"
    found = evaluate(home, data, comm=comm, curves=out)
    comm.Barrier()
    rows = [line.split(",") for line in out.read_text().splitlines()[1:]]
    for split, metrics in found.items():
        points = [r for r in rows if r[0] == split and r[2] == "roc"]
        x, y = np.array([r[4:] for r in points], dtype=float).T
        agree(np.isclose(np.trapezoid(y, x), metrics["roc_auc"], rtol=1e-12), comm)
        agree({r[2] for r in rows} == {"roc", "precision_recall", "calibration"}, comm)
    for path in (out, data, home / "model.h5"):
        before = path.read_bytes()
        message = "exists already" if path == out else "is read from"
        with pytest.raises(UsageError, match=message):
            overwrite = path != out
            evaluate(home, data, comm=comm, curves=path, overwrite=overwrite)
        comm.Barrier()
        agree(path.read_bytes() == before, comm)
        comm.Barrier()
