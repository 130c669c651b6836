"""Validation rows, held out of the training rows: a split of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from ..base import RowRange
from ..matrix import Csr, stack, take_rows
from .source import FileRange, Source

if TYPE_CHECKING:
    from ...array_types import Array, BoolArray, FloatArray, IntArray
    from ..matrix import Matrix
    from .shard import Shard

BLOCK_ROWS = 1 << 14  # read at once, of which some are kept


class HeldOutSource(Source):
    """The rows of a source with some of the training rows as the split "validation".

    held_out: (n,) whether a training row is a validation row. Rows keep their order. A
    range is read as the range of the underlying rows that spans it.
    """

    contiguous = False

    def __init__(self, source: Source, held_out: BoolArray) -> None:
        super().__init__(
            source.header,
            source.files,
            source._rows,
            source.names,
            source._foreign,
            source.weighted | ({"validation"} if "train" in source.weighted else set()),
        )
        self._source = source
        self._positions: dict[str, IntArray] = {
            "train": np.flatnonzero(~held_out),
            "validation": np.flatnonzero(held_out),
        }
        sizes = {split: len(rows) for split, rows in self._positions.items()}
        self.rows = {"train": sizes["train"], "test": source.rows["test"]} | sizes

    def read(
        self,
        split: str,
        lo: int,
        hi: int,
        *,
        out: FloatArray | None = None,
        finite: bool = True,
    ) -> tuple[Matrix, Array]:
        if split not in self._positions:
            return self._source.read(split, lo, hi, out=out, finite=finite)
        width, dtype = self.header.n_features, self.header.dtype
        if out is None and not self.header.sparse:
            out = np.empty((hi - lo, width), dtype)
        sparse: list[Csr] = []
        targets = [np.empty(self.header.y_shape(0), self.header.y_dtype)]
        for kept, first, end, position in self._blocks(split, lo, hi):
            if self.header.sparse:
                X, y = self._source.read("train", first, end, finite=finite)
                assert isinstance(X, Csr)
                sparse.append(cast(Csr, take_rows(X, kept)))
            else:
                assert out is not None
                memory = np.empty((end - first, out.shape[1]), out.dtype)
                _, y = self._source.read("train", first, end, out=memory, finite=finite)
                out[position : position + len(kept)] = memory[kept]
            targets.append(y[kept])
        y = np.concatenate(targets)
        if self.header.sparse:
            return stack(sparse, width, dtype), y
        assert out is not None
        return out[:, :width], y

    def read_targets(self, split: str, lo: int, hi: int) -> Array:
        if split not in self._positions:
            return self._source.read_targets(split, lo, hi)
        targets = [np.empty(self.header.y_shape(0), self.header.y_dtype)]
        for kept, first, end, _ in self._blocks(split, lo, hi):
            targets.append(self._source.read_targets("train", first, end)[kept])
        return np.concatenate(targets)

    def read_weights(self, split: str, lo: int, hi: int) -> FloatArray | None:
        if split not in self._positions:
            return self._source.read_weights(split, lo, hi)
        if split not in self.weighted:
            return None
        weights = [np.empty(0)]
        for kept, first, end, _ in self._blocks(split, lo, hi):
            block = self._source.read_weights("train", first, end)
            assert block is not None  # as `weighted` says
            weights.append(block[kept])
        return np.concatenate(weights)

    def class_counts(self, split: str, ranges: Iterable[RowRange]) -> IntArray:
        counts = np.zeros(self.header.n_classes, np.int64)
        for lo, hi in ranges:
            y = self.read_targets(split, lo, hi)
            counts += np.bincount(y, minlength=len(counts))
        return counts

    def overlaps(self, split: str, lo: int, hi: int) -> Iterator[FileRange]:
        if split in self._positions:
            raise ValueError(f"the rows of {split} are not contiguous in their files")
        return self._source.overlaps(split, lo, hi)

    def open(self, file: int) -> Shard:
        return self._source.open(file)

    def close(self) -> None:
        self._source.close()

    def _blocks(
        self, split: str, lo: int, hi: int
    ) -> Iterator[tuple[IntArray, int, int, int]]:
        """Yield (kept, first, end, position) of the underlying ranges of a range.

        The rows `kept` of the underlying first … end-1 are those from lo + position on.
        """
        if not 0 <= lo <= hi <= self.rows[split]:
            raise IndexError(f"rows {lo} … {hi} of {self.rows[split]} in {split}")
        rows = self._positions[split][lo:hi]
        position = 0
        while position < len(rows):
            first = int(rows[position])
            n = int(np.searchsorted(rows, first + BLOCK_ROWS)) - position
            block = rows[position : position + n]
            yield block - first, first, int(block[-1]) + 1, position
            position += n


def draw_held_out(n: int, fraction: float, seed: int) -> BoolArray:
    """Return (n,) which of n rows to hold out: a function of the arguments alone."""
    held_out = np.zeros(n, bool)
    held_out[_stream(seed).permutation(n)[: _count(n, fraction)]] = True
    return held_out


def draw_stratified(classes: IntArray, fraction: float, seed: int) -> BoolArray:
    """Return which rows to hold out, the same share of every class.

    classes: (n,) those of the rows. The rounding is made up for by the classes with the
    largest remainders.
    """
    held_out, stream = np.zeros(len(classes), bool), _stream(seed)
    sizes = np.bincount(classes)
    shares = fraction * sizes
    counts = np.floor(shares).astype(int)
    missing = _count(len(classes), fraction) - int(counts.sum())
    by_remainder = np.argsort(counts - shares, kind="stable")
    counts[by_remainder[:missing]] += 1
    for label, count in enumerate(counts):
        rows = np.flatnonzero(classes == label)
        held_out[stream.permutation(rows)[:count]] = True
    return held_out


def draw_grouped(groups: IntArray, fraction: float, seed: int) -> BoolArray:
    """Return which rows to hold out, all rows of a group or none.

    groups: (n,) numbers 0 … G-1 of the rows' groups, at least two. Groups are drawn one
    after the other as long as that brings the number of rows closer to the fraction.
    """
    sizes = np.bincount(groups)
    order = _stream(seed).permutation(len(sizes))
    rows = np.cumsum(sizes[order])
    distance = np.abs(rows - fraction * len(groups))
    count = min(int(np.argmin(distance)) + 1, len(sizes) - 1)
    held_out: BoolArray = np.isin(groups, order[:count])
    return held_out


def _stream(seed: int) -> np.random.Generator:
    # four words, the last not that of `plan.partition.Sample`
    return np.random.default_rng([seed, 0, 0, 2])


def _count(n: int, fraction: float) -> int:
    return min(max(1, round(fraction * n)), n - 1)
