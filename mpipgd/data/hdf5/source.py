"""Read data files: one HDF5 file, or many shards that look like one.

No file is trusted: `scan` verifies every header and refuses what could read other
files or exhaust memory; `Source.read` refuses damage and values that are no numbers.
"""

import glob
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ...comm import mpi
from ...errors import DataError, UsageError
from ..matrix import stack
from . import validate
from .header import PARTS, Header, verify_agreement
from .shard import NAMES, Shard, external_names
from .writer import create

__all__ = ["Header", "Source", "create", "open_data", "resolve", "scan"]


def open_data(comm, data, *, x=None, y=None, share=1.0):
    """Return the `Source` of DATA on all ranks; collective, rank 0 alone looks.

    `share`: of the training rows, the first ones, that are to be used.
    """
    source = mpi.on_root(comm, partial(scan, data, x=x, y=y))
    source.rows["train"] = math.ceil(share * source.rows["train"])
    return source


def scan(data, *, x=None, y=None):
    """Return the `Source` of DATA: a file, a glob, or a folder of *.h5 files.

    x and y name the datasets in files that mpipgd did not make. Headers are verified,
    rows are not read (but for whole-number labels y of such files). Raises DataError.
    """
    if (x is None) != (y is None):
        raise UsageError("--x PATH and --y PATH go together: one of them is missing")
    foreign = x is not None
    names = external_names(x, y) if foreign else NAMES
    files = resolve(data)
    headers, rows = zip(*(_look(path, names, foreign) for path in files), strict=True)
    if foreign:
        headers = _with_all_classes(headers)
    for path, header in zip(files, headers, strict=True):
        verify_agreement(headers[0], header, (files[0], path))
    if not any(count for each in rows for count in each.values()):
        raise DataError(f"{data} holds no rows")
    return Source(headers[0], files, rows, names, foreign)


def resolve(data):
    """Return the files that DATA names, sorted; DataError where there are none."""
    path = Path(data)
    if path.is_dir():
        files = sorted(path.glob("*.h5"))
    elif glob.has_magic(str(data)) and not path.exists():
        files = sorted(Path(found) for found in glob.glob(str(data)))
    else:
        files = [path]
    if not files:
        raise DataError(f"{data} holds no data file, expected *.h5")
    return files


def _look(path, names, foreign):
    shard = Shard(path, names)
    try:
        with validate.checked_structure(path):
            return shard.header(foreign=foreign), shard.rows
    finally:
        shard.close()


def _with_all_classes(headers):
    """Let the shards of a foreign data set share the classes that any of them has."""
    labels = sorted(set().union(*(header.classes or () for header in headers)))
    task = "binary" if len(labels) == 2 else "multiclass"
    return [
        header
        if header.classes is None
        else replace(header, classes=tuple(labels), task=task)
        for header in headers
    ]


