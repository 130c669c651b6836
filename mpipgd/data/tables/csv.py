"""CSV read by pyarrow in blocks of bytes, which begin and end with records."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from ...comm import mpi
from ...comm.even_partition import even_partition
from ...errors import DataError
from .dialect import Dialect, recognise
from .record_scan import (
    AFTER_QUOTE,
    LINE_BREAK,
    NEXT_STATE,
    OTHER,
    QUOTE,
    QUOTED,
    SEPARATOR,
    SPACE,
    START,
    BlockScan,
    record_starts,
    scan_block,
)

if TYPE_CHECKING:
    from ...array_types import IntArray
    from ...comm.mpi import Comm

BLOCK_BYTES = 8 << 20
CHUNK_BYTES = 512 << 10  # that pyarrow parses at once: twice as fast as a block
MISSING = (
    *("NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None"),
    *("#N/A", "#NA", "?", *(" " * count for count in range(9))),
)


class CsvReader:
    """A CSV file as a `TableReader`; collective to make, each rank scans some blocks.

    `dialect` says how it is written; `options` are those of `recognise`. file: where it
    is to be read, by default `path`. Raises DataError.
    """

    def __init__(
        self,
        comm: Comm,
        path: str,
        *,
        file: str | None = None,
        block_bytes: int = BLOCK_BYTES,
        **options: Any,
    ) -> None:
        self.path, self.file = path, file or path
        self.dialect: Dialect = mpi.on_root(comm, lambda: self._recognise(**options))
        self.description = self.dialect.described()
        self.names = self.dialect.names
        self.starts = self._record_starts(comm, block_bytes)
        self.n_blocks = len(self.starts) - 1

    def _recognise(self, **options: Any) -> Dialect:
        try:
            return recognise(self.file, **options, shown=self.path)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}") from error

    def _record_starts(self, comm: Comm, block_bytes: int) -> IntArray:
        """Return (n_blocks + 1,) the byte at which each block begins; collective."""
        separator = self.dialect.separator.encode()
        scans: list[BlockScan] = []
        with mpi.raise_collectively(comm), open(self.file, "rb") as file:
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
        starts, state, malformed = record_starts(all_scans, offsets)
        if malformed or state == QUOTED:
            fault = mpi.on_root(comm, self._fault_of_quotes)
            raise DataError(f"{self.path}: {fault}", agreed=True)
        return starts

    def _fault_of_quotes(self) -> str:
        """Return what is wrong with the quotes of a file that has malformed ones."""
        separator = re.escape(self.dialect.separator.encode())
        token = re.compile(
            b'(")|(' + separator + b')|(\n)|([ \r]+)|[^" \n\r' + separator + b"]+"
        )
        kinds = {None: OTHER, 1: QUOTE, 2: SEPARATOR, 3: LINE_BREAK, 4: SPACE}
        row, opened, state = 1, 1, START
        with open(self.file, "rb") as file:
            file.seek(self.dialect.start)
            for line in file:
                for match in token.finditer(line):
                    kind = kinds[match.lastindex]
                    if state == AFTER_QUOTE and kind == OTHER:
                        return (
                            f"row {opened:,} opens a quote that ends within a cell, in "
                            f"row {row:,}: quotes within quotes are written twice"
                        )
                    if state == START and kind == QUOTE:
                        opened = row
                    row += kind == LINE_BREAK and state != QUOTED
                    state = NEXT_STATE[kind][state]
        return f"row {opened:,} opens a quote that is never closed"

    def read(self, block: int, *, texts: Collection[str] = ()) -> Any:
        """Return a block as a `pyarrow.Table`, see `TableReader`."""
        import pyarrow as pa

        with open(self.file, "rb") as file:
            file.seek(self.starts[block])
            data = file.read(self.starts[block + 1] - self.starts[block])
        if self.dialect.encoding != "utf-8":
            data = self._decoded(block, data).encode()
        if b"\0" in data:
            row = data[: data.index(b"\0")].count(b"\n")
            raise DataError(f"{self.path}: {self._row(block, row)} holds a zero byte")
        if not data or data.isspace():
            return pa.table({name: pa.nulls(0) for name in self.names})
        table = self._parse(block, data, texts)
        if b"0x" in data or b"0X" in data:  # which pyarrow takes for numbers
            hexadecimal = self._hexadecimal_columns(block, data, table)
            if hexadecimal:
                table = self._parse(block, data, {*texts, *hexadecimal})
        return self._with_thousands(table, texts)

    def _decoded(self, block: int, data: bytes) -> str:
        """Return the bytes of a block as text; DataError names the row that is none."""
        encoding = self.dialect.encoding
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            line = data[: error.start].rfind(b"\n") + 1
            cells = data[line : error.start].split(self.dialect.separator.encode())
            column = self.names[min(len(cells), len(self.names)) - 1]
            row = data[: error.start].count(b"\n")
            raise DataError(
                f"{self.path}: {self._row(block, row)}: {column} is no text of "
                f"{encoding}; say what it is, as --encoding latin-1"
            ) from error

    def _parse(
        self,
        block: int,
        data: bytes,
        texts: Collection[str],
        *,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> Any:
        """Return the table of a block's bytes; DataError."""
        import pyarrow as pa
        from pyarrow import csv

        ragged: list[Any] = []

        def note_ragged_row(row: Any) -> str:
            ragged.append(row)
            return "skip"

        pa.enable_signal_handlers(False)  # its own lose a signal now and then
        try:
            table = csv.read_csv(
                pa.BufferReader(data),
                csv.ReadOptions(
                    column_names=list(self.names),
                    block_size=chunk_bytes,
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
            if "straddling" in str(error) and chunk_bytes <= len(data):
                return self._parse(block, data, texts, chunk_bytes=len(data) + 1)
            if not ragged:
                message = str(error).splitlines()[0]
                raise DataError(
                    f"{self.path}: {self._rows(block)}: {message}"
                ) from error
        if ragged:
            row = ragged[0]
            raise DataError(
                f"{self.path}: {self._row(block, row.number - 1)} has "
                f"{row.actual_columns} cells, expected {row.expected_columns}"
                f"{self._hint(row.text)}"
            )
        for name, column in zip(table.column_names, table.columns):
            if pa.types.is_binary(column.type):
                cells = column.to_pylist()
                row = next(k for k, cell in enumerate(cells) if not _is_utf8(cell))
                raise DataError(
                    f"{self.path}: {self._row(block, row)}: {name} is "
                    f"{cells[row][:40]!r}, no UTF-8; say what it is, as --encoding "
                    "latin-1"
                )
        return table

    def _hexadecimal_columns(self, block: int, data: bytes, table: Any) -> list[str]:
        """Return the columns of whole numbers of which some are written as 0x1F."""
        from pyarrow import compute, types

        integers = [n for n in table.column_names if types.is_integer(table[n].type)]
        written = self._parse(block, data, integers)
        return [
            name
            for name in integers
            if compute.any(
                compute.match_substring(written[name], "0x", ignore_case=True)
            ).as_py()
        ]

    def _with_thousands(self, table: Any, texts: Collection[str]) -> Any:
        """Return a block in which columns of numbers with thousands are numbers."""
        import pyarrow as pa
        from pyarrow import compute

        thousands, decimal = self.dialect.thousands, self.dialect.decimal
        if thousands is None:
            return table
        number = (
            rf"^\s*[+-]?\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})*"
            rf"(?:{re.escape(decimal)}\d*)?\s*$"
        )
        plain = rf"^\s*[+-]?\d*(?:{re.escape(decimal)}\d*)?(?:[eE][+-]?\d+)?\s*$"
        for position, name in enumerate(table.column_names):
            column = table[name]
            if name in texts or not pa.types.is_string(column.type):
                continue
            matched = compute.match_substring_regex(column, f"{number}|{plain}")
            if compute.all(matched, min_count=0).as_py():
                plain_texts = compute.replace_substring(
                    compute.replace_substring(column, thousands, ""), decimal, "."
                )
                cells = compute.utf8_trim_whitespace(plain_texts)
                has_decimals = compute.any(compute.match_substring(cells, "."))
                wanted = pa.float64() if has_decimals.as_py() else pa.int64()
                table = table.set_column(position, name, cells.cast(wanted))
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


def _is_utf8(cell: bytes | None) -> bool:
    try:
        (cell or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
