"""Make a data file of a table: read, learn the encoding, shuffle, split, write.

All ranks read and encode; rank 0 writes. The file is the same on any number of ranks.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...atomic_file import translate_os_errors
from ...comm import mpi
from ...errors import DataError, UsageError, nearest
from ...reporting.progress import Progress
from ..arrow_arrays import as_array, is_null, text_array
from ..encoding import (
    CATEGORY,
    HASH,
    MAX_HASHES,
    Encoding,
    Entries,
    as_numbers,
    as_texts,
    is_number_text,
    shortened,
    shown,
)
from ..hdf5.header import Header
from ..hdf5.held_out import draw_grouped, draw_stratified
from ..tables import base
from ..tables.blocks import Block, TableBlocks
from .external_shuffle import ExternalShuffle, UnorderedRows
from .learn import (
    ColumnOptions,
    first_that_is_no_number,
    learn_encoding,
    verify_missing,
)
from .split import ShardLayout, output_files, write_files, write_in_order
from .targets import labels_of, name_classes, sort_labels, verify_task

if TYPE_CHECKING:
    from ...array_types import Array, BoolArray, FloatArray, IntArray
    from ...comm.mpi import Comm
    from ..tables.base import TableReader

MAX_LABELS = 1001  # distinct values of the label that are counted
LARGEST_EXACT = 2**53  # whole numbers above lose digits as float64
WHOLE_NUMBER = "^(?:0|-?[1-9][0-9]{0,17})$"  # of int64, without leading zeros
LARGEST_ID = 1e40  # above, numbers are measurements rather than ids


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
            row = int(is_null(column).argmax())
            raise DataError(
                f"{block.row_name(row)}: {self.name}, the label, is missing"
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

    def verify_trained(
        self, counts: IntArray, path: str, test: TableReader | None
    ) -> None:
        """Raise DataError where only test rows have a class; on all ranks.

        counts: (2, C) training and test rows of each class. test: the file of these.
        """
        cure = "; --stratify draws from every class" if test is None else ""
        path = path if test is None else test.path
        for name, train, test in zip(self.texts or (), *counts.tolist()):
            if test and not train:
                raise DataError(
                    f"{path}: {self.name}, the label, is {name!r} in {test} test rows "
                    f"and in no training row{cure}",
                    agreed=True,
                )

    def class_numbers(self, column: Any, block: Block) -> Array:
        """Return the class numbers (n,) of the cells of a column; DataError."""
        from pyarrow import compute

        assert self.texts is not None
        cells = as_texts(column)
        codes = compute.index_in(cells, value_set=text_array(self.texts))
        numbers = np.nan_to_num(as_array(codes), nan=-1).astype(np.int64)
        if (numbers < 0).any():
            row = int((numbers < 0).argmax())
            raise DataError(
                f"{block.row_name(row)}: {self.name}, the label, is "
                f"{shown(cells[row].as_py())}, expected one of {shortened(self.texts)}"
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
    hash: Mapping[str, int] | None = None,
    date: Mapping[str, str] | None = None,
    date_parts: Collection[str] = (),
    drop_column: Collection[str] = (),
    weight: str | None = None,
    id_column: str | None = None,
    missing: str = "error",
    dtype: str = "float64",
    test_size: float = 0.2,
    stratify: bool = False,
    group: str | None = None,
    seed: int = 0,
    shards: int = 1,
    overwrite: bool = False,
    quiet: bool = True,
) -> Import:
    """Write the rows of tables with the same columns to a data file; collective.

    label: the column to predict, by name or number, by default the last one. Texts, and
    a column of two distinct whole numbers, make classes, other numbers a regression,
    unless `task` says otherwise. ordinal, hash, date, date_parts: see `ColumnOptions`.
    `test` holds the test rows; else round(n·test_size) rows, drawn by the seed, are
    test rows: with `stratify` the same share of every class, with a `group` column all
    rows of a group or none. The encoding is learned on the training rows alone. Columns
    are those of the first table. Raises DataError and UsageError.
    """
    first = readers[0]
    with mpi.raise_collectively(comm):
        verify_task(task)
        verify_missing(missing)
        if test is not None and (stratify or group):
            raise UsageError("--test FILE has the test rows: nothing is drawn")
        find = partial(column_name, first.names, path=first.path)
        target = first.names[-1] if label is None else find(label)
        dropped = {find(name) for name in drop_column}
        aside = {name: find(name) for name in (weight, id_column, group) if name}
        weight, id_column, group = (
            aside.get(name or "") for name in (weight, id_column, group)
        )
        if target in (dropped | {*aside.values()}):
            raise UsageError(f"{target} is the label, and cannot be set aside")
        ignored = dropped | {*aside.values()}
        features = [n for n in first.names if n != target and n not in ignored]
        if not features:
            raise DataError(
                f"{first.path} names the columns {shortened(first.names)} (line 1 of a "
                f"CSV): none is left for features beside the label, {target}"
            )
        columns = ColumnOptions(
            {find(name): levels for name, levels in (ordinal or {}).items()},
            {find(name): size for name, size in (hash or {}).items()},
            {find(name): form for name, form in (date or {}).items()},
            {find(name) for name in date_parts},
        )
        if others := columns.columns() - {*features}:
            raise UsageError(f"{min(others)} is no feature: nothing encodes it")
    files = mpi.on_root(comm, partial(output_files, out, shards, overwrite=overwrite))
    used = [*features, target, *aside.values()]
    blocks = TableBlocks(
        comm,
        [*readers, test] if test else readers,
        texts=columns.read_as_text | ({id_column} if id_column else set()),
        complete=used if missing == "drop" else (),
    )
    with mpi.raise_collectively(comm):
        _verify_cells(blocks, features, target)
        if test is not None:
            _verify_test_file(blocks, test, [*features, target])
    found = _find_label(blocks, target, task)
    n = sum(blocks.rows)
    is_test = None
    if stratify or group:
        is_test = _draw_test_rows(blocks, found, stratify, group, test_size, seed)
    with mpi.raise_collectively(comm):
        n_test = blocks.rows[-1] if test else None
        if is_test is not None:
            n_test = int(np.count_nonzero(is_test))
        layout = ShardLayout(n, test_size, shards, n_test=n_test)
        order = draw_order(layout, n_test is not None, seed)
        if is_test is not None:
            order = order[np.argsort(np.argsort(is_test, kind="stable"))]
        destinations = layout.destinations(order)
    encoding = learn_encoding(
        blocks,
        features,
        order < layout.rows["train"],
        label=target,
        ignored=[name for name in first.names if name in ignored],
        options=columns,
        missing=missing,
    )
    header = _header(encoding, found, first.path, weight, dtype)
    ids = None if id_column is None else _id_dtype(blocks, id_column)
    unknown, total_weight = 0, 0.0
    counts = np.zeros((2, len(found.classes or ())), np.int64)
    with _shuffle(blocks, header, files[0], ids) as shuffle:
        with mpi.raise_collectively(comm), translate_os_errors(files[0], DataError):
            for block in blocks:
                rows = slice(block.first, block.first + block.table.num_rows)
                unordered = UnorderedRows(
                    _encode(header, block, ignore_unknown=True),
                    found.values(block),
                    _weights(block, weight),
                    _ids(block, id_column, ids),
                )
                shuffle.append(destinations[rows], unordered)
                unknown += _count_unknown(encoding, block)
                in_training = order[rows] < layout.rows["train"]
                if unordered.weights is not None:
                    total_weight += float(unordered.weights[in_training].sum())
                if found.classes is not None:
                    np.add.at(counts, ((~in_training).astype(int), unordered.y), 1)
        if weight is not None and not mpi.allreduce_max(comm, [total_weight])[0]:
            raise DataError(
                f"{first.path}: {weight}, the weight, is 0 in all training rows",
                agreed=True,
            )
        found.verify_trained(comm.allreduce(counts), first.path, test)
        shuffle.finish()
        progress = Progress(n, "writing", stream=None if quiet else sys.__stderr__)
        write = partial(_write, files, header, layout, shuffle.read, progress, ids=ids)
        mpi.on_root(comm, write)
    notes = [
        *_notes(blocks, found, sum(comm.allgather(unknown))),
        *_notes_on_numbers(blocks, [*features, target]),
        *_notes_on_texts(blocks, encoding),
    ]
    return Import(header, layout.rows, files, notes)


def apply_encoding(
    comm: Comm,
    readers: Sequence[TableReader],
    out: str,
    header: Header,
    *,
    labels: bool,
    id_column: str | None = None,
    drop_column: Collection[str] = (),
    ignore_unknown: bool = False,
) -> None:
    """Write the rows of tables as test rows, in order, in a model's encoding.

    Columns are found by their names; those in `drop_column` may be there. Without
    `labels` the file has no y, and the table needs no label. Where the model's data has
    row weights, and the table their column, they are written, too. Collective. Raises
    DataError.
    """
    reader, encoding = readers[0], header.encoding
    assert encoding is not None
    texts = None if header.classes is None else tuple(map(str, header.classes))
    label = Label(str(header.target), header.task, texts, header.classes)
    with mpi.raise_collectively(comm):
        aside = {column_name(reader.names, name, reader.path) for name in drop_column}
        if id_column is not None:
            id_column = column_name(reader.names, id_column, reader.path)
            aside.add(id_column)
        encoding.verify_names(reader.names, reader.path, ignored=aside)
        if labels and label.name not in reader.names:
            raise DataError(
                f"{reader.path} has no column {label.name!r}, the label: predict needs "
                "none"
            )
    wanted = encoding.read_as_text | ({id_column} if id_column else set())
    if labels and texts is not None and not all(map(is_number_text, texts)):
        wanted |= {label.name}  # numbers are the same however they are written
    blocks = TableBlocks(comm, readers, texts=wanted & {*reader.names})
    n = sum(blocks.rows)
    with mpi.raise_collectively(comm):
        if n < 1:
            raise DataError(f"{reader.path} holds no rows")
    (file,) = mpi.on_root(comm, partial(output_files, out, 1, overwrite=True))
    if not labels or header.weight not in reader.names:
        header = replace(header, weight=None)
    ids = None if id_column is None else _id_dtype(blocks, id_column)
    with _shuffle(blocks, header, file, ids) as shuffle:
        with mpi.raise_collectively(comm), translate_os_errors(file, DataError):
            for block in blocks:
                count = block.table.num_rows
                unordered = UnorderedRows(
                    _encode(header, block, ignore_unknown=ignore_unknown),
                    label.values(block) if labels else np.zeros(count),
                    _weights(block, header.weight),
                    _ids(block, id_column, ids),
                )
                shuffle.append(block.first + np.arange(count), unordered)
        shuffle.finish()
        write = partial(
            write_in_order, file, header, n, shuffle.read, labels=labels, ids=ids
        )
        mpi.on_root(comm, write)


@contextlib.contextmanager
def _shuffle(
    blocks: TableBlocks, header: Header, file: Path, ids: np.dtype[Any] | None
) -> Iterator[ExternalShuffle]:
    """Yield the shuffle of all rows of a table, beside a file; collective."""
    assert header.encoding is not None
    entries = sum(
        1 + column.indicator
        if column.kind in (CATEGORY, HASH)
        else len(column.features)
        for column in header.encoding.columns
    )
    shuffle = ExternalShuffle(
        blocks.comm,
        sum(blocks.rows),
        header,
        file.parent,
        entries=entries if header.sparse else 0,
        ids=ids,
    )
    try:
        yield shuffle
    finally:
        shuffle.close()


def _encode(
    header: Header, block: Block, *, ignore_unknown: bool
) -> FloatArray | Entries:
    """Return the features of a block, in the header's encoding; DataError."""
    assert header.encoding is not None
    if header.sparse:
        return header.encoding.entries(
            block.table, block.row_name, ignore_unknown=ignore_unknown
        )
    return header.encoding.encode(
        block.table, block.row_name, dtype=header.dtype, ignore_unknown=ignore_unknown
    )


