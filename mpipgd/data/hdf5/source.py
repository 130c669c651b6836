"""Read data files: one HDF5 file, or several shards under one row numbering.

No file is trusted: `scan` verifies every header and rejects what could read other
files or exhaust memory; `Source.read` rejects corrupt chunks, NaN and infinity.
"""

import glob
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...array_types import Array, FloatArray, IntArray
from ...comm import mpi
from ...errors import DataError, UsageError
from ..base import RowRange
from ..matrix import Matrix, stack
from . import validate
from .header import SPLITS, Header, verify_agreement
from .shard import NAMES, Shard, external_names
from .writer import create

__all__ = ["Header", "Source", "create", "open_data", "resolve", "scan"]


class FileRange(NamedTuple):
    """Rows first … end-1 of the `file`-th file; `position` counts rows before them."""

    file: int
    first: int
    end: int
    position: int


def open_data(
    comm: mpi.Comm,
    data: str | Path,
    *,
    x: str | None = None,
    y: str | None = None,
    weight: str | None = None,
    share: float = 1.0,
    labels: bool = True,
) -> "Source":
    """Return the `Source` of DATA on all ranks; collective, only rank 0 scans.

    `share`: the fraction of the training rows to use, from the first on. `labels`: see
    `scan`.
    """
    read = partial(scan, data, x=x, y=y, weight=weight, labels=labels)
    source: Source = mpi.on_root(comm, read)
    source.rows["train"] = math.ceil(share * source.rows["train"])
    return source


def scan(
    data: str | Path,
    *,
    x: str | None = None,
    y: str | None = None,
    weight: str | None = None,
    labels: bool = True,
) -> "Source":
    """Return the `Source` of DATA: a file, a glob, or a folder of *.h5 files.

    x, y and weight name the datasets in files that mpipgd did not make. Headers are
    verified, rows are not read (but for integer labels y of such files). Without
    `labels` y and weights are not needed: `Source.read` then returns zeros for y, and
    the task and classes of such files are not to be relied on. Raises DataError.
    """
    if (x is None) != (y is None) and (labels or x is None):
        raise UsageError("--x PATH and --y PATH go together: one of them is missing")
    foreign = x is not None
    if weight is not None and not foreign:
        raise UsageError("--weight PATH takes --x PATH and --y PATH")
    names = NAMES if x is None else external_names(x, y or "", weight)
    files = resolve(data)
    inspected = [_inspect(path, names, foreign, labels) for path in files]
    headers, rows = [h for h, _, _ in inspected], [counts for _, counts, _ in inspected]
    weighted = [splits for _, _, splits in inspected]
    _verify_same_weights(files, rows, weighted)
    if foreign:
        headers = _with_all_classes(headers)
    for path, header in zip(files, headers, strict=True):
        verify_agreement(headers[0], header, paths=(files[0], path))
    if not any(count for counts in rows for count in counts.values()):
        raise DataError(f"{data} holds no rows")
    return Source(
        headers[0],
        files,
        rows,
        names,
        foreign,
        frozenset().union(*weighted),
        labels=labels,
    )


def resolve(data: str | Path) -> list[Path]:
    """Return the files that DATA names, sorted; DataError where there are none."""
    path = Path(data)
    if path.is_dir():
        files = sorted(path.glob("*.h5"))
    elif glob.has_magic(str(data)) and not path.exists():
        files = sorted(map(Path, glob.glob(str(data))))
    else:
        files = [path]
    if not files:
        raise DataError(f"{data} holds no data file, expected *.h5")
    return files


def _inspect(
    path: Path,
    names: Mapping[str, validate.DatasetNames],
    foreign: bool,
    labels: bool,
) -> tuple[Header, dict[str, int], frozenset[str]]:
    """Return header, rows of the splits, and splits with row weights, of a file."""
    shard = Shard(path, names, labels=labels)
    try:
        with validate.checked_structure(path):
            header = shard.header(foreign=foreign)
            weighted = labels and header.weight is not None
            expected = [*shard.datasets] if weighted else []
            for split in ["train"] if foreign and expected else expected:
                if split not in shard.weights:
                    raise DataError(
                        f"{path} has no {names[split].weight}, the row weights "
                        f"{header.weight!r}"
                    )
            return header, shard.rows, frozenset(shard.weights)
    finally:
        shard.close()


