"""How the columns of a table become features: learned once, applied to every table.

An encoding is learned on the training rows of a table (see `create.learn`), and is kept
in the data file that is made of it and in the model that is trained on that. Whatever
table comes later is brought into it by the names of its columns, or refused by name.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import DataError, nearest
from .arrow_arrays import as_array, is_null, text_array

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ..array_types import BoolArray, FloatArray, IntArray

NUMBER, CATEGORY, ORDINAL, HASH = "number", "category", "ordinal", "hash"
DATE, DATE_PARTS = "date", "date parts"
KINDS = (NUMBER, CATEGORY, ORDINAL, HASH, DATE, DATE_PARTS)
TEXTS = (CATEGORY, ORDINAL, HASH)
DATES = (DATE, DATE_PARTS)
PARTS = ("year", "month", "day", "weekday", "hour")  # of a date; Monday is weekday 0
SECONDS_PER_DAY = 86400
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?inf\s*")
MAX_CATEGORIES = 1000
BOOLEANS = {"true", "false"}
MAX_HASHES = 1 << 30
MAX_SHOWN = 40  # characters of a cell or a name in a message


class Entries(NamedTuple):
    """The features of rows that may be other than 0.

    values (n, k), of the features `features` (n, k); no feature twice in a row.
    """

    features: IntArray
    values: FloatArray


@dataclass(frozen=True)
class ColumnEncoding:
    """How one column becomes features.

    NUMBER      the number
    DATE        days since 1970
    DATE_PARTS  numbers for `parts`, some of `PARTS`
    CATEGORY    a feature for each of `categories`, 1 for the cell's and 0 for others
    ORDINAL     the position of the cell's text in `categories`
    HASH        `size` features, of which the cell's hash chooses one, +1 or -1
                (Weinberger et al. 2009, as scikit-learn's FeatureHasher)

    `fill` stands for missing cells, which are refused where it is None. With
    `indicator` there is one more feature: whether the cell was missing. `format` is
    that of dates in texts, as "%d/%m/%Y"; by default ISO 8601.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    fill: float | str | None = None
    indicator: bool = False
    parts: tuple[str, ...] = ()
    size: int = 0
    format: str | None = None

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        names = [self.name]
        if self.kind == CATEGORY:
            names = [f"{self.name}={category}" for category in self.categories]
        elif self.kind == DATE_PARTS:
            names = [f"{self.name} {part}" for part in self.parts]
        elif self.kind == HASH:
            names = [f"{self.name}#{number}" for number in range(self.size)]
        if self.indicator:
            names.append(f"{self.name} is missing")
        return tuple(names)

    @property
    def n_entries(self) -> int:
        """How many of the features of a cell may be other than 0."""
        if self.kind in (CATEGORY, HASH):
            return 1 + self.indicator
        return len(self.features)

    @property
    def is_read_as_text(self) -> bool:
        """Whether cells are needed as they are written."""
        return self.kind in TEXTS or self.format is not None

    def encode(
        self,
        column: Any,
        out: FloatArray,
        row_name: Callable[[int], str],
        *,
        ignore_unknown: bool = False,
    ) -> None:
        """Write the features of the cells of a `pyarrow` column to out (n, features).

        row_name(i) names row i in messages. Texts that are no category are refused, or
        with `ignore_unknown` belong to none: their features are 0. Raises DataError.
        """
        if self.kind in (CATEGORY, HASH):
            rows = np.arange(len(column))[:, None]
            entries = self.entries(column, row_name, ignore_unknown=ignore_unknown)
            out[...] = 0
            out[rows, entries.features] = entries.values
            return
        missing = self._missing(column, row_name)
        if self.indicator:
            out[:, -1] = missing
        if self.kind == ORDINAL:
            out[:, 0] = self._codes(column, missing, row_name, ignore_unknown)
        elif self.kind == DATE_PARTS:
            days = self._numbers(column, missing, row_name)
            out[:, : len(self.parts)] = _date_parts(days, self.parts)
        else:
            out[:, 0] = self._numbers(column, missing, row_name)

    def entries(
        self,
        column: Any,
        row_name: Callable[[int], str],
        *,
        ignore_unknown: bool = False,
    ) -> Entries:
        """Return the features of the cells that may be other than 0, see `encode`."""
        n = len(column)
        if self.kind not in (CATEGORY, HASH):
            width = len(self.features)
            values = np.empty((n, width))
            self.encode(column, values, row_name, ignore_unknown=ignore_unknown)
            return Entries(np.broadcast_to(np.arange(width), (n, width)), values)
        missing = self._missing(column, row_name)
        if self.kind == HASH:
            features, values = hashed(self._texts(column, missing), self.size)
        else:
            features = self._codes(column, missing, row_name, ignore_unknown)
            values = (features >= 0).astype(np.float64)
            features = np.maximum(features, 0)
        if not self.indicator:
            return Entries(features[:, None], values[:, None])
        last = np.full(n, len(self.features) - 1)
        return Entries(
            np.stack([features, last], axis=1), np.stack([values, missing], axis=1)
        )

    def _missing(self, column: Any, row_name: Callable[[int], str]) -> BoolArray:
        """Return which cells (n,) are missing; DataError where there is no fill."""
        missing = is_null(column)
        if missing.any() and self.fill is None:
            raise DataError(
                f"{row_name(int(missing.argmax()))}: {self.name} is missing; --missing "
                "at the import of the training table says what stands for such cells"
            )
        return missing

    def _texts(self, column: Any, missing: BoolArray) -> Any:
        """Return the cells as texts, with those that stand for missing ones."""
        texts = as_texts(column)
        return texts.fill_null(self.fill) if missing.any() else texts

    def _codes(
        self,
        column: Any,
        missing: BoolArray,
        row_name: Callable[[int], str],
        ignore_unknown: bool,
    ) -> IntArray:
        """Return the positions (n,) of texts in the categories, -1 for unknown ones."""
        from pyarrow import compute

        texts = self._texts(column, missing)
        if {name.lower() for name in self.categories} <= BOOLEANS:
            texts = _like_booleans(texts, self.categories)
        positions = compute.index_in(texts, value_set=text_array(self.categories))
        codes = np.nan_to_num(as_array(positions), nan=-1).astype(np.int64)
        unknown = codes < 0
        if unknown.any() and not (ignore_unknown and self.kind == CATEGORY):
            row = int(unknown.argmax())
            text = texts[row].as_py()
            names = shortened(self.categories)
            cure = "" if self.kind == ORDINAL else "; --unknown ignore takes it as none"
            raise DataError(
                f"{row_name(row)}: {self.name} is {shown(text)}, expected one of "
                f"{names}{cure}"
            )
        return codes

    def numbers(self, column: Any, row_name: Callable[[int], str]) -> FloatArray:
        """Return numbers, or dates as days since 1970, (n,), NaN for missing cells.

        Raises DataError for a cell that is none.
        """
        if self.format is not None:
            column = parse_dates(column, self.format, self.name, row_name)
        return as_numbers(column, self.name, row_name, dates=self.kind in DATES)

    def _numbers(
        self, column: Any, missing: BoolArray, row_name: Callable[[int], str]
    ) -> FloatArray:
        values = self.numbers(column, row_name)
        if missing.any():
            assert isinstance(self.fill, (int, float)), "verified by _missing, _column"
            values = np.where(missing, self.fill, values)
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.argmin(finite))
            raise DataError(
                f"{row_name(row)}: {self.name} is {values[row]}, expected a finite "
                "number"
            )
        return values


