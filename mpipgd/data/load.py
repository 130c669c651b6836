"""Each rank reads the rows of its own workers, in the format of the objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from ..comm import mpi
from ..comm.even_partition import even_partition
from ..comm.reduction_tree import tree_allreduce_objects
from ..errors import DataError, MpipgdError, UsageError
from .hdf5.header import SPLITS, Header
from .hdf5.prefetch import PrefetchReader
from .matrix import Csr, Matrix, slice_rows, to_objective_format
from .out_of_core import StreamedRows, block_rows, buffer_rows
from .standardize import Scaling, scaling_of, standardize, worker_moments
from .weighted import (
    Targets,
    Weighting,
    WeightSums,
    class_factors,
    join_weights,
    split_weights,
    weight_sums,
    weighting_of,
)

if TYPE_CHECKING:
    from ..array_types import Array, IntArray
    from ..comm.topology import Grid
    from ..config.options import TrainConfig
    from ..reporting.timing import Clock
    from .base import RowFormat, RowRange, Split, WorkerShares
    from .hdf5.source import Source


WEIGHT_ROWS = 1 << 20  # of which weights are summed at once


@dataclass(frozen=True)
class SplitRows:
    """A split in memory: see `base.Split`. Rows are in the order of the whole set.

    X (n, width), y (n,), with the rows' weights; `first` is the number of the first row
    in the whole set, `shares` are the even shares of the local workers.
    """

    X: Matrix
    y: Targets
    first: int
    shares: list[RowRange]

    in_memory: ClassVar[bool] = True
    mapped_example: ClassVar[None] = None

    def blocks(
        self, i: int, *, mapped: bool = False
    ) -> Iterator[tuple[Matrix, Targets]]:
        """Yield X and y of the i-th local worker's share, as one block."""
        yield self.worker_rows(i)

    def worker_rows(self, i: int) -> tuple[Matrix, Targets]:
        """Return X and y of the i-th local worker's share."""
        lo, hi = (row - self.first for row in self.shares[i])
        return slice_rows(self.X, lo, hi), self.y[lo:hi]


@dataclass(frozen=True)
class Dataset:
    """This rank's rows of all splits, ready for the objective.

    scaling: what the features were standardised by, or None. `free` gives back shared
    memory, files and threads; collective.
    """

    header: Header
    train: Split
    test: Split | None
    scaling: Scaling | None
    free: Callable[[], None] = lambda: None
    validation: Split | None = None


class NeededRows(NamedTuple):
    """The rows first … end-1 that a rank needs of a split, its workers' shares."""

    first: int
    end: int
    shares: list[RowRange]


def load(
    grid: Grid,
    source: Source,
    plan: WorkerShares,
    objective: RowFormat,
    options: TrainConfig,
    *,
    clock: Clock,
) -> Dataset:
    """Return this rank's `Dataset`. Collective; raises DataError for unfit rows.

    Test and validation rows are divided evenly among the workers, so that scores, like
    all results, depend on the number of workers and not of ranks.
    """
    _warm_up(grid, source, objective)
    start = perf_counter()
    local_workers = range(grid.first, grid.last)
    needed = {
        "train": NeededRows(
            *plan.row_range(grid.first, grid.last),
            [plan.share(worker) for worker in local_workers],
        )
    }
    for split in ("test", "validation"):
        if n := source.rows.get(split, 0):
            shares = [even_partition(n, plan.workers, k) for k in local_workers]
            needed[split] = NeededRows(shares[0][0], shares[-1][1], shares)
    with mpi.raise_collectively(grid.comm):
        _expect_weights_supported(source, objective, options)
        rows = buffer_rows(options, source, objective, workers=plan.workers)
    if options.split != "disjoint":
        dataset = _load_shared_per_node(grid, source, objective, needed, options)
    elif rows is None:
        dataset = _load_in_memory(grid, source, objective, needed, options)
    else:
        dataset = _open_streamed(
            grid, source, objective, needed, options, buffer_rows=rows
        )
    clock.count_load(perf_counter() - start)
    return dataset


def _warm_up(grid: Grid, source: Source, objective: RowFormat) -> None:
    """Compile what reads mapped files, on one rank of a node before the others."""
    with mpi.raise_collectively(grid.comm):
        mapped = not source.header.sparse and source.open(0).mapped("train")
    if mapped:
        from .hdf5.mapped import warm_up

        mpi.node_leader_first(grid.node, partial(warm_up, objective.dtype))


