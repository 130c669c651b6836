"""Make a data file of a table: read, learn the encoding, shuffle, split, write.

All ranks read and encode; rank 0 writes. The file is the same on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...atomic_file import translate_os_errors
from ...comm import mpi
from ...errors import DataError, UsageError, nearest
from ..encoding import CATEGORY, ORDINAL, Encoding, as_numbers, as_texts
from ..hdf5.header import Header
from ..hdf5.writer import create
from ..tables import base
from ..tables.blocks import Block, TableBlocks
from .external_shuffle import ExternalShuffle
from .learn import learn_encoding, verify_missing
from .split import ShardLayout, output_files, write_files
from .targets import labels_of, name_classes, sort_labels, verify_task

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray
    from ...comm.mpi import Comm
    from ...reporting.progress import Progress
    from ..tables.base import TableReader

MAX_LABELS = 1001  # distinct values of the label that are counted
WRITTEN_ROWS = 1 << 14  # at once
LARGEST_EXACT = 2**53  # whole numbers above lose digits as float64


class Label(NamedTuple):
    """The column to predict: its task and, for classes, their texts and labels.

    `texts` are the cells of each class as texts, by class number; `classes` the labels
    in the header, which are numbers where all texts are.
    """

    name: str
    task: str
    texts: tuple[str, ...] | None = None
    classes: tuple[Any, ...] | None = None

    def values(self, block: Block) -> Array:
        """Return the class numbers or numbers (n,) of a block; DataError."""
        column = block.table[self.name]
        if column.null_count:
            row = int(np.asarray(column.is_null()).argmax())
            raise DataError(
                f"{block.row_name(row)}: {self.name}, the label, is missing "
                f"({column.null_count} such); --missing drop leaves such rows out"
            )
        if self.texts is None:
            values = as_numbers(column, self.name, block.row_name)
            if not np.isfinite(values).all():
                row = int(np.isfinite(values).argmin())
                raise DataError(
                    f"{block.row_name(row)}: {self.name}, the label, is {values[row]}, "
                    "expected a finite number"
                )
            return values
        return self.class_numbers(column, block)

    def class_numbers(self, column: Any, block: Block) -> Array:
        """Return the class numbers (n,) of the cells of a column; DataError."""
        import pyarrow as pa
        from pyarrow import compute

        assert self.texts is not None
        cells = as_texts(column)
        codes = compute.index_in(cells, value_set=pa.array(self.texts, pa.string()))
        numbers = np.asarray(codes.fill_null(-1), np.int64)
        if (numbers < 0).any():
            row = int((numbers < 0).argmax())
            raise DataError(
                f"{block.row_name(row)}: {self.name}, the label, is "
                f"{cells[row].as_py()!r}, expected one of {', '.join(self.texts[:8])}"
            )
        return numbers


class Import(NamedTuple):
    """What `import_table` wrote: header, {"train": n, "test": m}, files, remarks."""

    header: Header
    rows: dict[str, int]
    files: list[Path]
    notes: list[str]


def import_table(
    comm: Comm,
    readers: Sequence[TableReader],
    out: str,
    *,
    test: TableReader | None = None,
    label: str | None = None,
    task: str | None = None,
    ordinal: Mapping[str, Sequence[str]] | None = None,
    drop_column: Collection[str] = (),
    weight: str | None = None,
    missing: str = "error",
    dtype: str = "float64",
    test_size: float = 0.2,
    seed: int = 0,
    shards: int = 1,
    overwrite: bool = False,
    progress: Progress,
) -> Import:
    """Write the rows of tables with the same columns to a data file; collective.

    label: the column to predict, by name or number, by default the last one. Texts, and
    a column of two distinct whole numbers, make classes, other numbers a regression,
    unless `task` says otherwise. `test` holds the test rows; else round(n·test_size)
    rows, drawn by the seed, are test rows. The encoding is learned on the training rows
    alone. Columns are those of the first table. Raises DataError and UsageError.
    """
    ordinal = ordinal or {}
    first = readers[0]
    with mpi.raise_collectively(comm):
        verify_task(task)
        verify_missing(missing)
        names = first.names
        target = column_name(names, "-1" if label is None else label, first.path)
        dropped = [column_name(names, name, first.path) for name in drop_column]
        weight = None if weight is None else column_name(names, weight, first.path)
        ordinal = {column_name(names, n, first.path): o for n, o in ordinal.items()}
        aside = {target, weight, *dropped}
        if target in dropped:
            raise UsageError(f"--drop-column {target}: it is the label")
        features = [name for name in names if name not in aside]
        if not features:
            raise DataError(f"{first.path}: no column is left for features")
    files = mpi.on_root(comm, partial(output_files, out, shards, overwrite=overwrite))
    used = [*features, target, *([weight] if weight else [])]
    blocks = TableBlocks(
        comm,
        [*readers, test] if test else readers,
        texts=[*ordinal],
        complete=used if missing == "drop" else (),
    )
    n_test = blocks.rows[-1] if test else None
    n = sum(blocks.rows)
    with mpi.raise_collectively(comm):
        layout = ShardLayout(n, test_size, shards, n_test=n_test)
        order = draw_order(layout, n_test is not None, seed)
        destinations = layout.destinations(order)
    found = _find_label(blocks, target, task)
    encoding = learn_encoding(
        blocks,
        features,
        order < layout.rows["train"],
        label=target,
        ignored=[name for name in names if name in (weight, *dropped)],
        ordinal=ordinal,
        missing=missing,
    )
    header = _header(encoding, found, first.path, weight, dtype)
    shuffle = ExternalShuffle(comm, n, header, files[0].parent)
    try:
        unknown = 0
        with mpi.raise_collectively(comm), translate_os_errors(files[0], DataError):
            for block in blocks:
                rows = slice(block.first, block.first + block.table.num_rows)
                X = encoding.encode(
                    block.table, block.row_name, dtype=dtype, ignore_unknown=True
                )
                unknown += _count_unknown(encoding, block)
                weights = _weights(block, weight)
                shuffle.append(destinations[rows], X, found.values(block), weights)
        shuffle.finish()
        with mpi.raise_collectively(comm, root=True):
            mpi.root_else(comm, _write, _write_nothing)(
                files, header, layout, shuffle, progress
            )
    finally:
        shuffle.close()
    inexact = _inexact_columns(blocks, features)
    notes = _notes(blocks, found, inexact, sum(comm.allgather(unknown)))
    return Import(header, layout.rows, files, notes)


def apply_encoding(
    comm: Comm,
    reader: TableReader,
    out: str,
    header: Header,
    *,
    labels: bool,
    ignore_unknown: bool = False,
) -> None:
    """Write the rows of a table as test rows, in order, in a model's encoding.

    Columns are found by their names. Without `labels` the file has no y, and the table
    needs no label. Collective. Raises DataError.
    """
    encoding = header.encoding
    assert encoding is not None
    texts = None if header.classes is None else tuple(map(str, header.classes))
    label = Label(str(header.target), header.task, texts, header.classes)
    with mpi.raise_collectively(comm):
        encoding.verify_names(reader.names, reader.path)
        if labels and label.name not in reader.names:
            raise DataError(
                f"{reader.path} has no column {label.name!r}, the label: predict needs "
                "none"
            )
    as_categories = {c.name for c in encoding.columns if c.kind in (CATEGORY, ORDINAL)}
    wanted = as_categories | ({label.name} if labels and texts else set())
    blocks = TableBlocks(comm, [reader], texts=wanted & {*reader.names})
    n = sum(blocks.rows)
    with mpi.raise_collectively(comm):
        if n < 1:
            raise DataError(f"{reader.path} holds no rows")
    (file,) = mpi.on_root(comm, partial(output_files, out, 1, overwrite=True))
    header = replace(header, weight=None)
    shuffle = ExternalShuffle(comm, n, header, file.parent)
    try:
        with mpi.raise_collectively(comm), translate_os_errors(file, DataError):
            for block in blocks:
                X = encoding.encode(
                    block.table,
                    block.row_name,
                    dtype=header.dtype,
                    ignore_unknown=ignore_unknown,
                )
                y = label.values(block) if labels else np.zeros(len(X))
                shuffle.append(block.first + np.arange(len(X)), X, y)
        shuffle.finish()
        with mpi.raise_collectively(comm, root=True):
            mpi.root_else(comm, _write_in_order, _write_nothing)(
                file, header, n, shuffle, labels
            )
    finally:
        shuffle.close()


def _write_in_order(
    path: Path, header: Header, n: int, shuffle: ExternalShuffle, labels: bool
) -> None:
    with (
        translate_os_errors(path, DataError),
        create(path, header, rows={"train": 0, "test": n}, labels=labels) as writer,
    ):
        for lo in range(0, n, WRITTEN_ROWS):
            writer.write("test", lo, *shuffle.read(lo, min(n, lo + WRITTEN_ROWS)))


def _write(
    files: list[Path],
    header: Header,
    layout: ShardLayout,
    shuffle: ExternalShuffle,
    progress: Progress,
) -> None:
    with translate_os_errors(files[0], DataError):
        write_files(files, header, layout, shuffle.read, progress)


def _write_nothing(*args: object) -> None:
    """Do what ranks do that do not write."""


def column_name(names: Sequence[str], column: str, path: str) -> str:
    """Return the name of a column given by name, or number from 0 on; DataError."""
    if column in names:
        return column
    try:
        return names[int(column)]
    except (ValueError, IndexError):
        raise DataError(
            f"{path} has no column {column!r}{nearest(column, names)}; it has "
            f"{', '.join(names)}"
        ) from None


def draw_order(layout: ShardLayout, fixed_test: bool, seed: int) -> Array:
    """Return (n,) each row's number in train, then test order, drawn by the seed."""
    n_train, n_test = layout.rows["train"], layout.rows["test"]
    draw = np.random.default_rng(seed)
    if not fixed_test:
        return draw.permutation(n_train + n_test)
    tail = np.arange(n_train, n_train + n_test)
    return np.concatenate([draw.permutation(n_train), tail])


