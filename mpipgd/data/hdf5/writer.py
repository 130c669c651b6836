"""Write one data file, completely or not at all."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike

from ...array_types import Array, FloatArray
from ...atomic_file import DeferredErrorFile, atomic_hdf5, atomic_replace
from ...errors import DataError
from ..matrix import Csr, Matrix
from .header import Header

CHUNK_BYTES = 512 << 10


@contextlib.contextmanager
def create(
    path: Path,
    header: Header,
    *,
    rows: Mapping[str, int],
    labels: bool = True,
    extra: Mapping[str, np.dtype[Any]] | None = None,
) -> Iterator["Writer"]:
    """Yield a `Writer` for a new file; the file appears under `path` when complete.

    rows: {"train": n, "test": m}; a split without rows is left out. Without `labels`
    the file has no y. extra: other datasets (n,) of a split, "id" and "group", with
    their dtypes, int64 or bytes of UTF-8. Raises DataError when the disk is full or the
    folder cannot be written to.
    """
    with (
        atomic_replace(path, DataError) as temporary,
        atomic_hdf5(temporary) as (file, sink),
    ):
        header.write(file)
        writer = Writer(file, header, rows, sink, labels=labels, extra=extra)
        yield writer
        writer.close()


class Writer:
    """Writes the rows of one file; sparse rows must come in order."""

    def __init__(
        self,
        file: h5py.File,
        header: Header,
        rows: Mapping[str, int],
        sink: DeferredErrorFile,
        *,
        labels: bool = True,
        extra: Mapping[str, np.dtype[Any]] | None = None,
    ) -> None:
        self._sink, self._labelled = sink, labels
        self._missing = {split: count for split, count in rows.items() if count}
        self._file = file
        for split, count in self._missing.items():
            group = file.create_group(split)
            if labels:
                _create_dataset(group, "y", header.y_shape(count), header.y_dtype)
            create_X = _create_csr if header.sparse else _create_dense
            create_X(group, (count, header.n_features), header.dtype)
            if header.weight is not None:
                _create_dataset(group, "weight", (count,), np.float64)
            for name, dtype in (extra or {}).items():
                if dtype.kind == "S":
                    dtype = h5py.string_dtype("utf-8", dtype.itemsize)
                _create_dataset(group, name, (count,), dtype)

    def write(
        self,
        split: str,
        first: int,
        X: Matrix,
        y: Array,
        weights: FloatArray | None = None,
        extra: Mapping[str, Array] | None = None,
    ) -> None:
        """Write rows first … first+len(y)-1 of a split; OSError if that fails.

        weights: (len(y),) float64, given where the header names them; extra: (len(y),)
        each, for the file's other datasets.
        """
        group = self._file[split]
        if self._labelled:
            group["y"][first : first + len(y)] = y
        if (weights is None) == ("weight" in group):
            raise ValueError("rows have weights where the header names them, only")
        if weights is not None:
            group["weight"][first : first + len(y)] = weights
        for name, values in (extra or {}).items():
            group[name][first : first + len(y)] = values.astype(group[name].dtype)
        if isinstance(X, Csr):
            _append(group["X"], first, X)
        else:
            group["X"][first : first + len(y)] = X
        self._missing[split] -= len(y)
        self._sink.verify()

    def close(self) -> None:
        """Raise ValueError unless all rows have been written."""
        if any(self._missing.values()):
            raise ValueError(f"rows still missing: {self._missing}")


def _create_dense(group: h5py.Group, shape: tuple[int, int], dtype: DTypeLike) -> None:
    _create_dataset(group, "X", shape, dtype)


def _create_csr(group: h5py.Group, shape: tuple[int, int], dtype: DTypeLike) -> None:
    csr = group.create_group("X")
    csr.attrs["shape"] = np.array(shape)
    _create_dataset(csr, "data", (0,), dtype)
    _create_dataset(csr, "indices", (0,), np.int32)
    _create_dataset(csr, "indptr", (shape[0] + 1,), np.int64)
    csr["indptr"][0] = 0


def _append(group: h5py.Group, first: int, X: Csr) -> None:
    """Append the entries of rows first … to the three datasets of a sparse X."""
    start, count = group["data"].shape[0], len(X.data)
    for name in ("data", "indices"):
        group[name].resize((start + count,))
        group[name][start:] = getattr(X, name)
    rows = len(X.indptr) - 1
    group["indptr"][first + 1 : first + 1 + rows] = X.indptr[1:] - X.indptr[0] + start


def _create_dataset(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: DTypeLike
) -> None:
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
