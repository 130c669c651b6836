"""What an import says of a table: what it recognised, decided and lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...comm import mpi
from ..encoding import CATEGORY, Encoding, is_number_text, shown
from ..tables import base
from ..tables.blocks import Block, TableBlocks
from .label import Label
from .learn import first_that_is_no_number

if TYPE_CHECKING:
    from ...array_types import FloatArray
    from ...comm.mpi import Comm

LARGEST_EXACT = 2**53  # whole numbers above lose digits as float64
LARGEST_ID = 1e40  # above, numbers are measurements rather than ids


def notes(
    blocks: TableBlocks,
    label: Label,
    encoding: Encoding,
    bounds: NumberBounds,
    unknown: int,
) -> list[str]:
    """Return the notes on a table; collective.

    bounds: of this rank's numbers. unknown: texts of test rows that no training row
    has.
    """
    return [
        *_notes(blocks, label, unknown),
        *bounds.notes(blocks.comm),
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


class NumberBounds(NamedTuple):
    """Of columns of numbers: the largest values, and whether large ones have fractions.

    Both (k,), in float64.
    """

    names: tuple[str, ...]
    largest: FloatArray
    has_fractions: FloatArray

    def plus(self, block: Block) -> NumberBounds:
        """Return the bounds with those of the cells of a block."""
        from pyarrow import compute, types

        largest, has_fractions = self.largest.copy(), self.has_fractions.copy()
        for k, name in enumerate(self.names):
            column = block.table[name]
            if types.is_string(column.type) or types.is_null(column.type):
                continue
            bounds = compute.min_max(column).as_py()
            values = [abs(float(v)) for v in bounds.values() if v is not None]
            largest[k] = max([largest[k], *values])
            if types.is_floating(column.type) and largest[k] > LARGEST_EXACT:
                fractions = compute.not_equal(column, compute.floor(column))
                has_fractions[k] = max(has_fractions[k], compute.any(fractions).as_py())
        return NumberBounds(self.names, largest, has_fractions)

    def notes(self, comm: Comm) -> Iterator[str]:
        """Yield notes on whole numbers that float64 rounds, on any rank; collective."""
        largest = mpi.allreduce_max(comm, self.largest.tolist())
        has_fractions = mpi.allreduce_max(comm, self.has_fractions.tolist())
        for name, size, fractions in zip(self.names, largest, has_fractions):
            if LARGEST_EXACT < size < LARGEST_ID and not fractions:
                yield (
                    f"{name} holds whole numbers above 2^53, which lose digits; "
                    f"--drop-column {name!r} leaves it out"
                )


def number_bounds(blocks: TableBlocks, columns: Sequence[str]) -> NumberBounds:
    """Return the bounds of those columns that hold numbers, before any block."""
    names = tuple(name for name in columns if blocks.types[name] in base.NUMBERS)
    return NumberBounds(names, np.zeros(len(names)), np.zeros(len(names)))


def _notes_on_texts(blocks: TableBlocks, encoding: Encoding) -> Iterator[str]:
    """Yield notes on columns of categories that are mostly numbers; collective."""
    suspects = [
        column.name
        for column in encoding.columns
        if column.kind == CATEGORY and any(map(is_number_text, column.categories))
    ]
    examples: dict[str, str] = {}
    for block in blocks if suspects else ():
        for name in [name for name in suspects if name not in examples]:
            if odd := first_that_is_no_number(block.table[name]):
                row, text = odd
                examples[name] = f"{block.row_name(row)} is {shown(text)}"
    of_all: dict[str, str] = {}
    for of_rank in reversed(blocks.comm.allgather(examples)):  # the first rank's win
        of_all |= of_rank
    for name in suspects:
        if name in of_all:
            yield (
                f"{name} is taken as categories, for not all cells are numbers: "
                f"{of_all[name]}"
            )
