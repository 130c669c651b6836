"""Means and variances of the features, in parallel and in one pass."""

from functools import reduce

import numpy as np

from ..comm.reduction_tree import tree_allreduce_objects

BLOCK_ROWS = 4096


def moments(X):
    """Return rows, means and sums of squared deviations of the columns of X (n, d)."""
    mean = X.mean(axis=0, dtype=np.float64) if len(X) else np.zeros(X.shape[1])
    return len(X), mean, np.square(X - mean).sum(axis=0)


def merge(a, b):
    """Merge two sets of moments: Chan, Golub & LeVeque (1983), eq. 2.1.

    M = M_a + M_b + (m_b - m_a)² n_a n_b / n
    """
    (n_a, m_a, s_a), (n_b, m_b, s_b) = a, b
    if not n_a or not n_b:
        return a if n_a else b
    n, delta = n_a + n_b, m_b - m_a
    return n, m_a + delta * (n_b / n), s_a + s_b + delta**2 * (n_a * n_b / n)


def statistics(grid, part, width):
    """Return mean and deviation (width,) of the first columns over all workers' rows.

    Collective. A column that does not vary, but for rounding, gets a deviation of one.
    """
    items = [part_moments(part, i, width) for i in range(grid.n_local_workers)]
    return from_moments(grid, items, part.X.dtype)


def part_moments(part, i, width):
    """Return the moments of the i-th hosted worker's rows."""
    pieces = (of_worker(X[:, :width]) for X, _ in part.blocks(i))
    return reduce(merge, pieces, (0, 0.0, 0.0))


def from_moments(grid, items, dtype):
    """Return mean and deviation of the rows of which a rank has these moments."""
    n, mean, squares = tree_allreduce_objects(grid, items, merge)
    deviation = np.sqrt(squares / n)
    deviation[deviation <= 10 * np.finfo(dtype).eps * np.abs(mean)] = 1
    return mean, deviation


def of_worker(X):
    """Return the moments of one worker's rows, merged block by block."""
    blocks = [moments(X[i : i + BLOCK_ROWS]) for i in range(0, len(X), BLOCK_ROWS)]
    return reduce(merge, blocks, (0, 0.0, 0.0))


def standardize(X, mean, deviation):
    """Standardise the first columns of X in place: (X - mean) / deviation."""
    mean, deviation = mean.astype(X.dtype), deviation.astype(X.dtype)
    for i in range(0, len(X), BLOCK_ROWS):
        block = X[i : i + BLOCK_ROWS, : len(mean)]
        block -= mean
        block /= deviation
