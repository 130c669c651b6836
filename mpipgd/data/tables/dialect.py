"""What a CSV file looks like, recognised from its beginning: see `Dialect`."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from typing import NamedTuple

from ...errors import DataError, UsageError
from .base import verify_distinct

SAMPLE_BYTES = 1 << 20
MAX_HEADER_BYTES = 64 << 20
SEPARATORS = ",;\t|"
NAMED_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
ENCODINGS = ("utf-8", "cp1252")  # the second holds latin-1's letters
WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
COMPARED_ROWS = 50
_STATED_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d+\s*")
_POINT_NUMBER = re.compile(r"\s*[+-]?\d*\.\d+(e[+-]?\d+)?\s*", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"\s*[+-]?\d*,\d+(e[+-]?\d+)?\s*", re.IGNORECASE)


class Dialect(NamedTuple):
    """How a CSV file is written.

    `names` are those of the columns, `start` is the byte at which the rows begin.
    """

    names: tuple[str, ...]
    start: int
    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    thousands: str | None = None

    def described(self) -> str:
        """Return what is unusual about it, in words; an empty text if nothing is."""
        words = []
        if self.separator != ",":
            words.append(f"separated by {self.separator!r}")
        if self.decimal != ".":
            words.append("with decimal commas")
        if self.encoding != "utf-8":
            words.append(f"encoded as {self.encoding}")
        return ", ".join(words)


def recognise(
    path: str,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    header: bool = True,
    names_known: bool = False,
    shown: str | None = None,
) -> Dialect:
    """Return the `Dialect` of a CSV file from its first MiB; what is given, is so.

    The separator is the candidate that gives the first rows the same number of cells;
    commas are decimal where more columns hold numbers with commas than with points, or
    where points separate thousands. Without `header` the columns are x0, x1, ….
    names_known: that line 1 has names is known, also where all are numbers. shown: what
    messages call the file. Raises DataError, and UsageError for what cannot
    be given.
    """
    separator = NAMED_SEPARATORS.get(separator or "", separator)
    shown = shown or path
    _verify_given(separator, decimal, thousands, encoding)
    sample, text, encoding, at_end = _read_sample(path, encoding, shown)
    mark = len(codecs.BOM_UTF8) if sample.startswith(codecs.BOM_UTF8) else 0
    if not text.strip():
        raise DataError(f"{shown} is empty, expected a line of column names")
    if "\0" in text:
        raise DataError(f"{shown} holds zero bytes: it is no text")
    start = 0
    if stated := _STATED_SEPARATOR.match(text):  # as Excel writes it
        separator, start = separator or stated[1], stated.end()
    line = _first_record(text[start:])
    if separator is None:
        candidates = SEPARATORS.replace(decimal, "") if decimal else SEPARATORS
        separator = _separator(text[start:], candidates, at_end)
    if decimal is None and thousands is not None:
        decimal = "," if thousands == "." else "."
    if decimal is None:
        decimal = _decimal(text[start:], separator, at_end)
    rows = csv.reader(io.StringIO(line, newline=""), delimiter=separator)
    names = [
        name.strip().encode(errors="replace").decode()
        for name in next(filter(None, rows), [])
    ]
    if header:
        _verify_names(names, shown, may_be_numbers=names_known)
        start += len(line)
    else:
        names = [f"x{k}" for k in range(len(names))]
    start_byte = mark + len(text[:start].encode(encoding, "surrogateescape"))
    return Dialect(tuple(names), start_byte, separator, decimal, encoding, thousands)


def _read_sample(
    path: str, encoding: str | None, shown: str
) -> tuple[bytes, str, str, bool]:
    """Return the first MiB or, if that is longer, the first record; DataError.

    As bytes and as text without a byte order mark; the encoding; and whether that is
    the whole file.
    """
    size = SAMPLE_BYTES
    while True:
        with open(path, "rb") as file:
            sample = file.read(size)
            at_end = not file.read(1)
        if sample.startswith(WIDE_MARKS):
            raise DataError(
                f"{shown} is UTF-16 or UTF-32, expected UTF-8: iconv -f utf-16 -t utf-8"
            )
        codec = encoding or _encoding(sample, at_end)
        text = sample.removeprefix(codecs.BOM_UTF8).decode(
            codec, errors="surrogateescape"
        )
        if at_end or len(_first_record(text)) < len(text):
            return sample, text, codec, at_end
        size *= 4
        if size > MAX_HEADER_BYTES:
            raise DataError(f"{shown}: line 1 does not end within 64 MiB")


def _verify_given(
    separator: str | None,
    decimal: str | None,
    thousands: str | None,
    encoding: str | None,
) -> None:
    """Raise UsageError for what no file can be written with."""
    chars = {"--separator": separator, "--thousands": thousands}
    for name, value in chars.items():
        if value is not None and (len(value.encode()) != 1 or value in '"\n\r'):
            raise UsageError(f"{name} is {value!r}, expected one character")
    if decimal not in (None, ".", ","):
        raise UsageError(f"--decimal is {decimal!r}, expected . or ,")
    given = [value for value in (separator, decimal, thousands) if value is not None]
    if len(set(given)) < len(given):
        shown = ", ".join(map(repr, given))
        raise UsageError(
            f"--separator, --decimal and --thousands are {shown}, expected different "
            "ones"
        )
    try:
        extends_ascii = ",\na".encode(encoding or "utf-8") == b",\na"
    except LookupError:
        extends_ascii = False
    if not extends_ascii:
        raise UsageError(
            f"--encoding is {encoding!r}, expected one that extends ASCII, as utf-8, "
            "latin-1, cp1252"
        )


def _encoding(sample: bytes, at_end: bool) -> str:
    """Return the first encoding that the sample has, but for a last, cut character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=at_end)
    except UnicodeDecodeError:
        return ENCODINGS[1]
    return ENCODINGS[0]


