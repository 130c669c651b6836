"""Bring rows into the order of their destinations, also more than memory holds.

A destination is the position that a row will have in the output, 0 … rows-1.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ...array_types import Array, FloatArray, IntArray
from ..hdf5.header import Header
from ..matrix import Matrix, take_rows

BUCKET_BYTES = 64 << 20

RowReader: TypeAlias = Callable[[int, int], tuple[Matrix, Array]]
"""read(lo, hi) -> (X, y) of the rows with the destinations lo … hi-1."""


def permuted_reader(
    X: Matrix, y: Array, destinations: IntArray, header: Header
) -> RowReader:
    """Return the reader of rows in memory; `destinations` (n,) are a permutation."""
    order = np.empty(len(destinations), np.int64)
    order[destinations] = np.arange(len(destinations))

    def read(lo: int, hi: int) -> tuple[Matrix, Array]:
        return take_rows(X, order[lo:hi]), y[order[lo:hi]].astype(header.y_dtype)

    return read


class ExternalShuffle:
    """Rows are appended in any order with their destinations, then read in order.

    Each row goes to the bucket of its range of destinations; a bucket of at most
    `bucket_bytes` is put in order in memory when it is read. A single bucket stays in
    memory, several are files in a temporary folder in `folder` until `close`.
    """

    def __init__(
        self,
        rows: int,
        header: Header,
        folder: Path,
        *,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self._y_dtype = header.y_dtype
        features = (header.n_features,)
        self._record = np.dtype(
            [("destination", "i8"), ("y", "f8"), ("X", header.dtype, features)]
        )
        self._bucket_rows = max(1, bucket_bytes // self._record.itemsize)
        self._folder: Path | None = None
        self._in_memory: list[Array] = []  # records, where there is one bucket
        self._loaded: tuple[int | None, Array] = None, np.empty(0, self._record)
        if rows > self._bucket_rows:
            self._folder = Path(tempfile.mkdtemp(prefix=".mpipgd-", dir=folder))

    def append(self, destinations: IntArray, X: FloatArray, y: Array) -> None:
        """Add rows: destinations (n,), X (n, d), y (n,)."""
        records = np.empty(len(destinations), self._record)
        records["destination"], records["X"], records["y"] = destinations, X, y
        if self._folder is None:
            self._in_memory.append(records)
            return
        bucket = destinations // self._bucket_rows
        records = records[np.argsort(bucket, kind="stable")]
        numbers, starts = np.unique(np.sort(bucket), return_index=True)
        ends = [*starts[1:], len(records)]
        for number, lo, hi in zip(numbers, starts, ends, strict=True):
            with open(self._folder / str(number), "ab") as file:
                records[lo:hi].tofile(file)

    def read(self, lo: int, hi: int) -> tuple[FloatArray, Array]:
        """Return (X, y) of the destinations lo … hi-1."""
        size = self._bucket_rows
        blocks = []
        for number in range(lo // size, -(-hi // size)):
            start = number * size
            blocks.append(self._bucket(number)[max(lo - start, 0) : hi - start])
        rows = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return rows["X"], rows["y"].astype(self._y_dtype)

    def _bucket(self, number: int) -> Array:
        """Return the records of a bucket in order; the last one stays loaded."""
        if self._loaded[0] != number:
            if self._folder is None:
                records = np.concatenate(self._in_memory)
                self._in_memory = [records]
            else:
                records = np.fromfile(self._folder / str(number), self._record)
            ordered = np.empty_like(records)
            ordered[records["destination"] - number * self._bucket_rows] = records
            self._loaded = number, ordered
        return self._loaded[1]

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
