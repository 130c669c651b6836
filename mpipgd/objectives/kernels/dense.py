"""Kernels of linear models with one output over dense rows: X is read once.

Each row's dot product with the weights, its loss and its part of the gradient follow
one another while the row is in the nearest cache.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...jit import compiled
from ..losses import LOSS_IDS
from .prefetch import PREFETCH_ROWS, prefetch_ahead, prefetch_row
from .simd import axpy, dot

if TYPE_CHECKING:
    from ...array_types import ByteArray, FloatArray, IntArray
    from ..kernel_arguments import LossParams, PenaltyWeights, RunningMean, SgdSteps

SQUARED, HUBER, LOG = LOSS_IDS["squared"], LOSS_IDS["huber"], LOSS_IDS["log"]
HINGE = LOSS_IDS["hinge"]


@compiled
def loss_value(loss: LossParams, p: float, y: float) -> float:
    """Return the loss of one row with raw output `p` and target `y`."""
    loss_id, epsilon = loss
    if loss_id == SQUARED:
        return 0.5 * (p - y) * (p - y)
    if loss_id == HUBER:
        r = abs(p - y)
        return 0.5 * r * r if r <= epsilon else epsilon * (r - 0.5 * epsilon)
    if loss_id == LOG:
        return max(0.0, -y * p) + math.log1p(math.exp(-abs(p)))
    if loss_id == HINGE:
        return max(0.0, 1.0 - y * p)
    return max(0.0, 1.0 - y * p) ** 2


@compiled
def loss_derivative(loss: LossParams, p: float, y: float) -> float:
    """Return the derivative of `loss_value` in `p`."""
    loss_id, epsilon = loss
    if loss_id == SQUARED:
        return p - y
    if loss_id == HUBER:
        return min(max(p - y, -epsilon), epsilon)
    if loss_id == LOG:
        e = math.exp(-abs(p))
        return -y * (e if y * p > 0 else 1.0) / (1.0 + e)
    if loss_id == HINGE:
        return -y if y * p <= 1.0 else 0.0
    return -2.0 * y * max(0.0, 1.0 - y * p)


@compiled
def weigh(value: float, row_weights: FloatArray | None, i: int) -> float:
    """Return the loss or slope of row i times its weight; None: weights of 1."""
    if row_weights is None:
        return value
    return row_weights[i] * value


@compiled
def soft_threshold(v: float, threshold: float) -> float:
    """Return sign(v) max(0, |v| - threshold), or NaN for NaN."""
    if v > threshold:
        return v - threshold
    if v < -threshold:
        return v + threshold
    return v - v


@compiled
def proximal_step(
    w: FloatArray,
    g: FloatArray,
    scale: float,
    rate: float,
    l2: FloatArray | None,
    l1: FloatArray | None,
    u: FloatArray | None,
    k: int,
) -> None:
    """w <- soft_threshold(w - rate (scale g + l2 w), rate l1), in place.

    Unless u is None, k times the change of w is added to it. What may be None is an
    argument of its own, for only then numba removes the branches that do not apply.
    """
    scale, rate = w.dtype.type(scale), w.dtype.type(rate)
    k = w.dtype.type(k)
    for j in range(w.size):
        step = scale * g[j]
        if l2 is not None:
            step += l2[j] * w[j]
        v = w[j] - rate * step
        if l1 is not None:
            v = soft_threshold(v, rate * l1[j])
        if u is not None:
            u[j] += k * (v - w[j])
        w[j] = v


@compiled
def axpy_step(
    w: FloatArray, r: float, X: FloatArray, i: int, u: FloatArray | None, k: int
) -> None:
    """w <- w + r x for row i of X: `proximal_step` without penalties."""
    axpy(w, r, X, i)
    if u is not None:
        axpy(u, k * r, X, i)


@compiled
def gradient(
    w: FloatArray,
    X: FloatArray,
    y: FloatArray,
    row_weights: FloatArray | None,
    rows: IntArray | None,
    out: FloatArray,
    loss: LossParams,
) -> float:
    """Write Σ u l'(p) x over the rows (None: all) into `out`; return the loss sum.

    `row_weights` are u (n,), or None for 1: numba then compiles their product away.
    """
    total = 0.0
    out[:] = 0
    n = X.shape[0] if rows is None else rows.size
    for k in range(n):
        i = k if rows is None else rows[k]
        p = dot(w, X, i)
        if rows is None:  # between the two uses of the row, which is in cache now
            prefetch_ahead(X, i)
        else:
            prefetch_row(X, y, rows[min(k + PREFETCH_ROWS, n - 1)])
        total += weigh(loss_value(loss, p, y[i]), row_weights, i)
        axpy(out, weigh(loss_derivative(loss, p, y[i]), row_weights, i), X, i)
    return total


@compiled
def mapped_gradient(
    w: FloatArray,
    data: ByteArray,
    spans: IntArray,
    y: FloatArray,
    row_weights: FloatArray | None,
    scaling: tuple[FloatArray, FloatArray],
    out: FloatArray,
    loss: LossParams,
) -> float:
    """Add Σ l'(p) x over rows read from a mapped file to `out`; return the loss sum.

    `data` and `spans` are a segment of `MappedRows`. `w` and `out` (d or d + 1,) belong
    to rows standardised by `scaling` = (mean, deviation), with a last column of ones
    where there is a last weight. Rows are not standardised in memory: with
    u = w / deviation, x · w = (raw - mean) · u.
    """
    total, k = 0.0, 0
    mean, deviation = scaling
    u, g, d = w[: mean.size] / deviation, np.zeros_like(mean), mean.size
    intercept, intercept_grad = w[d:].sum(), 0.0
    for s in range(len(spans)):
        start, n_rows = spans[s]
        n_bytes = n_rows * d * w.itemsize
        X = data[start : start + n_bytes].view(w.dtype).reshape(n_rows, d)
        for i in range(n_rows):
            p = dot(u, X, i, mean) + intercept
            prefetch_ahead(X, i)
            total += weigh(loss_value(loss, p, y[k]), row_weights, k)
            r = weigh(loss_derivative(loss, p, y[k]), row_weights, k)
            axpy(g, r, X, i, mean)
            intercept_grad += r
            k += 1
    out[:d] += g / deviation
    out[d:] += out.dtype.type(intercept_grad)
    return total


@compiled
def sgd_steps(
    w: FloatArray,
    X: FloatArray,
    y: FloatArray,
    row_weights: FloatArray | None,
    steps: SgdSteps,
    penalty: PenaltyWeights,
    loss: LossParams,
    mean: RunningMean,
) -> None:
    """Take plain SGD steps on `w` in place, see `Linear.sgd_steps`.

    A step of one row needs no gradient vector: its row, scaled, is the gradient.
    """
    (order, offsets, rates), (l2, l1) = steps, penalty
    u, n_updates = mean
    g = np.empty_like(w)
    for s in range(rates.size):
        lo, hi = offsets[s], offsets[s + 1]
        k = max(0, n_updates + s)
        if hi - lo == 1:
            i = order[lo]
            prefetch_row(X, y, order[min(lo + PREFETCH_ROWS, order.size - 1)])
            r = loss_derivative(loss, dot(w, X, i), y[i])
            r = weigh(r, row_weights, i)
            if l2 is None and l1 is None:
                axpy_step(w, -rates[s] * r, X, i, u, k)
            else:
                proximal_step(w, X[i], r, rates[s], l2, l1, u, k)
            continue
        g[:] = 0
        for position in range(lo, hi):
            i = order[position]
            prefetch_row(X, y, order[min(position + PREFETCH_ROWS, order.size - 1)])
            r = loss_derivative(loss, dot(w, X, i), y[i])
            axpy(g, weigh(r, row_weights, i), X, i)
        scale = 1.0 / max(1, hi - lo)
        proximal_step(w, g, scale, rates[s], l2, l1, u, k)
