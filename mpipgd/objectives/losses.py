"""Losses of linear models: value and slope in the raw output, in one table.

A value and a slope are computed from raw outputs `p`, targets `y` and `epsilon` (which
only huber reads), for all rows at once: p (n,), y (n,) as float, ±1 for two classes;
for softmax p (n, C) and y (n,) as class indices. This is the readable reference;
`kernels.dense` and `kernels.matmul` hold the same formulas for one row at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..array_types import Array, FloatArray, IntArray
from ..errors import DataError


class Loss(NamedTuple):
    """A loss.

    `value` (n,) and `slope`, its derivative in the raw outputs (as p), are called with
    (p, y, epsilon). `task` is regression, binary or multiclass; `smooth` says whether
    the loss is continuously differentiable. `quadratic`: loss(s p, s y, s epsilon) is
    s² loss(p, y, epsilon), so that the target can be standardised.
    """

    value: Callable[..., FloatArray]
    slope: Callable[..., FloatArray]
    task: str
    smooth: bool = True
    quadratic: bool = False


def squared_value(p: FloatArray, y: Array, epsilon: float | None = None) -> FloatArray:
    """Return ½ (p - y)²."""
    return 0.5 * np.square(p - y)


def squared_slope(p: FloatArray, y: Array, epsilon: float | None = None) -> FloatArray:
    """Return p - y."""
    return p - y


def huber_value(p: FloatArray, y: FloatArray, epsilon: float) -> FloatArray:
    """Return ½ r², r = p - y, or epsilon |r| - ½ epsilon² where |r| > epsilon."""
    r = np.abs(p - y)
    return np.where(r <= epsilon, 0.5 * r * r, epsilon * (r - 0.5 * epsilon))


def huber_slope(p: FloatArray, y: FloatArray, epsilon: float) -> FloatArray:
    """Return p - y, clipped to ±epsilon."""
    return np.clip(p - y, -epsilon, epsilon)


def log_value(p: FloatArray, y: Array, epsilon: float | None = None) -> FloatArray:
    """Return log(1 + exp(-y p))."""
    return np.logaddexp(0, -y * p)


def log_slope(p: FloatArray, y: Array, epsilon: float | None = None) -> FloatArray:
    """Return -y / (1 + exp(y p)), which neither overflows nor loses small values."""
    return -y * np.exp(-np.logaddexp(0, y * p))


def hinge_value(p: FloatArray, y: Array, epsilon: float | None = None) -> FloatArray:
    """Return max(0, 1 - y p)."""
    return np.maximum(0, 1 - y * p)


def hinge_slope(p: FloatArray, y: Array, epsilon: float | None = None) -> FloatArray:
    """Return -y where y p ≤ 1, else 0: the subgradient scikit-learn takes."""
    return np.where(y * p <= 1, -y, 0)


def squared_hinge_value(
    p: FloatArray, y: Array, epsilon: float | None = None
) -> FloatArray:
    """Return max(0, 1 - y p)²."""
    return np.square(np.maximum(0, 1 - y * p))


def squared_hinge_slope(
    p: FloatArray, y: Array, epsilon: float | None = None
) -> FloatArray:
    """Return -2 y max(0, 1 - y p)."""
    return -2 * y * np.maximum(0, 1 - y * p)


def softmax_value(p: FloatArray, y: Array, epsilon: float | None = None) -> FloatArray:
    """Return log Σ_c exp p_c - p_y."""
    top = p.max(axis=1)
    total = np.exp(p - top[:, None]).sum(axis=1)
    return np.log(total) + top - p[np.arange(y.size), y]


def softmax_slope(p: FloatArray, y: Array, epsilon: float | None = None) -> FloatArray:
    """Return the probabilities less one at the class of each row."""
    r = probabilities(p)
    r[np.arange(y.size), y] -= 1
    return r


def probabilities(p: FloatArray) -> FloatArray:
    """Return exp p_c / Σ_k exp p_k for each row of p (n, C)."""
    e = np.exp(p - p.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


LOSSES = {
    "squared": Loss(squared_value, squared_slope, "regression", quadratic=True),
    "huber": Loss(huber_value, huber_slope, "regression", quadratic=True),
    "log": Loss(log_value, log_slope, "binary"),
    "hinge": Loss(hinge_value, hinge_slope, "binary", smooth=False),
    "squared_hinge": Loss(squared_hinge_value, squared_hinge_slope, "binary"),
    "softmax": Loss(softmax_value, softmax_slope, "multiclass"),
}

# The losses that have compiled kernels, by the numbers that these know them by. Never
# change a number: numba's cache on disk keeps kernels that were compiled with it.
LOSS_IDS = {
    "squared": 0,
    "huber": 1,
    "log": 2,
    "hinge": 3,
    "squared_hinge": 4,
    "softmax": 5,
}


def class_indices(y: Array, n_classes: int) -> IntArray:
    """Return y (n,) as class indices; DataError where one is not in 0 … n_classes-1."""
    y = np.asarray(y)
    invalid = (y < 0) | (y >= n_classes) | (y != np.floor(y))
    if invalid.any():
        raise DataError(
            f"y holds the class {y[invalid][0]}; the model has {n_classes} classes, "
            f"numbered 0 to {n_classes - 1}"
        )
    return y.astype(np.intp)


def standardized(y: Array, mean: float, deviation: float, dtype: DTypeLike) -> Array:
    """Return (y - mean) / deviation, (n,) of `dtype`, computed in float64."""
    if mean == 0 and deviation == 1:
        return np.ascontiguousarray(y, dtype=dtype)
    return ((np.asarray(y, np.float64) - mean) / deviation).astype(dtype)
