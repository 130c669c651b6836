"""Compiled passes of linear models over compressed sparse rows.

`X` is the tuple (data, indices, indptr). A row touches few weights, and so does a
step: what penalties do to all the others is kept in mind (see `lazy`), until the end of
the call. Rows in random order cost little but waiting for memory, so that what later
rows need is fetched ahead: where a row lies first, and then the row.
"""

import numpy as np

from ...jit import compiled, compiled_without_refcounts, inlined
from . import lazy_penalty
from .dense import loss_derivative, loss_value
from .matmul import slopes_in_place, softmax_slope_in_place
from .prefetch import PREFETCH_ROWS, prefetch


@compiled_without_refcounts
def prefetch_rows(X, y, order, k):
    """Fetch ahead what comes some rows after the k-th in this order."""
    values, columns, indptr = X
    last = order.size - 1
    i = order[min(k + 2 * PREFETCH_ROWS, last)]
    prefetch(indptr, i, i + 1)
    prefetch(y, i, i + 1)
    i = order[min(k + PREFETCH_ROWS, last)]
    prefetch(values, indptr[i], indptr[i + 1])
    prefetch(columns, indptr[i], indptr[i + 1])


@compiled
def split_row(X, i, free):
    """Return values and columns of row i: of its penalised part, and of the rest."""
    values, columns, indptr = X
    lo, mid, hi = indptr[i], indptr[i + 1] - free, indptr[i + 1]
    return (values[lo:mid], columns[lo:mid]), (values[mid:hi], columns[mid:hi])


@compiled
def dot(w, x):
    """Return x · w."""
    values, columns = x
    total = w.dtype.type(0)
    for k in range(values.size):
        total += values[k] * w[columns[k]]
    return total


@compiled
def axpy(w, r, x):
    """w <- w + r x, in place."""
    values, columns = x
    r = w.dtype.type(r)
    for k in range(values.size):
        w[columns[k]] += r * values[k]


@compiled
def largest_batch(cuts):
    """Return the number of rows of the largest step."""
    most = 0
    for s in range(cuts.size - 1):
        most = max(most, cuts[s + 1] - cuts[s])
    return most


@compiled
def gradient(w, X, y, rows, out, loss):
    """Write Σ slope x over the rows (None: all) into `out`; return the loss sum."""
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
        total += loss_value(loss, p, y[i])
        axpy(out, loss_derivative(loss, p, y[i]), x)
    return total


@compiled
def descend(w, X, y, steps, strengths, loss, mean):
    """Take plain SGD steps, as `kernels.descend`.

    All slopes of a step come before its first change of a weight. With a mean there
    is no l1 penalty.
    """
    V, slopes = w.reshape(-1, 1), np.empty(largest_batch(steps[1]))
    state = lazy_penalty.init_state(V, *strengths)
    _descend(w, X, y, steps, loss, (V, state, slopes), column(mean[0]), mean[1])


@compiled
def column(u):
    """Return a vector as a matrix of one column; None as None."""
    return None if u is None else u.reshape(-1, 1)


@inlined
def _product(w, x, c):
    """Return x · w for the values x in the columns c."""
    p = 0.0
    for e in range(np.uint64(x.size)):
        p += x[e] * w[c[e]]
    return p


@inlined
def _change(w, U, factors, x, c):
    """Add a row, times each of two factors, to w and u."""
    for e in range(np.uint64(x.size)):
        w[c[e]] += factors[0] * x[e]
        if U is not None:
            U[c[e], 0] += factors[1] * x[e]