def _like_booleans(texts: Any, categories: Sequence[str]) -> Any:
    """Return texts with true and false written as the categories are: True, TRUE."""
    written = {name.lower(): name for name in categories}
    cells = texts.to_pylist()
    return text_array(written.get(cell.lower(), cell) for cell in cells)


def hashed(texts: Any, size: int) -> tuple[IntArray, FloatArray]:
    """Return (features, values) (n,) of texts: h mod size and the sign of h.

    h is the signed 32-bit MurmurHash3 of the UTF-8 text with seed 0.
    """
    from sklearn.utils import murmurhash3_32

    encoded = texts.combine_chunks().dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    hashes = np.array([murmurhash3_32(text) for text in distinct], np.int64)
    hashes = hashes[as_array(encoded.indices)]
    return np.abs(hashes) % size, np.where(hashes >= 0, 1.0, -1.0)


def parse_dates(
    column: Any, format: str, name: str, row_name: Callable[[int], str]
) -> Any:
    """Return texts as times; DataError that names the first which has no such format.

    format: as of `datetime.strptime`, as "%d/%m/%Y".
    """
    from pyarrow import compute

    times = compute.strptime(
        as_texts(column), format=format, unit="s", error_is_null=True
    )
    failed = is_null(times) & ~is_null(column)
    if failed.any():
        row = int(failed.argmax())
        raise DataError(
            f"{row_name(row)}: {name} is {shown(column[row].as_py())}, expected a "
            f"date as {format}"
        )
    return times


