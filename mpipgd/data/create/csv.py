"""Read CSV in two passes over the text: survey the columns, then encode them.

Only a chunk of rows is in memory at a time, and for each row its destination.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...array_types import Array, FloatArray, IntArray
from ...errors import DataError, UsageError
from ...reporting.progress import Progress
from ..hdf5.header import Header
from .csv_column import Column
from .csv_file import CsvFile
from .external_shuffle import ExternalShuffle, RowReader
from .targets import labels_of, name_classes, verify_task

MISSING = {"", "NA", "N/A", "NaN", "nan", "NULL", "null", "?"}


class Gap(NamedTuple):
    """Missing cells of a column: the line of the first, and how many."""

    line: int
    cells: int


class CsvTable:
    """A surveyed CSV file: see `ingest.Table`. Rows with missing cells do not count.

    Raises DataError where the file is damaged or, without `drop_missing`, a cell is
    missing.
    """

    n_test = None

    def __init__(
        self,
        file: CsvFile,
        columns: list[Column],
        target: Column,
        *,
        task: str | None,
        dtype: str,
        drop_missing: bool,
    ) -> None:
        self.file, self.columns, self.target = file, columns, target
        self.rows = self._survey(drop_missing)
        self.header = _header(file, columns, target, task, dtype)

    def _survey(self, drop_missing: bool) -> int:
        """Find the columns of text and their values; return the number of rows."""
        rescan, gaps, rows = False, dict[str, Gap](), 0
        for lines, cells in self._chunks(gaps):
            for column in (*self.columns, self.target):
                texts = cells[column.position]
                if not column.observe(texts, lines, self.file.path):
                    rescan = rescan or rows > 0  # earlier rows are values, too
                    column.observe(texts, lines, self.file.path)
            rows += len(lines)
        if gaps and not drop_missing:
            name, (line, count) = next(iter(gaps.items()))
            raise DataError(
                f"{self.file.path}: {name} is missing in {count} rows, first in line "
                f"{line} ({len(gaps)} such columns); --missing drop leaves them out"
            )
        return self._survey(drop_missing) if rescan else rows

    def _chunks(
        self, gaps: dict[str, Gap]
    ) -> Iterator[tuple[list[int], list[Sequence[str]]]]:
        """Yield (lines, columns of texts) of the complete rows; add to `gaps`."""
        used = [*self.columns, self.target]
        for lines, rows in self.file.chunks():
            cells: list[Sequence[str]] = list(zip(*rows, strict=True))
            complete = np.ones(len(lines), bool)
            for column in used:
                if MISSING.isdisjoint(cells[column.position]):
                    continue
                missing = [cell in MISSING for cell in cells[column.position]]
                first = Gap(lines[missing.index(True)], 0)
                line, count = gaps.get(column.name, first)
                gaps[column.name] = Gap(line, count + sum(missing))
                complete &= ~np.array(missing)
            complete_rows = np.flatnonzero(complete).tolist()
            if len(complete_rows) < len(lines):
                lines = [lines[i] for i in complete_rows]
                cells = [[texts[i] for i in complete_rows] for texts in cells]
            if lines:
                yield lines, cells

    def encoded(self) -> Iterator[tuple[FloatArray, Array]]:
        """Yield (X, y) a chunk at a time, in the order of the file."""
        for lines, cells in self._chunks({}):
            X = [
                column.encode(cells[column.position], lines, self.file.path)
                for column in self.columns
            ]
            texts = cells[self.target.position]
            if self.header.classes is None:
                y = self.target.encode(texts, lines, self.file.path)
            else:
                y = self.target.codes(texts)
            yield np.column_stack(X), y

    @contextlib.contextmanager
    def shuffled(
        self, destinations: IntArray, folder: Path, progress: Progress
    ) -> Iterator[RowReader]:
        """Yield `read(lo, hi)` of the rows in the order of their destinations.

        Temporary files are in `folder`, and removed in the end.
        """
        shuffle = ExternalShuffle(self.rows, self.header, folder)
        try:
            start = 0
            for X, y in self.encoded():
                shuffle.append(destinations[start : start + len(y)], X, y)
                start += len(y)
                progress.update(start)
            yield shuffle.read
        finally:
            shuffle.close()


def read_csv(
    source: str | Path,
    *,
    dtype: str | None = None,
    task: str | None = None,
    target: str | None = None,
    ordinal: Mapping[str, Sequence[str]] | None = None,
    drop: Collection[str] = (),
    missing: str = "error",
    header: bool = True,
) -> CsvTable:
    """Survey a CSV file and return its `CsvTable`.

    target: a column by name or number, by default the last. ordinal: {column: levels in
    order}; other columns of text become one feature a value. drop: columns left out.
    missing: "error", or "drop" to leave out rows with empty or NA cells. A target of
    text makes classes; one of numbers regression, unless the task says otherwise.
    """
    verify_task(task)
    file = CsvFile(source, header=header)
    index = file.position("-1" if target is None else target)
    return CsvTable(
        file,
        _features(file, index, drop, ordinal or {}),
        Column(file.names[index], index, task in ("binary", "multiclass")),
        task=task,
        dtype=dtype or "float64",
        drop_missing=missing == "drop",
    )


def _features(
    file: CsvFile,
    target_index: int,
    drop: Collection[str],
    ordinal: Mapping[str, Sequence[str]],
) -> list[Column]:
    """Return the columns that become features."""
    skip = {target_index, *map(file.position, drop)}
    levels = {file.position(name): tuple(order) for name, order in ordinal.items()}
    columns = [
        Column(name, i, i in levels, levels.get(i))
        for i, name in enumerate(file.names)
        if i not in skip
    ]
    if not columns:
        raise DataError(f"{file.path}: no column is left for features")
    return columns


def _header(
    file: CsvFile,
    columns: Sequence[Column],
    target: Column,
    task: str | None,
    dtype: str,
) -> Header:
    """Return the header of surveyed columns; DataError where task and target clash."""
    classes = None
    where = f"{file.path}: the target {target.name}"
    if task == "regression" and target.text:
        raise DataError(f"{where} holds text, --task regression expects numbers")
    if target.text:
        labels = labels_of(target.order())
        task, classes = name_classes(labels, task or "classes", where)
    names = [name for column in columns for name in column.features()]
    return Header(
        task or "regression",
        len(names),
        dtype=dtype,
        classes=classes,
        feature_names=tuple(names),
        target=target.name,
        source=Path(file.path).name,
    )


def parse_ordinal(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return {column: levels} of texts such as "cut=Fair<Good<Ideal"."""
    ordinal = {}
    for text in texts:
        name, _, levels = text.partition("=")
        ordinal[name] = tuple(levels.split("<"))
        if len(set(ordinal[name])) < max(2, len(ordinal[name])):
            raise UsageError(
                f"--ordinal is {text!r}, expected COLUMN=LOW<…<HIGH, each level once"
            )
    return ordinal
