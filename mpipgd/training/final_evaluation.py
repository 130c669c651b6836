"""What a finished model does on the test rows: the content of evaluation.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import inference

if TYPE_CHECKING:
    from ..array_types import Array, IntArray
    from ..comm.mpi import Comm
    from ..data.hdf5.header import Header
    from ..data.hdf5.source import Source
    from ..reporting.base import Confusion, Evaluation, PredictedTrue, Roc
    from .inference import Model
    from .metrics.curves import Curve

EVALUATED = ("test", "validation")  # the first of these splits that has rows
MAX_MATRIX_CLASSES = 26  # of a confusion matrix that fits on paper
MAX_CURVES = 12  # classes with a ROC curve
MAX_CONFUSED = 20  # the most frequent mistakes
MAX_TARGETS = 6  # with a sample of predictions
SAMPLE_ROWS = 2000  # of these samples
ROC_CELLS = 200  # of equal length on the way from (0, 0) to (1, 1): a point in each
METRICS = (
    *("rmse", "mae", "r2", "accuracy", "balanced_accuracy", "log_loss"),
    *("roc_auc", "average_precision"),
)


def evaluate_final(model: Model, source: Source, *, comm: Comm) -> Evaluation:
    """Return what is shown of a model's predictions, on all ranks; collective.

    In one pass over the test rows; over the validation rows where there are none;
    without either, nothing. The same on any number of ranks, and bounded in size.
    """
    split = next((name for name in EVALUATED if source.rows.get(name)), None)
    if split is None:
        return {}
    labels = model.header.classes
    sample = _Sample(comm, source.rows[split] if labels is None else 0)
    metrics = inference.evaluate_split(
        model, source, split, comm=comm, observer=sample, max_curves=MAX_CURVES
    )
    source.close()
    evaluation: dict[str, Any] = {
        "rows": metrics["rows"],
        "weighted": split in source.weighted,
        "metrics": {name: metrics[name] for name in METRICS if name in metrics},
        "notes": metrics["notes"],
    }
    if labels is None:
        evaluation["predicted_true"] = sample.predicted_true(model.header)
        if "targets" in metrics:
            evaluation["by_target"] = metrics["targets"][:MAX_MATRIX_CLASSES]
        return {split: evaluation}  # type: ignore[dict-item]
    evaluation |= {"classes": list(labels), "roc": sample.curves}
    confusion = metrics["confusion_matrix"]
    if len(labels) <= MAX_MATRIX_CLASSES:
        evaluation |= {"confusion": confusion, "by_class": metrics["classes"]}
    else:
        evaluation["confused"] = _most_confused(np.array(confusion), labels)
    return {split: evaluation}  # type: ignore[dict-item]


class _Sample(inference.SplitObserver):
    """ROC curves of few points, and predictions of some of n rows.

    The rows are a function of n alone.
    """

    def __init__(self, comm: Comm, n: int) -> None:
        self._comm = comm
        self.curves: list[Roc] = []
        self._chosen: IntArray = np.arange(n)
        if n > SAMPLE_ROWS:
            stream = np.random.default_rng(n)
            chosen = stream.choice(n, SAMPLE_ROWS, replace=False, shuffle=False)
            self._chosen = np.sort(chosen)
        # (first chosen row, (rows, targets, 2)), predictions before true values
        self._pairs: list[tuple[int, Array]] = []

    def predicted(self, first: int, y: Array, prediction: Array) -> None:
        """Keep the chosen rows."""
        lo, hi = np.searchsorted(self._chosen, [first, first + len(y)])
        if lo == hi:
            return
        rows = self._chosen[lo:hi] - first
        pair = [values[rows].reshape(len(rows), -1) for values in (prediction, y)]
        self._pairs.append((int(lo), np.stack(pair, axis=2)))

    def curve(self, label: Any, points: Curve) -> None:
        """Keep a point of each cell of the ROC curve; collective."""
        if points.auc is None:
            return
        local = _first_of_cells(
            np.stack([points.false_positives, points.true_positives], axis=1)
            / (points.negatives, points.positives)
        )
        of_ranks = np.concatenate(self._comm.allgather(local))
        xy = np.concatenate([[(0.0, 0.0)], _first_of_cells(of_ranks), [(1.0, 1.0)]])
        fpr, tpr = ([_rounded(value) for value in column] for column in xy.T)
        self.curves.append({"label": label, "fpr": fpr, "tpr": tpr, "auc": points.auc})

    def predicted_true(self, header: Header) -> list[PredictedTrue]:
        """Return the chosen rows of the first targets, on all ranks; collective."""
        names = header.targets or (header.target,)
        of_ranks = self._comm.allgather(self._pairs)
        blocks = sorted(
            (block for of_rank in of_ranks for block in of_rank),
            key=lambda block: block[0],
        )
        pairs = np.concatenate([values for _, values in blocks])
        return [
            {
                "target": name,
                "pairs": [list(map(_rounded, pair)) for pair in pairs[:, k]],
            }
            for k, name in enumerate(names[:MAX_TARGETS])
        ]


def _first_of_cells(xy: Array) -> Array:
    """Return the first point (x, y) of each cell of x + y; the points rise."""
    cell = np.floor(xy.sum(axis=1) * (ROC_CELLS / 2))
    return xy[np.diff(cell, prepend=-1.0) > 0]


def _rounded(value: float) -> float:
    """Return a number with the digits that a chart can show."""
    return float(f"{value:.6g}")


def _most_confused(matrix: Array, labels: tuple[Any, ...]) -> list[Confusion]:
    """Return the pairs of different classes that have the most rows."""
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MAX_CONFUSED]
    pairs = zip(*np.unravel_index(order, matrix.shape))
    return [
        {"true": labels[i], "predicted": labels[j], "rows": mistakes[i, j].item()}
        for i, j in pairs
        if mistakes[i, j] > 0
    ]
