"""CSV read by pyarrow in blocks of bytes, which begin and end with records."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from ...comm import mpi
from ...comm.even_partition import even_partition
from ...errors import DataError
from .base import cell_type
from .dialect import Dialect, recognise
from .record_scan import QUOTED, BlockScan, record_starts, scan_block

if TYPE_CHECKING:
    from ...array_types import IntArray
    from ...comm.mpi import Comm

BLOCK_BYTES = 8 << 20
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "#N/A", "?")


class CsvReader:
    """A CSV file as a `TableReader`; collective to make, each rank scans some blocks.

    `dialect` says how it is written; `options` are those of `recognise`. Raises
    DataError.
    """

    def __init__(
        self,
        comm: Comm,
        path: str,
        *,
        block_bytes: int = BLOCK_BYTES,
        **options: Any,
    ) -> None:
        self.path = path
        self.dialect: Dialect = mpi.on_root(
            comm, lambda: self._recognise(path, **options)
        )
        self.names = self.dialect.names
        self.starts = self._record_starts(comm, block_bytes)
        self.n_blocks = len(self.starts) - 1

    @staticmethod
    def _recognise(path: str, **options: Any) -> Dialect:
        try:
            return recognise(path, **options)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error

    def _record_starts(self, comm: Comm, block_bytes: int) -> IntArray:
        """Return (n_blocks + 1,) the byte at which each block begins; collective."""
        separator = self.dialect.separator.encode()
        scans: list[BlockScan] = []
        with mpi.raise_collectively(comm), open(self.path, "rb") as file:
            size = file.seek(0, 2)
            first = min(self.dialect.start, size)
            offsets = np.append(
                np.arange(first, max(size, first + 1), block_bytes), size
            )
            n = len(offsets) - 1
            for block in range(*even_partition(n, comm.size, comm.rank)):
                file.seek(offsets[block])
                data = file.read(offsets[block + 1] - offsets[block])
                scans.append(scan_block(data or b"\n", separator))
        all_scans = [scan for of_rank in comm.allgather(scans) for scan in of_rank]
        starts, state = record_starts(all_scans, offsets)
        if state == QUOTED:
            raise DataError(
                f"{self.path}: a quote is not closed until the end of the file",
                agreed=True,
            )
        return starts

    def read(self, block: int, *, texts: Collection[str] = ()) -> Any:
        """Return a block as a `pyarrow.Table`, see `TableReader`."""
        import pyarrow as pa
        from pyarrow import csv

        with open(self.path, "rb") as file:
            file.seek(self.starts[block])
            data = file.read(self.starts[block + 1] - self.starts[block])
        if self.dialect.encoding != "utf-8":
            data = data.decode(self.dialect.encoding, errors="replace").encode()
        if not data or data.isspace():
            return pa.table({name: pa.nulls(0) for name in self.names})
        ragged: list[Any] = []

        def note_ragged_row(row: Any) -> str:
            ragged.append(row)
            return "skip"

        try:
            table = csv.read_csv(
                pa.BufferReader(data),
                csv.ReadOptions(
                    column_names=list(self.names),
                    block_size=len(data) + 1,
                    use_threads=False,
                ),
                csv.ParseOptions(
                    delimiter=self.dialect.separator,
                    newlines_in_values=b'"' in data,
                    invalid_row_handler=note_ragged_row,
                ),
                csv.ConvertOptions(
                    null_values=list(MISSING),
                    strings_can_be_null=True,
                    true_values=[],
                    false_values=[],
                    decimal_point=self.dialect.decimal,
                    column_types={name: pa.string() for name in texts},
                ),
            )
        except pa.ArrowInvalid as error:
            raise DataError(f"{self.path}: {self._rows(block)}: {error}") from error
        if ragged:
            row = ragged[0]
            raise DataError(
                f"{self.path}: {self._row(block, row.number - 1)} has "
                f"{row.actual_columns} cells, expected {row.expected_columns}"
                f"{self._hint(row.text)}"
            )
        for name, column in zip(table.column_names, table.columns):
            if pa.types.is_binary(column.type):
                raise DataError(
                    f"{self.path}: {self._rows(block)}: {name} is not UTF-8; say what "
                    "it is, as --encoding latin-1"
                )
        return table

    def _row(self, block: int, row: int) -> str:
        """Return the name of a row of a block, counted from 1 in the whole file."""
        before = sum(self.read(k).num_rows for k in range(block))
        return f"row {before + row + 1}"

    def _rows(self, block: int) -> str:
        return f"bytes {self.starts[block]} … {self.starts[block + 1]}"

    def _hint(self, text: str) -> str:
        if text.lstrip().startswith('"') or text.count('"') % 2:
            return f": a quote is not closed in {text[:40]!r}"
        return ""


def kinds_of(table: Any) -> list[str]:
    """Return what the cells of each column of a block are: INTEGER, REAL, …"""
    return [cell_type(column.type) for column in table.columns]
