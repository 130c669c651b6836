"""Kernels of linear models over compressed sparse rows.

X is the tuple (data, indices, indptr) of a `Csr`, without its width: numba compiles a
plain tuple of three arrays faster than the NamedTuple.

A row has entries in few columns, and a step changes few weights: what the penalties do
to all the others is postponed to the end of the call at the latest (`lazy_penalty`).
With rows in random order most time is spent waiting for memory, so that what a later
row needs is prefetched: first its bounds in `indptr`, some rows later its entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ...jit import compiled, compiled_without_refcounts, inlined
from . import lazy_penalty
from .dense import loss_derivative, loss_value, weigh
from .lazy_penalty import LazyPenalty
from .matmul import weighted_slopes_in_place
from .prefetch import PREFETCH_ROWS, prefetch

if TYPE_CHECKING:
    from ...array_types import FloatArray, IntArray
    from ..kernel_arguments import LossParams, PenaltyWeights, RunningMean, SgdSteps

    CsrArrays: TypeAlias = tuple[FloatArray, IntArray, IntArray]  # as in `Csr`
    SparseRow: TypeAlias = tuple[FloatArray, IntArray]  # values, columns


@compiled_without_refcounts
def prefetch_rows(X: CsrArrays, y: FloatArray, order: IntArray, k: int) -> None:
    """Prefetch what the rows some steps behind the k-th in this order need."""
    values, columns, indptr = X
    last = order.size - 1
    i = order[min(k + 2 * PREFETCH_ROWS, last)]
    prefetch(indptr, i, i + 1)
    prefetch(y, i, i + 1)
    i = order[min(k + PREFETCH_ROWS, last)]
    prefetch(values, indptr[i], indptr[i + 1])
    prefetch(columns, indptr[i], indptr[i + 1])


@compiled
def split_row(X: CsrArrays, i: int, n_unpenalised: int) -> tuple[SparseRow, SparseRow]:
    """Return the penalised entries of row i, and the others: values and columns."""
    values, columns, indptr = X
    lo, mid, hi = indptr[i], indptr[i + 1] - n_unpenalised, indptr[i + 1]
    return (values[lo:mid], columns[lo:mid]), (values[mid:hi], columns[mid:hi])


@compiled
def dot(w: FloatArray, x: SparseRow) -> float:
    """Return x · w."""
    values, columns = x
    total = w.dtype.type(0)
    for k in range(values.size):
        total += values[k] * w[columns[k]]
    return total


@compiled
def axpy(w: FloatArray, r: float, x: SparseRow) -> None:
    """w <- w + r x, in place."""
    values, columns = x
    r = w.dtype.type(r)
    for k in range(values.size):
        w[columns[k]] += r * values[k]


@compiled
def largest_batch(offsets: IntArray) -> int:
    """Return the number of rows of the largest step."""
    largest = 0
    for s in range(offsets.size - 1):
        largest = max(largest, offsets[s + 1] - offsets[s])
    return largest


@compiled
def gradient(
    w: FloatArray,
    X: CsrArrays,
    y: FloatArray,
    row_weights: FloatArray | None,
    rows: IntArray | None,
    out: FloatArray,
    loss: LossParams,
) -> float:
    """Write Σ l'(p) x over the rows (None: all) into `out`; return the loss sum."""
    total = 0.0
    out[:] = 0
    n = X[2].size - 1 if rows is None else rows.size
    for k in range(n):
        i = k
        if rows is not None:
            i = rows[k]
            prefetch_rows(X, y, rows, k)
        x, _ = split_row(X, i, 0)
        p = dot(w, x)
        total += weigh(loss_value(loss, p, y[i]), row_weights, i)
        axpy(out, weigh(loss_derivative(loss, p, y[i]), row_weights, i), x)
    return total


@compiled
def sgd_steps(
    w: FloatArray,
    X: CsrArrays,
    y: FloatArray,
    row_weights: FloatArray | None,
    steps: SgdSteps,
    penalty: PenaltyWeights,
    loss: LossParams,
    mean: RunningMean,
) -> None:
    """Take plain SGD steps on `w` in place, see `Linear.sgd_steps`.

    With a mean there must be no l1 penalty.
    """
    (_, offsets, _), (u, n_updates) = steps, mean
    slopes = np.empty(largest_batch(offsets))
    lazy = lazy_penalty.init_state(w.reshape(-1, 1), penalty)
    U = as_column(u)
    _sgd_steps(w, X, y, row_weights, steps, lazy, loss, slopes, U, n_updates)