def _verify_cells(blocks: TableBlocks, features: list[str], label: str) -> None:
    """Raise DataError for a table without rows, and for a column without cells."""
    path = blocks.readers[0].path
    if not blocks.any_rows:
        raise DataError(f"{path} holds no rows")
    for name in [*features, label]:
        if blocks.types[name] == base.EMPTY:
            cure = f"--drop-column {name!r} leaves it out"
            if name == label:
                cure = "it is the label, see --label COLUMN"
            raise DataError(f"{path}: {name} is missing in all rows; {cure}")
    if not any(blocks.rows):
        raise DataError(f"{path}: each row misses a cell, and --missing drop drops all")


def _verify_test_file(
    blocks: TableBlocks, test: TableReader, columns: Iterable[str]
) -> None:
    """Raise DataError for a file of test rows without rows, or of other types.

    Texts among what are numbers or dates in training rows are named by row.
    """
    if not blocks.rows[-1]:
        raise DataError(f"{test.path} holds no rows")
    for name in columns:
        trained, tested = (blocks.types_of(name, last=last) for last in (False, True))
        if trained in (base.TEXT, base.EMPTY) or tested in (trained, base.EMPTY):
            continue
        if trained in base.NUMBERS and tested in base.NUMBERS:
            continue
        for block in blocks:
            if block.path == test.path:
                is_date = trained == base.DATE
                as_numbers(block.table[name], name, block.row_name, dates=is_date)