def _find_label(blocks: TableBlocks, name: str, task: str | None) -> Label:
    """Return the label's task and classes; collective. DataError where they clash."""
    kind = blocks.types[name]
    where = f"{blocks.readers[0].path}: the label {name}"
    if task == "regression" and kind in (base.TEXT, base.DATE):
        raise DataError(
            f"{where} holds {kind}s, --task regression expects numbers", agreed=True
        )
    if task == "regression" or (task is None and kind == base.REAL):
        return Label(name, "regression")
    distinct: set[str] = set()
    with mpi.raise_collectively(blocks.comm):
        for block in blocks:
            if len(distinct) < MAX_LABELS:
                texts = as_texts(block.table[name].drop_null().unique())
                distinct.update(texts.to_pylist())
    distinct = set[str]().union(*blocks.comm.allgather(distinct))
    if task is None and kind == base.INTEGER and len(distinct) != 2:
        return Label(name, "regression")
    with mpi.raise_collectively(blocks.comm):
        texts = tuple(sort_labels(distinct))
        labels = labels_of(texts)
        task, classes = name_classes(labels, task or "classes", where)
    return Label(name, task, texts, classes)


def _header(
    encoding: Encoding, label: Label, path: str, weight: str | None, dtype: str
) -> Header:
    return Header(
        label.task,
        len(encoding.features),
        dtype=dtype,
        classes=label.classes,
        feature_names=encoding.features,
        target=label.name,
        weight=weight,
        source=Path(path).name,
        encoding=encoding,
    )