def _load_in_memory(
    grid: Grid,
    source: Source,
    objective: RowFormat,
    needed: Mapping[str, NeededRows],
    options: TrainConfig,
) -> Dataset:
    """Read the needed rows into memory of this rank."""
    splits = _read_splits(grid, source, objective, needed)
    weightings = _weightings_in_memory(grid, source, splits, options)
    scaling = _verify_and_standardize(
        grid, source, objective, splits, options.standardize
    )
    return _dataset(source, objective, splits, scaling, weightings)


def _load_shared_per_node(
    grid: Grid,
    source: Source,
    objective: RowFormat,
    needed: Mapping[str, NeededRows],
    options: TrainConfig,
) -> Dataset:
    """Every rank needs all training rows: the ranks of a node share one copy."""
    windows: list[mpi.SharedArray] = []

    def free() -> None:
        for window in windows:
            window.free()

    read = _read_sparse_shared if source.header.sparse else _read_dense_shared
    try:
        X, y, own_rows = read(grid, source, objective, windows)
        splits = {"train": SplitRows(X, y, 0, needed["train"].shares)}
        unshared = {name: rows for name, rows in needed.items() if name != "train"}
        splits |= _read_splits(grid, source, objective, unshared)
        weightings = _weightings_in_memory(grid, source, splits, options)
        scaling = _verify_and_standardize(
            grid, source, objective, splits, options.standardize, train_rows=own_rows
        )
        dataset = _dataset(source, objective, splits, scaling, weightings, free=free)
    except MpipgdError as error:
        if error.agreed:
            free()
        raise
    for window in windows:
        window.barrier()
    return dataset


def _read_splits(
    grid: Grid, source: Source, objective: RowFormat, needed: Mapping[str, NeededRows]
) -> dict[str, SplitRows]:
    """Return the needed rows of each split, y as in the files; collective."""
    splits = {}
    with mpi.raise_collectively(grid.comm):
        for name, (first, end, shares) in needed.items():
            X, y = read_rows(source, name, first, end, objective)
            weights = source.read_weights(name, first, end)
            splits[name] = SplitRows(X, join_weights(y, weights), first, shares)
    source.close()
    return splits


def _verify_and_standardize(
    grid: Grid,
    source: Source,
    objective: RowFormat,
    splits: Mapping[str, SplitRows],
    standardized: bool,
    *,
    train_rows: slice = slice(None),
) -> Scaling | None:
    """Verify the classes, standardise X in place and return its scaling; collective.

    train_rows: those of `train.X` that this rank standardises, others doing the rest.
    """
    header = source.header
    if header.classes:
        counts = count_classes(splits, grid.n_local_workers, header.n_classes)
        source.verify_classes(grid.comm, *counts)
    if not standardized or header.sparse:
        return None
    moments = [
        worker_moments(splits["train"], i, header.n_features)
        for i in range(grid.n_local_workers)
    ]
    scaling = scaling_of(grid, moments, objective.dtype, header)
    for name, split in splits.items():
        assert not isinstance(split.X, Csr)
        rows = split.X[train_rows] if name == "train" else split.X
        standardize(rows, *scaling)
    return scaling


def _dataset(
    source: Source,
    objective: RowFormat,
    splits: Mapping[str, SplitRows],
    scaling: Scaling | None,
    weightings: Mapping[str, Weighting],
    *,
    free: Callable[[], None] = lambda: None,
) -> Dataset:
    """Return the splits as a `Dataset`, with the targets that the objective wants."""
    ready = {}
    for name, split in splits.items():
        y, weights = split_weights(split.y)
        if name in weightings:
            weights = weightings[name].apply(y, weights, objective.dtype)
        targets = join_weights(objective.targets(y), weights)
        ready[name] = replace(split, y=targets)
    return Dataset(
        source.header,
        ready["train"],
        ready.get("test"),
        scaling,
        free,
        ready.get("validation"),
    )


