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
from ...errors import DataError, UsageError
from ...reporting.progress import Progress
from ..arrow_arrays import is_null
from ..encoding import (
    Encoding,
    Entries,
    as_numbers,
    as_texts,
    is_number_text,
)
from ..hdf5.header import Header
from ..hdf5.held_out import draw_grouped, draw_stratified
from ..tables import base
from ..tables.blocks import Block, TableBlocks
from .external_shuffle import ExternalShuffle, UnorderedRows
from .label import Label, find_label
from .learn import (
    learn_encoding,
    verify_missing,
)
from .notes import notes, number_bounds
from .roles import Roles, column_name, find_roles
from .split import ShardLayout, output_files, write_files, write_in_order
from .targets import verify_task

if TYPE_CHECKING:
    from ...array_types import Array, BoolArray, FloatArray, IntArray
    from ...comm.mpi import Comm
    from ..tables.base import TableReader

WHOLE_NUMBER = "^(?:0|-?[1-9][0-9]{0,17})$"  # of int64, without leading zeros


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
    task: str | None = None,
    missing: str = "error",
    dtype: str = "float64",
    test_size: float = 0.2,
    stratify: bool = False,
    seed: int = 0,
    shards: int = 1,
    overwrite: bool = False,
    quiet: bool = True,
    **roles_of_columns: Any,
) -> Import:
    """Write the rows of tables with the same columns to a data file; collective.

    roles_of_columns: label, weight, ordinal, …, see `find_roles`. Texts as labels, and
    two distinct whole numbers, make classes, other numbers a regression, unless `task`
    says otherwise. `test` holds the test rows; else round(n·test_size) rows,
    drawn by the seed, are test rows: with `stratify` the same share of every class,
    with a `group` column all rows of a group or none, as later validation rows. The
    encoding is learned on the training rows alone. Columns are those of the first
    table. Raises DataError and UsageError.
    """
    first = readers[0]
    with mpi.raise_collectively(comm):
        verify_task(task)
        verify_missing(missing)
        roles = find_roles(first.names, first.path, **roles_of_columns)
        if stratify and (test is not None or roles.group):
            other = "--test" if test is not None else "--group"
            raise UsageError(f"--stratify and {other}: expected one of them")
    files = mpi.on_root(comm, partial(output_files, out, shards, overwrite=overwrite))
    blocks = TableBlocks(
        comm,
        [*readers, test] if test else readers,
        texts=roles.options.read_as_text | ({roles.id} if roles.id else set()),
        complete=roles.used if missing == "drop" else (),
    )
    with mpi.raise_collectively(comm):
        _verify_cells(blocks, roles)
        if test is not None:
            _verify_test_file(blocks, test, [*roles.features, roles.label])
    label = find_label(blocks, roles.label, task)
    groups = None if roles.group is None else _number_groups(blocks, roles.group)
    is_test = None
    if groups is not None and test is None and test_size > 0:
        is_test = draw_grouped(groups, test_size, seed)
    elif stratify and test_size > 0:
        is_test = _draw_stratified(blocks, label, test_size, seed)
    with mpi.raise_collectively(comm):
        n, n_test = sum(blocks.rows), blocks.rows[-1] if test else None
        if is_test is not None:
            n_test = int(np.count_nonzero(is_test))
        layout = ShardLayout(n, test_size, shards, n_test=n_test)
        order = draw_order(layout, n_test is not None, seed)
        if is_test is not None:
            order = order[np.argsort(np.argsort(is_test, kind="stable"))]
    is_training = order < layout.rows["train"]
    encoding = learn_encoding(
        blocks,
        roles.features,
        is_training,
        label=roles.label,
        ignored=[n for n in first.names if n in roles.aside | roles.dropped],
        options=roles.options,
        missing=missing,
    )
    header = _header(encoding, label, first.path, roles.weight, dtype)
    extra = _id_dtypes(blocks, roles.id)
    if groups is not None:
        extra["group"] = groups.dtype
    tally = Tally(0, 0.0, np.zeros((2, len(label.classes or ())), np.int64))
    bounds = number_bounds(blocks, [*roles.features, roles.label])
    with _shuffle(blocks, header, files[0], extra) as shuffle:
        destinations = layout.destinations(order)
        with mpi.raise_collectively(comm), translate_os_errors(files[0], DataError):
            for block in blocks:
                span = slice(block.first, block.first + block.table.num_rows)
                of_block = _ids(block, roles.id, extra)
                if groups is not None:
                    of_block["group"] = groups[span]
                rows = UnorderedRows(
                    _encode(header, block, ignore_unknown=True),
                    label.values(block),
                    _weights(block, roles.weight),
                    of_block,
                )
                shuffle.append(destinations[span], rows)
                unknown = encoding.count_unknown(rows.X)
                tally = tally.plus(rows, is_training[span], unknown)
                bounds = bounds.plus(block)
        tally = tally.allreduce(comm)
        if roles.weight is not None and not tally.training_weight:
            raise DataError(
                f"{first.path}: {roles.weight}, the weight, is 0 in all training rows",
                agreed=True,
            )
        label.verify_trained(tally.classes, first.path, test)
        shuffle.finish()
        progress = Progress(n, "writing", stream=None if quiet else sys.__stderr__)
        write = partial(
            _write, files, header, layout, shuffle.read, progress, extra=extra
        )
        mpi.on_root(comm, write)
    said = notes(blocks, label, encoding, bounds, tally.unknown)
    return Import(header, layout.rows, files, said)


