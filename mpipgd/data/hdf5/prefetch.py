"""Rows read ahead by a thread, while the caller computes on those read before.

Uncompressed dense rows are used, or copied, from the mapped file. All others must be
decoded by HDF5, which in this process would block the computation: a helper process
does that, into shared memory.
"""

from __future__ import annotations

import copy
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..matrix import Csr, MappedRows, Matrix, Segment, stack, to_objective_format
from ..standardize import Scaling, standardize
from ..weighted import Targets, Weighting, join_weights
from . import validate
from .decoder_process import DecodeRequest, DecoderProcess, as_matrix

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray
    from ..base import RowFormat, RowRange
    from .mapped import MappedDataset
    from .source import FileRange, Source


class HeldRows(NamedTuple):
    """Rows of a mapped dataset that are in use."""

    dataset: MappedDataset
    first: int
    end: int


class ReadBuffer:
    """Memory for the features (rows, width) of one read, allocated when first used.

    It also keeps account of mapped rows in use, until the next read into it.
    """

    def __init__(self, rows: int, width: int, dtype: DTypeLike) -> None:
        self.shape, self.dtype = (rows, width), np.dtype(dtype)
        self._X: FloatArray | None = None
        self._descriptor: int | None = None
        self._held: list[HeldRows] = []

    @property
    def X(self) -> FloatArray:
        """The features (rows, width)."""
        if self._X is None:
            self._X = np.empty(self.shape, self.dtype)
        return self._X

    def share(self) -> str:
        """Make the memory shared, and return the path for another process to map."""
        if self._descriptor is None:
            size = max(1, self.shape[0] * self.shape[1] * self.dtype.itemsize)
            self._descriptor = os.memfd_create("mpipgd")
            os.ftruncate(self._descriptor, size)
            memory = mmap.mmap(self._descriptor, size)
            self._X = as_matrix(memory, self.shape, self.dtype)
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def hold(self, dataset: MappedDataset, first: int, end: int) -> None:
        """Note that rows first … end-1 of a dataset are in use."""
        self._held.append(HeldRows(dataset, first, end))

    def release(self) -> None:
        """Release the mapped rows that were in use."""
        for dataset, first, end in self._held:
            dataset.release(first, end)
        self._held = []

    def close(self) -> None:
        """Give the memory back."""
        self.release()
        if self._descriptor is not None:
            os.close(self._descriptor)