def _date_parts(days: FloatArray, parts: Sequence[str]) -> FloatArray:
    """Return (n, parts) of dates in days since 1970."""
    seconds = np.round(days * SECONDS_PER_DAY).astype(np.int64)
    date = (seconds // SECONDS_PER_DAY).astype("datetime64[D]")
    months = date.astype("datetime64[M]")
    values = {
        "year": date.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month": months.astype(np.int64) % 12 + 1,
        "day": (date - months).astype(np.int64) + 1,
        "weekday": (date.astype(np.int64) + 3) % 7,  # 1970 began with a Thursday
        "hour": seconds % SECONDS_PER_DAY // 3600,
    }
    return np.stack([values[part] for part in parts], axis=1).astype(np.float64)


def as_texts(column: Any) -> Any:
    """Return numbers, dates or texts as texts without surrounding spaces."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_floating(column.type):
        # 3.0 in a table of numbers and "3" in one of texts are the same category
        values = [None if v is None else f"{v:.17g}" for v in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.string())])
    return compute.utf8_trim_whitespace(column.cast(pa.string()))


def as_numbers(
    column: Any, name: str, row_name: Callable[[int], str], *, dates: bool = False
) -> FloatArray:
    """Return a column as float64 (n,), dates as days since 1970, NaN for missing cells.

    Raises DataError that names the first cell which is no number.
    """
    import pyarrow as pa

    is_date = pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if is_date and dates:
        return as_array(_days(column))
    if not (is_date or (is_number and dates)):
        wanted = pa.timestamp("us") if dates else pa.float64()
        try:
            cells = column.cast(wanted, safe=False)
            return as_array(_days(cells) if dates else cells)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass  # pyarrow does not say which cell: it is looked for below
    expected = "a date, as 2026-01-31" if dates else "a number"
    for row, cell in enumerate(column.to_pylist()):
        if cell is not None and not (is_date_text if dates else is_number_text)(cell):
            raise DataError(
                f"{row_name(row)}: {name} is {shown(cell)}, expected {expected}"
            )
    raise DataError(f"{row_name(0)}: {name} holds {column.type}, expected {expected}")


def is_number_text(cell: Any) -> bool:
    """Return whether a cell is a number as tables write it: no 1_0, no 0x1F."""
    return _NUMBER.fullmatch(str(cell)) is not None


def is_date_text(cell: Any) -> bool:
    """Return whether a cell is a date of ISO 8601."""
    try:
        datetime.datetime.fromisoformat(str(cell))
    except ValueError:
        return False
    return not is_number_text(cell)


def _days(column: Any) -> Any:
    """Return dates and times as days since 1970, float64."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_date(column.type):
        return column.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())
    times = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return compute.divide(times.cast(pa.float64()), 1e6 * SECONDS_PER_DAY)


