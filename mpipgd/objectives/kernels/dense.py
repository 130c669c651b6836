"""Compiled passes of linear models over dense rows: one read of X for everything.

Imported only where a compiled objective is used, for numba takes its time. A loss is
the tuple (number in `CODES`, epsilon), so that one compilation, kept on disk, serves
all of them, and arguments come in tuples by what they are about.
"""

import math

import numpy as np

from ...jit import compiled
from ..losses import LOSS_IDS
from .prefetch import PREFETCH_ROWS, prefetch_ahead, prefetch_row
from .simd import axpy, dot

SQUARED, HUBER, LOG = LOSS_IDS["squared"], LOSS_IDS["huber"], LOSS_IDS["log"]
HINGE = LOSS_IDS["hinge"]


@compiled
def loss_value(loss, p, y):
    """Return the loss of one row, of raw output `p` and target `y`."""
    code, epsilon = loss
    if code == SQUARED:
        return 0.5 * (p - y) * (p - y)
    if code == HUBER:
        r = abs(p - y)
        return 0.5 * r * r if r <= epsilon else epsilon * (r - 0.5 * epsilon)
    if code == LOG:
        return max(0.0, -y * p) + math.log1p(math.exp(-abs(p)))
    if code == HINGE:
        return max(0.0, 1.0 - y * p)
    return max(0.0, 1.0 - y * p) ** 2


@compiled
def loss_derivative(loss, p, y):
    """Return the derivative of `value` in `p`."""
    code, epsilon = loss
    if code == SQUARED:
        return p - y
    if code == HUBER:
        return min(max(p - y, -epsilon), epsilon)
    if code == LOG:
        e = math.exp(-abs(p))
        return -y * (e if y * p > 0 else 1.0) / (1.0 + e)
    if code == HINGE:
        return -y if y * p <= 1.0 else 0.0
    return -2.0 * y * max(0.0, 1.0 - y * p)


@compiled
def soft_threshold(v, threshold):
    """Return v moved towards 0 by `threshold`, and no further than 0."""
    if v > threshold:
        return v - threshold
    if v < -threshold:
        return v + threshold
    return v - v


@compiled
def proximal_step(w, g, scale, rate, strengths, mean):
    """w <- soft(w - rate (scale g + alpha w), rate beta), in place.

    `strengths` are (alpha, beta), either of them None or one per weight. `mean` is
    (u, k): k times the change of w is added to u, unless that is None.
    """
    _move(w, g, (scale, rate), *strengths, *mean)


@compiled
def _move(w, g, factors, alpha, beta, u, k):
    scale, rate = w.dtype.type(factors[0]), w.dtype.type(factors[1])
    k = w.dtype.type(k)
    for j in range(w.size):
        step = scale * g[j]
        if alpha is not None:
            step += alpha[j] * w[j]
        v = w[j] - rate * step
        if beta is not None:
            v = soft_threshold(v, rate * beta[j])
        if u is not None:
            u[j] += k * (v - w[j])
        w[j] = v


@compiled
def axpy_step(w, r, X, i, u, k):
    """w <- w + r x for row i of X, as `move` without penalties."""
    axpy(w, r, X, i)
    if u is not None:
        axpy(u, k * r, X, i)


@compiled
def gradient(w, X, y, rows, out, loss):
    """Write Σ slope x over the rows (None: all) into `out`; return the loss sum."""
    total = 0.0
    out[:] = 0
    n = X.shape[0] if rows is None else rows.size
    for k in range(n):
        i = k if rows is None else rows[k]
        p = dot(w, X, i)
        if rows is None:  # while the row, now near, is used once more
            prefetch_ahead(X, i)
        else:
            prefetch_row(X, y, rows[min(k + PREFETCH_ROWS, n - 1)])
        total += loss_value(loss, p, y[i])
        axpy(out, loss_derivative(loss, p, y[i]), X, i)
    return total


@compiled
def stored_gradient(w, segment, y, scaling, out, loss):
    """Add Σ slope x over rows as they are stored to `out`; return the loss sum.

    segment: (bytes, spans). `w` and `out` (d or d + 1,) are those of rows that are
    standardised by `scaling`, (mean, deviation), with a last column of ones
    where they have a last weight. With u = w / deviation, x · w is (x - mean) · u.
    """
    (data, spans), total, k = segment, 0.0, 0
    mean, deviation = scaling
    u, g, d = w[: mean.size] / deviation, np.zeros_like(mean), mean.size
    last, lasting = w[d:].sum(), 0.0
    for s in range(len(spans)):
        at, rows = spans[s]
        size = rows * d * w.itemsize
        X = data[at : at + size].view(w.dtype).reshape(rows, d)
        for i in range(rows):
            p = dot(u, X, i, mean) + last
            prefetch_ahead(X, i)
            total += loss_value(loss, p, y[k])
            r = loss_derivative(loss, p, y[k])
            axpy(g, r, X, i, mean)
            lasting += r
            k += 1
    out[:d] += g / deviation
    out[d:] += out.dtype.type(lasting)
    return total


@compiled
def descend(w, X, y, steps, strengths, loss, mean):
    """Take plain SGD steps: step s reads the rows order[cuts[s]:cuts[s + 1]].

    `steps` is (order, cuts, rates), `strengths` (alpha, beta), either of them None;
    `mean` as in `Linear.descend`.
    A step of one row needs no gradient vector: its row, scaled, is the gradient.
    """
    (order, cuts, rates), (alpha, beta), (u, before) = steps, strengths, mean
    g = np.empty_like(w)
    for s in range(rates.size):
        lo, hi = cuts[s], cuts[s + 1]
        if hi - lo == 1:
            i = order[lo]
            prefetch_row(X, y, order[min(lo + PREFETCH_ROWS, order.size - 1)])
            r = loss_derivative(loss, dot(w, X, i), y[i])
            if alpha is None and beta is None:
                axpy_step(w, -rates[s] * r, X, i, u, max(0, before + s))
            else:
                proximal_step(w, X[i], r, rates[s], strengths, (u, max(0, before + s)))
            continue
        g[:] = 0
        for k in range(lo, hi):
            i = order[k]
            prefetch_row(X, y, order[min(k + PREFETCH_ROWS, order.size - 1)])
            axpy(g, loss_derivative(loss, dot(w, X, i), y[i]), X, i)
        scale = 1.0 / max(1, hi - lo)
        proximal_step(w, g, scale, rates[s], strengths, (u, max(0, before + s)))