def _first_record(text: str) -> str:
    """Return the first line that is not empty, with its line break and those before."""
    begin = len(text) - len(text.lstrip())
    for match in _LINE_BREAK.finditer(text, begin):
        if text.count('"', begin, match.start()) % 2 == 0:
            return text[: match.end()]
    return text


def _separator(text: str, candidates: str, at_end: bool) -> str:
    """Return the separator by which the first lines have the same number of cells.

    Of several candidates that by which most cells are numbers, then that with the most
    cells; of none, that which the first line holds most often.
    """
    agreeing = {}
    for separator in candidates:
        rows = _rows(text, separator, at_end, COMPARED_ROWS)
        if rows and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1:
            cells = [cell for row in rows[1:] for cell in row]
            numbers = sum(_is_number(cell) for cell in cells) / max(1, len(cells))
            agreeing[separator] = numbers, len(rows[0])
    if agreeing:
        return max(agreeing, key=lambda separator: agreeing[separator])
    line = re.sub(r'"[^"]*"', "", _first_record(text))
    return max(candidates, key=line.count)


def _decimal(text: str, separator: str, at_end: bool) -> str:
    """Return the decimal sign that more columns have in all of their numbers."""
    if separator == ",":
        return "."
    commas: dict[int, bool] = {}  # column -> whether all cells fit, and some have one
    points: dict[int, bool] = {}
    for row in _rows(text, separator, at_end, None)[1:]:
        for column, cell in enumerate(row):
            for of_sign, pattern in ((commas, _COMMA_NUMBER), (points, _POINT_NUMBER)):
                if pattern.fullmatch(cell):
                    of_sign.setdefault(column, True)
                elif cell.strip() and not _WHOLE_NUMBER.fullmatch(cell):
                    of_sign[column] = False
    return "," if sum(commas.values()) > sum(points.values()) else "."


def _rows(
    text: str, separator: str, at_end: bool, count: int | None
) -> list[list[str]]:
    """Return the first rows of a text that are not empty, without a last, cut one."""
    lines = io.StringIO(text, newline="")
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # a cell of more than 128 KiB
        for row in csv.reader(lines, delimiter=separator):
            if row:
                rows.append(row)
            if count is not None and len(rows) > count:
                break
    cut = not at_end or (count is not None and len(rows) > count)
    return rows[:-1] if cut and len(rows) > 1 else rows


def _verify_names(names: list[str], path: str, *, may_be_numbers: bool) -> None:
    if names and not may_be_numbers and all(map(_is_number, names)):
        raise DataError(
            f"{path}: line 1 holds numbers, expected column names; "
            "--no-header takes it as data"
        )
    for position, name in enumerate(names):
        if not name:
            names[position] = f"column {position + 1}"
    verify_distinct(names, path)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