@dataclass(frozen=True)
class Encoding:
    """How the columns of a table become the features of a model.

    `ignored` are columns that tables may have and that are no features: those left out,
    and those of the row weights and ids. `label` is the column of the target.
    """

    columns: tuple[ColumnEncoding, ...]
    label: str | None = None
    ignored: tuple[str, ...] = ()

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The names of all features, in order."""
        return tuple(name for column in self.columns for name in column.features)

    @property
    def sparse(self) -> bool:
        """Whether the features are so many that only those other than 0 are kept."""
        return any(column.kind == HASH for column in self.columns)

    @property
    def read_as_text(self) -> set[str]:
        """The columns whose cells are needed as they are written."""
        return {column.name for column in self.columns if column.is_read_as_text}

    def verify_names(
        self, names: Sequence[str], path: str, *, ignored: Collection[str] = ()
    ) -> None:
        """Raise DataError unless a table has the columns of the encoding, in any order.

        The label may be missing; columns in `ignored` may be there.
        """
        expected = [column.name for column in self.columns]
        missing = [name for name in expected if name not in names]
        allowed = {*expected, *self.ignored, *ignored, self.label}
        unknown = [name for name in names if name not in allowed]
        if missing:
            raise DataError(
                f"{path} has no column {missing[0]!r}{nearest(missing[0], unknown)}"
                f"{_and_others(missing)}; it has {shortened(names)}"
            )
        if unknown:
            raise DataError(
                f"{path} has a column {unknown[0]!r} that the model does not know"
                f"{_and_others(unknown)}; --drop-column {unknown[0]!r} leaves it out"
            )

    def encode(
        self,
        table: Any,
        row_name: Callable[[int], str],
        *,
        dtype: str = "float64",
        ignore_unknown: bool = False,
    ) -> FloatArray:
        """Return the features (n, width) of a `pyarrow.Table`; DataError."""
        out = np.empty((table.num_rows, len(self.features)), dtype)
        for column, features in self._slices():
            column.encode(
                table[column.name],
                out[:, features],
                row_name,
                ignore_unknown=ignore_unknown,
            )
        return out

    def entries(
        self,
        table: Any,
        row_name: Callable[[int], str],
        *,
        ignore_unknown: bool = False,
    ) -> Entries:
        """Return the features of a `pyarrow.Table` that may be other than 0; DataError.

        Features of a row are in ascending order.
        """
        of_columns = []
        for column, span in self._slices():
            entries = column.entries(
                table[column.name], row_name, ignore_unknown=ignore_unknown
            )
            of_columns.append(Entries(entries.features + span.start, entries.values))
        features, values = (
            np.concatenate(arrays, axis=1) for arrays in zip(*of_columns)
        )
        return Entries(features, values)

    @property
    def n_entries(self) -> int:
        """How many features of a row may be other than 0."""
        return sum(column.n_entries for column in self.columns)

    def count_unknown(self, rows: FloatArray | Entries) -> int:
        """Return how many texts of encoded rows are no category: all features are 0."""
        unknown, entry = 0, 0
        for column, span in self._slices():
            if column.kind == CATEGORY:
                if isinstance(rows, Entries):
                    ones = rows.values[:, entry]
                else:
                    ones = rows[:, span.start : span.start + len(column.categories)]
                unknown += len(ones) - int(np.count_nonzero(ones))
            entry += column.n_entries
        return unknown

    def _slices(self) -> Iterator[tuple[ColumnEncoding, slice]]:
        start = 0
        for column in self.columns:
            end = start + len(column.features)
            yield column, slice(start, end)
            start = end

    def to_json(self) -> str:
        """Return it as a JSON text, for files."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str, path: str) -> Encoding:
        """Return the encoding that a file holds as a JSON text; DataError."""
        try:
            values = json.loads(text)
            columns = tuple(_column(value) for value in values.pop("columns"))
            ignored = tuple(values.pop("ignored"))
            encoding = Encoding(columns, values.pop("label"), ignored)
            texts = [*ignored, *(column.name for column in columns)]
            if encoding.label is not None:
                texts.append(encoding.label)
            if values or not all(isinstance(name, str) for name in texts):
                raise ValueError("other fields than expected")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path}: its encoding cannot be read ({error})") from error
        return encoding


def _column(value: dict[str, Any]) -> ColumnEncoding:
    """Return the encoding of a column from JSON; ValueError where it is none."""
    unknown = value.keys() - {field.name for field in fields(ColumnEncoding)}
    lists = {name: tuple(value.get(name, ())) for name in ("categories", "parts")}
    column = ColumnEncoding(**value | lists)
    if column.fill is None or column.kind in TEXTS:
        has_fill = isinstance(column.fill, (str, type(None)))
    else:
        has_fill = isinstance(column.fill, (int, float)) and math.isfinite(column.fill)
    has_parts = bool(column.parts) or column.kind != DATE_PARTS
    fits = (
        not unknown,
        column.kind in KINDS,
        has_fill,
        has_parts and {*column.parts} <= {*PARTS},
        all(isinstance(text, str) for text in column.categories),
        type(column.size) is int and 0 <= column.size <= MAX_HASHES,
        column.format is None or isinstance(column.format, str),
    )
    if not all(fits):
        raise ValueError(f"the column {value.get('name')!r} is none")
    return column


def shown(cell: Any) -> str:
    """Return a cell as messages show it, cut where it is long."""
    if isinstance(cell, (int, float)):
        return str(cell)
    text = str(cell)
    return repr(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…")


def shortened(names: Sequence[Any]) -> str:
    """Return the first names of a list, as text."""
    texts = [shown(name)[1:-1] for name in names[:8]]
    return ", ".join(texts) + (", …" if len(names) > 8 else "")


def _and_others(names: Collection[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
