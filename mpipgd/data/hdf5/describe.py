"""What `data info` shows of a data set, and the full reading of `data check`."""

import numpy as np

from ...comm import mpi
from ...reporting.progress import Progress
from .header import PARTS
from .shard import Shard
from .source import open_data, scan
from .validate import filters

BLOCK_VALUES = 1 << 19
SHOWN = 20


def one_line_summary(source):
    """Return one line on an open data set: task, rows, features."""
    header = source.header
    task = header.task + (f" ({header.n_classes} classes)" if header.classes else "")
    form = "sparse " if header.sparse else ""
    return (
        f"{task}, {source.rows['train']:,} train and {source.rows['test']:,} test rows "
        f"× {header.n_features:,} features, {form}{header.dtype}"
    )


def audit(comm, file, *, x=None, y=None):
    """Read all of one file, every rank a share of the blocks; collective.

    Raises DataError for a bad checksum, NaN, a wrong class number or broken CSR.
    """
    source = open_data(comm, file, x=x, y=y)
    with mpi.raise_collectively(comm):
        for number, block in enumerate(_blocks(source)):
            if number % comm.size == comm.rank:
                source.read(*block)
    source.close()


def describe(data, *, x=None, y=None, every=False, progress=None):
    """Return the lines of `data info`; NaN is counted here, not refused.

    every: list all features, not only the first 20. progress: a `Progress` factory.
    """
    source = scan(data, x=x, y=y)
    header = source.header
    ranges, target = ColumnStats(header.n_features), ColumnStats(1)
    counts = {part: np.zeros(header.n_classes, int) for part in PARTS}
    bar = (progress or _no_progress)(sum(source.rows.values()), str(data))
    for part, lo, hi in _blocks(source):
        X, labels = source.read(part, lo, hi, finite=False)
        (ranges.add_sparse if header.sparse else ranges.add)(X)
        if header.classes:
            counts[part] += np.bincount(labels, minlength=header.n_classes)
        else:
            target.add(labels[:, None])
        bar.update(ranges.rows)
    source.close()
    lines = [
        str(data),
        f"  {one_line_summary(source)}",
        *_facts(source),
        "",
        *_stored(source),
    ]
    lines += ["", *_classes(header, counts)] if header.classes else []
    return lines + ["", *_features(header, ranges, target, every)]


def _no_progress(total, label):
    return Progress(total, label, stream=None)


class ColumnStats:
    """Smallest, mean and largest value of each column, and the count of NaN."""

    def __init__(self, width):
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)
        self.total, self.missing = np.zeros(width), np.zeros(width, int)
        self.rows = 0

    def add(self, X):
        """Take in a dense block (n, width)."""
        gone = np.isnan(X)
        np.fmin(self.low, np.fmin.reduce(X, axis=0), out=self.low)
        np.fmax(self.high, np.fmax.reduce(X, axis=0), out=self.high)
        self.total += np.where(gone, 0, X).sum(axis=0, dtype=np.float64)
        self.missing += gone.sum(axis=0)
        self.rows += len(X)

    def add_sparse(self, X):
        """Take in a Csr block; what is not stored is zero."""
        gone = np.isnan(X.data)
        np.fmin.at(self.low, X.indices, X.data)
        np.fmax.at(self.high, X.indices, X.data)
        width, rows = len(self.total), len(X.indptr) - 1
        stored = np.bincount(X.indices, minlength=width)
        hollow = stored < rows
        self.low[hollow] = np.fmin(self.low[hollow], 0)
        self.high[hollow] = np.fmax(self.high[hollow], 0)
        self.total += np.bincount(X.indices, np.where(gone, 0, X.data), minlength=width)
        self.missing += np.bincount(X.indices[gone], minlength=width)
        self.rows += rows

    def row(self, column):
        """Return (min, mean, max, missing) of a column as texts."""
        present = self.rows - self.missing[column]
        if not present:
            return "-", "-", "-", f"{self.missing[column]:,}"
        mean = self.total[column] / present
        numbers = (self.low[column], mean, self.high[column])
        return *(f"{value:.6g}" for value in numbers), f"{self.missing[column]:,}"


def _blocks(source):
    """Yield (part, lo, hi), blocks of about 4 MiB."""
    values = min(source.header.n_features, 4096 if source.header.sparse else 1 << 62)
    step = max(1, BLOCK_VALUES // values)
    for part in PARTS:
        for lo in range(0, source.rows[part], step):
            yield part, lo, min(source.rows[part], lo + step)


def _facts(source):
    size = sum(file.stat().st_size for file in source.files)
    header = source.header
    files = "1 file" if len(source.files) == 1 else f"{len(source.files)} files"
    facts = [f"  {files}, {size / 2**20:,.1f} MiB on disk"]
    if header.source:
        facts.append(f"  from {header.source}")
    return facts


def _stored(source):
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
        for pair in shard.parts.values()
        for item in pair
        for dataset in ([item] if hasattr(item, "dtype") else item.values())
    ]
    shard.close()
    return _table(("dataset", "rows", "dtype", "chunk", "filters"), rows)


def _classes(header, counts):
    columns = [[f"{n:,}" for n in counts[part]] for part in PARTS]
    rows = zip(map(str, header.classes), *columns, strict=True)
    return _table(("class", *PARTS), rows)


def _features(header, ranges, target, every):
    width = header.n_features
    names = header.feature_names or [str(column) for column in range(width)]
    shown = width if every else min(width, SHOWN)
    rows = [(names[column], *ranges.row(column)) for column in range(shown)]
    if not header.classes:
        rows.append((f"→ {header.target or 'y'}", *target.row(0)))
    lines = _table(("feature", "min", "mean", "max", "missing"), rows)
    if shown < width:
        gone = ranges.missing[shown:].sum()
        lines.append(f"  … and {width - shown:,} more, {gone:,} values missing (--all)")
    return lines


def _table(head, rows):
    """Return aligned lines; columns after the first are flush right."""
    rows = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            text.rjust(w) if i else text.ljust(w)
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
