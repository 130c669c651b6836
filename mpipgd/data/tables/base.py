"""What a reader of a table offers, and how the types of its columns go together.

A table is read in blocks that are numbered in the order of its rows. Where a block
begins and ends depends on the file alone, never on the number of ranks, so that all
that is learned block by block is the same on any number of them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

# What the cells of a column are, from the least to the most general; dates apart.
EMPTY, INTEGER, REAL, DATE, TEXT = "empty", "integer", "real", "date", "text"
NUMBERS = (INTEGER, REAL)
# of dates, those with zones, with parts of seconds, or beyond the years 1678 … 2261
_ZONED_DATE, _FINE_DATE, _FAR_DATE = "zoned date", "fine date", "far date"
_DATES = ({_ZONED_DATE}, {DATE, _FINE_DATE}, {DATE, _FAR_DATE})
_GENERALITY = {EMPTY: 0, INTEGER: 1, REAL: 2, TEXT: 3}


class TableReader(Protocol):
    """A table of named columns, read a block of rows at a time.

    Blocks can be read in any order, any number of times, on any rank.
    """

    @property
    def path(self) -> str:
        """The path of the file, for messages."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, each once."""

    @property
    def n_blocks(self) -> int:
        """The number of blocks."""

    @property
    def description(self) -> str:
        """What is unusual about how the table is written; an empty text if nothing."""

    def read(self, block: int, *, texts: Collection[str] = ()) -> Any:
        """Return a block as a `pyarrow.Table` whose missing cells are null.

        Columns in `texts` hold text; the types of others are those that their cells in
        this block have. Raises DataError, with row and column, for a damaged block.
        """


def cell_type(column: Any) -> str:
    """Return what the cells of a column of Arrow are: INTEGER, REAL, …

    Booleans are texts, "false" and "true", for their numbers mean nothing. Times of day
    and what has no order (lists, structures) are texts, too.
    """
    from pyarrow import types

    of_cells = column.type
    if types.is_null(of_cells):
        return EMPTY
    if types.is_integer(of_cells):
        return INTEGER
    if types.is_floating(of_cells) or types.is_decimal(of_cells):
        return REAL
    if types.is_timestamp(of_cells):
        if of_cells.tz is not None:
            return _ZONED_DATE
        if of_cells.unit == "ns":
            return _FINE_DATE
    if types.is_date(of_cells) or types.is_timestamp(of_cells):
        return _FAR_DATE if _is_far(column) else DATE
    return TEXT


def _is_far(dates: Any) -> bool:
    """Return whether some dates, in days or seconds, exceed 64 bits of nanoseconds."""
    import pyarrow as pa
    from pyarrow import compute

    seconds = dates.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    bounds = compute.min_max(seconds).as_py()
    return any(abs(bound or 0) >= (1 << 63) // 10**9 for bound in bounds.values())


def common_type(found: Iterable[str]) -> str:
    """Return what the cells of all blocks of a column are, given those of each.

    Types that would be texts if they met in one block are texts in several, too.
    """
    kinds = set(found) - {EMPTY}
    if not kinds:
        return EMPTY
    if any(kinds <= agreeing for agreeing in _DATES):
        return DATE
    if kinds & set[str]().union(*_DATES):
        return TEXT
    return max(kinds, key=_GENERALITY.__getitem__)


def verify_distinct(names: Sequence[str], path: str) -> None:
    """Raise DataError unless there are names of columns, and no two are the same."""
    if not names:
        raise DataError(f"{path} holds no columns")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: two columns are named {repeated[0]!r}")
