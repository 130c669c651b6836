"""Rows of features, dense or sparse: take some, cut some, multiply by weights.

A dense X is an array (n, width); a sparse one is a `Csr`. The intercept is a last
column of ones in either, so that nothing further down knows of an intercept.
"""

from typing import NamedTuple

import numpy as np


class Csr(NamedTuple):
    """Compressed sparse rows: row i holds `data[indptr[i]:indptr[i + 1]]`.

    `indices` (nnz,) are the columns of `data` (nnz,); `width` is how many there are.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    width: int


class MappedRows(NamedTuple):
    """Dense rows as they lie in files: segments (bytes, spans).

    bytes: uint8, read-only; spans (k, 2): where a block of rows begins, and how many
    these are. Features, of the type of `scaling`, are yet to be standardised by that,
    (mean, deviation); then a column of ones follows where the objective wants one.
    """

    segments: list
    scaling: tuple


def index_type(width):
    """Return the smallest type of column numbers: less to read, and never negative."""
    return np.dtype(np.uint16 if width <= 1 << 16 else np.uint32)


def n_rows(X):
    """Return the number of rows of a dense or sparse X."""
    return X.indptr.size - 1 if isinstance(X, Csr) else X.shape[0]


def width(X):
    """Return the number of columns of a dense or sparse X."""
    return X.width if isinstance(X, Csr) else X.shape[1]


def take_rows(X, rows):
    """Return a copy of the rows of X numbered `rows`, in that order."""
    if not isinstance(X, Csr):
        return np.take(X, rows, axis=0)
    lo = X.indptr[rows]
    counts = X.indptr[1:][rows] - lo
    indptr = np.zeros(len(rows) + 1, dtype=X.indptr.dtype)
    np.cumsum(counts, out=indptr[1:])
    entries = np.arange(indptr[-1]) + np.repeat(lo - indptr[:-1], counts)
    return Csr(X.data[entries], X.indices[entries], indptr, X.width)


def slice_rows(X, lo, hi):
    """Return rows `lo` to `hi` - 1 of X, without copying the features."""
    if not isinstance(X, Csr):
        return X[lo:hi]
    entries = slice(X.indptr[lo], X.indptr[hi])
    indptr = X.indptr[lo : hi + 1] - X.indptr[lo]
    return Csr(X.data[entries], X.indices[entries], indptr, X.width)


def stack(blocks, width, dtype):
    """Return the rows of several Csr blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(block.data) for block in blocks)])
    indptrs = [block.indptr[1:] + start for block, start in zip(blocks, starts)]
    return Csr(
        np.concatenate([np.empty(0, dtype), *(b.data for b in blocks)]),
        np.concatenate([np.empty(0, np.int32), *(b.indices for b in blocks)]),
        np.concatenate([np.zeros(1, np.int64), *indptrs]),
        width,
    )


def to_objective_format(X, objective):
    """Return a Csr as the objective and its kernels want it, with a column of ones."""
    X = X._replace(data=X.data.astype(objective.dtype, copy=False))
    X = append_intercept(X) if objective.intercept else X
    return X._replace(indices=X.indices.astype(index_type(X.width), copy=False))


def append_intercept(X):
    """Return X with a last column of ones: the input that the intercept weighs."""
    if not isinstance(X, Csr):
        return np.concatenate([X, np.ones((X.shape[0], 1), X.dtype)], axis=1)
    ends = X.indptr[1:]
    indptr = X.indptr + np.arange(X.indptr.size, dtype=X.indptr.dtype)
    data, indices = np.insert(X.data, ends, 1), np.insert(X.indices, ends, X.width)
    return Csr(data, indices, indptr, X.width + 1)


def product(X, w):
    """Return X w, (n,) or (n, C), for `w` of shape (width,) or (width, C)."""
    if not isinstance(X, Csr):
        return X @ w
    n, row = n_rows(X), _row_of_entries(X)
    sums = [
        np.bincount(row, X.data * column[X.indices], minlength=n)
        for column in np.atleast_2d(w.T)
    ]
    return np.array(sums, dtype=w.dtype).T.reshape((n, *w.shape[1:]))


def transposed_product(X, r, out):
    """Write Xᵀ r into `out`, (width,) or (width, C), for `r` (n,) or (n, C)."""
    if not isinstance(X, Csr):
        np.matmul(X.T, r, out=out)
        return
    row = _row_of_entries(X)
    totals, columns = np.atleast_2d(out.T), np.atleast_2d(r.T)
    for total, column in zip(totals, columns, strict=True):
        total[:] = np.bincount(X.indices, X.data * column[row], minlength=X.width)


def _row_of_entries(X):
    return np.repeat(np.arange(n_rows(X)), np.diff(X.indptr))
