"""Bring rows into the order of their destinations, also more than memory holds.

A destination is the position that a row will have in the output, 0 … rows-1.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from ...comm import mpi
from ..encoding import Entries
from ..matrix import Csr, Matrix, take_rows

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray, IntArray
    from ...comm.mpi import Comm
    from ..hdf5.header import Header

BUCKET_BYTES = 256 << 20


class Rows(NamedTuple):
    """X (n, width), y (n,), row weights (n,) where rows have some.

    extra: other arrays (n,) by the names of their datasets, as "id" and "group".
    """

    X: Matrix
    y: Array
    weights: FloatArray | None = None
    extra: Mapping[str, Array] = {}


class UnorderedRows(NamedTuple):
    """Rows as they come: features (n, width) or `Entries`, else as in `Rows`."""

    X: FloatArray | Entries
    y: Array
    weights: FloatArray | None = None
    extra: Mapping[str, Array] = {}


RowReader: TypeAlias = Callable[[int, int], Rows]
"""read(lo, hi) -> the rows with the destinations lo … hi-1."""


def permuted_reader(
    X: Matrix, y: Array, destinations: IntArray, header: Header
) -> RowReader:
    """Return the reader of rows in memory; `destinations` (n,) are a permutation."""
    order = np.empty(len(destinations), np.int64)
    order[destinations] = np.arange(len(destinations))

    def read(lo: int, hi: int) -> Rows:
        return Rows(take_rows(X, order[lo:hi]), y[order[lo:hi]].astype(header.y_dtype))

    return read


class ExternalShuffle:
    """Ranks append rows in any order with their destinations; rank 0 reads in order.

    Each row goes to the bucket of its range of destinations; a bucket of at most
    `bucket_bytes` is put in order in memory when it is read. Rows of a single bucket
    are gathered in memory; several buckets are files, one a rank, in a temporary folder
    in `folder`, which all ranks see, until `close`. Collective to make, to finish and
    to close.

    entries: how many features of a row may be other than 0, where X is sparse. extra:
    the dtypes of other arrays, see `Rows`.
    """

    def __init__(
        self,
        comm: Comm,
        rows: int,
        header: Header,
        folder: Path,
        *,
        entries: int = 0,
        extra: Mapping[str, np.dtype[Any]] | None = None,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self.comm, self._header, self._extra = comm, header, tuple(extra or ())
        columns: list[Any] = [("destination", "i8"), ("y", "f8")]
        if header.sparse:
            columns += [("features", "i4", (entries,))]
        columns += [("X", header.dtype, (entries or header.n_features,))]
        if header.weight is not None:
            columns.append(("weight", "f8"))
        columns += (extra or {}).items()
        self._record = np.dtype(columns)
        self._bucket_rows = max(1, bucket_bytes // self._record.itemsize)
        # (destinations, fields) of rows, where there is one bucket
        self._in_memory: list[tuple[IntArray, dict[str, Array]]] = []
        self._loaded: tuple[int | None, dict[str, Array]] = None, {}
        self._folder: Path | None = None
        if rows > self._bucket_rows:
            make_folder = partial(tempfile.mkdtemp, prefix=".mpipgd-", dir=folder)
            self._folder = Path(mpi.on_root(comm, make_folder))

    def append(self, destinations: IntArray, rows: UnorderedRows) -> None:
        """Add rows with their destinations (n,)."""
        fields = _fields(rows)
        if self._folder is None:
            self._in_memory.append((destinations, fields))
            return
        records = np.empty(len(destinations), self._record)
        records["destination"] = destinations
        for name, values in fields.items():
            records[name] = values
        bucket = destinations // self._bucket_rows
        order = np.argsort(bucket, kind="stable")
        records, bucket = records[order], bucket[order]
        numbers, starts = np.unique(bucket, return_index=True)
        ends = [*starts[1:], len(records)]
        for number, lo, hi in zip(numbers, starts, ends, strict=True):
            with open(self._folder / f"{number}-{self.comm.rank}", "ab") as file:
                records[lo:hi].tofile(file)

    def finish(self) -> None:
        """Bring the rows to where rank 0 reads them; collective."""
        if self._folder is not None:
            self.comm.barrier()
            return
        of_ranks: Any = self.comm.gather(self._in_memory)
        self._in_memory = [block for of_rank in of_ranks or () for block in of_rank]

    def read(self, lo: int, hi: int) -> Rows:
        """Return the rows of the destinations lo … hi-1; on rank 0, when finished."""
        size = self._bucket_rows
        of_buckets = []
        for number in range(lo // size, -(-hi // size)):
            start = number * size
            rows = slice(max(lo - start, 0), hi - start)
            bucket = self._bucket(number)
            of_buckets.append({name: values[rows] for name, values in bucket.items()})
        fields = of_buckets[0]
        if len(of_buckets) > 1:
            fields = {
                name: np.concatenate([of_bucket[name] for of_bucket in of_buckets])
                for name in fields
            }
        X: Matrix = fields["X"]
        if self._header.sparse:
            X = _csr(fields["features"], fields["X"], self._header.n_features)
        y = fields["y"].astype(self._header.y_dtype)
        extra = {name: fields[name] for name in self._extra}
        return Rows(X, y, fields.get("weight"), extra)

    def _bucket(self, number: int) -> dict[str, Array]:
        """Return the rows of a bucket in order; the last one stays loaded."""
        if self._loaded[0] != number:
            self._loaded = number, self._ordered(number)
        return self._loaded[1]

    def _ordered(self, number: int) -> dict[str, Array]:
        fields = self._record.fields
        assert fields is not None
        names = [name for name in fields if name != "destination"]
        if self._folder is None:
            blocks, self._in_memory = self._in_memory, []
            n = sum(len(destinations) for destinations, _ in blocks)
            ordered = {}
            for name in names:
                column = np.dtype(fields[name][0])
                ordered[name] = np.empty((n, *column.shape), column.base)
                for destinations, values in blocks:
                    ordered[name][destinations] = values[name]
            return ordered
        files = sorted(self._folder.glob(f"{number}-*"))
        records = np.concatenate([np.fromfile(f, self._record) for f in files])
        in_order = np.empty_like(records)
        in_order[records["destination"] - number * self._bucket_rows] = records
        return {name: in_order[name] for name in names}

    def close(self) -> None:
        """Remove the temporary folder; collective."""
        self.comm.barrier()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _csr(features: IntArray, values: FloatArray, width: int) -> Csr:
    """Return rows with the values (n, k) of features (n, k), without zeros."""
    present = values != 0
    indptr = np.append(0, np.cumsum(np.count_nonzero(present, axis=1)))
    return Csr(values[present], features[present], indptr, width)


def _fields(rows: UnorderedRows) -> dict[str, Array]:
    """Return the arrays of rows by the names of their fields in records."""
    fields = {"y": rows.y, **rows.extra}
    if rows.weights is not None:
        fields["weight"] = rows.weights
    if isinstance(rows.X, Entries):
        return fields | {"features": rows.X.features, "X": rows.X.values}
    return fields | {"X": rows.X}
