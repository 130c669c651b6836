"""Targets of rows with a weight for each row, and how the weights are normalised.

A weight multiplies its row's loss and gradient. Weights are brought to mean 1 over all
rows of their split once, so that every divisor stays a number of rows, and a weight
does not cancel in the divisor of its own batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from ..config.option import BALANCED, parse_class_weight
from ..errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import DTypeLike

    from ..array_types import Array, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class WeightedTargets:
    """Targets `y` (n,) and the weight of each row, `weights` (n,), indexed together."""

    y: Array
    weights: FloatArray

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: slice | IntArray) -> WeightedTargets:
        return WeightedTargets(self.y[rows], self.weights[rows])


Targets: TypeAlias = "Array | WeightedTargets"


def split_weights(targets: Targets) -> tuple[Array, FloatArray | None]:
    """Return y, and the weights of its rows, or None where all are 1."""
    if isinstance(targets, WeightedTargets):
        return targets.y, targets.weights
    return targets, None


def join_weights(y: Array, weights: FloatArray | None) -> Targets:
    """Return y with the weights of its rows; y alone for None."""
    return y if weights is None else WeightedTargets(y, weights)


class Weighting(NamedTuple):
    """How the weights of a split are made of those in its files: u = scale c_y w.

    class_factors  (C,) c, the weight of each class, or None for 1
    """

    scale: float = 1.0
    class_factors: FloatArray | None = None

    def apply(
        self, y: Array, weights: FloatArray | None, dtype: DTypeLike
    ) -> FloatArray:
        """Return u (n,) for y as in the files; None stands for weights of 1."""
        u = np.full(len(y), self.scale) if weights is None else self.scale * weights
        if self.class_factors is not None:
            u *= self.class_factors[y]
        return u.astype(dtype)


class WeightSums(NamedTuple):
    """Over some rows: their number, Σ w, and Σ w of each class (C,)."""

    n: int
    total: float
    of_classes: FloatArray

    def plus(self, other: WeightSums) -> WeightSums:
        """Return the sums over the rows of both."""
        return WeightSums(
            self.n + other.n,
            self.total + other.total,
            self.of_classes + other.of_classes,
        )


def weight_sums(y: Array, weights: FloatArray | None, n_classes: int) -> WeightSums:
    """Return the sums over rows with y as in the files; None: weights of 1."""
    of_classes = np.zeros(0)
    if n_classes:
        of_classes = np.bincount(y, weights, n_classes).astype(np.float64)
    total = float(len(y)) if weights is None else float(weights.sum())
    return WeightSums(len(y), total, of_classes)


def weighting_of(sums: WeightSums, class_factors: FloatArray | None) -> Weighting:
    """Return the weighting that gives all rows of a split, summed up, the mean 1."""
    total = sums.total
    if class_factors is not None:
        total = float(class_factors @ sums.of_classes)
        if total == 0:
            raise UsageError("--class-weight: no training row has a weight above 0")
    return Weighting(sums.n / total, class_factors)


def class_factors(
    option: str | None, classes: Sequence[Any] | None, sums: WeightSums
) -> FloatArray | None:
    """Return the weight of each class (C,) that --class-weight asks for, or None.

    "balanced" is Σ w / (C Σ_c w) over the training rows, as scikit-learn's
    `compute_class_weight`; a class without rows gets 0. "LABEL=NUMBER,…" gives those
    of some classes, 1 for the others. Raises UsageError.
    """
    if option is None:
        return None
    if classes is None:
        raise UsageError(
            f"--class-weight {option}: the task is regression, not classes"
        )
    if option == BALANCED:
        factors = np.zeros(len(classes))
        present = sums.of_classes > 0
        factors[present] = sums.total / (len(classes) * sums.of_classes[present])
        return factors
    factors, labels = np.ones(len(classes)), [str(label) for label in classes]
    for label, factor in parse_class_weight(option).items():
        if label not in labels:
            some = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
            raise UsageError(
                f"--class-weight {option}: no class {label!r}; the data has {some}"
            )
        factors[labels.index(label)] = factor
    return factors