def _verify_same_weights(
    files: Sequence[Path],
    rows: Sequence[Mapping[str, int]],
    weighted: Sequence[frozenset[str]],
) -> None:
    """Raise DataError where a split has weights in some files only."""
    for split in SPLITS:
        having = [
            (split in splits, file)
            for file, counts, splits in zip(files, rows, weighted, strict=True)
            if counts[split]
        ]
        first = having[0] if having else None
        for has, file in having:
            if first and has != first[0]:
                a, b = (first[1], file) if first[0] else (file, first[1])
                raise DataError(f"{a} has row weights of {split}, {b} has none")


def _with_all_classes(headers: Sequence[Header]) -> list[Header]:
    """Give all shards of a foreign data set the classes that any of them has."""
    labels = sorted(set[int]().union(*(header.classes or () for header in headers)))
    task = "binary" if len(labels) == 2 else "multiclass"
    return [
        header
        if header.classes is None
        else replace(header, classes=tuple(labels), task=task)
        for header in headers
    ]


class Source:
    """The rows of all files under one numbering: 0 … rows["train"]-1, and "test".

    One file is open at a time. Not for several threads at once. `weighted` are the
    splits whose rows have weights. `contiguous`: a range of rows is one of the rows of
    the files, which `overlaps` gives.
    """

    contiguous = True

    def __init__(
        self,
        header: Header,
        files: Iterable[Path],
        rows: Sequence[Mapping[str, int]],
        names: Mapping[str, validate.DatasetNames] = NAMES,
        foreign: bool = False,
        weighted: frozenset[str] = frozenset(),
        *,
        labels: bool = True,
    ) -> None:
        self._labelled = labels
        self.header, self.files, self._rows = header, list(files), rows
        self.names, self._foreign, self.weighted = names, foreign, weighted
        self._bounds: dict[str, IntArray] = {
            split: np.cumsum([0, *(counts[split] for counts in rows)])
            for split in SPLITS
        }
        self.rows = {split: int(ends[-1]) for split, ends in self._bounds.items()}
        self._shard: Shard | None = None

    def read(
        self,
        split: str,
        lo: int,
        hi: int,
        *,
        out: FloatArray | None = None,
        finite: bool = True,
    ) -> tuple[Matrix, Array]:
        """Return (X, y) of the rows lo … hi-1 of a split, over all files.

        X: (hi-lo, d) of the header's dtype, or Csr; `out`, (hi-lo, ≥ d) and contiguous,
        receives X, and ones in further columns. y: float64, or int64 class numbers.
        Raises DataError for damage and, unless `finite` is False, NaN and infinity.
        """
        width, dtype = self.header.n_features, self.header.dtype
        if out is None and not self.header.sparse:
            out = np.empty((hi - lo, width), dtype)
        y = np.zeros(self.header.y_shape(hi - lo), self.header.y_dtype)
        blocks = []
        for file, a, b, position in self.overlaps(split, lo, hi):
            shard, rows = self.open(file), slice(position, position + b - a)
            if self.header.sparse:
                blocks.append(shard.read_csr(split, a, b, dtype))
                values = blocks[-1].data
            else:
                assert out is not None
                shard.read_dense(split, a, b, out[rows])
                values = out[rows, :width]
            if self._labelled:
                y[rows] = self.targets(shard, split, a, b)
            if finite:
                for name, array in zip(self.names[split], (values, y[rows])):
                    validate.verify_finite(array, a, f"{shard.path}: {name}")
        if self.header.sparse:
            return stack(blocks, width, dtype), y
        assert out is not None
        return out[:, :width], y

    def read_weights(self, split: str, lo: int, hi: int) -> FloatArray | None:
        """Return the weights (hi-lo,) float64 of rows of a split; None: all are 1.

        Raises DataError for damage, and for a weight that is no finite number from 0.
        """
        if split not in self.weighted:
            return None
        weights = np.empty(hi - lo)
        for file, a, b, position in self.overlaps(split, lo, hi):
            weights[position : position + b - a] = self.open(file).read_weights(
                split, a, b
            )
        return weights

    def read_targets(self, split: str, lo: int, hi: int) -> Array:
        """Return y of the rows lo … hi-1 of a split, as `read` does; DataError."""
        y = np.empty(self.header.y_shape(hi - lo), self.header.y_dtype)
        for file, a, b, position in self.overlaps(split, lo, hi):
            shard, rows = self.open(file), slice(position, position + b - a)
            y[rows] = self.targets(shard, split, a, b)
            validate.verify_finite(y[rows], a, f"{shard.path}: {self.names[split].y}")
        return y

    def read_ids(self, split: str, lo: int, hi: int) -> Array:
        """Return the ids (hi-lo,) of rows: texts, or whole numbers.

        Raises DataError where a file has none.
        """
        parts = [
            self.open(file).read_ids(split, a, b)
            for file, a, b, _ in self.overlaps(split, lo, hi)
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype=object)

    def read_groups(self, split: str, lo: int, hi: int) -> IntArray | None:
        """Return the numbers (hi-lo,) of the groups of rows; None without groups.

        Raises DataError where only some files have them.
        """
        of_files = {
            file: self.open(file).read_groups(split, a, b)
            for file, a, b, _ in self.overlaps(split, lo, hi)
        }
        without = [file for file, groups in of_files.items() if groups is None]
        if without and len(without) < len(of_files):
            raise DataError(
                f"{self.files[without[0]]} has no {split}/group, other files have"
            )
        groups = [groups for groups in of_files.values() if groups is not None]
        return np.concatenate(groups) if groups else None

    def class_counts(self, split: str, ranges: Iterable[RowRange]) -> IntArray:
        """Return (C,) how many rows are of each class in some ranges of a split."""
        counts = np.zeros(self.header.n_classes, np.int64)
        for lo, hi in ranges:
            for file, a, b, _ in self.overlaps(split, lo, hi):
                y = self.targets(self.open(file), split, a, b)
                counts += np.bincount(y, minlength=len(counts))
        return counts

    def verify_classes(
        self, comm: mpi.Comm, train_counts: IntArray, test_counts: IntArray
    ) -> None:
        """Raise DataError for a class that only test rows have; collective.

        The counts, (C,) integers, are those of this rank's own rows, as
        `np.bincount(y, minlength=C)` gives; each row is counted on one rank only.
        """
        counts = np.array([train_counts, test_counts], dtype=np.int64)
        train, test = comm.allreduce(counts)
        test_only = np.flatnonzero((train == 0) & (test > 0))
        if test_only.size:
            assert self.header.classes is not None
            label, count = self.header.classes[test_only[0]], test[test_only[0]]
            where = self.files[0] if len(self.files) == 1 else self.files[0].parent
            raise DataError(
                f"{where}: class {label!r} has {count} test rows but no training row",
                agreed=True,
            )

    def close(self) -> None:
        """Close the open file; the next `read` opens it again."""
        if self._shard is not None:
            self._shard.close()
        self._shard = None

    def overlaps(self, split: str, lo: int, hi: int) -> Iterator[FileRange]:
        """Yield the ranges of the files that make up the rows lo … hi-1 of a split."""
        if not 0 <= lo <= hi <= self.rows[split]:
            raise IndexError(f"rows {lo} … {hi} of {self.rows[split]} in {split}")
        bounds = self._bounds[split]
        first = int(np.searchsorted(bounds, lo, side="right")) - 1
        for file in range(first, len(self.files)):
            a, b = max(lo, bounds[file]), min(hi, bounds[file + 1])
            if a >= hi:
                return
            if a < b:
                start = bounds[file]
                yield FileRange(file, int(a - start), int(b - start), int(a - lo))

    def open(self, file: int) -> Shard:
        """Return the `file`-th file, opened and verified; the last one stays open."""
        if self._shard is None or self._shard.path != self.files[file]:
            self.close()
            shard = Shard(self.files[file], self.names, labels=self._labelled)
            width = shard.width(default=self.header.n_features)
            if shard.rows != self._rows[file] or width != self.header.n_features:
                shard.close()
                raise DataError(f"{self.files[file]} changed after it was looked at")
            self._shard = shard
        return self._shard

    def nnz(self) -> int:
        """Return the number of entries of all sparse rows; 0 where X is dense."""
        if not self.header.sparse:
            return 0
        return sum(
            X["data"].shape[0]
            for file in range(len(self.files))
            for X, _ in self.open(file).datasets.values()
        )

    def targets(self, shard: Shard, split: str, a: int, b: int) -> Array:
        """Return rows a … b-1 of a file's y, verified."""
        classes = self.header.classes
        y = shard.read_y(split, a, b, classes if self._foreign else None)
        if classes is not None:
            where = f"{shard.path}: {self.names[split].y}"
            validate.verify_classes(y, len(classes), a, where)
        return y