def _read_dense_shared(
    grid: Grid, source: Source, objective: RowFormat, windows: list[mpi.SharedArray]
) -> tuple[Matrix, Targets, slice]:
    """Read the training rows into memory of the node, each rank an even part.

    Returns X, y and the rows that this rank has read. The shared arrays are appended
    to `windows`.
    """
    node, header, n = grid.node, source.header, source.rows["train"]
    shape = n, header.n_features + objective.intercept
    windows.append(mpi.SharedArray(node, shape, objective.dtype))
    windows.append(mpi.SharedArray(node, header.y_shape(n), header.y_dtype))
    if "train" in source.weighted:
        windows.append(mpi.SharedArray(node, (n,), np.float64))
    X, y, *weights = (window.array for window in windows)
    own_rows = slice(*even_partition(n, node.size, node.rank))
    with mpi.raise_collectively(grid.comm):
        out = X[own_rows]
        lo, hi = own_rows.start, own_rows.stop
        y[own_rows] = source.read("train", lo, hi, out=out)[1]
        for array in weights:
            array[own_rows] = source.read_weights("train", lo, hi)
    for window in windows:
        window.barrier()
    return X, join_weights(y, weights[0] if weights else None), own_rows


def _read_sparse_shared(
    grid: Grid, source: Source, objective: RowFormat, windows: list[mpi.SharedArray]
) -> tuple[Matrix, Targets, slice]:
    """Read sparse training rows into memory of the node, as `_read_dense_shared`."""
    node, n = grid.node, source.rows["train"]
    lo, hi = even_partition(n, node.size, node.rank)
    with mpi.raise_collectively(grid.comm):
        X, y = read_rows(source, "train", lo, hi, objective)
        own_weights = source.read_weights("train", lo, hi)
    assert isinstance(X, Csr)
    ends = X.indptr[1:] + sum(node.allgather(X.data.size)[: node.rank])
    arrays = [X.data, X.indices, ends, y]
    if own_weights is not None:
        arrays.append(own_weights)
    windows.extend(mpi.shared_concat(node, array) for array in arrays)
    data, indices, ends, y, *weights = (window.array for window in windows)
    indptr = np.concatenate([np.zeros(1, ends.dtype), ends])
    targets = join_weights(y, weights[0] if weights else None)
    return Csr(data, indices, indptr, X.width), targets, slice(lo, hi)


def _open_streamed(
    grid: Grid,
    source: Source,
    objective: RowFormat,
    needed: Mapping[str, NeededRows],
    options: TrainConfig,
    *,
    buffer_rows: int,
) -> Dataset:
    """Leave the rows on disk: read them once, to verify and to compute the scaling."""
    header, reader = source.header, PrefetchReader(source, objective)
    size = block_rows(buffer_rows)
    buffers = reader.buffer(size), reader.buffer(size)

    def streamed(reader: PrefetchReader) -> dict[str, StreamedRows]:
        return {
            name: StreamedRows(
                reader,
                name,
                first=rows.first,
                shares=rows.shares,
                buffer_rows=buffer_rows,
                buffers=buffers,
            )
            for name, rows in needed.items()
        }

    weightings = _weightings_on_disk(grid, source, needed, options)
    scaling, standardized = None, options.standardize and not header.sparse
    with mpi.raise_collectively(grid.comm):
        moments = []
        if standardized:
            train = streamed(reader)["train"]
            moments = [
                worker_moments(train, i, header.n_features)
                for i in range(grid.n_local_workers)
            ]
        counts = []
        if header.classes:
            counts = [
                source.class_counts(name, rows.shares)
                for name, rows in needed.items()
                if name in SPLITS
            ]
    if header.classes:
        no_rows = np.zeros(header.n_classes, np.int64)
        source.verify_classes(grid.comm, *[*counts, no_rows][:2])
    if standardized:
        mean, deviation = scaling_of(grid, moments, objective.dtype, header)
        dtype = objective.dtype
        scaling = Scaling(mean.astype(dtype), deviation.astype(dtype))
    verified = {"train"} if standardized else set[str]()
    reader = reader.prepared(scaling, weightings, verified_splits=verified)
    splits = streamed(reader)
    return Dataset(
        header,
        splits["train"],
        splits.get("test"),
        scaling,
        free=reader.close,
        validation=splits.get("validation"),
    )


