"""The rows of a CSV file in chunks, each row with its line number."""

import bz2
import contextlib
import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from ...errors import DataError

CHUNK_CELLS = 400_000
DELIMITERS = ",;\t"
MAX_LINE_BYTES = 1 << 24
OPENERS = {".gz": gzip.open, ".bz2": bz2.open}


def open_source(path: str | Path, mode: str = "rb", **text: Any) -> IO[Any]:
    """Open a source file for reading, decompressed; DataError if it does not exist."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file")
    opener: Any = OPENERS.get(path.suffix, open)
    return opener(path, mode, **text)


class CsvChunk(NamedTuple):
    """Rows of texts, and the line number of each."""

    lines: list[int]
    rows: list[list[str]]


class CsvFile:
    """Reads a CSV file, also compressed, any number of times, a chunk at a time.

    `names` are those of the first line, or with header=False x0, x1, …
    """

    def __init__(self, path: str | Path, *, header: bool = True) -> None:
        self.path, self.header = path, header
        with self._reading(), self._text() as file:
            line = file.readline(MAX_LINE_BYTES)
        self.delimiter = max(DELIMITERS, key=line.count)
        first = next(self._rows(), (1, []))[1]
        if not first:
            raise DataError(f"{path} is empty, expected a line of column names")
        self.names = [f"x{i}" for i in range(len(first))]
        if header:
            self._verify_names(first)
            self.names = first

    def _verify_names(self, names: list[str]) -> None:
        if all(map(_is_number, names)):
            raise DataError(
                f"{self.path}: line 1 holds numbers, expected column names; "
                "--no-header takes it as data"
            )
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise DataError(f"{self.path}: two columns are named {min(repeated)!r}")

    def chunks(self) -> Iterator[CsvChunk]:
        """Yield chunks of up to CHUNK_CELLS texts; DataError for a ragged row."""
        lines: list[int] = []
        chunk: list[list[str]] = []
        rows = self._rows()
        if self.header:
            next(rows, None)
        for line, row in rows:
            if len(row) != len(self.names):
                raise DataError(
                    f"{self.path}: line {line} has {len(row)} cells, "
                    f"expected {len(self.names)}"
                )
            lines.append(line)
            chunk.append(row)
            if len(chunk) * len(row) >= CHUNK_CELLS:
                yield CsvChunk(lines, chunk)
                lines, chunk = [], []
        if chunk:
            yield CsvChunk(lines, chunk)

    def position(self, column: str) -> int:
        """Return the position of a column, given by its name or number from 0 on."""
        if column in self.names:
            return self.names.index(column)
        try:
            return range(len(self.names))[int(column)]
        except (ValueError, IndexError):
            raise DataError(
                f"{self.path} has no column {column!r}; it has {', '.join(self.names)}"
            ) from None

    def _text(self) -> IO[str]:
        return open_source(self.path, "rt", newline="", encoding="utf-8-sig")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number, texts) of the rows that are not empty."""
        with self._reading() as at, self._text() as file:
            reader = csv.reader(
                file, delimiter=self.delimiter, skipinitialspace=True, strict=True
            )
            for row in reader:
                at["line"] = reader.line_num
                if row:
                    yield reader.line_num, row

    @contextlib.contextmanager
    def _reading(self) -> Iterator[dict[str, int]]:
        """Raise DataError for what is no text or no CSV.

        Yields a dict in which the caller keeps the current "line" for the message.
        """
        at = {"line": 0}
        try:
            yield at
        except (csv.Error, UnicodeError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{self.path}: after line {at['line']}: {error}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
