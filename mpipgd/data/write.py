"""Write one data file, whole or not at all."""

import contextlib
import errno
import io
import os
from pathlib import Path

import h5py
import numpy as np

from ..errors import DataError
from .rows import Csr

CHUNK_BYTES = 512 << 10
LAYOUT = ("v110", "v110")  # the first whose chunk index too has checksums


@contextlib.contextmanager
def create(path, header, *, rows):
    """Give a `Writer` for a new file; the file appears under `path` when complete.

    rows: {"train": n, "test": m}; a part without rows is left out. Raises DataError
    when the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with refuse_os_errors(path):
            with Sink(temporary) as sink:
                with h5py.File(sink, "w", libver=LAYOUT) as file:
                    header.write(file)
                    writer = Writer(file, header, rows, sink)
                    yield writer
                    writer.close()
                sink.verify()
                os.fsync(sink.fileno())
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


class Sink(io.FileIO):
    """A file to give to h5py that keeps the first failure instead of raising it.

    HDF5 does not survive a failed write: on a full disk it prints a traceback for every
    open dataset and may crash. So it is told that all is well, until `verify`.
    """

    def __init__(self, path):
        super().__init__(path, "w+")
        self.failure = None

    def write(self, data):
        """Write all of `data`, or remember why not."""
        data = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(data) and self.failure is None:
                done += super().write(data[done:])
        except OSError as error:
            self.failure = error
        return len(data)

    def truncate(self, size=None):
        """Set the size of the file, or remember why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size

    def verify(self):
        """Raise the first failure, if any."""
        if self.failure is not None:
            raise self.failure


@contextlib.contextmanager
def refuse_os_errors(path):
    """Turn the system's refusal to write into a DataError that names `path`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or error
        raise DataError(f"cannot write {path}: {reason}") from error


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