def _expect_weights_supported(
    source: Source, objective: RowFormat, options: TrainConfig
) -> None:
    """Raise UsageError where rows have weights, and the model takes none."""
    if objective.supports_row_weights:
        return
    if options.class_weight is not None or source.weighted:
        found = "--class-weight" if options.class_weight else "the data's row weights"
        raise UsageError(f"--model {options.model} takes no row weights: found {found}")


def _weightings_in_memory(
    grid: Grid, source: Source, splits: Mapping[str, SplitRows], options: TrainConfig
) -> dict[str, Weighting]:
    """Return how the weights of splits are normalised; collective."""

    def sums(split: SplitRows, i: int) -> WeightSums:
        y, weights = split_weights(split.worker_rows(i)[1])
        return weight_sums(y, weights, source.header.n_classes)

    return _weightings(
        grid,
        source,
        {
            name: [sums(split, i) for i in range(grid.n_local_workers)]
            for name, split in splits.items()
            if _has_weights(source, name, options)
        },
        options,
    )


def _weightings_on_disk(
    grid: Grid, source: Source, needed: Mapping[str, NeededRows], options: TrainConfig
) -> dict[str, Weighting]:
    """Return how the weights of splits are normalised; collective."""
    with mpi.raise_collectively(grid.comm):
        sums = {
            name: [_weight_sums_on_disk(source, name, share) for share in rows.shares]
            for name, rows in needed.items()
            if _has_weights(source, name, options)
        }
    return _weightings(grid, source, sums, options)


def _weight_sums_on_disk(source: Source, split: str, share: RowRange) -> WeightSums:
    """Return the sums over a worker's share, read block by block."""
    n_classes, (lo, hi) = source.header.n_classes, share
    sums = WeightSums(0, 0.0, np.zeros(n_classes))
    for a in range(lo, hi, WEIGHT_ROWS):
        b = min(hi, a + WEIGHT_ROWS)
        y = source.read_targets(split, a, b)
        weights = source.read_weights(split, a, b)
        sums = sums.plus(weight_sums(y, weights, n_classes))
    return sums


def _has_weights(source: Source, split: str, options: TrainConfig) -> bool:
    by_class = split == "train" and options.class_weight is not None
    return by_class or split in source.weighted


def _weightings(
    grid: Grid,
    source: Source,
    sums: Mapping[str, list[WeightSums]],
    options: TrainConfig,
) -> dict[str, Weighting]:
    """Return how the weights of splits are normalised; collective.

    sums: of the rows of each local worker. Raises DataError where they have no sum to
    divide by. Class weights multiply those of the training rows.
    """
    weightings = {}
    for name, of_workers in sums.items():
        total = tree_allreduce_objects(grid, of_workers, WeightSums.plus)
        where = source.files[0] if len(source.files) == 1 else source.files[0].parent
        if not 0 < total.total < np.inf:
            raise DataError(
                f"{where}: the row weights of {name} add up to {total.total:g}, "
                "expected a positive number",
                agreed=True,
            )
        with mpi.raise_collectively(grid.comm):
            factors = None
            if name == "train":
                classes = source.header.classes
                factors = class_factors(options.class_weight, classes, total)
            weightings[name] = weighting_of(total, factors)
    return weightings


def count_classes(
    splits: Mapping[str, SplitRows], n_local_workers: int, n_classes: int
) -> IntArray:
    """Return (2, C) how many of this rank's rows are of each class, train and test."""
    counts = np.zeros((len(SPLITS), n_classes), np.int64)
    for count, name in zip(counts, SPLITS):
        for i in range(n_local_workers if name in splits else 0):
            y, _ = split_weights(splits[name].worker_rows(i)[1])
            count += np.bincount(y, minlength=n_classes)
    return counts


def read_rows(
    source: Source, split: str, lo: int, hi: int, objective: RowFormat
) -> tuple[Matrix, Array]:
    """Return rows lo … hi-1 in the objective's dtype and with its column of ones.

    y is that of the file: class numbers, or float64.
    """
    if source.header.sparse:
        X, y = source.read(split, lo, hi)
        assert isinstance(X, Csr)
        return to_objective_format(X, objective), y
    shape = hi - lo, source.header.n_features + objective.intercept
    out = np.empty(shape, objective.dtype)
    return out, source.read(split, lo, hi, out=out)[1]
