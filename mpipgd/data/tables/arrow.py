"""Parquet, Arrow and Feather files, read by pyarrow in their own groups of rows."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ...comm import mpi
from ...errors import DataError
from . import base
from .base import verify_distinct

if TYPE_CHECKING:
    from ...comm.mpi import Comm


INDEX_NAME = "__index_level_"  # how pandas begins the names of indices without one


class ParquetReader:
    """A Parquet file as a `TableReader`, a block a row group; collective to make.

    file: where it is to be read, by default `path`.
    """

    def __init__(self, comm: Comm, path: str, *, file: str | None = None) -> None:
        self.path, self.file = path, file or path
        inspected = mpi.on_root(comm, self._inspect)
        self.names, self.n_blocks, self.description = inspected

    def _inspect(self) -> tuple[tuple[str, ...], int, str]:
        file = self._open()
        names, described = _without_index(file.schema_arrow)
        verify_distinct(names, self.path)
        return names, file.num_row_groups, described

    def _open(self) -> Any:
        from pyarrow import parquet

        with _explained(f"{self.path} is no Parquet file"):
            return parquet.ParquetFile(self.file)

    def read(self, block: int, *, texts: Collection[str] = ()) -> Any:
        """Return a block as a `pyarrow.Table`, see `TableReader`."""
        where = f"{self.path}: row group {block}"
        with _explained(f"{where} cannot be read"):
            table = self._open().read_row_group(block, list(self.names))
        return with_plain_columns(table, texts, where)


class ArrowReader:
    """An Arrow or Feather file as a `TableReader`, a block a record batch.

    Collective to make. file: where it is to be read, by default `path`.
    """

    def __init__(self, comm: Comm, path: str, *, file: str | None = None) -> None:
        self.path, self.file = path, file or path
        inspected = mpi.on_root(comm, self._inspect)
        self.names, self.n_blocks, self.description = inspected

    def _inspect(self) -> tuple[tuple[str, ...], int, str]:
        with self._open() as file:
            names, described = _without_index(file.schema)
            verify_distinct(names, self.path)
            return names, file.num_record_batches, described

    def _open(self) -> Any:
        import pyarrow as pa

        with _explained(f"{self.path} is no Arrow file, or Feather of version 2"):
            return pa.ipc.open_file(pa.memory_map(self.file))

    def read(self, block: int, *, texts: Collection[str] = ()) -> Any:
        """Return a block as a `pyarrow.Table`, see `TableReader`."""
        import pyarrow as pa

        where = f"{self.path}: record batch {block}"
        with _explained(f"{where} cannot be read"), self._open() as file:
            table = pa.Table.from_batches([file.get_batch(block)])
            table = table.select(list(self.names))
        return with_plain_columns(table, texts, where)


def _without_index(schema: Any) -> tuple[tuple[str, ...], str]:
    """Return the names of columns without pandas' own numbers of rows, and which."""
    left_out = [name for name in schema.names if name.startswith(INDEX_NAME)]
    names = tuple(name for name in schema.names if name not in left_out)
    text = f"written with pandas' index, {', '.join(left_out)}, which is left out"
    return names, text if left_out else ""


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Raise DataError for what pyarrow raises, with the first line of its message."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        message = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{what}: {message[0]}") from error


def with_plain_columns(table: Any, texts: Collection[str], where: str) -> Any:
    """Return a table with dictionaries decoded, NaN as missing, booleans as texts.

    where: what messages call it. Raises DataError for columns that are neither numbers,
    dates nor texts.
    """
    import pyarrow as pa
    from pyarrow import compute, types

    columns = []
    for name, column in zip(table.column_names, table.columns):
        with _explained(f"{where}: {name!r} cannot be read"):
            if types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            if not _is_plain(column):
                raise DataError(
                    f"{where}: {name!r} holds {column.type}, expected numbers, dates "
                    f"or texts; --drop-column {name!r} leaves it out"
                )
            if types.is_floating(column.type):
                column = compute.if_else(compute.is_nan(column), None, column)
            if types.is_float16(column.type):
                column = column.cast(pa.float32())
            elif types.is_time(column.type):
                column = _whole_seconds(column)
            is_number = base.cell_type(column) != base.TEXT
            if not is_number or name in texts:
                column = column.cast(pa.string())
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def _whole_seconds(times: Any) -> Any:
    """Return times of day without parts of seconds where there are none, as in CSV."""
    import pyarrow as pa

    try:
        return times.cast(pa.time32("s"))
    except pa.ArrowInvalid:
        return times


def _is_plain(column: Any) -> bool:
    """Return whether cells are numbers, dates, times, booleans, texts or UTF-8."""
    from pyarrow import types

    arrow_type = column.type
    return (
        base.cell_type(column) != base.TEXT
        or types.is_boolean(arrow_type)
        or types.is_time(arrow_type)
        or types.is_string(arrow_type)
        or types.is_large_string(arrow_type)
        or types.is_string_view(arrow_type)
        or types.is_binary(arrow_type)
        or types.is_large_binary(arrow_type)
        or types.is_binary_view(arrow_type)
    )
