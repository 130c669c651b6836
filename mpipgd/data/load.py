"""Each rank reads the rows of its own workers, and all bring them into shape."""

from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from ..comm import mpi
from ..comm.even_partition import even_partition
from ..errors import MpipgdError
from .hdf5.header import PARTS, Header
from .hdf5.prefetch import PrefetchReader
from .matrix import Csr, slice_rows, to_objective_format
from .out_of_core import BLOCKS_PER_BUFFER, StreamedRows, buffer_rows
from .standardize import from_moments, part_moments, standardize, statistics


@dataclass
class SplitRows:
    """The rows that the hosted workers need, in the order of the whole set.

    X (n, width) dense or CSR, y (n,); `first` is the number of its first row in the
    whole set, and `shares` are the (first, end) of the hosted workers' even shares.
    """

    X: object
    y: np.ndarray
    first: int
    shares: list
    mapped_example = None

    def blocks(self, i, *, mapped=False):
        """Yield X and y of the i-th hosted worker's share, all at once."""
        yield self.worker_rows(i)

    def worker_rows(self, i):
        """Return X and y of the i-th hosted worker's share."""
        lo, hi = (row - self.first for row in self.shares[i])
        return slice_rows(self.X, lo, hi), self.y[lo:hi]


@dataclass
class Dataset:
    """This rank's rows of training and test part, or None, ready for the objective.

    scaling: the (mean, deviation) that the features were standardised by, or None.
    """

    header: Header
    train: SplitRows
    test: SplitRows | None
    scaling: tuple | None
    free: Any = lambda: None


def load(grid, source, plan, objective, options, *, clock):
    """Return this rank's `Dataset`. Collective; DataError where the rows are unfit.

    Test rows are cut evenly over the workers, so that scores too depend on those alone.
    """
    _warm(grid, source, objective)
    began = perf_counter()
    hosted = range(grid.first, grid.last)
    needed = {"train": (plan.row_range(grid.first, grid.last), map(plan.share, hosted))}
    if m := source.rows["test"]:
        shares = [even_partition(m, plan.workers, k) for k in hosted]
        needed["test"] = (shares[0][0], shares[-1][1]), shares
    with mpi.raise_collectively(grid.comm):
        rows = buffer_rows(options, source, objective)
    made = _load_in_memory if rows is None else partial(_load_streamed, rows=rows)
    if options.split != "disjoint":
        made = _load_shared_per_node
    found = made(grid, source, objective, needed, options.standardize)
    clock.read += perf_counter() - began
    return found


def _warm(grid, source, objective):
    """Compile what reads large dense files, one rank of a node before the others."""
    with mpi.raise_collectively(grid.comm):
        direct = not source.header.sparse and source.open(0).direct("train")
    if direct:
        from .hdf5.mapped import warm_up

        mpi.node_leader_first(grid.node, partial(warm_up, objective.dtype))


def _load_in_memory(grid, source, objective, needed, standardized, there=(), own=None):
    """Read what is needed and not `there`; of that standardise the `own` rows."""
    parts = dict(there)
    with mpi.raise_collectively(grid.comm):
        for name, (span, shares) in needed.items():
            read = read_rows(source, name, *span, objective)
            parts[name] = SplitRows(*read, span[0], [*shares])
    source.close()
    header, scaling = source.header, None
    if header.classes:
        counts = count_classes(parts, grid.n_local_workers, header.n_classes)
        source.verify_classes(grid.comm, *counts)
    if standardized and not header.sparse:
        scaling = statistics(grid, parts["train"], header.n_features)
        for name, part in parts.items():
            standardize(part.X[own] if name in there else part.X, *scaling)
    for part in parts.values():
        part.y = objective.targets(part.y)
    return Dataset(header, parts["train"], parts.get("test"), scaling)


