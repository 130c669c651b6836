"""Read CSV in two passes over the text: survey the columns, then encode them.

Only a chunk of rows is in memory, and for each row the number of its final place.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DataError, UsageError
from ..hdf5.header import Header
from .csv_column import Column
from .csv_file import CsvFile
from .external_shuffle import ExternalShuffle
from .targets import labels_of, name_classes, verify_task

MISSING = {"", "NA", "N/A", "NaN", "nan", "NULL", "null", "?"}


@dataclass
class CsvTable:
    """A surveyed CSV file; `rows` counts those that are kept."""

    file: CsvFile
    columns: list
    target: Column
    drop_missing: bool
    rows: int = 0
    header: Header | None = None
    n_test = None

    def survey(self):
        """Count rows, find texts and their values, and refuse missing cells."""
        self.rows, late, gaps = 0, False, {}
        for lines, cells in self._chunks(gaps):
            for column in (*self.columns, self.target):
                here = cells[column.position]
                if not column.observe(here, lines, self.file.path):
                    late = late or self.rows > 0
                    column.observe(here, lines, self.file.path)
            self.rows += len(lines)
        if gaps and not self.drop_missing:
            name, (line, count) = next(iter(gaps.items()))
            raise DataError(
                f"{self.file.path}: {name} is missing in {count} rows, first in line "
                f"{line} ({len(gaps)} such columns); --missing drop leaves them out"
            )
        if late:
            self.survey()

    def _chunks(self, gaps):
        """Yield (lines, columns of texts) of the complete rows; note the gaps."""
        used = [*self.columns, self.target]
        for lines, rows in self.file.chunks():
            cells = list(zip(*rows, strict=True))
            keep = np.ones(len(lines), bool)
            for column in used:
                if MISSING.isdisjoint(cells[column.position]):
                    continue
                gone = [cell in MISSING for cell in cells[column.position]]
                line, count = gaps.get(column.name, (lines[gone.index(True)], 0))
                gaps[column.name] = line, count + sum(gone)
                keep &= ~np.array(gone)
            kept = np.flatnonzero(keep).tolist()
            if len(kept) < len(lines):
                lines = [lines[i] for i in kept]
                cells = [[column[i] for i in kept] for column in cells]
            if lines:
                yield lines, cells

    def encoded(self):
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
    def shuffled(self, places, folder, progress):
        """Give `read(lo, hi)` of the rows in the order of their places."""
        scatter = ExternalShuffle(self.rows, self.header, folder)
        try:
            at = 0
            for X, y in self.encoded():
                scatter.append(places[at : at + len(y)], X, y)
                at += len(y)
                progress.update(at)
            yield scatter.read
        finally:
            scatter.close()


def read_csv(
    source,
    *,
    dtype=None,
    task=None,
    target=None,
    ordinal=None,
    drop=(),
    missing="error",
    header=True,
):
    """Survey a CSV file and return its `CsvTable`.

    target: a column by name or number, by default the last. ordinal: {column: levels in
    order}; other columns of text become one feature a value. drop: columns left out.
    missing: "error", or "drop" to leave out rows with empty or NA cells. A target of
    text makes classes; one of numbers regression, unless the task says otherwise.
    """
    verify_task(task)
    file = CsvFile(source, header=header)
    goal = file.position("-1" if target is None else target)
    columns = _features(file, goal, drop, ordinal or {})
    label = Column(file.names[goal], goal, task in ("binary", "multiclass"))
    table = CsvTable(file, columns, label, missing == "drop")
    table.survey()
    table.header = _header(table, task, dtype or "float64")
    return table


def _features(file, goal, drop, ordinal):
    skip = {goal, *map(file.position, drop)}
    levels = {file.position(name): tuple(order) for name, order in ordinal.items()}
    columns = [
        Column(name, i, i in levels, levels.get(i))
        for i, name in enumerate(file.names)
        if i not in skip
    ]
    if not columns:
        raise DataError(f"{file.path}: no column is left for features")
    return columns


def _header(table, task, dtype):
    target, classes = table.target, None
    where = f"{table.file.path}: the target {target.name}"
    if task == "regression" and target.text:
        raise DataError(f"{where} holds text, --task regression expects numbers")
    if target.text:
        labels = labels_of(target.order())
        task, classes = name_classes(labels, task or "classes", where)
    names = [name for column in table.columns for name in column.features()]
    return Header(
        task or "regression",
        len(names),
        dtype=dtype,
        classes=classes,
        feature_names=tuple(names),
        target=target.name,
        source=Path(table.file.path).name,
    )


def parse_ordinal(texts):
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