def _draw_test_rows(
    blocks: TableBlocks,
    label: Label,
    stratify: bool,
    group: str | None,
    test_size: float,
    seed: int,
) -> BoolArray:
    """Return which rows (n,) are test rows, by class or by group; collective."""
    comm = blocks.comm
    with mpi.raise_collectively(comm):
        if stratify and group:
            raise UsageError("--stratify and --group: expected one of them")
        if stratify and label.texts is None:
            raise UsageError(f"--stratify takes classes; {label.name} is regression")
        local = {
            block.number: (
                as_texts(block.table[group]).to_pylist()
                if group
                else label.values(block)
            )
            for block in blocks
        }
    of_ranks: Any = comm.gather(local)

    def draw() -> BoolArray:
        by_block: dict[int, Any] = {}
        for of_rank in of_ranks:
            by_block |= of_rank
        of_blocks = [by_block[number] for number in sorted(by_block)]
        if not group:
            return draw_stratified(np.concatenate(of_blocks), test_size, seed)
        texts = np.array([str(text) for of_block in of_blocks for text in of_block])
        groups, numbers = np.unique(texts, return_inverse=True)
        if len(groups) < 2:
            raise DataError(f"--group {group} holds {len(groups)} group, expected 2 …")
        return draw_grouped(numbers, test_size, seed)

    drawn: BoolArray = mpi.on_root(comm, draw)
    return drawn


