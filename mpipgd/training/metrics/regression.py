"""Metrics of regression: RMSE, MAE and R²."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import weights_or_ones

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray


@dataclass(frozen=True)
class RegressionSums:
    """Weighted sums over rows, a column per target: (k,) float64, but for `weight`.

    weight: Σ w; absolute: Σ w |p - y|; squared: Σ w (p - y)²; mean: that of y;
    variation: Σ w (y - mean)²; rows: those of weight above zero.
    """

    rows: int
    weight: float
    absolute: FloatArray
    squared: FloatArray
    mean: FloatArray
    variation: FloatArray

    def merge(self, other: RegressionSums) -> RegressionSums:
        """Return the sums over the rows of both (Chan, Golub & LeVeque 1983)."""
        a, b = self, other
        if not a.weight or not b.weight:
            return a if a.weight else b
        weight, delta = a.weight + b.weight, b.mean - a.mean
        return RegressionSums(
            a.rows + b.rows,
            weight,
            a.absolute + b.absolute,
            a.squared + b.squared,
            a.mean + delta * (b.weight / weight),
            a.variation + b.variation + delta**2 * (a.weight * b.weight / weight),
        )

    def metrics(self) -> dict[str, Any]:
        """Return rmse, mae and r2, as scikit-learn's, means over the targets.

        r2 is None where a target does not vary, as in a single row. Of several targets,
        `targets` has the same of each.
        """
        result: dict[str, Any] = {"rmse": None, "mae": None, "r2": None, "notes": []}
        if not self.weight:
            return result | {"notes": ["all weights are zero"]}
        result["rmse"] = float(np.sqrt(self.squared / self.weight).mean())
        result["mae"] = float(self.absolute.mean() / self.weight)
        if self.variation.all():
            result["r2"] = float((1 - self.squared / self.variation).mean())
        else:
            result["notes"].append("R² is not defined: the targets are all equal")
        finite = all(math.isfinite(result[key] or 0) for key in ("rmse", "mae", "r2"))
        if not finite:
            result |= dict.fromkeys(("rmse", "mae", "r2"))
            result["notes"].append("a prediction is not finite, or too large to square")
        if len(self.mean) > 1:
            result["targets"] = [self._of_target(k) for k in range(len(self.mean))]
        return result

    def _of_target(self, k: int) -> dict[str, float | None]:
        """Return the metrics of a target; None for one that is not finite."""
        squared, variation = float(self.squared[k]), float(self.variation[k])
        values = {
            "rmse": math.sqrt(squared / self.weight),
            "mae": float(self.absolute[k] / self.weight),
            "r2": 1 - squared / variation if variation else math.nan,
        }
        return {
            key: value if math.isfinite(value) else None
            for key, value in values.items()
        }


def regression_sums(
    y: Array, prediction: Array, weights: FloatArray | None = None
) -> RegressionSums:
    """Return the sums over rows of targets and predictions, (n,) or (n, k)."""
    y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    residual = np.asarray(prediction, dtype=np.float64).reshape(y.shape) - y
    w = weights_or_ones(weights, len(y))[:, None]
    weight = float(w.sum())
    mean = (w * y).sum(axis=0) / weight if weight else np.zeros(y.shape[1])
    with np.errstate(over="ignore"):
        squared = (w * residual**2).sum(axis=0)
    return RegressionSums(
        int(np.count_nonzero(w)),
        weight,
        (w * np.abs(residual)).sum(axis=0),
        squared,
        mean,
        (w * (y - mean) ** 2).sum(axis=0),
    )
