"""Parquet, Arrow and Feather files, read by pyarrow in their own groups of rows."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ...comm import mpi
from ...errors import DataError

if TYPE_CHECKING:
    from ...comm.mpi import Comm


class ParquetReader:
    """A Parquet file as a `TableReader`, a block a row group; collective to make."""

    def __init__(self, comm: Comm, path: str) -> None:
        self.path = path
        self.names, self.n_blocks = mpi.on_root(comm, self._inspect)

    def _inspect(self) -> tuple[tuple[str, ...], int]:
        file = self._open()
        return tuple(file.schema_arrow.names), file.num_row_groups

    def _open(self) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            return parquet.ParquetFile(self.path)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{self.path} is no Parquet file: {error}") from error

    def read(self, block: int, *, texts: Collection[str] = ()) -> Any:
        """Return a block as a `pyarrow.Table`, see `TableReader`."""
        import pyarrow as pa

        try:
            table = self._open().read_row_group(block)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{self.path}: row group {block} cannot be read: {error}"
            ) from error
        return with_plain_columns(table, texts, self.path)


class ArrowReader:
    """An Arrow or Feather file as a `TableReader`, a block a record batch.

    Collective to make.
    """

    def __init__(self, comm: Comm, path: str) -> None:
        self.path = path
        self.names, self.n_blocks = mpi.on_root(comm, self._inspect)

    def _inspect(self) -> tuple[tuple[str, ...], int]:
        with self._open() as file:
            return tuple(file.schema.names), file.num_record_batches

    def _open(self) -> Any:
        import pyarrow as pa

        try:
            return pa.ipc.open_file(pa.memory_map(self.path))
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{self.path} is no Arrow file, or Feather of version 2: {error}"
            ) from error

    def read(self, block: int, *, texts: Collection[str] = ()) -> Any:
        """Return a block as a `pyarrow.Table`, see `TableReader`."""
        import pyarrow as pa

        try:
            with self._open() as file:
                table = pa.Table.from_batches([file.get_batch(block)])
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{self.path}: record batch {block} cannot be read: {error}"
            ) from error
        return with_plain_columns(table, texts, self.path)


def with_plain_columns(table: Any, texts: Collection[str], path: str) -> Any:
    """Return a table with dictionaries decoded, NaN as missing, booleans as texts.

    Raises DataError for columns that are neither numbers, dates nor texts.
    """
    import pyarrow as pa
    from pyarrow import compute

    columns = []
    for name, column in zip(table.column_names, table.columns):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_nested(column.type):
            raise DataError(
                f"{path}: {name} holds {column.type}, expected numbers, dates or "
                f"texts; --drop-column {name!r} leaves it out"
            )
        if pa.types.is_floating(column.type):
            column = compute.if_else(compute.is_nan(column), None, column)
        if pa.types.is_boolean(column.type) or name in texts:
            column = column.cast(pa.string())
        columns.append(column)
    return pa.table(columns, names=table.column_names)
