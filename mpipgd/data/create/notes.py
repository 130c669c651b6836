"""What an import says of a table: what it recognised, decided and lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...comm import mpi
from ..encoding import CATEGORY, Encoding, is_number_text, shown
from ..tables import base
from ..tables.blocks import TableBlocks
from .label import Label
from .learn import first_that_is_no_number

LARGEST_EXACT = 2**53  # whole numbers above lose digits as float64
LARGEST_ID = 1e40  # above, numbers are measurements rather than ids


def notes(
    blocks: TableBlocks,
    label: Label,
    encoding: Encoding,
    columns: Sequence[str],
    unknown: int,
) -> list[str]:
    """Return the notes on a table of which some columns are used; collective.

    unknown: texts of test rows that no training row has.
    """
    return [
        *_notes(blocks, label, unknown),
        *_notes_on_numbers(blocks, columns),
        *_notes_on_texts(blocks, encoding),
    ]


def _notes(blocks: TableBlocks, label: Label, unknown: int) -> Iterator[str]:
    """Yield what is to be said of a table: what was recognised, decided and lost."""
    first = blocks.readers[0]
    if first.description:
        yield f"{first.path} is {first.description}"
    if label.classes is not None and blocks.types[label.name] == base.INTEGER:
        yield (
            f"{label.name} holds {len(label.classes)} whole numbers, taken as classes; "
            "--task regression takes them as numbers"
        )
    if blocks.rows_left_out:
        yield f"{blocks.rows_left_out:,} rows with missing cells were left out"
    if unknown:
        yield (
            f"{unknown:,} texts of test rows are in no training row: their features "
            "are 0"
        )


def _notes_on_numbers(blocks: TableBlocks, columns: Sequence[str]) -> Iterator[str]:
    """Yield notes on columns of whole numbers that float64 rounds; collective."""
    from pyarrow import compute, types

    names = [name for name in columns if blocks.types[name] in base.NUMBERS]
    largest = np.zeros(len(names))
    is_whole = np.ones(len(names))
    for block in blocks:
        for k, name in enumerate(names):
            column = block.table[name]
            if types.is_string(column.type) or types.is_null(column.type):
                continue
            bounds = compute.min_max(column).as_py()
            values = [abs(value) for value in bounds.values() if value is not None]
            largest[k] = max(largest[k], *map(float, values)) if values else largest[k]
            if types.is_floating(column.type) and largest[k] > LARGEST_EXACT:
                fractions = compute.not_equal(column, compute.floor(column))
                is_whole[k] *= not compute.any(fractions).as_py()
    largest = np.array(mpi.allreduce_max(blocks.comm, largest.tolist()))
    has_fractions = mpi.allreduce_max(blocks.comm, (1 - is_whole).tolist())
    for name, size, fractions in zip(names, largest, has_fractions):
        if LARGEST_EXACT < size < LARGEST_ID and not fractions:
            yield (
                f"{name} holds whole numbers above 2^53, which lose digits; "
                f"--drop-column {name!r} leaves it out"
            )


def _notes_on_texts(blocks: TableBlocks, encoding: Encoding) -> Iterator[str]:
    """Yield notes on columns of categories that are mostly numbers; collective."""
    for column in encoding.columns:
        if column.kind != CATEGORY:
            continue
        if not any(map(is_number_text, column.categories)):
            continue
        examples = [
            f"{block.row_name(odd[0])} is {shown(odd[1])}"
            for block in blocks
            if (odd := first_that_is_no_number(block.table[column.name]))
        ]
        of_ranks = blocks.comm.allgather(examples[:1])
        for example in [example for of_rank in of_ranks for example in of_rank][:1]:
            yield (
                f"{column.name} is taken as categories, for not all cells are numbers: "
                f"{example}"
            )
