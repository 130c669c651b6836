"""Write one data file, whole or not at all."""

import contextlib

import numpy as np

from ...atomic_file import atomic_hdf5, atomic_replace
from ...errors import DataError
from ..matrix import Csr

CHUNK_BYTES = 512 << 10


@contextlib.contextmanager
def create(path, header, *, rows):
    """Give a `Writer` for a new file; the file appears under `path` when complete.

    rows: {"train": n, "test": m}; a part without rows is left out. Raises DataError
    when the disk is full or the folder cannot be written to.
    """
    with (
        atomic_replace(path, DataError) as temporary,
        atomic_hdf5(temporary) as (file, sink),
    ):
        header.write(file)
        writer = Writer(file, header, rows, sink)
        yield writer
        writer.close()


class Writer:
    """Takes the rows of one file; sparse rows must arrive in order."""

    def __init__(self, file, header, rows, sink):
        self._sink = sink
        self._sparse, self._width = header.sparse, header.n_features
        self._left = {part: count for part, count in rows.items() if count}
        self._file = file
        for part, count in self._left.items():
            group = file.create_group(part)
            _dataset(group, "y", (count,), header.y_dtype)
            if header.sparse:
                self._create_csr(group, count, header.dtype)
            else:
                _dataset(group, "X", (count, header.n_features), header.dtype)

    def _create_csr(self, group, count, dtype):
        csr = group.create_group("X")
        csr.attrs["shape"] = np.array([count, self._width])
        _dataset(csr, "data", (0,), dtype)
        _dataset(csr, "indices", (0,), np.int32)
        _dataset(csr, "indptr", (count + 1,), np.int64)
        csr["indptr"][0] = 0

    def write(self, part, at, X, y):
        """Write rows at … at+len(y)-1 of a part; X is dense (n, d) or a Csr."""
        group = self._file[part]
        group["y"][at : at + len(y)] = y
        if self._sparse:
            _append(group["X"], at, X)
        else:
            group["X"][at : at + len(y)] = X
        self._left[part] -= len(y)
        self._sink.verify()

    def close(self):
        """Raise ValueError if rows were announced that never came."""
        if any(self._left.values()):
            raise ValueError(f"rows still missing: {self._left}")


def _append(group, at, X: Csr):
    start, count = group["data"].shape[0], len(X.data)
    for name in ("data", "indices"):
        group[name].resize((start + count,))
        group[name][start:] = getattr(X, name)
    rows = len(X.indptr) - 1
    group["indptr"][at + 1 : at + 1 + rows] = X.indptr[1:] - X.indptr[0] + start


def _dataset(group, name, shape, dtype):
    """Create a dataset in chunks of rows of about 512 KiB, with checksums."""
    row_bytes = np.dtype(dtype).itemsize * int(np.prod(shape[1:]))
    rows = max(1, CHUNK_BYTES // row_bytes)
    chunk = min(rows, shape[0]) if shape[0] else rows
    group.create_dataset(
        name,
        shape,
        dtype,
        chunks=(chunk, *shape[1:]),
        maxshape=None if shape[0] else (None,),
        fletcher32=True,
    )