@compiled
def as_column(u: FloatArray | None) -> FloatArray | None:
    """Return a vector as a matrix of one column; None as None."""
    return None if u is None else u.reshape(-1, 1)


# The entries are counted by unsigned numbers: for signed ones, compiled code tests
# whether they count from the end.
@inlined
def _dot_entries(v: FloatArray, values: FloatArray, columns: IntArray) -> float:
    """Return x · v for the row x with these values in these columns."""
    p = 0.0
    for e in range(np.uint64(values.size)):
        p += values[e] * v[columns[e]]
    return p


@inlined
def _axpy_entries(
    v: FloatArray,
    r: float,
    U: FloatArray | None,
    q: float,
    values: FloatArray,
    columns: IntArray,
) -> None:
    """v <- v + r x and, where there is a U, u <- u + q x."""
    for e in range(np.uint64(values.size)):
        v[columns[e]] += r * values[e]
        if U is not None:
            U[columns[e], 0] += q * values[e]


# All slopes of a step are computed before its first change of a weight.
#
# The sum of the iterates so far is scale_sum v - u: in each iterate w = s v, so that v
# counts as often as the factors s add up to. For the intercept, and without a penalty,
# that is the number of iterates.
@compiled_without_refcounts
def _sgd_steps(
    v: FloatArray,
    X: CsrArrays,
    y: FloatArray,
    row_weights: FloatArray | None,
    steps: SgdSteps,
    lazy: LazyPenalty,
    loss: LossParams,
    slopes: FloatArray,
    U: FloatArray | None,
    n_updates: int,
) -> None:
    order, offsets, rates = steps
    V = v.reshape(-1, 1)  # as the functions of lazy_penalty take it
    n_unpenalised, applied_l1 = lazy.n_unpenalised, lazy.applied_l1
    values, columns, indptr = X
    scale, cumulative_l1, scale_sum = 1.0, 0.0, float(max(0, n_updates))
    for s in range(rates.size):
        n = max(0, n_updates + s)
        batch = order[offsets[s] : offsets[s + 1]]
        for k in range(batch.size):
            prefetch_rows(X, y, order, offsets[s] + k)
            lo, hi = indptr[batch[k]], indptr[batch[k] + 1]
            mid = hi - n_unpenalised
            if applied_l1.size:
                lazy_penalty.apply_owed_l1(
                    V, columns[lo:mid], cumulative_l1, applied_l1
                )
            p = scale * _dot_entries(v, values[lo:mid], columns[lo:mid])
            p += _dot_entries(v, values[mid:hi], columns[mid:hi])
            i = batch[k]
            slopes[k] = weigh(loss_derivative(loss, p, y[i]), row_weights, i)
        now, next_scale, next_l1 = lazy_penalty.next_scale(
            lazy, scale, cumulative_l1, rates[s]
        )
        if now:
            lazy_penalty.rescale_now(
                V, U, lazy, rates[s], scale, cumulative_l1, scale_sum, n
            )
            scale_sum = float(n)
        scale, cumulative_l1 = next_scale, next_l1
        for k in range(batch.size):
            r = -rates[s] / batch.size * slopes[k]
            if r != 0.0:
                lo, mid = indptr[batch[k]], indptr[batch[k] + 1] - n_unpenalised
                q = r / scale
                _axpy_entries(v, q, U, scale_sum * q, values[lo:mid], columns[lo:mid])
                hi = mid + n_unpenalised
                _axpy_entries(v, r, U, n * r, values[mid:hi], columns[mid:hi])
        if n_updates + s >= 0:
            scale_sum += scale
    n = max(0, n_updates + rates.size)
    lazy_penalty.rebase(V, U, n_unpenalised, scale_sum, scale, n)
    lazy_penalty.materialize(V, n_unpenalised, scale, cumulative_l1, applied_l1)