class Tally(NamedTuple):
    """What is counted while rows are encoded.

    unknown: texts that no training row has. training_weight: Σ w of training rows.
    classes: (2, C) training and test rows of each class.
    """

    unknown: int
    training_weight: float
    classes: IntArray

    def plus(self, rows: UnorderedRows, is_training: BoolArray, unknown: int) -> Tally:
        """Return the counts with those of more rows."""
        weight, classes = 0.0, self.classes.copy()
        if rows.weights is not None:
            weight = float(rows.weights[is_training].sum())
        if classes.size:
            np.add.at(classes, ((~is_training).astype(int), rows.y), 1)
        return Tally(self.unknown + unknown, self.training_weight + weight, classes)

    def allreduce(self, comm: Comm) -> Tally:
        """Return the counts of all ranks; collective."""
        of_ranks = comm.allgather(self)
        return Tally(*(sum(counts) for counts in zip(*of_ranks)))


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
    as_text = encoding.read_as_text | ({id_column} if id_column else set())
    if labels and texts is not None and not all(map(is_number_text, texts)):
        as_text |= {label.name}  # numbers are the same however they are written
    blocks = TableBlocks(comm, readers, texts=as_text & {*reader.names})
    n = sum(blocks.rows)
    with mpi.raise_collectively(comm):
        if n < 1:
            raise DataError(f"{reader.path} holds no rows")
    (file,) = mpi.on_root(comm, partial(output_files, out, 1, overwrite=True))
    if not labels or header.weight not in reader.names:
        header = replace(header, weight=None)
    extra = _id_dtypes(blocks, id_column)
    with _shuffle(blocks, header, file, extra) as shuffle:
        with mpi.raise_collectively(comm), translate_os_errors(file, DataError):
            for block in blocks:
                count = block.table.num_rows
                unordered = UnorderedRows(
                    _encode(header, block, ignore_unknown=ignore_unknown),
                    label.values(block) if labels else np.zeros(count),
                    _weights(block, header.weight),
                    _ids(block, id_column, extra),
                )
                shuffle.append(block.first + np.arange(count), unordered)
        shuffle.finish()
        write = partial(
            write_in_order, file, header, n, shuffle.read, labels=labels, extra=extra
        )
        mpi.on_root(comm, write)


