"""Shuffle more rows than memory holds: through bucket files, by final place."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from ..matrix import take_rows

BUCKET_BYTES = 64 << 20


def permuted_reader(X, y, places, header):
    """Return `read(lo, hi)` over rows in memory that go to these places."""
    order = np.empty(len(places), np.int64)
    order[places] = np.arange(len(places))

    def read(lo, hi):
        return take_rows(X, order[lo:hi]), y[order[lo:hi]].astype(header.y_dtype)

    return read


class ExternalShuffle:
    """Rows are appended in any order with their final places, then read in order.

    Each row goes to the bucket of its range of places; a bucket of at most
    `bucket_bytes` is put in order in memory when it is read. One bucket alone stays
    in memory, several lie in a temporary folder in `folder` until `close`.
    """

    def __init__(self, rows, header, folder, *, bucket_bytes=BUCKET_BYTES):
        self.header = header
        self.record = np.dtype(
            [("place", "i8"), ("y", "f8"), ("X", header.dtype, (header.n_features,))]
        )
        self.rows, self.bucket_rows = rows, max(1, bucket_bytes // self.record.itemsize)
        self.folder = None
        self._kept, self._loaded = [], (None, None)
        if self.rows > self.bucket_rows:
            self.folder = Path(tempfile.mkdtemp(prefix=".mpipgd-", dir=folder))

    def append(self, places, X, y):
        """Add rows: places (n,), X (n, d), y (n,)."""
        records = np.empty(len(places), self.record)
        records["place"], records["X"], records["y"] = places, X, y
        if self.folder is None:
            self._kept.append(records)
            return
        bucket = places // self.bucket_rows
        records = records[np.argsort(bucket, kind="stable")]
        numbers, starts = np.unique(np.sort(bucket), return_index=True)
        ends = [*starts[1:], len(records)]
        for number, lo, hi in zip(numbers, starts, ends, strict=True):
            with open(self.folder / str(number), "ab") as file:
                records[lo:hi].tofile(file)

    def read(self, lo, hi):
        """Return (X, y) of the places lo … hi-1."""
        size = self.bucket_rows
        parts = []
        for number in range(lo // size, -(-hi // size)):
            start = number * size
            rows = self._bucket(number)[max(lo - start, 0) : hi - start]
            parts.append(rows)
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return rows["X"], rows["y"].astype(self.header.y_dtype)

    def _bucket(self, number):
        if self._loaded[0] != number:
            if self.folder is None:
                records = np.concatenate(self._kept)
                self._kept = [records]
            else:
                records = np.fromfile(self.folder / str(number), self.record)
            ordered = np.empty_like(records)
            ordered[records["place"] - number * self.bucket_rows] = records
            self._loaded = number, ordered
        return self._loaded[1]

    def close(self):
        """Remove the temporary folder."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