class Source:
    """The rows of all files under one numbering: 0 … rows["train"]-1, and "test"."""

    def __init__(self, header, files, rows, names=NAMES, foreign=False):
        self.header, self.files, self._rows = header, list(files), rows
        self.names, self._foreign = names, foreign
        self._bounds = {
            part: np.cumsum([0, *(each[part] for each in rows)]) for part in PARTS
        }
        self.rows = {part: int(ends[-1]) for part, ends in self._bounds.items()}
        self._shard = None

    def bounds(self, part):
        """Return (files + 1,) row numbers: where every file begins, and the end."""
        return self._bounds[part]

    def read(self, part, lo, hi, *, out=None, finite=True):
        """Return (X, y) of the rows lo … hi-1 of a part, over all files.

        X: (hi-lo, d) of the header's dtype, or Csr; `out`, (hi-lo, ≥ d) and contiguous,
        receives X, and ones behind it. y: float64, or int64 class numbers.
        Raises DataError for damage and, unless `finite` is False, NaN and infinity.
        """
        width, sparse = self.header.n_features, self.header.sparse
        if out is None and not sparse:
            out = np.empty((hi - lo, width), self.header.dtype)
        y = np.empty(hi - lo, self.header.y_dtype)
        blocks = []
        for file, a, b, at in self.overlaps(part, lo, hi):
            shard, rows = self.open(file), slice(at, at + b - a)
            if sparse:
                blocks.append(shard.read_csr(part, a, b, self.header.dtype))
            else:
                shard.read_dense(part, a, b, out[rows])
            values = blocks[-1].data if sparse else out[rows, :width]
            y[rows] = self.targets(shard, part, a, b)
            if finite:
                self._verify_finite(shard, part, a, (values, y[rows]))
        X = stack(blocks, width, self.header.dtype) if sparse else out[:, :width]
        return X, y

    def class_counts(self, part, spans):
        """Return how many rows are of each class, (C,), in some spans of a part."""
        counts = np.zeros(self.header.n_classes, np.int64)
        for lo, hi in spans:
            for file, a, b, _ in self.overlaps(part, lo, hi):
                y = self.targets(self.open(file), part, a, b)
                counts += np.bincount(y, minlength=len(counts))
        return counts

    def verify_classes(self, comm, train_counts, test_counts):
        """Refuse a class that only test rows have; collective.

        The counts, (C,) whole numbers, are those of this rank's own rows, as
        `np.bincount(y, minlength=C)` gives; each row is counted on one rank only.
        """
        counts = np.array([train_counts, test_counts], dtype=np.int64)
        train, test = comm.allreduce(counts)
        alone = np.flatnonzero((train == 0) & (test > 0))
        if alone.size:
            label, count = self.header.classes[alone[0]], test[alone[0]]
            where = self.files[0] if len(self.files) == 1 else self.files[0].parent
            raise DataError(
                f"{where}: class {label!r} has {count} test rows but no training row",
                agreed=True,
            )

    def close(self):
        """Close the file that is open; the next `read` opens it again."""
        if self._shard is not None:
            self._shard.close()
        self._shard = None

    def overlaps(self, part, lo, hi):
        """Yield (file, its rows a … b-1, their position in the block)."""
        if not 0 <= lo <= hi <= self.rows[part]:
            raise IndexError(f"rows {lo} … {hi} of {self.rows[part]} in {part}")
        bounds = self._bounds[part]
        first = int(np.searchsorted(bounds, lo, side="right")) - 1
        for file in range(first, len(self.files)):
            a, b = max(lo, bounds[file]), min(hi, bounds[file + 1])
            if a >= hi:
                return
            if a < b:
                yield file, int(a - bounds[file]), int(b - bounds[file]), int(a - lo)

    def open(self, file):
        """Return a file opened and verified on this rank; the last one stays open."""
        if self._shard is None or self._shard.path != self.files[file]:
            self.close()
            shard = Shard(self.files[file], self.names)
            same = shard.rows == self._rows[file]
            if not same or shard.width(default=self.header.n_features) != (
                self.header.n_features
            ):
                shard.close()
                raise DataError(f"{self.files[file]} changed after it was looked at")
            self._shard = shard
        return self._shard

    def entries(self):
        """Return how many entries sparse rows have in all; 0 where they are dense."""
        if not self.header.sparse:
            return 0
        pairs = (self.open(file).parts.values() for file in range(len(self.files)))
        return sum(X["data"].shape[0] for each in pairs for X, _ in each)

    def targets(self, shard, part, a, b):
        """Return rows a … b-1 of a file's y, verified."""
        classes = self.header.classes
        y = shard.read_y(part, a, b, classes if self._foreign else None)
        if classes is not None:
            where = f"{shard.path}: {self.names[part][1]}"
            validate.verify_classes(y, len(classes), a, where)
        return y

    def _verify_finite(self, shard, part, first_row, values):
        for name, each in zip(self.names[part], values, strict=True):
            validate.verify_finite(each, first_row, f"{shard.path}: {name}")
