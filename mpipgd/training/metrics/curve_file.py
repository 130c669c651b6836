"""A CSV file with the points of ROC, precision-recall and calibration curves."""

from __future__ import annotations

import contextlib
import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from ...atomic_file import atomic_replace
from ...errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .curves import Curve

HEADER = ("split", "class", "curve", "threshold", "x", "y")


class CurveFile(contextlib.ExitStack):
    """The file, on rank 0; it appears when it is complete.

    A point of the curve `roc` is (false positive rate, true positive rate), one of
    `precision_recall` (recall, precision), in falling order of the threshold; one of
    `calibration` (mean probability, share of the class), a bin with rows.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def __enter__(self) -> CurveFile:
        temporary = self.enter_context(atomic_replace(self.path, DataError))
        file = self.enter_context(open(temporary, "w", newline="", encoding="utf-8"))
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(HEADER)
        return self

    def write_points(
        self, split: str, label: Any, curve: Curve, parts: Sequence[Any], part: int
    ) -> None:
        """Write one of the parts of a class's points: (threshold, tp, fp).

        Curves are left out where the class or the rest has no rows.
        """
        threshold, tp, fp = parts[part]
        if not (curve.positives and curve.negatives):
            return
        tpr, fpr = tp / curve.positives, fp / curve.negatives
        precision = tp / (tp + fp)
        if part == 0:
            self._writer.writerow((split, label, "roc", "inf", 0.0, 0.0))
        for name, x, y in (
            ("roc", fpr, tpr),
            ("precision_recall", tpr, precision),
        ):
            points = np.stack([threshold, x, y], axis=1).tolist()
            self._writer.writerows((split, label, name, *point) for point in points)

    def write_calibration(
        self, split: str, label: Any, bins: Sequence[dict[str, float]]
    ) -> None:
        """Write the calibration curve of a class."""
        for row in bins:
            point = row["predicted"], row["observed"]
            self._writer.writerow((split, label, "calibration", "", *point))


class NullCurveFile(contextlib.nullcontext["NullCurveFile"]):
    """The null object of the other ranks: it writes nothing."""

    def __init__(self, path: str) -> None:
        super().__init__(self)

    def write_points(
        self, split: str, label: Any, curve: Curve, parts: None, part: int
    ) -> None:
        """Write nothing."""

    def write_calibration(
        self, split: str, label: Any, bins: Sequence[dict[str, float]]
    ) -> None:
        """Write nothing."""