@contextlib.contextmanager
def _shuffle(
    blocks: TableBlocks, header: Header, file: Path, extra: Mapping[str, np.dtype[Any]]
) -> Iterator[ExternalShuffle]:
    """Yield the shuffle of all rows of a table, beside a file; collective."""
    assert header.encoding is not None
    shuffle = ExternalShuffle(
        blocks.comm,
        sum(blocks.rows),
        header,
        file.parent,
        entries=header.encoding.n_entries if header.sparse else 0,
        extra=extra,
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


def _verify_cells(blocks: TableBlocks, roles: Roles) -> None:
    """Raise DataError for a table without rows, and for a column without cells."""
    path = blocks.readers[0].path
    if not blocks.any_rows:
        raise DataError(f"{path} holds no rows")
    for name in [*roles.features, roles.label]:
        if blocks.types[name] == base.EMPTY:
            cure = f"--drop-column {name!r} leaves it out"
            if name == roles.label:
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


def _draw_stratified(
    blocks: TableBlocks, label: Label, test_size: float, seed: int
) -> BoolArray:
    """Return which rows (n,) are test rows, a share of each class; collective."""
    comm = blocks.comm
    with mpi.raise_collectively(comm):
        if label.texts is None:
            raise UsageError(f"--stratify takes classes; {label.name} is regression")
        local = [label.values(block) for block in blocks]
    of_ranks = comm.allgather(local)
    classes = np.concatenate([y for of_rank in of_ranks for y in of_rank])
    return draw_stratified(classes, test_size, seed)


def _number_groups(blocks: TableBlocks, column: str) -> IntArray:
    """Return the number (n,) of each row's group; collective. DataError."""
    comm = blocks.comm
    local: list[str] = []
    with mpi.raise_collectively(comm):
        for block in blocks:
            cells = block.table[column]
            _verify_present(cells, block, f"{column}, the group,")
            local += as_texts(cells).to_pylist()
    texts = [text for of_rank in comm.allgather(local) for text in of_rank]
    distinct, numbers = np.unique(np.array(texts, object), return_inverse=True)
    if len(distinct) < 2:
        raise DataError(
            f"{blocks.readers[0].path}: {column}, the group, is {distinct[0]!r} in all "
            "rows, expected several groups",
            agreed=True,
        )
    return numbers.astype(np.int64)


def _verify_present(cells: Any, block: Block, name: str) -> None:
    """Raise DataError for a missing cell of a column, called `name`."""
    if cells.null_count:
        row = int(is_null(cells).argmax())
        raise DataError(f"{block.row_name(row)}: {name} is missing")


def _id_dtypes(blocks: TableBlocks, column: str | None) -> dict[str, np.dtype[Any]]:
    """Return {"id": dtype} where rows have ids, else nothing; collective, DataError.

    int64 where that keeps how all are written, else bytes of UTF-8, as long as the
    longest.
    """
    from pyarrow import compute

    if column is None:
        return {}
    longest, is_text = 1, False
    with mpi.raise_collectively(blocks.comm):
        for block in blocks:
            cells = block.table[column]
            _verify_present(cells, block, f"{column}, the id,")
            texts = as_texts(cells)
            lengths = compute.binary_length(texts.cast("binary"))
            longest = max(longest, compute.max(lengths).as_py() or 0)
            are_whole = compute.match_substring_regex(texts, WHOLE_NUMBER)
            is_text |= not compute.all(are_whole, min_count=0).as_py()
    most = mpi.allreduce_max(blocks.comm, [longest, is_text])
    return {"id": np.dtype(f"S{int(most[0])}" if most[1] else np.int64)}


def _ids(
    block: Block, column: str | None, dtypes: Mapping[str, np.dtype[Any]]
) -> dict[str, Array]:
    """Return {"id": (n,)} of a block's rows where they have ids, else nothing."""
    if column is None:
        return {}
    texts = as_texts(block.table[column]).to_pylist()
    if dtypes["id"].kind != "S":
        return {"id": np.array([int(text) for text in texts], dtypes["id"])}
    return {"id": np.array([text.encode() for text in texts], dtypes["id"])}


def _write(files: list[Path], *args: Any, extra: Mapping[str, np.dtype[Any]]) -> None:
    with translate_os_errors(files[0], DataError):
        write_files(files, *args, extra=extra)


def draw_order(layout: ShardLayout, fixed_test: bool, seed: int) -> Array:
    """Return (n,) each row's number in train, then test order, drawn by the seed."""
    n_train, n_test = layout.rows["train"], layout.rows["test"]
    draw = np.random.default_rng(seed)
    if not fixed_test:
        return draw.permutation(n_train + n_test)
    tail = np.arange(n_train, n_train + n_test)
    return np.concatenate([draw.permutation(n_train), tail])


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
