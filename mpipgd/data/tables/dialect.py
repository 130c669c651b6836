"""What a CSV file looks like, recognised from its beginning: see `Dialect`."""

from __future__ import annotations

import codecs
import csv
import io
import re
from typing import NamedTuple

from ...errors import DataError

SAMPLE_BYTES = 1 << 20
SEPARATORS = ",;\t|"
ENCODINGS = ("utf-8", "cp1252")  # the second holds latin-1's letters, and any bytes
WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
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

    def described(self) -> str:
        """Return what is unusual about it, in words; an empty text if nothing is."""
        words = []
        if self.separator != ",":
            name = {"\t": "tabs", ";": "semicolons", "|": "bars"}[self.separator]
            words.append(f"separated by {name}")
        if self.decimal != ".":
            words.append("decimal commas")
        if self.encoding != "utf-8":
            words.append(f"encoded as {self.encoding}")
        return ", ".join(words)


def recognise(
    path: str,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool = True,
) -> Dialect:
    """Return the `Dialect` of a CSV file from its first MiB; what is given, is so.

    The separator is the candidate that the first line holds most often; commas are
    decimal where some number outside quotes has one and none has a point. Without
    `header` the columns are x0, x1, …. Raises DataError.
    """
    with open(path, "rb") as file:
        sample = file.read(SAMPLE_BYTES)
        at_end = not file.read(1)
    if sample.startswith(WIDE_MARKS):
        raise DataError(
            f"{path} is UTF-16 or UTF-32, expected UTF-8: iconv -f utf-16 -t utf-8"
        )
    mark = len(codecs.BOM_UTF8) if sample.startswith(codecs.BOM_UTF8) else 0
    encoding = encoding or _encoding(sample, at_end)
    text = sample[mark:].decode(encoding, errors="replace")
    if not text.strip():
        raise DataError(f"{path} is empty, expected a line of column names")
    if "\0" in text:
        raise DataError(f"{path} holds zero bytes: it is no text")
    line = _first_record(text)
    separator = separator or max(SEPARATORS, key=_outside_quotes(line).count)
    if decimal is None:
        decimal = _decimal(text, separator)
    names = next(csv.reader(io.StringIO(line), delimiter=separator), [])
    names = [name.strip() for name in names]
    if not header:
        return Dialect(
            tuple(f"x{k}" for k in range(len(names))),
            mark,
            separator,
            decimal,
            encoding,
        )
    _verify_names(names, path)
    start = mark + len(line.encode(encoding))
    return Dialect(tuple(names), start, separator, decimal, encoding)


def _encoding(sample: bytes, at_end: bool) -> str:
    """Return the first encoding that the sample has, but for a last, cut character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=at_end)
    except UnicodeDecodeError:
        return ENCODINGS[1]
    return ENCODINGS[0]


def _first_record(text: str) -> str:
    """Return the first line that is not empty, with its line break and those before."""
    quoted, begun = False, False
    for position, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        if char == "\n" and not quoted and begun:
            return text[: position + 1]
        begun = begun or not char.isspace()
    return text


def _outside_quotes(text: str) -> str:
    return re.sub(r'"[^"]*"', "", text)


def _decimal(text: str, separator: str) -> str:
    if separator == ",":
        return "."
    lines = text.splitlines()[1:1000]
    cells = [cell.strip('"') for line in lines for cell in line.split(separator)]
    if any(map(_POINT_NUMBER.fullmatch, cells)):
        return "."
    return "," if any(map(_COMMA_NUMBER.fullmatch, cells)) else "."


def _verify_names(names: list[str], path: str) -> None:
    if names and all(map(_is_number, names)):
        raise DataError(
            f"{path}: line 1 holds numbers, expected column names; "
            "--no-header takes it as data"
        )
    for position, name in enumerate(names):
        if not name:
            names[position] = f"column {position + 1}"
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise DataError(f"{path}: two columns are named {min(repeated)!r}")


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
