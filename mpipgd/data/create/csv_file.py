"""The rows of a CSV file in chunks, each row with the number of its line."""

import contextlib
import csv
import zlib

from ...errors import DataError
from .compressed import open_source

CHUNK_CELLS = 400_000
DELIMITERS = ",;\t"
LONGEST_LINE = 1 << 24


class CsvFile:
    """Reads a CSV file, also compressed, any number of times, a chunk at a time.

    `names` are those of the first line, or with header=False x0, x1, …
    """

    def __init__(self, path, *, header=True):
        self.path, self.header = path, header
        with self._reading(), self._text() as file:
            line = file.readline(LONGEST_LINE)
        self.delimiter = max(DELIMITERS, key=line.count)
        first = next(self._rows(), (1, []))[1]
        if not first:
            raise DataError(f"{path} is empty, expected a line of column names")
        self.names = [f"x{i}" for i in range(len(first))]
        if header:
            self._verify_names(first)
            self.names = first

    def _verify_names(self, names):
        if all(map(_is_number, names)):
            raise DataError(
                f"{self.path}: line 1 holds numbers, expected column names; "
                "--no-header takes it as data"
            )
        double = {name for name in names if names.count(name) > 1}
        if double:
            raise DataError(f"{self.path}: two columns are named {min(double)!r}")

    def chunks(self):
        """Yield (line numbers, rows), up to CHUNK_CELLS texts at a time."""
        lines, chunk, rows = [], [], self._rows()
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
                yield lines, chunk
                lines, chunk = [], []
        if chunk:
            yield lines, chunk

    def position(self, column):
        """Return where a column is, named by its name or number (0 is the first)."""
        if column in self.names:
            return self.names.index(column)
        try:
            return range(len(self.names))[int(column)]
        except (ValueError, IndexError):
            raise DataError(
                f"{self.path} has no column {column!r}; it has {', '.join(self.names)}"
            ) from None

    def _text(self):
        return open_source(self.path, "rt", newline="", encoding="utf-8-sig")

    def _rows(self):
        with self._reading() as at, self._text() as file:
            reader = csv.reader(
                file, delimiter=self.delimiter, skipinitialspace=True, strict=True
            )
            for row in reader:
                at["line"] = reader.line_num
                if row:
                    yield reader.line_num, row

    @contextlib.contextmanager
    def _reading(self):
        """Refuse what is no text or no CSV; the with target takes the line's number."""
        at = {"line": 0}
        try:
            yield at
        except (csv.Error, UnicodeError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{self.path}: after line {at['line']}: {error}") from error


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
