"""Compiled passes of linear models over compressed sparse rows.

`X` is the tuple (data, indices, indptr). A row touches few weights, and so does a
step: what penalties do to all the others is kept in mind (see `lazy`), until the end of
the call. Rows in random order cost little but waiting for memory, so that what later
rows need is fetched ahead: where a row lies first, and then the row.
"""

import numpy as np

from . import lazy
from .kernels import AHEAD, compiled, prefetch, slope, softmax_residual, value


@compiled
def row(X, i):
    """Return the values of row i and the columns they stand in."""
    data, indices, indptr = X
    lo, hi = indptr[i], indptr[i + 1]
    return data[lo:hi], indices[lo:hi]


@compiled
def fetch(X, y, order, k):
    """Fetch ahead what comes some rows after the k-th in this order."""
    data, indices, indptr = X
    last = order.size - 1
    i = order[min(k + 2 * AHEAD, last)]
    prefetch(indptr, i, i + 1)
    prefetch(y, i, i + 1)
    i = order[min(k + AHEAD, last)]
    prefetch(data, indptr[i], indptr[i + 1])
    prefetch(indices, indptr[i], indptr[i + 1])


@compiled
def dot(w, x):
    """Return x · w."""
    values, columns = x
    total = w.dtype.type(0)
    for k in range(values.size):
        total += values[k] * w[columns[k]]
    return total


@compiled
def add(w, r, x):
    """w <- w + r x, in place."""
    values, columns = x
    r = w.dtype.type(r)
    whole = values.size - values.size % 4
    for k in range(0, whole, 4):
        # where to write is read first: a write might change it, for all one knows
        a, b, c, d = columns[k], columns[k + 1], columns[k + 2], columns[k + 3]
        w[a] += r * values[k]
        w[b] += r * values[k + 1]
        w[c] += r * values[k + 2]
        w[d] += r * values[k + 3]
    for k in range(whole, values.size):
        w[columns[k]] += r * values[k]


@compiled
def parted(x, free):
    """Return the entries of a row in penalised columns, and its last `free` ones."""
    values, columns = x
    n = values.size - free
    return (values[:n], columns[:n]), (values[n:], columns[n:])


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
            fetch(X, y, rows, k)
        x = row(X, i)
        p = dot(w, x)
        total += value(loss, p, y[i])
        add(out, slope(loss, p, y[i]), x)
    return total


@compiled
def descend(w, X, y, steps, strengths, loss):
    """Take plain SGD steps, as `kernels.descend`.

    All slopes of a step come before its first change of a weight.
    """
    (order, cuts, rates), (alpha, beta), V = steps, strengths, w.reshape(-1, 1)
    penalty, free, numbers, paid = lazy.begin(V, alpha, beta)
    slopes = np.empty(largest_batch(cuts))
    for s in range(rates.size):
        lo, hi = cuts[s], cuts[s + 1]
        for k in range(lo, hi):
            fetch(X, y, order, k)
            x, rest = parted(row(X, order[k]), free)
            if paid is not None:
                for c in x[1]:
                    lazy.pay(V, c, numbers, paid)
            p = numbers[0] * dot(w, x) + dot(w, rest)
            slopes[k - lo] = slope(loss, p, y[order[k]])
        lazy.shrink(V, penalty, free, numbers, paid, rates[s])
        for k in range(lo, hi):
            r = -rates[s] / (hi - lo) * slopes[k - lo]
            if r != 0.0:
                x, rest = parted(row(X, order[k]), free)
                add(w, r / numbers[0], x)
                add(w, r, rest)
    lazy.settle(V, free, numbers, paid)


@compiled
def scores(W, x, z):
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
def softmax_gradient(W, X, y, rows, G):
    """Write the gradient sum into `G` (width, C); return the loss sum."""
    total = 0.0
    G[:] = 0
    z = np.empty_like(W[0])
    n = X[2].size - 1 if rows is None else rows.size
    for k in range(n):
        i = k if rows is None else rows[k]
        x = row(X, i)
        z[:] = 0
        scores(W, x, z)
        total += softmax_residual(z, y[i])
        add_outer(G, 1.0, x, z)
    return total


@compiled
def softmax_descend(W, X, y, steps, strengths):
    """Take plain SGD steps of softmax regression; `W` is (width, C)."""
    (order, cuts, rates), (alpha, beta) = steps, strengths
    penalty, free, numbers, paid = lazy.begin(W, alpha, beta)
    residuals = np.empty((largest_batch(cuts), W.shape[1]), W.dtype)
    for s in range(rates.size):
        batch = order[cuts[s] : cuts[s + 1]]
        for k in range(batch.size):
            (x, rest), z = parted(row(X, batch[k]), free), residuals[k]
            for c in x[1]:
                lazy.pay(W, c, numbers, paid)
            z[:] = 0
            scores(W, x, z)
            z *= z.dtype.type(numbers[0])
            scores(W, rest, z)
            softmax_residual(z, y[batch[k]])
        lazy.shrink(W, penalty, free, numbers, paid, rates[s])
        for k in range(batch.size):
            r, (x, rest) = -rates[s] / batch.size, parted(row(X, batch[k]), free)
            add_outer(W, r / numbers[0], x, residuals[k])
            add_outer(W, r, rest, residuals[k])
    lazy.settle(W, free, numbers, paid)


@compiled
def product(X, W, out):
    """Write X W into `out` (n, C) for `W` (width, C)."""
    out[:] = 0
    for i in range(out.shape[0]):
        scores(W, row(X, i), out[i])
