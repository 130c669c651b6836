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


class ParquetReader:
    """A Parquet file as a `TableReader`, a block a row group; collective to make.

    file: where it is to be read, by default `path`.
    """

    description = ""

    def __init__(self, comm: Comm, path: str, *, file: str | None = None) -> None:
        self.path, self.file = path, file or path
        self.names, self.n_blocks = mpi.on_root(comm, self._inspect)

    def _inspect(self) -> tuple[tuple[str, ...], int]:
        file = self._open()
        names = tuple(file.schema_arrow.names)
        verify_distinct(names, self.path)
        return names, file.num_row_groups

    def _open(self) -> Any:
        from pyarrow import parquet

        with _explained(f"{self.path} is no Parquet file"):
            return parquet.ParquetFile(self.file)

    def read(self, block: int, *, texts: Collection[str] = ()) -> Any:
        """Return a block as a `pyarrow.Table`, see `TableReader`."""
        where = f"{self.path}: row group {block}"
        with _explained(f"{where} cannot be read"):
            table = self._open().read_row_group(block)
        return with_plain_columns(table, texts, where)


class ArrowReader:
    """An Arrow or Feather file as a `TableReader`, a block a record batch.

    Collective to make. file: where it is to be read, by default `path`.
    """

    description = ""

    def __init__(self, comm: Comm, path: str, *, file: str | None = None) -> None:
        self.path, self.file = path, file or path
        self.names, self.n_blocks = mpi.on_root(comm, self._inspect)

    def _inspect(self) -> tuple[tuple[str, ...], int]:
        with self._open() as file:
            verify_distinct(file.schema.names, self.path)
            return tuple(file.schema.names), file.num_record_batches

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
        return with_plain_columns(table, texts, where)


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
            if not _is_plain(column.type):
                raise DataError(
                    f"{where}: {name!r} holds {column.type}, expected numbers, dates "
                    f"or texts; --drop-column {name!r} leaves it out"
                )
            if types.is_floating(column.type):
                column = compute.if_else(compute.is_nan(column), None, column)
            is_number = base.cell_type(column.type) != base.TEXT
            if not is_number or name in texts:
                column = column.cast(pa.string())
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def _is_plain(arrow_type: Any) -> bool:
    """Return whether cells are numbers, dates, times, booleans, texts or UTF-8."""
    from pyarrow import types

    return (
        base.cell_type(arrow_type) != base.TEXT
        or types.is_boolean(arrow_type)
        or types.is_time(arrow_type)
        or types.is_string(arrow_type)
        or types.is_large_string(arrow_type)
        or types.is_string_view(arrow_type)
        or types.is_binary(arrow_type)
        or types.is_large_binary(arrow_type)
        or types.is_binary_view(arrow_type)
    )