def _weights(block: Block, weight: str | None) -> FloatArray | None:
    """Return the row weights of a block, verified; None where rows have none."""
    if weight is None:
        return None
    values = as_numbers(block.table[weight], weight, block.row_name)
    fit = np.isfinite(values) & (values >= 0)
    if not fit.all():
        row = int(fit.argmin())
        raise DataError(
            f"{block.row_name(row)}: {weight}, the weight, is {values[row]}, expected "
            "a number from 0"
        )
    return values


def _count_unknown(encoding: Encoding, block: Block) -> int:
    """Return how many texts of a block are no category: of test rows, by the split."""
    import pyarrow as pa
    from pyarrow import compute

    unknown = 0
    for column in encoding.columns:
        if column.kind == "category":
            cells = as_texts(block.table[column.name].drop_null())
            known = compute.is_in(
                cells, value_set=pa.array(column.categories, pa.string())
            )
            unknown += len(cells) - (compute.sum(known).as_py() or 0)
    return unknown


def _inexact_columns(blocks: TableBlocks, features: Sequence[str]) -> list[str]:
    """Return the columns of whole numbers that float64 rounds; collective."""
    from pyarrow import compute

    integers = [name for name in features if blocks.types[name] == base.INTEGER]
    largest = np.zeros(len(integers))
    for block in blocks:
        for k, name in enumerate(integers):
            bounds = compute.min_max(block.table[name]).as_py()
            values = [abs(value) for value in bounds.values() if value is not None]
            largest[k] = max(largest[k], *map(float, values)) if values else largest[k]
    largest = mpi.allreduce_max(blocks.comm, largest.tolist())
    return [name for name, size in zip(integers, largest) if size > LARGEST_EXACT]


def _notes(
    blocks: TableBlocks, label: Label, inexact: Sequence[str], unknown: int
) -> list[str]:
    """Return what is to be said of a table: decisions, and what was lost."""
    notes = []
    if label.classes is not None and blocks.types[label.name] == base.INTEGER:
        notes.append(
            f"{label.name} holds {len(label.classes)} whole numbers, taken as classes; "
            "--task regression takes them as numbers"
        )
    if blocks.rows_left_out:
        notes.append(f"{blocks.rows_left_out:,} rows with missing cells were left out")
    if unknown:
        notes.append(
            f"{unknown:,} texts of test rows are in no training row: their features "
            "are 0"
        )
    notes += [
        f"{name} holds whole numbers above 2^53, which lose digits as features; "
        f"--drop-column {name!r} leaves it out"
        for name in inexact
    ]
    return notes


def parse_ordinal(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return {column: levels} of texts such as "cut=Fair<Good<Ideal"; UsageError."""
    ordinal = {}
    for text in texts:
        name, _, levels = text.partition("=")
        ordinal[name] = tuple(levels.split("<"))
        if len(set(ordinal[name])) < max(2, len(ordinal[name])):
            raise UsageError(
                f"--ordinal is {text!r}, expected COLUMN=LOW<…<HIGH, each level once"
            )
    return ordinal
