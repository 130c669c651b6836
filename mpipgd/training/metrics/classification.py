"""Metrics of classification: those of the confusion matrix, log-loss, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import ratio, weights_or_ones

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray, IntArray

BINS = 10  # of the calibration curve, of equal width


@dataclass(frozen=True)
class ClassificationSums:
    """Weighted sums over rows, of C classes.

    confusion (C, C): weights by true and predicted class; log_loss: Σ w (-log p_y), or
    None without probabilities; calibration (C, BINS, 3): per class and bin of its
    probability Σ w, Σ w p and the weights of the rows of the class, or None.
    """

    confusion: FloatArray
    log_loss: float | None
    calibration: FloatArray | None

    def merge(self, other: ClassificationSums) -> ClassificationSums:
        """Return the sums over the rows of both."""
        confusion = self.confusion + other.confusion
        if self.log_loss is None or self.calibration is None:
            return ClassificationSums(confusion, None, None)
        assert other.log_loss is not None and other.calibration is not None
        return ClassificationSums(
            confusion,
            self.log_loss + other.log_loss,
            self.calibration + other.calibration,
        )

    def metrics(self) -> dict[str, Any]:
        """Return the metrics, with scikit-learn's definitions.

        accuracy, balanced_accuracy (over the classes that have rows), log_loss,
        confusion_matrix, calibration (a list of bins for each class, empty ones left
        out), macro and weighted precision, recall and f1, and `classes`: these, and
        rows (their weight), of each class. What the model never predicts has precision
        0; a class without rows has None, and so have the macro means.
        """
        matrix = self.confusion
        true, predicted, hits = (
            matrix.sum(axis=1),
            matrix.sum(axis=0),
            matrix.diagonal(),
        )
        total = float(matrix.sum())
        classes = [_class_metrics(h, t, p) for h, t, p in zip(hits, true, predicted)]
        recalls = [row["recall"] for row in classes if row["recall"] is not None]
        result: dict[str, Any] = {
            "accuracy": ratio(hits.sum(), total),
            "balanced_accuracy": float(np.mean(recalls)) if recalls else None,
            "log_loss": None,
            "macro": _average(classes, np.ones(len(classes))),
            "weighted": _average(classes, true, skip_empty=True),
            "classes": classes,
            "confusion_matrix": _whole(matrix).tolist(),
            "calibration": None,
            "notes": [] if total else ["all weights are zero"],
        }
        if self.log_loss is not None and self.calibration is not None:
            result["log_loss"] = ratio(self.log_loss, total)
            result["calibration"] = [_bins(sums) for sums in self.calibration]
        return result


def classification_sums(
    y: IntArray,
    prediction: IntArray,
    probability: FloatArray | None,
    n_classes: int,
    weights: FloatArray | None = None,
) -> ClassificationSums:
    """Return the sums over rows of class indices (n,) and probabilities (n, C).

    As in scikit-learn, log-loss clips probabilities to the float64 epsilon.
    """
    w = weights_or_ones(weights, len(y))
    cells = n_classes * np.asarray(y, dtype=np.intp) + prediction
    confusion = np.bincount(cells, w, n_classes**2).reshape(n_classes, n_classes)
    if probability is None:
        return ClassificationSums(confusion, None, None)
    probability = probability.astype(np.float64)
    eps = np.finfo(np.float64).eps
    of_true_class = probability[np.arange(len(y)), y].clip(eps, 1 - eps)
    log_loss = float((w * -np.log(of_true_class)).sum())
    calibration = np.array(
        [_calibration(probability[:, c], y == c, w) for c in range(n_classes)]
    )
    return ClassificationSums(confusion, log_loss, calibration)


def _calibration(probability: FloatArray, positive: Array, w: FloatArray) -> Array:
    inner_edges = np.linspace(0, 1, BINS + 1)[1:-1]
    bins = np.searchsorted(inner_edges, probability)
    columns = (w, w * probability, w * positive)
    return np.stack([np.bincount(bins, c, BINS) for c in columns], axis=1)


def _bins(sums: FloatArray) -> list[dict[str, float]]:
    """Return the bins of a class that have rows."""
    return [
        {
            "rows": float(weight),
            "predicted": float(predicted / weight),
            "observed": float(positive / weight),
        }
        for weight, predicted, positive in sums
        if weight
    ]


def _class_metrics(hits: float, true: float, predicted: float) -> dict[str, Any]:
    rows = int(true) if true == int(true) else float(true)
    if not true:
        return {"rows": rows, "precision": None, "recall": None, "f1": None}
    return {
        "rows": rows,
        "precision": ratio(hits, predicted) or 0.0,
        "recall": float(hits / true),
        "f1": float(2 * hits / (true + predicted)),
    }


def _average(
    classes: list[dict[str, Any]], weights: FloatArray, *, skip_empty: bool = False
) -> dict[str, float | None]:
    """Return the weighted means over the classes; None where one of them is None."""
    result: dict[str, float | None] = {}
    for name in ("precision", "recall", "f1"):
        pairs = [(row[name], w) for row, w in zip(classes, weights)]
        if skip_empty:
            pairs = [(value, w) for value, w in pairs if w]
        if not pairs or any(value is None for value, _ in pairs):
            result[name] = None
        else:
            values, of_values = zip(*pairs)
            result[name] = float(np.average(values, weights=of_values))
    return result


def _whole(matrix: FloatArray) -> Array:
    """Return a matrix of whole numbers as integers, another one as it is."""
    whole = matrix.astype(np.int64)
    return whole if (whole == matrix).all() else matrix
