"""What `data info` shows of a data set, and `data check`, which reads all of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from ...array_types import Array, IntArray
from ...comm import mpi
from ...reporting.progress import Progress
from ..matrix import Csr
from .header import SPLITS, Header
from .shard import Shard
from .source import Source, open_data, scan
from .validate import filters

BLOCK_VALUES = 1 << 19  # values of X that are read at once
MAX_LISTED = 20  # features that are listed unless all are asked for


def one_line_summary(source: Source) -> str:
    """Return one line on an open data set: task, rows, features."""
    header = source.header
    task = header.task + (f" ({header.n_classes} classes)" if header.classes else "")
    sparse = "sparse " if header.sparse else ""
    return (
        f"{task}, {source.rows['train']:,} train and {source.rows['test']:,} test rows "
        f"× {header.n_features:,} features, {sparse}{header.dtype}"
    )


def audit(
    comm: mpi.Comm,
    file: str | Path,
    *,
    x: str | None = None,
    y: str | None = None,
) -> None:
    """Read all of one file, the blocks divided among the ranks; collective.

    Raises DataError for a bad checksum, NaN, a wrong class number or broken CSR.
    """
    source = open_data(comm, file, x=x, y=y)
    with mpi.raise_collectively(comm):
        for number, (split, lo, hi) in enumerate(_blocks(source)):
            if number % comm.size == comm.rank:
                source.read(split, lo, hi)
                source.read_weights(split, lo, hi)
    source.close()


def describe(
    data: str | Path,
    *,
    x: str | None = None,
    y: str | None = None,
    all_features: bool = False,
    progress: Callable[[int, str], Progress] | None = None,
) -> list[str]:
    """Return the lines of `data info`; NaN is counted here, not refused.

    all_features: list all of them, not only the first 20. progress: makes a
    `Progress` of a total and a label; by default nothing is shown.
    """
    source = scan(data, x=x, y=y)
    header = source.header
    features, target = (
        ColumnStats(header.n_features),
        ColumnStats(header.y_shape(1)[-1]),
    )
    counts = {split: np.zeros(header.n_classes, int) for split in SPLITS}
    bar = (progress or _no_progress)(sum(source.rows.values()), str(data))
    for split, lo, hi in _blocks(source):
        X, y_block = source.read(split, lo, hi, finite=False)
        if isinstance(X, Csr):
            features.add_sparse(X)
        else:
            features.add(X)
        if header.classes:
            counts[split] += np.bincount(y_block, minlength=header.n_classes)
        else:
            target.add(y_block.reshape(len(y_block), -1))
        bar.update(features.rows)
    source.close()
    lines = [
        str(data),
        f"  {one_line_summary(source)}",
        *_origin(source),
        "",
        *_datasets(source),
    ]
    lines += ["", *_classes(header, counts)] if header.classes else []
    return lines + ["", *_features(header, features, target, all_features)]


def _no_progress(total: int, label: str) -> Progress:
    return Progress(total, label, stream=None)


class ColumnStats:
    """Smallest, mean and largest value of each column, and the count of NaN."""

    def __init__(self, width: int) -> None:
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)
        self.total, self.missing = np.zeros(width), np.zeros(width, int)
        self.rows = 0

    def add(self, X: Array) -> None:
        """Add a dense block (n, width)."""
        missing = np.isnan(X)
        np.fmin(self.low, np.fmin.reduce(X, axis=0), out=self.low)
        np.fmax(self.high, np.fmax.reduce(X, axis=0), out=self.high)
        self.total += np.where(missing, 0, X).sum(axis=0, dtype=np.float64)
        self.missing += missing.sum(axis=0)
        self.rows += len(X)

    def add_sparse(self, X: Csr) -> None:
        """Add a sparse block; entries that are not stored are zeros."""
        missing = np.isnan(X.data)
        np.fmin.at(self.low, X.indices, X.data)
        np.fmax.at(self.high, X.indices, X.data)
        width, rows = len(self.total), len(X.indptr) - 1
        stored = np.bincount(X.indices, minlength=width)
        has_zeros = stored < rows
        self.low[has_zeros] = np.fmin(self.low[has_zeros], 0)
        self.high[has_zeros] = np.fmax(self.high[has_zeros], 0)
        values = np.where(missing, 0, X.data)
        self.total += np.bincount(X.indices, values, minlength=width)
        self.missing += np.bincount(X.indices[missing], minlength=width)
        self.rows += rows

    def row(self, column: int) -> tuple[str, ...]:
        """Return (min, mean, max, missing) of a column as texts."""
        present = self.rows - self.missing[column]
        if not present:
            return "-", "-", "-", f"{self.missing[column]:,}"
        mean = self.total[column] / present
        numbers = (self.low[column], mean, self.high[column])
        return *(f"{value:.6g}" for value in numbers), f"{self.missing[column]:,}"


def _blocks(source: Source) -> Iterator[tuple[str, int, int]]:
    """Yield (split, lo, hi), blocks of about 4 MiB."""
    values = min(source.header.n_features, 4096 if source.header.sparse else 1 << 62)
    step = max(1, BLOCK_VALUES // values)
    for split in SPLITS:
        for lo in range(0, source.rows[split], step):
            yield split, lo, min(source.rows[split], lo + step)


def _origin(source: Source) -> list[str]:
    """Return lines on the files, and on where the rows are from."""
    size = sum(file.stat().st_size for file in source.files)
    header = source.header
    files = "1 file" if len(source.files) == 1 else f"{len(source.files)} files"
    lines = [f"  {files}, {size / 2**20:,.1f} MiB on disk"]
    if header.source:
        lines.append(f"  from {header.source}")
    return lines


def _datasets(source: Source) -> list[str]:
    """Return a table of the datasets in the first file."""
    shard = Shard(source.files[0], source.names)
    rows = [
        (
            dataset.name.strip("/"),
            f"{dataset.shape[0]:,}",
            str(dataset.dtype),
            str(dataset.chunks or "none"),
            ", ".join(filters(dataset)) or "none",
        )
        for pair in shard.datasets.values()
        for item in pair
        if item is not None
        for dataset in (item.values() if isinstance(item, h5py.Group) else [item])
    ]
    shard.close()
    return _table(("dataset", "rows", "dtype", "chunk", "filters"), rows)


def _classes(header: Header, counts: Mapping[str, IntArray]) -> list[str]:
    """Return a table of the rows of each class."""
    columns = [[f"{n:,}" for n in counts[split]] for split in SPLITS]
    rows = zip(map(str, header.classes or ()), *columns, strict=True)
    return _table(("class", *SPLITS), [*rows])


def _features(
    header: Header, features: ColumnStats, target: ColumnStats, all_features: bool
) -> list[str]:
    """Return a table of the features, and of a target that is no class."""
    width = header.n_features
    names = header.feature_names or [str(column) for column in range(width)]
    shown = width if all_features else min(width, MAX_LISTED)
    rows = [(names[column], *features.row(column)) for column in range(shown)]
    if not header.classes:
        rows.append((f"→ {header.target or 'y'}", *target.row(0)))
    lines = _table(("feature", "min", "mean", "max", "missing"), rows)
    if shown < width:
        gaps = features.missing[shown:].sum()
        lines.append(f"  … and {width - shown:,} more, {gaps:,} values missing (--all)")
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned lines; columns after the first are flush right."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  "
        + "  ".join(
            text.rjust(w) if i else text.ljust(w)
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
