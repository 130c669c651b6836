"""Learn the encoding of a table on its training rows, in parallel.

All that is learned is merged in the order of the blocks, which does not depend on the
ranks: counts and sets exactly, means by Chan, Golub & LeVeque (1983). Medians are
exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...comm import mpi
from ...errors import DataError, UsageError
from ..arrow_arrays import is_null, select, text_array
from ..encoding import (
    CATEGORY,
    DATE,
    DATE_PARTS,
    HASH,
    MAX_CATEGORIES,
    NUMBER,
    ORDINAL,
    PARTS,
    TEXTS,
    ColumnEncoding,
    Encoding,
    as_texts,
    is_number_text,
    shown,
)
from ..standardize import Moments, merge_all, moments
from ..tables import base
from .targets import sort_labels

if TYPE_CHECKING:
    from ...array_types import BoolArray, FloatArray
    from ..tables.blocks import Block, TableBlocks

MAX_CATEGORY_LENGTH = 1000  # longer texts are no categories
MOSTLY = 0.2  # of cells may be other than numbers in a column that is mostly numbers
MISSING = ("error", "drop", "mean", "median", "most-frequent", "indicator")


class ColumnSummary(NamedTuple):
    """What the training rows of a block say of a column: see `learn_encoding`.

    missing   missing cells
    counts    text -> how many, of texts
    moments   of numbers and dates
    values    (n,) all numbers, where the median or the most frequent is wanted
    has_times whether some date has a time of day
    """

    missing: int
    counts: Counter[str] | None = None
    moments: Moments | None = None
    values: FloatArray | None = None
    has_times: bool = False


class ColumnOptions(NamedTuple):
    """What the user says of columns, by their names.

    ordinal      -> the column's texts in order
    hash         -> features to hash its texts to
    date         -> the format of its dates, as "%d/%m/%Y"
    date_parts   columns of dates that become year, month, …
    """

    ordinal: Mapping[str, Sequence[str]] = {}
    hash: Mapping[str, int] = {}
    date: Mapping[str, str] = {}
    date_parts: Collection[str] = ()

    @property
    def read_as_text(self) -> set[str]:
        """The columns whose cells are needed as they are written."""
        return {*self.ordinal, *self.hash, *self.date}

    def columns(self) -> set[str]:
        """Return all columns that something is said of."""
        return self.read_as_text | {*self.date_parts}


def learn_encoding(
    blocks: TableBlocks,
    features: Sequence[str],
    is_training: BoolArray,
    *,
    label: str | None,
    ignored: Collection[str] = (),
    options: ColumnOptions,
    missing: str = "error",
) -> Encoding:
    """Return the encoding of some columns of a table; collective.

    is_training (n,) says which rows count. Texts become categories unless `options` say
    otherwise. `missing` says what stands for missing cells: for numbers and dates their
    mean or median, for texts and with "most-frequent" the most frequent value, the
    smallest of several; "indicator" takes the mean and adds a feature that says so, for
    columns that miss cells in training rows. "error" and "drop" learn nothing. Raises
    DataError.
    """
    drafts = {}
    with mpi.raise_collectively(blocks.comm):
        for name in features:
            drafts[name] = _draft(name, blocks.types[name], options)
    local: dict[str, list[ColumnSummary]] = {name: [] for name in features}
    with mpi.raise_collectively(blocks.comm):
        for block in blocks:
            rows = is_training[block.first : block.first + block.table.num_rows]
            for name, draft in drafts.items():
                local[name].append(_summarise(draft, block, rows, missing))
    of_ranks: Any = blocks.comm.gather(local)

    def learn() -> tuple[ColumnEncoding, ...]:
        path, columns = blocks.readers[0].path, []
        for name, draft in drafts.items():
            summaries = [summary for of_rank in of_ranks for summary in of_rank[name]]
            columns.append(_learn_column(draft, summaries, missing, path))
        return tuple(columns)

    columns: tuple[ColumnEncoding, ...] = mpi.on_root(blocks.comm, learn)
    return Encoding(columns, label, tuple(ignored))


def _draft(name: str, cell_type: str, options: ColumnOptions) -> ColumnEncoding:
    """Return what is known of a column's encoding before its cells are read."""
    if name in options.ordinal:
        return ColumnEncoding(name, ORDINAL, tuple(options.ordinal[name]))
    if name in options.hash:
        return ColumnEncoding(name, HASH, size=options.hash[name])
    if name in options.date or name in options.date_parts or cell_type == base.DATE:
        kind = DATE_PARTS if name in options.date_parts else DATE
        if kind == DATE_PARTS and cell_type in base.NUMBERS:
            raise DataError(f"--date-parts {name}: it holds numbers, expected dates")
        return ColumnEncoding(name, kind, format=options.date.get(name))
    return ColumnEncoding(name, CATEGORY if cell_type == base.TEXT else NUMBER)