def _id_dtype(blocks: TableBlocks, column: str) -> np.dtype[Any]:
    """Return the dtype of ids: int64 where that keeps how all are written, else bytes.

    Bytes of UTF-8, as long as the longest. Collective. DataError for missing ids.
    """
    from pyarrow import compute

    longest, is_text = 1, False
    with mpi.raise_collectively(blocks.comm):
        for block in blocks:
            cells = block.table[column]
            if cells.null_count:
                row = int(is_null(cells).argmax())
                raise DataError(f"{block.row_name(row)}: {column}, the id, is missing")
            texts = as_texts(cells)
            lengths = compute.binary_length(texts.cast("binary"))
            longest = max(longest, compute.max(lengths).as_py() or 0)
            whole = compute.match_substring_regex(texts, WHOLE_NUMBER)
            is_text |= not compute.all(whole, min_count=0).as_py()
    most = mpi.allreduce_max(blocks.comm, [longest, is_text])
    return np.dtype(f"S{int(most[0])}" if most[1] else np.int64)


def _ids(block: Block, column: str | None, dtype: np.dtype[Any] | None) -> Array | None:
    """Return the ids (n,) of a block's rows; None where they have none."""
    if column is None or dtype is None:
        return None
    texts = as_texts(block.table[column]).to_pylist()
    if dtype.kind != "S":
        return np.array([int(text) for text in texts], dtype)
    return np.array([text.encode() for text in texts], dtype)


def _write(files: list[Path], *args: Any, ids: np.dtype[Any] | None) -> None:
    with translate_os_errors(files[0], DataError):
        write_files(files, *args, ids=ids)