@compiled
def add_outputs(W: FloatArray, x: SparseRow, z: FloatArray) -> None:
    """z <- z + x W, for `z` (C,)."""
    values, columns = x
    for k in range(values.size):
        for c in range(z.size):
            z[c] += values[k] * W[columns[k], c]


@compiled
def add_outer(W: FloatArray, r: float, x: SparseRow, z: FloatArray) -> None:
    """W <- W + r x zᵀ, in place."""
    values, columns = x
    r = W.dtype.type(r)
    for k in range(values.size):
        for c in range(z.size):
            W[columns[k], c] += r * values[k] * z[c]


@compiled
def outputs_gradient(
    W: FloatArray,
    X: CsrArrays,
    y: FloatArray,
    row_weights: FloatArray | None,
    rows: IntArray | None,
    G: FloatArray,
    loss: LossParams,
) -> float:
    """Write the gradient sum into `G` (width, C); return the loss sum.

    The C outputs are those of softmax, or each has a loss of its own.
    """
    total = 0.0
    G[:] = 0
    z = np.empty_like(W[0])
    n = X[2].size - 1 if rows is None else rows.size
    for k in range(n):
        i = k if rows is None else rows[k]
        x, _ = split_row(X, i, 0)
        z[:] = 0
        add_outputs(W, x, z)
        total += weighted_slopes_in_place(z, y, row_weights, i, loss)
        add_outer(G, 1.0, x, z)
    return total


@compiled
def softmax_sgd_steps(
    W: FloatArray,
    X: CsrArrays,
    y: IntArray,
    row_weights: FloatArray | None,
    steps: SgdSteps,
    penalty: PenaltyWeights,
    loss: LossParams,
    mean: RunningMean,
) -> None:
    """Take plain SGD steps of softmax regression, without a mean; `W` is (width, C).

    `mean` is not read: the parameters are those of `matmul`'s kernel.
    """
    _, offsets, _ = steps
    residuals = np.empty((largest_batch(offsets), W.shape[1]), W.dtype)
    lazy = lazy_penalty.init_state(W, penalty)
    _softmax_sgd_steps(W, X, y, row_weights, steps, lazy, loss, residuals)


@compiled
def _softmax_sgd_steps(
    W: FloatArray,
    X: CsrArrays,
    y: IntArray,
    row_weights: FloatArray | None,
    steps: SgdSteps,
    lazy: LazyPenalty,
    loss: LossParams,
    residuals: FloatArray,
) -> None:
    order, offsets, rates = steps
    n_unpenalised, applied_l1 = lazy.n_unpenalised, lazy.applied_l1
    scale, cumulative_l1 = 1.0, 0.0
    for s in range(rates.size):
        batch = order[offsets[s] : offsets[s + 1]]
        for k in range(batch.size):
            (x, rest), z = split_row(X, batch[k], n_unpenalised), residuals[k]
            lazy_penalty.apply_owed_l1(W, x[1], cumulative_l1, applied_l1)
            z[:] = 0
            add_outputs(W, x, z)
            z *= z.dtype.type(scale)
            add_outputs(W, rest, z)
            weighted_slopes_in_place(z, y, row_weights, batch[k], loss)
        now, next_scale, next_l1 = lazy_penalty.next_scale(
            lazy, scale, cumulative_l1, rates[s]
        )
        if now:
            lazy_penalty.rescale_now(
                W, None, lazy, rates[s], scale, cumulative_l1, 0.0, 0
            )
        scale, cumulative_l1 = next_scale, next_l1
        for k in range(batch.size):
            r = -rates[s] / batch.size
            x, rest = split_row(X, batch[k], n_unpenalised)
            add_outer(W, r / scale, x, residuals[k])
            add_outer(W, r, rest, residuals[k])
    lazy_penalty.materialize(W, n_unpenalised, scale, cumulative_l1, applied_l1)


@compiled
def product(X: CsrArrays, W: FloatArray, out: FloatArray) -> None:
    """Write X W into `out` (n, C) for `W` (width, C)."""
    w = W[:, 0].copy()
    for i in range(out.shape[0]):
        x, _ = split_row(X, i, 0)
        if w.size == W.size:
            out[i, 0] = dot(w, x)
        else:
            out[i] = 0
            add_outputs(W, x, out[i])
