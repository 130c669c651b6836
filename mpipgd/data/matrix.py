"""Rows of features, dense or sparse: select rows, slice, multiply by weights.

A dense X is an array (n, width), a sparse one a `Csr`. The intercept is the weight of
a last column of ones in both, so that nothing below the objectives treats it apart.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from ..array_types import ByteArray, FloatArray, IntArray
from .base import RowFormat


class Csr(NamedTuple):
    """Compressed sparse rows: row i holds `data[indptr[i]:indptr[i + 1]]`.

    `indices` (nnz,) are the columns of `data` (nnz,), `indptr` (n + 1,) are positions
    in both; `width` is the number of columns.
    """

    data: FloatArray
    indices: IntArray
    indptr: IntArray
    width: int


Matrix: TypeAlias = FloatArray | Csr
M = TypeVar("M", FloatArray, Csr)


class Segment(NamedTuple):
    """Rows in the bytes of one mapped file.

    `bytes` (file size,) uint8 is read-only. Each of `spans` (k, 2) int64 is the byte
    offset of a block of consecutive rows, and the number of these.
    """

    bytes: ByteArray
    spans: IntArray


class MappedRows(NamedTuple):
    """Dense rows in mapped files, not copied and not yet standardised.

    Features have the dtype of `scaling`, (mean, deviation) of shape (n_features,) each,
    by which whoever reads them standardises: (x - mean) / deviation. A column of ones
    is implied where the objective has an intercept.
    """

    segments: Sequence[tuple[ByteArray, IntArray]]  # `Segment`s
    scaling: tuple[FloatArray, FloatArray]


def index_type(width: int) -> np.dtype[np.unsignedinteger]:
    """Return the smallest unsigned dtype of column numbers: fewer bytes to read."""
    return np.dtype(np.uint16 if width <= 1 << 16 else np.uint32)


def n_rows(X: Matrix) -> int:
    """Return the number of rows of a dense or sparse X."""
    return X.indptr.size - 1 if isinstance(X, Csr) else X.shape[0]


def width(X: Matrix) -> int:
    """Return the number of columns of a dense or sparse X."""
    return X.width if isinstance(X, Csr) else X.shape[1]


def take_rows(X: Matrix, rows: IntArray) -> Matrix:
    """Return a copy of the rows of X numbered `rows`, in that order."""
    if not isinstance(X, Csr):
        return np.take(X, rows, axis=0)
    lo = X.indptr[rows]
    counts = X.indptr[1:][rows] - lo
    indptr = np.zeros(len(rows) + 1, dtype=X.indptr.dtype)
    np.cumsum(counts, out=indptr[1:])
    entries = np.arange(indptr[-1]) + np.repeat(lo - indptr[:-1], counts)
    return Csr(X.data[entries], X.indices[entries], indptr, X.width)


def slice_rows(X: Matrix, lo: int, hi: int) -> Matrix:
    """Return a view of the rows lo … hi-1 of X (but of `indptr` a copy)."""
    if not isinstance(X, Csr):
        return X[lo:hi]
    entries = slice(X.indptr[lo], X.indptr[hi])
    indptr = X.indptr[lo : hi + 1] - X.indptr[lo]
    return Csr(X.data[entries], X.indices[entries], indptr, X.width)


def stack(blocks: Sequence[Csr], width: int, dtype: DTypeLike) -> Csr:
    """Return the rows of several blocks, of any or no rows, as one `Csr`."""
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


def to_objective_format(X: Csr, objective: RowFormat) -> Csr:
    """Return X in the dtypes of the kernels, with the objective's column of ones."""
    X = X._replace(data=X.data.astype(objective.dtype, copy=False))
    X = append_intercept(X) if objective.intercept else X
    return X._replace(indices=X.indices.astype(index_type(X.width), copy=False))


def append_intercept(X: M) -> M:
    """Return a copy of X with a last column of ones, whose weight is the intercept."""
    if not isinstance(X, Csr):
        return np.concatenate([X, np.ones((X.shape[0], 1), X.dtype)], axis=1)
    ends = X.indptr[1:]
    indptr = X.indptr + np.arange(X.indptr.size, dtype=X.indptr.dtype)
    data, indices = np.insert(X.data, ends, 1), np.insert(X.indices, ends, X.width)
    return Csr(data, indices, indptr, X.width + 1)


def product(X: Matrix, w: FloatArray) -> FloatArray:
    """Return X w, (n,) or (n, C), for `w` of shape (width,) or (width, C)."""
    if not isinstance(X, Csr):
        return X @ w
    n, row = n_rows(X), _row_of_entries(X)
    sums = [
        np.bincount(row, X.data * column[X.indices], minlength=n)
        for column in np.atleast_2d(w.T)
    ]
    return np.array(sums, dtype=w.dtype).T.reshape((n, *w.shape[1:]))


def transposed_product(X: Matrix, r: FloatArray, out: FloatArray) -> None:
    """Write Xᵀ r into `out`, (width,) or (width, C), for `r` (n,) or (n, C)."""
    if not isinstance(X, Csr):
        np.matmul(X.T, r, out=out)
        return
    row = _row_of_entries(X)
    out_columns, r_columns = np.atleast_2d(out.T), np.atleast_2d(r.T)
    for out_column, column in zip(out_columns, r_columns, strict=True):
        out_column[:] = np.bincount(X.indices, X.data * column[row], minlength=X.width)


def _row_of_entries(X: Csr) -> IntArray:
    """Return (nnz,) the row that each entry is in."""
    return np.repeat(np.arange(n_rows(X)), np.diff(X.indptr))