class PrefetchReader:
    """Reads rows of a `Source` in the format of an objective, in a thread.

    scaling: what dense rows are standardised by, or None. weightings: how the row
    weights of splits are normalised; those of others are as in the files.
    verified_splits: those of which all rows of this rank are known to be finite.
    """

    def __init__(
        self,
        source: Source,
        objective: RowFormat,
        *,
        scaling: Scaling | None = None,
        weightings: Mapping[str, Weighting] | None = None,
        verified_splits: Iterable[str] = (),
    ) -> None:
        self.source, self.objective, self.scaling = source, objective, scaling
        self.weightings = dict(weightings or {})
        self._verified_splits = frozenset(verified_splits)
        self._thread = ThreadPoolExecutor(1)
        self._decoder = DecoderProcess()
        self._buffers: list[ReadBuffer] = []
        self._mapped: dict[tuple[int, str], MappedDataset | None] = {}

    def prepared(
        self,
        scaling: Scaling | None,
        weightings: Mapping[str, Weighting],
        *,
        verified_splits: Iterable[str],
    ) -> PrefetchReader:
        """Return a reader that standardises and weighs, and shares all else with this.

        Closing either closes both.
        """
        reader = copy.copy(self)
        reader.scaling, reader.weightings = scaling, dict(weightings)
        reader._verified_splits = frozenset(verified_splits)
        return reader

    def buffer(self, rows: int) -> ReadBuffer:
        """Return a new buffer for so many rows."""
        width = self.source.header.n_features + self.objective.intercept
        self._buffers.append(ReadBuffer(rows, width, self.objective.dtype))
        return self._buffers[-1]

    def prefetch(
        self,
        split: str,
        ranges: Sequence[RowRange],
        buffer: ReadBuffer,
        *,
        mapped: bool = False,
    ) -> Future[tuple[Matrix | MappedRows, Targets]]:
        """Return the future (X, y) of the rows in some ranges, in that order.

        X is valid until the next read into `buffer`. With `mapped` it is `MappedRows`
        where files and objective allow that. The future raises DataError.
        """
        return self._thread.submit(self._read, split, ranges, buffer, mapped)

    def empty_mapped_rows(self) -> MappedRows | None:
        """Return `MappedRows` without a row; None if the objective takes none."""
        if not (self.objective.supports_mapped_rows and self.source.contiguous):
            return None
        segment = Segment(np.frombuffer(b"", np.uint8), np.empty((0, 2), np.int64))
        return MappedRows([segment], self._kernel_scaling())

    def no_targets(self, split: str) -> Targets:
        """Return the targets of no rows of a split."""
        y = np.empty(self.source.header.y_shape(0), self.source.header.y_dtype)
        return self._weigh(split, y, self.source.read_weights(split, 0, 0))

    def _weigh(self, split: str, y: Array, weights: FloatArray | None) -> Targets:
        """Return y and weights, as in the files, as the objective takes them."""
        if split in self.weightings:
            dtype = self.objective.dtype
            weights = self.weightings[split].apply(y, weights, dtype)
        return join_weights(self.objective.targets(y), weights)

    def _read_weights(
        self, split: str, ranges: Sequence[RowRange]
    ) -> FloatArray | None:
        if split not in self.source.weighted:
            return None
        blocks = [self.source.read_weights(split, lo, hi) for lo, hi in ranges]
        return np.concatenate([np.empty(0), *(b for b in blocks if b is not None)])

    def close(self) -> None:
        """End the thread and the helper process, and give the memory back."""
        self._thread.shutdown(cancel_futures=True)
        self._decoder.close()
        for buffer in self._buffers:
            buffer.close()
        self.source.close()

    def _read(
        self, split: str, ranges: Sequence[RowRange], buffer: ReadBuffer, mapped: bool
    ) -> tuple[Matrix | MappedRows, Targets]:
        buffer.release()
        X: Matrix | MappedRows
        weights = self._read_weights(split, ranges)
        if self.source.header.sparse:
            X, y = self._read_sparse(split, ranges)
            return X, self._weigh(split, y, weights)
        if not self.source.contiguous:
            X, y = self._read_dense(split, ranges, buffer)
            return X, self._weigh(split, y, weights)
        pieces = [
            piece for lo, hi in ranges for piece in self.source.overlaps(split, lo, hi)
        ]
        if (
            mapped
            and self.objective.supports_mapped_rows
            and all(self._mapped_dataset(piece.file, split) for piece in pieces)
        ):
            X, targets = self._map_rows(split, pieces, buffer)
        else:
            X, targets = self._copy_rows(split, pieces, buffer)
        header = self.source.header
        no_rows = np.empty(header.y_shape(0), header.y_dtype)
        return X, self._weigh(split, np.concatenate([no_rows, *targets]), weights)

    def _read_sparse(self, split: str, ranges: Sequence[RowRange]) -> tuple[Csr, Array]:
        blocks, targets = [], []
        for lo, hi in ranges:
            X, y = self.source.read(split, lo, hi)
            assert isinstance(X, Csr)
            blocks.append(X)
            targets.append(y)
        header = self.source.header
        X = to_objective_format(
            stack(blocks, header.n_features, header.dtype), self.objective
        )
        return X, np.concatenate(targets)

    def _read_dense(
        self, split: str, ranges: Sequence[RowRange], buffer: ReadBuffer
    ) -> tuple[FloatArray, Array]:
        """Read the rows by the source, which picks them out of the files' rows."""
        position, targets = 0, []
        for lo, hi in ranges:
            X = buffer.X[position : position + hi - lo]
            finite = split not in self._verified_splits
            targets.append(self.source.read(split, lo, hi, out=X, finite=finite)[1])
            if self.scaling:
                standardize(X, *self.scaling)
            position += hi - lo
        header = self.source.header
        no_rows = np.empty(header.y_shape(0), header.y_dtype)
        return buffer.X[:position], np.concatenate([no_rows, *targets])

    def _map_rows(
        self, split: str, pieces: Sequence[FileRange], buffer: ReadBuffer
    ) -> tuple[MappedRows, list[Array]]:
        """Return the rows in their mapped files, and the y of each piece."""
        segments, targets = [], []
        for piece in pieces:
            dataset = self._mapped_dataset(piece.file, split)
            assert dataset is not None
            buffer.hold(dataset, piece.first, piece.end)
            segments.append(dataset.fetch(piece.first, piece.end))
            targets.append(self._targets(split, piece))
        return MappedRows(segments, self._kernel_scaling()), targets

    def _copy_rows(
        self, split: str, pieces: Sequence[FileRange], buffer: ReadBuffer
    ) -> tuple[FloatArray, list[Array]]:
        """Copy the rows to the buffer; return them and the y of each piece."""
        width = self.source.header.n_features
        if not all(self._mapped_dataset(piece.file, split) for piece in pieces):
            buffer.share()
        position, targets = 0, []
        for piece in pieces:
            end = position + piece.end - piece.first
            X = buffer.X[position:end]
            if dataset := self._mapped_dataset(piece.file, split):
                dataset.read(piece.first, piece.end, X, self.scaling)
            else:
                self._decode(split, piece, buffer, position)
                name = self.source.names[split].X
                self._verify_finite(split, piece, name, X[:, :width])
                if self.scaling:
                    standardize(X, *self.scaling)
            targets.append(self._targets(split, piece))
            position = end
        return buffer.X[:position, : width + self.objective.intercept], targets

    def _mapped_dataset(self, file: int, split: str) -> MappedDataset | None:
        """Return the mapped X of a file, or None where only HDF5 can read it."""
        if (file, split) not in self._mapped:
            dataset = self.source.open(file).mapped(split)
            if dataset and dataset.layout.dtype != self.objective.dtype:
                dataset = None
            self._mapped[file, split] = dataset
        return self._mapped[file, split]

    def _decode(
        self, split: str, piece: FileRange, buffer: ReadBuffer, position: int
    ) -> None:
        """Let the helper process read rows into the buffer, from `position` on."""
        shard = self.source.open(piece.file)
        request = DecodeRequest(
            memory=buffer.share(),
            shape=buffer.shape,
            dtype=buffer.dtype.str,
            file=str(shard.path),
            names=shard.names,
            split=split,
            first=piece.first,
            end=piece.end,
            position=position,
        )
        self._decoder.decode(request)

    def _targets(self, split: str, piece: FileRange) -> Array:
        shard = self.source.open(piece.file)
        y = self.source.targets(shard, split, piece.first, piece.end)
        self._verify_finite(split, piece, self.source.names[split].y, y)
        return y

    def _verify_finite(
        self, split: str, piece: FileRange, name: str, values: Array
    ) -> None:
        """Raise DataError for a NaN or infinity in rows of the dataset `name`."""
        if split not in self._verified_splits:
            where = f"{self.source.files[piece.file]}: {name}"
            validate.verify_finite(values, piece.first, where)

    def _kernel_scaling(self) -> tuple[FloatArray, FloatArray]:
        """Return (mean, deviation) as a plain tuple, the type kernels are compiled for.

        (0, 1) where rows are not standardised.
        """
        if self.scaling:
            return self.scaling.mean, self.scaling.deviation
        d, dtype = self.source.header.n_features, self.objective.dtype
        return np.zeros(d, dtype), np.ones(d, dtype)