def _load_shared_per_node(grid, source, objective, needed, standardized):
    """All ranks need all training rows: those of a node share them."""
    windows = []

    def free():
        for window in windows:
            window.free()

    (_, shares), test = needed.pop("train"), needed
    read = _read_sparse_shared if source.header.sparse else _read_dense_shared
    try:
        X, y, own = read(grid, source, objective, windows)
        parts = {"train": SplitRows(X, y, 0, [*shares])}
        made = _load_in_memory(grid, source, objective, test, standardized, parts, own)
    except MpipgdError as refusal:
        if refusal.agreed:
            free()
        raise
    for window in windows:
        window.barrier()
    made.free = free
    return made


def _read_dense_shared(grid, source, objective, windows):
    """Return X and y that a node's ranks have read in parts, and this rank's part."""
    node, header, n = grid.node, source.header, source.rows["train"]
    shape = n, header.n_features + objective.intercept
    windows.append(mpi.SharedArray(node, shape, objective.dtype))
    windows.append(mpi.SharedArray(node, (n,), header.y_dtype))
    X, y = (window.array for window in windows)
    own = slice(*even_partition(n, node.size, node.rank))
    with mpi.raise_collectively(grid.comm):
        y[own] = source.read("train", own.start, own.stop, out=X[own])[1]
    for window in windows:
        window.barrier()
    return X, y, own


def _read_sparse_shared(grid, source, objective, windows):
    """The same for sparse rows, which need not be standardised."""
    node, n = grid.node, source.rows["train"]
    with mpi.raise_collectively(grid.comm):
        mine, y = read_rows(
            source, "train", *even_partition(n, node.size, node.rank), objective
        )
    ends = mine.indptr[1:] + sum(node.allgather(mine.data.size)[: node.rank])
    for each in (mine.data, mine.indices, ends, y):
        windows.append(mpi.shared_concat(node, each))
    data, indices, ends, y = (window.array for window in windows)
    indptr = np.concatenate([np.zeros(1, ends.dtype), ends])
    return Csr(data, indices, indptr, mine.width), y, None


def _load_streamed(grid, source, objective, needed, standardized, *, rows):
    header, reader = source.header, PrefetchReader(source, objective)
    buffers = [reader.buffer(max(1, rows // BLOCKS_PER_BUFFER)) for _ in range(2)]
    parts = {
        name: StreamedRows(reader, name, span[0], [*shares], rows, buffers)
        for name, (span, shares) in needed.items()
    }
    with mpi.raise_collectively(grid.comm):
        moments_of = None
        if standardized and not header.sparse:
            moments_of = [part_moments(parts["train"], i, header.n_features)
                          for i in range(grid.n_local_workers)]  # fmt: skip
            reader.seen.add("train")
        if header.classes:
            counts = [
                source.class_counts(name, part.shares) for name, part in parts.items()
            ]
    if header.classes:
        none = np.zeros(header.n_classes, np.int64)
        source.verify_classes(grid.comm, *[*counts, none][:2])
    if moments_of:
        scaling = from_moments(grid, moments_of, objective.dtype)
        reader.scaling = tuple(each.astype(objective.dtype) for each in scaling)
    return Dataset(
        header, parts["train"], parts.get("test"), reader.scaling, free=reader.close
    )


def count_classes(parts, hosted, classes):
    """Return how many rows of this rank's shares are of each class, train and test."""
    counts = np.zeros((len(PARTS), classes), np.int64)
    for count, name in zip(counts, PARTS):
        for i in range(hosted if name in parts else 0):
            count += np.bincount(parts[name].worker_rows(i)[1], minlength=classes)
    return counts


def read_rows(source, name, lo, hi, objective):
    """Return rows lo … hi-1 in the objective's dtype and with its column of ones."""
    if source.header.sparse:
        X, y = source.read(name, lo, hi)
        return to_objective_format(X, objective), y
    shape = hi - lo, source.header.n_features + objective.intercept
    X = np.empty(shape, objective.dtype)
    return X, source.read(name, lo, hi, out=X)[1]
