"""Compiled passes of linear models over compressed sparse rows.

`X` is the tuple (data, indices, indptr). A row touches few weights, so a step
without penalty touches only those. Penalties move every weight at every step:
folding them into one running scale (Bottou 2010) would make the bits depend on where
a run of steps is cut, and a resumed run differ from an unbroken one.
"""

import numpy as np

from .kernels import compiled, slope, soft, softmax_residual, value


@compiled
def row(X, i):
    """Return the values of row i and the columns they stand in."""
    data, indices, indptr = X
    lo, hi = indptr[i], indptr[i + 1]
    return data[lo:hi], indices[lo:hi]


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
    for k in range(values.size):
        w[columns[k]] += r * values[k]


@compiled
def shrink(w, rate, alpha):
    """w <- w - rate alpha w, in place; nothing where alpha is None."""
    if alpha is not None:
        rate = w.dtype.type(rate)
        for j in range(w.size):
            w[j] -= rate * alpha[j] * w[j]


@compiled
def threshold(w, rate, beta):
    """w <- soft(w, rate beta), in place; nothing where beta is None."""
    if beta is not None:
        rate = w.dtype.type(rate)
        for j in range(w.size):
            w[j] = soft(w[j], rate * beta[j])


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
        i = k if rows is None else rows[k]
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
    (order, cuts, rates), (alpha, beta) = steps, strengths
    slopes = np.empty(largest_batch(cuts))
    for s in range(rates.size):
        batch = order[cuts[s] : cuts[s + 1]]
        for k in range(batch.size):
            i = batch[k]
            slopes[k] = slope(loss, dot(w, row(X, i)), y[i])
        shrink(w, rates[s], alpha)
        for k in range(batch.size):
            add(w, -rates[s] / batch.size * slopes[k], row(X, batch[k]))
        threshold(w, rates[s], beta)


@compiled
def scores(W, x, z):
    """Write x W into `z` (C,)."""
    values, columns = x
    z[:] = 0
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
        scores(W, x, z)
        total += softmax_residual(z, y[i])
        add_outer(G, 1.0, x, z)
    return total


@compiled
def softmax_descend(W, X, y, steps, strengths):
    """Take plain SGD steps of softmax regression; `W` is (width, C)."""
    (order, cuts, rates), (alpha, beta) = steps, strengths
    w = W.reshape(-1)
    residuals = np.empty((largest_batch(cuts), W.shape[1]), W.dtype)
    for s in range(rates.size):
        batch = order[cuts[s] : cuts[s + 1]]
        for k in range(batch.size):
            scores(W, row(X, batch[k]), residuals[k])
            softmax_residual(residuals[k], y[batch[k]])
        shrink(w, rates[s], alpha)
        for k in range(batch.size):
            add_outer(W, -rates[s] / batch.size, row(X, batch[k]), residuals[k])
        threshold(w, rates[s], beta)


@compiled
def product(X, W, out):
    """Write X W into `out` (n, C) for `W` (width, C)."""
    for i in range(out.shape[0]):
        scores(W, row(X, i), out[i])