def column_name(names: Sequence[str], column: str, path: str) -> str:
    """Return the name of a column given by name, or number from 0 on; DataError."""
    if column in names:
        return column
    try:
        return names[int(column)]
    except (ValueError, IndexError):
        raise DataError(
            f"{path} has no column {column!r}{nearest(column, names)}; it has "
            f"{shortened(names)}"
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
        with mpi.raise_collectively(blocks.comm):
            for block in blocks:  # names row and text
                as_numbers(block.table[name], f"{name}, the label,", block.row_name)
        raise DataError(f"{where} holds {kind}s, expected numbers", agreed=True)
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
        sparse=encoding.sparse,
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
    from pyarrow import compute

    unknown = 0
    for column in encoding.columns:
        if column.kind == CATEGORY:
            cells = as_texts(block.table[column.name].drop_null())
            known = compute.is_in(cells, value_set=text_array(column.categories))
            unknown += len(cells) - (compute.sum(known).as_py() or 0)
    return unknown


def _notes(blocks: TableBlocks, label: Label, unknown: int) -> Iterator[str]:
    """Yield what is to be said of a table: what was recognised, decided and lost."""
    first = blocks.readers[0]
    if first.description:
        yield f"{first.path} is {first.description}"
    if label.classes is not None and blocks.types[label.name] == base.INTEGER:
        yield (
            f"{label.name} holds {len(label.classes)} whole numbers, taken as classes; "
            "--task regression takes them as numbers"
        )
    if blocks.rows_left_out:
        yield f"{blocks.rows_left_out:,} rows with missing cells were left out"
    if unknown:
        yield (
            f"{unknown:,} texts of test rows are in no training row: their features "
            "are 0"
        )


def _notes_on_numbers(blocks: TableBlocks, columns: Sequence[str]) -> Iterator[str]:
    """Yield notes on columns of whole numbers that float64 rounds; collective."""
    from pyarrow import compute, types

    names = [name for name in columns if blocks.types[name] in base.NUMBERS]
    largest = np.zeros(len(names))
    is_whole = np.ones(len(names))
    for block in blocks:
        for k, name in enumerate(names):
            column = block.table[name]
            if types.is_string(column.type) or types.is_null(column.type):
                continue
            bounds = compute.min_max(column).as_py()
            values = [abs(value) for value in bounds.values() if value is not None]
            largest[k] = max(largest[k], *map(float, values)) if values else largest[k]
            if types.is_floating(column.type) and largest[k] > LARGEST_EXACT:
                fractions = compute.not_equal(column, compute.floor(column))
                is_whole[k] *= not compute.any(fractions).as_py()
    largest = np.array(mpi.allreduce_max(blocks.comm, largest.tolist()))
    has_fractions = mpi.allreduce_max(blocks.comm, (1 - is_whole).tolist())
    for name, size, fractions in zip(names, largest, has_fractions):
        if LARGEST_EXACT < size < LARGEST_ID and not fractions:
            yield (
                f"{name} holds whole numbers above 2^53, which lose digits; "
                f"--drop-column {name!r} leaves it out"
            )


def _notes_on_texts(blocks: TableBlocks, encoding: Encoding) -> Iterator[str]:
    """Yield notes on columns of categories that are mostly numbers; collective."""
    for column in encoding.columns:
        if column.kind != CATEGORY:
            continue
        if not any(map(is_number_text, column.categories)):
            continue
        examples = [
            f"{block.row_name(odd[0])} is {shown(odd[1])}"
            for block in blocks
            if (odd := first_that_is_no_number(block.table[column.name]))
        ]
        of_ranks = blocks.comm.allgather(examples[:1])
        for example in [example for of_rank in of_ranks for example in of_rank][:1]:
            yield (
                f"{column.name} is taken as categories, for not all cells are numbers: "
                f"{example}"
            )


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


def parse_hash(texts: Iterable[str]) -> dict[str, int]:
    """Return {column: features} of texts such as "word=2^18"; UsageError."""
    sizes = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        base_text, _, exponent = size.partition("^")
        try:
            sizes[name] = int(base_text) ** int(exponent or 1)
        except ValueError:
            sizes[name] = 0
        if not name or not 2 <= sizes[name] <= MAX_HASHES:
            raise UsageError(
                f"--hash is {text!r}, expected COLUMN=2^BITS or COLUMN=FEATURES, 2 … "
                "2^30 features"
            )
    return sizes


def parse_date(texts: Iterable[str]) -> dict[str, str]:
    """Return {column: format} of texts such as "day=%d/%m/%Y"; UsageError."""
    formats = {}
    for text in texts:
        name, _, formats[name] = text.partition("=")
        if "%" not in formats[name] or not name:
            raise UsageError(f"--date is {text!r}, expected COLUMN=%d/%m/%Y or such")
    return formats
