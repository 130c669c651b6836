"""How the columns of a table become features: learned once, applied to every table.

An encoding is learned on the training rows of a table (see `create.learn`), and is kept
in the data file that is made of it and in the model that is trained on that. Whatever
table comes later is brought into it by the names of its columns, or refused by name.
"""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ..array_types import Array, FloatArray

NUMBER, CATEGORY, ORDINAL, DATE = "number", "category", "ordinal", "date"
KINDS = (NUMBER, CATEGORY, ORDINAL, DATE)
SECONDS_PER_DAY = 86400
MAX_CATEGORIES = 1000


@dataclass(frozen=True)
class ColumnEncoding:
    """How one column becomes features.

    A NUMBER is a feature, a DATE one in days since 1970, a CATEGORY one of 0 and 1 for
    each of `categories`, ORDINAL text the position of its text in `categories`. `fill`
    stands for missing cells, which are refused where it is None. With `indicator` there
    is one more feature: whether the cell was missing.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    fill: float | str | None = None
    indicator: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        names = [self.name]
        if self.kind == CATEGORY:
            names = [f"{self.name}={category}" for category in self.categories]
        if self.indicator:
            names.append(f"{self.name} is missing")
        return tuple(names)

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
        missing = np.asarray(column.is_null())
        if self.indicator:
            out[:, -1] = missing
        if missing.any():
            if self.fill is None:
                raise DataError(
                    f"{row_name(int(missing.argmax()))}: {self.name} is missing "
                    f"({np.count_nonzero(missing)} such); --missing at the import of "
                    "the training table says what stands for such cells"
                )
            column = _filled(column, self.fill)
        if self.kind in (CATEGORY, ORDINAL):
            codes = self._codes(column, row_name, ignore_unknown)
            if self.kind == ORDINAL:
                out[:, 0] = codes
            else:
                out[:, : len(self.categories)] = 0
                known = np.flatnonzero(codes >= 0)
                out[known, codes[known]] = 1
        else:
            out[:, 0] = self._numbers(column, row_name)

    def _codes(
        self, column: Any, row_name: Callable[[int], str], ignore_unknown: bool
    ) -> Array:
        """Return the positions (n,) of texts in the categories, -1 for unknown ones."""
        import pyarrow as pa
        from pyarrow import compute

        texts = as_texts(column)
        found = compute.index_in(
            texts, value_set=pa.array(self.categories, pa.string())
        )
        codes = np.asarray(found.fill_null(-1))
        unknown = codes < 0
        if unknown.any() and not (ignore_unknown and self.kind == CATEGORY):
            row = int(unknown.argmax())
            text = texts[row].as_py()
            shown = ", ".join(self.categories[:8])
            shown += ", …" if len(self.categories) > 8 else ""
            cure = "" if self.kind == ORDINAL else "; --unknown ignore takes it as none"
            raise DataError(
                f"{row_name(row)}: {self.name} is {text!r}, expected one of {shown}"
                f"{nearest(text, self.categories)}{cure}"
            )
        return codes

    def _numbers(self, column: Any, row_name: Callable[[int], str]) -> FloatArray:
        values = as_numbers(column, self.name, row_name, dates=self.kind == DATE)
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.argmin(finite))
            raise DataError(
                f"{row_name(row)}: {self.name} is {values[row]}, expected a finite "
                "number"
            )
        return values


def _filled(column: Any, fill: float | str) -> Any:
    """Return a column with `fill` for missing cells."""
    import pyarrow as pa

    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.array([fill] * len(column))])
    if isinstance(fill, str):
        return as_texts(column).fill_null(fill)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return _days(column).fill_null(fill)
    return column.cast(pa.float64()).fill_null(fill)


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

    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        if dates:
            return np.asarray(_days(column))
    else:
        wanted = pa.timestamp("s") if dates else pa.float64()
        try:
            cells = column.cast(wanted, safe=False)
            return np.asarray(_days(cells) if dates else cells)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass  # some text is no number, or no date: found below
    expected = "a date, as 2026-01-31" if dates else "a number"
    for row, cell in enumerate(column.to_pylist()):
        if cell is not None and not _is_number(cell, dates):
            raise DataError(f"{row_name(row)}: {name} is {cell!r}, expected {expected}")
    raise DataError(f"{row_name(0)}: {name} holds {column.type}, expected {expected}")


def _is_number(cell: Any, dates: bool) -> bool:
    """Return whether a cell is a number, or a date of ISO 8601."""
    try:
        if dates:
            datetime.datetime.fromisoformat(str(cell))
        else:
            float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _days(column: Any) -> Any:
    """Return dates and times as days since 1970, float64."""
    import pyarrow as pa
    from pyarrow import compute

    seconds = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    return compute.divide(seconds.cast(pa.float64()), float(SECONDS_PER_DAY))


@dataclass(frozen=True)
class Encoding:
    """How the columns of a table become the features of a model.

    `ignored` are columns that tables may have and that are no features: those left out,
    and those of the row weights and ids. `label` is the column of the target.
    """

    columns: tuple[ColumnEncoding, ...]
    label: str | None = None
    ignored: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """The names of all features, in order."""
        return tuple(name for column in self.columns for name in column.features)

    def verify_names(self, names: Sequence[str], path: str) -> None:
        """Raise DataError unless a table has the columns of the encoding, in any order.

        The label may be missing.
        """
        expected = [column.name for column in self.columns]
        missing = [name for name in expected if name not in names]
        known = {*expected, *self.ignored, self.label}
        unknown = [name for name in names if name not in known]
        if missing:
            raise DataError(
                f"{path} has no column {missing[0]!r}{nearest(missing[0], unknown)}"
                f"{_and_others(missing)}; it has {', '.join(names)}"
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
    column = ColumnEncoding(**value | {"categories": tuple(value["categories"])})
    number = isinstance(column.fill, (int, float)) and math.isfinite(column.fill)
    fill = column.fill is None or isinstance(column.fill, str) or number
    texts = all(isinstance(text, str) for text in column.categories)
    if unknown or column.kind not in KINDS or not (fill and texts):
        raise ValueError(f"the column {value.get('name')!r} is none")
    return column


def _and_others(names: Collection[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
