"""Learn the encoding of a table on its training rows, in parallel.

All that is learned is merged in the order of the blocks, which does not depend on the
ranks: counts and sets exactly, means by Chan, Golub & LeVeque (1983). Medians are
exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...comm import mpi
from ...errors import DataError, UsageError
from ..encoding import (
    CATEGORY,
    DATE,
    MAX_CATEGORIES,
    NUMBER,
    ORDINAL,
    ColumnEncoding,
    Encoding,
    as_numbers,
    as_texts,
)
from ..standardize import Moments, merge_all, moments
from ..tables import base
from .targets import sort_labels

if TYPE_CHECKING:
    from ...array_types import BoolArray, FloatArray
    from ...comm.mpi import Comm
    from ..tables.blocks import Block, TableBlocks

MISSING = ("error", "drop", "mean", "median", "most-frequent", "indicator")


class ColumnSummary(NamedTuple):
    """What a block says of a column: see `learn_encoding`.

    missing   missing cells
    counts    text -> how many, of texts and where the most frequent value is wanted
    moments   of numbers and dates
    values    (n,) all numbers, where the median is wanted
    """

    missing: int
    counts: Counter[str] | None = None
    moments: Moments | None = None
    values: FloatArray | None = None


def learn_encoding(
    blocks: TableBlocks,
    features: Sequence[str],
    is_training: BoolArray,
    *,
    label: str | None,
    ignored: Collection[str] = (),
    ordinal: Mapping[str, Sequence[str]] | None = None,
    missing: str = "error",
) -> Encoding:
    """Return the encoding of some columns of a table; collective.

    is_training (n,) says which rows count. `ordinal`: column -> its texts in order;
    other texts become categories. `missing` says what stands for missing cells: for
    numbers and dates their mean or median, for texts and with "most-frequent" the most
    frequent value, the smallest of several; "indicator" takes the mean and adds a
    feature that says so, for columns that miss cells in training rows. "error" and
    "drop" learn nothing. Raises DataError.
    """
    ordinal = ordinal or {}
    kinds = {name: _kind(blocks.types[name], name in ordinal) for name in features}
    local: dict[str, list[ColumnSummary]] = {name: [] for name in features}
    with mpi.raise_collectively(blocks.comm):
        for block in blocks:
            rows = is_training[block.first : block.first + block.table.num_rows]
            training = block.table if rows.all() else block.table.filter(rows)
            for name, kind in kinds.items():
                summary = _summarise(training[name], name, kind, missing, block)
                local[name].append(summary)
    columns = []
    for name, kind in kinds.items():
        summaries = _gather(blocks.comm, local[name])
        column = mpi.on_root(
            blocks.comm, _encoding_of, name, kind, summaries, missing, ordinal.get(name)
        )
        columns.append(column)
    return Encoding(tuple(columns), label, tuple(ignored))


def _gather(comm: Comm, local: list[ColumnSummary]) -> list[ColumnSummary]:
    """Return on rank 0 the summaries of all blocks in order; elsewhere nothing."""
    of_ranks = comm.gather(local)
    return [summary for of_rank in of_ranks or () for summary in of_rank]


def _kind(cell_type: str, ordinal: bool) -> str:
    if ordinal:
        return ORDINAL
    if cell_type == base.DATE:
        return DATE
    return CATEGORY if cell_type == base.TEXT else NUMBER


def _summarise(
    column: Any, name: str, kind: str, missing: str, block: Block
) -> ColumnSummary:
    """Return what the training rows of a block say of a column; DataError."""
    n_missing = column.null_count
    column = column.drop_null()
    if kind in (CATEGORY, ORDINAL):
        counts = as_texts(column).value_counts()
        pairs = zip(
            counts.field("values").to_pylist(), counts.field("counts").to_pylist()
        )
        texts = Counter(dict(pairs))
        if kind == CATEGORY:
            _verify_few(texts, name, block.path)
        return ColumnSummary(n_missing, texts)
    if missing not in ("mean", "median", "most-frequent", "indicator"):
        return ColumnSummary(n_missing)
    values = as_numbers(column, name, block.row_name, dates=kind == DATE)
    if missing in ("median", "most-frequent"):
        return ColumnSummary(n_missing, values=values)
    return ColumnSummary(n_missing, moments=moments(values[:, None]))


def _verify_few(texts: Collection[str], name: str, path: str) -> None:
    if len(texts) > MAX_CATEGORIES:
        raise DataError(
            f"{path}: {name} is text with more than {MAX_CATEGORIES} values; "
            f"--drop-column {name!r} leaves it out, or mend what is no number"
        )


def _encoding_of(
    name: str,
    kind: str,
    summaries: list[ColumnSummary],
    missing: str,
    levels: Sequence[str] | None,
) -> ColumnEncoding:
    """Return the encoding of a column, from the summaries of all blocks."""
    n_missing = sum(summary.missing for summary in summaries)
    counts: Counter[str] = Counter()
    for summary in summaries:
        counts.update(summary.counts or {})
    categories: tuple[str, ...] = ()
    if kind == CATEGORY:
        _verify_few(counts, name, "the table")
        categories = tuple(sort_labels(counts))
    elif kind == ORDINAL:
        assert levels is not None
        categories = tuple(levels)
        if others := sorted(counts.keys() - set(levels)):
            raise DataError(
                f"{name} is {others[0]!r} in {counts[others[0]]} rows, --ordinal lists "
                f"{'<'.join(levels)}"
            )
    fill: float | str | None = None
    if missing not in ("error", "drop"):
        fill = _fill(name, kind, summaries, counts, missing)
    indicator = missing == "indicator" and n_missing > 0
    return ColumnEncoding(name, kind, categories, fill, indicator)


def _fill(
    name: str,
    kind: str,
    summaries: list[ColumnSummary],
    counts: Counter[str],
    missing: str,
) -> float | str:
    """Return what stands for missing cells; DataError where all cells are missing."""
    if kind in (CATEGORY, ORDINAL):
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
        f"{name} is missing in all training rows; --drop-column {name!r} leaves it out"
    )


def verify_missing(missing: str) -> None:
    """Raise UsageError unless --missing is one of `MISSING`."""
    if missing not in MISSING:
        raise UsageError(f"--missing {missing}: expected one of {', '.join(MISSING)}")