# Unsigned numbers of entries spare the question whether they count from the end. The
# sum of the iterates so far is `area` v - u, for v counts as often as the factors s of
# w = s v add up to; without a penalty, and for the intercept, `area` is their number.
@compiled_without_refcounts
def _descend(w, X, y, steps, loss, memory, U, before):
    (order, cuts, rates), (V, (penalty, free, paid), slopes) = steps, memory
    values, columns, indptr = X
    scale, owed, area = 1.0, 0.0, float(max(0, before))
    for s in range(rates.size):
        many = max(0, before + s)
        batch = order[cuts[s] : cuts[s + 1]]
        for k in range(batch.size):
            prefetch_rows(X, y, order, cuts[s] + k)
            lo, hi = indptr[batch[k]], indptr[batch[k] + 1]
            mid = hi - free
            if paid.size:
                lazy_penalty.apply_owed_l1(V, columns[lo:mid], owed, paid)
            p = scale * _product(w, values[lo:mid], columns[lo:mid])
            p += _product(w, values[mid:hi], columns[mid:hi])
            slopes[k] = loss_derivative(loss, p, y[batch[k]])
        now, after = lazy_penalty.next_scale(penalty, scale, owed, rates[s])
        if now:
            state = scale, owed, paid, area, many
            lazy_penalty.rescale_now(V, U, (penalty, rates[s]), free, state)
            area = float(many)
        scale, owed = after
        for k in range(batch.size):
            r = -rates[s] / batch.size * slopes[k]
            if r != 0.0:
                lo, mid = indptr[batch[k]], indptr[batch[k] + 1] - free
                q = r / scale
                _change(w, U, (q, area * q), values[lo:mid], columns[lo:mid])
                hi = mid + free
                _change(w, U, (r, many * r), values[mid:hi], columns[mid:hi])
        if before + s >= 0:
            area += scale
    lazy_penalty.rebase(V, U, free, area, (scale, max(0, before + rates.size)))
    lazy_penalty.materialize(V, free, scale, owed, paid)


@compiled
def add_outputs(W, x, z):
    """z <- z + x W, for `z` (C,)."""
    values, columns = x
    for k in range(values.size):
        for c in range(z.size):
            z[c] += values[k] * W[columns[k], c]


@compiled
def add_outer(W, r, x, z):
    """W <- W + r x zᵀ, in place."""
    values, columns = x
    r = W.dtype.type(r)
    for k in range(values.size):
        for c in range(z.size):
            W[columns[k], c] += r * values[k] * z[c]


@compiled
def outputs_gradient(W, X, y, rows, G, loss):
    """Write the gradient sum into `G` (width, C); return the loss sum.

    The C outputs are those of softmax, or each has the loss of its own.
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
        total += slopes_in_place(z, y[i], loss)
        add_outer(G, 1.0, x, z)
    return total


@compiled
def softmax_descend(W, X, y, steps, strengths, mean):
    """Take plain SGD steps of softmax regression, without a mean; `W` is (width, C)."""
    residuals = np.empty((largest_batch(steps[1]), W.shape[1]), W.dtype)
    _softmax_descend(
        X, y, steps, (W, lazy_penalty.init_state(W, *strengths), residuals)
    )


@compiled
def _softmax_descend(X, y, steps, memory):
    (order, cuts, rates), (W, (penalty, free, paid), residuals) = steps, memory
    scale, owed = 1.0, 0.0
    for s in range(rates.size):
        batch = order[cuts[s] : cuts[s + 1]]
        for k in range(batch.size):
            (x, rest), z = split_row(X, batch[k], free), residuals[k]
            lazy_penalty.apply_owed_l1(W, x[1], owed, paid)
            z[:] = 0
            add_outputs(W, x, z)
            z *= z.dtype.type(scale)
            add_outputs(W, rest, z)
            softmax_slope_in_place(z, y[batch[k]])
        now, after = lazy_penalty.next_scale(penalty, scale, owed, rates[s])
        if now:
            lazy_penalty.rescale_now(
                W, None, (penalty, rates[s]), free, (scale, owed, paid, 0.0, 0)
            )
        scale, owed = after
        for k in range(batch.size):
            r, (x, rest) = -rates[s] / batch.size, split_row(X, batch[k], free)
            add_outer(W, r / scale, x, residuals[k])
            add_outer(W, r, rest, residuals[k])
    lazy_penalty.materialize(W, free, scale, owed, paid)


@compiled
def product(X, W, out):
    """Write X W into `out` (n, C) for `W` (width, C)."""
    w = W[:, 0].copy()
    for i in range(out.shape[0]):
        x, _ = split_row(X, i, 0)
        if w.size == W.size:
            out[i, 0] = dot(w, x)
        else:
            out[i] = 0
            add_outputs(W, x, out[i])