def _summarise(
    draft: ColumnEncoding, block: Block, is_training: BoolArray, missing: str
) -> ColumnSummary:
    """Return what the training rows of a block say of a column; DataError."""
    column = block.table[draft.name]
    is_missing = is_null(column)
    n_missing = int(np.count_nonzero(is_missing & is_training))
    fills = missing not in ("error", "drop")
    if draft.kind in TEXTS:
        if draft.kind == HASH and not fills:
            return ColumnSummary(n_missing)
        training = column if is_training.all() else select(column, is_training)
        texts = _count_texts(as_texts(training))
        if draft.kind == CATEGORY:
            _verify_few(texts, draft.name, block.path, column, block)
            _verify_short(texts, column, draft.name, block)
        return ColumnSummary(n_missing, texts)
    if not fills and draft.kind != DATE_PARTS:
        return ColumnSummary(n_missing)
    values = draft.numbers(column, block.row_name)[is_training & ~is_missing]
    has_times = draft.kind == DATE_PARTS and bool((values % 1 != 0).any())
    if missing in ("median", "most-frequent"):
        return ColumnSummary(n_missing, values=values, has_times=has_times)
    return ColumnSummary(
        n_missing, moments=moments(values[:, None]), has_times=has_times
    )


def _verify_few(
    texts: Collection[str],
    name: str,
    path: str,
    column: Any = None,
    block: Block | None = None,
) -> None:
    if len(texts) <= MAX_CATEGORIES:
        return
    example = ""
    if block is not None and (odd := first_that_is_no_number(column)):
        row, text = odd
        example = f" ({block.row_name(row)} is {shown(text)})"
    raise DataError(
        f"{path}: {name} is text{example} with more than {MAX_CATEGORIES} values; "
        f"--drop-column {name!r} leaves it out, --hash {name}=2^18 hashes it; or mend "
        "what is no number"
    )


def _verify_short(texts: Collection[str], column: Any, name: str, block: Block) -> None:
    longest = max(texts, key=len, default="")
    if len(longest) > MAX_CATEGORY_LENGTH:
        row = as_texts(column).to_pylist().index(longest)
        raise DataError(
            f"{block.row_name(row)}: {name} holds a text of {len(longest):,} "
            f"characters, expected categories of at most {MAX_CATEGORY_LENGTH}; "
            f"--drop-column {name!r} leaves it out"
        )


def first_that_is_no_number(column: Any) -> tuple[int, str] | None:
    """Return row and text of the first cell that is no number, if most others are."""
    from pyarrow import compute

    texts = as_texts(column)
    counts = _count_texts(texts)
    odd = [text for text in counts if not is_number_text(text)]
    if not odd or sum(counts[text] for text in odd) > MOSTLY * counts.total():
        return None
    is_odd = ~is_null(compute.index_in(texts, value_set=text_array(odd)))
    row = int(is_odd.argmax())
    return row, texts[row].as_py()


def _count_texts(texts: Any) -> Counter[str]:
    """Return how often each text is in a column; missing cells do not count."""
    counts = texts.drop_null().value_counts()
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist())
    return Counter(dict(pairs))


def _learn_column(
    draft: ColumnEncoding, summaries: list[ColumnSummary], missing: str, path: str
) -> ColumnEncoding:
    """Return the encoding of a column, from the summaries of all blocks."""
    name, kind = draft.name, draft.kind
    n_missing = sum(summary.missing for summary in summaries)
    counts: Counter[str] = Counter()
    for summary in summaries:
        counts.update(summary.counts or {})
    categories = draft.categories
    if kind == CATEGORY:
        _verify_few(counts, name, path)
        categories = tuple(sort_labels(counts))
    elif kind == ORDINAL and (others := sorted(counts.keys() - {*categories})):
        raise DataError(
            f"{path}: {name} is {shown(others[0])} in {counts[others[0]]} rows, "
            f"--ordinal lists {'<'.join(categories)}"
        )
    date_parts: tuple[str, ...] = ()
    if kind == DATE_PARTS:
        has_times = any(summary.has_times for summary in summaries)
        date_parts = PARTS if has_times else PARTS[:-1]
    fill: float | str | None = None
    if missing not in ("error", "drop"):
        fill = _fill(draft, summaries, counts, missing, path)
    indicator = missing == "indicator" and n_missing > 0
    return replace(
        draft, categories=categories, parts=date_parts, fill=fill, indicator=indicator
    )


def _fill(
    draft: ColumnEncoding,
    summaries: list[ColumnSummary],
    counts: Counter[str],
    missing: str,
    path: str,
) -> float | str:
    """Return what stands for missing cells; DataError where all cells are missing."""
    if draft.kind in TEXTS:
        if counts:
            most = max(counts.values())
            return min(text for text, count in counts.items() if count == most)
    elif missing in ("mean", "indicator"):
        merged = merge_all(s.moments for s in summaries if s.moments is not None)
        if merged.n:
            return float(np.ravel(merged.mean)[0])
    else:
        values = np.concatenate([s.values for s in summaries if s.values is not None])
        if len(values):
            if missing == "median":
                return float(np.median(values))
            distinct, number = np.unique(values, return_counts=True)
            return float(distinct[np.argmax(number)])
    raise DataError(
        f"{path}: {draft.name} is missing in all training rows; --drop-column "
        f"{draft.name!r} leaves it out"
    )


def verify_missing(missing: str) -> None:
    """Raise UsageError unless --missing is one of `MISSING`."""
    if missing not in MISSING:
        raise UsageError(f"--missing {missing}: expected one of {', '.join(MISSING)}")
