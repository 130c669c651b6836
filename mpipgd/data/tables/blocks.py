"""A table that ranks read together: its blocks, the types of its columns, its rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...comm import environment, mpi
from ...comm.even_partition import even_partition
from ...errors import DataError
from ..arrow_arrays import is_null, select
from .base import TEXT, TableReader, cell_type, common_type

if TYPE_CHECKING:
    from ...array_types import BoolArray, IntArray
    from ...comm.mpi import Comm

KEPT_BYTES = 2 << 30  # of blocks that a rank keeps at most instead of reading again
KEPT_SHARE = 4  # and at most this part of a rank's part of the memory that is free


class Block(NamedTuple):
    """Rows of a table that follow one another.

    `number` is that of the block, `first` the number of its first row among all rows
    that are used. `path` and `source_rows` (n,) say where its rows are from.
    """

    number: int
    first: int
    table: Any
    path: str
    source_rows: IntArray

    def row_name(self, row: int) -> str:
        """Return what messages call a row of the block, counted from 1 in its file."""
        return f"{self.path}: row {self.source_rows[row] + 1:,}"


class TableBlocks:
    """The rows of one or several tables of the same columns, one after the other.

    Collective to make: the blocks are divided evenly among the ranks. `types` are those
    of the columns over all blocks, INTEGER, REAL, DATE, TEXT or EMPTY; cells of columns
    in `texts`, and of those that hold texts in any block, are read as texts. With
    `complete` rows that miss a cell in one of these columns are left out. `rows` counts
    the rows that are used, of each table; `any_rows` is whether there are any at all.

    Raises DataError on all ranks.
    """

    def __init__(
        self,
        comm: Comm,
        readers: Sequence[TableReader],
        *,
        texts: Collection[str] = (),
        complete: Collection[str] = (),
    ) -> None:
        self.comm, self.readers = comm, list(readers)
        self.names = self.readers[0].names
        self.complete = tuple(complete)
        self._blocks = [
            (reader, block)
            for reader in self.readers
            for block in range(reader.n_blocks)
        ]
        self._own = range(*even_partition(len(self._blocks), comm.size, comm.rank))
        memory = environment.available_memory() // environment.local_size()
        self._budget = min(KEPT_BYTES, memory // KEPT_SHARE)
        self._kept: dict[int, Any] = {}
        self._kept_bytes = 0
        self.texts = frozenset(texts)
        with mpi.raise_collectively(comm):
            for reader in self.readers[1:]:
                _verify_same_columns(self.readers[0], reader)
            own_surveys = self._survey_all()
        surveys = [s for of_rank in comm.allgather(own_surveys) for s in of_rank]
        self.types = {
            name: common_type(survey.types[name] for survey in surveys)
            for name in self.names
        }
        self._surveys = surveys
        self._read_texts_again()
        counts = np.array([survey.rows for survey in surveys], np.int64).reshape(-1, 2)
        self._source_first = self._first_in_table(counts[:, 0])
        self._first = np.cumsum(counts[:, 1]) - counts[:, 1]
        self.rows = [
            int(
                sum(
                    counts[k, 1] for k, (r, _) in enumerate(self._blocks) if r is reader
                )
            )
            for reader in self.readers
        ]
        self.any_rows = bool(counts[:, 0].any())
        self.rows_left_out = int((counts[:, 0] - counts[:, 1]).sum())

    def types_of(self, name: str, *, last: bool) -> str:
        """Return the type of a column in the last table, or in all others."""
        return common_type(
            survey.types[name]
            for survey, (reader, _) in zip(self._surveys, self._blocks, strict=True)
            if (reader is self.readers[-1]) == last
        )

    def _survey_all(self) -> list[_Survey]:
        """Return the survey of each own block; each core that is free reads one."""
        threads = max(1, environment.cores() // environment.local_size())
        surveys = []
        with ThreadPoolExecutor(threads) as pool:
            for lo in range(0, len(self._own), threads):
                blocks = self._own[lo : lo + threads]
                tables = pool.map(self._read_from_file, blocks)
                for block, table in zip(blocks, tables, strict=True):
                    self._keep(block, table)
                    surveys.append(self._survey(table))
        return surveys

    def _survey(self, table: Any) -> _Survey:
        """Return the types of a block's columns, and how many rows it has and keeps."""
        types = {
            name: TEXT if name in self.texts else cell_type(table[name])
            for name in self.names
        }
        used = table.num_rows
        if self.complete:
            used = int(np.count_nonzero(self._complete_rows(table)))
        return _Survey(types, (table.num_rows, used))

    def _read(self, block: int) -> Any:
        """Return a block's table, from memory where it is kept there."""
        if block in self._kept:
            return self._kept[block]
        table = self._read_from_file(block)
        self._keep(block, table)
        return table

    def _read_from_file(self, block: int) -> Any:
        reader, number = self._blocks[block]
        return reader.read(number, texts=self.texts & set(reader.names))

    def _keep(self, block: int, table: Any) -> None:
        if self._kept_bytes + table.nbytes <= self._budget:
            self._kept[block] = table
            self._kept_bytes += table.nbytes

    def _read_texts_again(self) -> None:
        """Forget kept blocks with numbers, dates or times in columns of texts."""
        from pyarrow import types

        self.texts |= {name for name, kind in self.types.items() if kind == TEXT}
        for block, table in list(self._kept.items()):
            of_cells = [table[name].type for name in self.texts]
            if not all(types.is_string(t) or types.is_null(t) for t in of_cells):
                del self._kept[block]
                self._kept_bytes -= table.nbytes

    def _first_in_table(self, counts: IntArray) -> IntArray:
        """Return the number of each block's first row in its own table."""
        first, before, last = np.zeros(len(counts), np.int64), 0, None
        for k, (reader, _) in enumerate(self._blocks):
            before = 0 if reader is not last else before
            first[k], last = before, reader
            before += int(counts[k])
        return first

    def _complete_rows(self, table: Any) -> BoolArray:
        complete = np.ones(table.num_rows, bool)
        for name in self.complete:
            if table[name].null_count:
                complete &= ~is_null(table[name])
        return complete

    def __iter__(self) -> Iterator[Block]:
        """Yield this rank's blocks, in order, with the rows that are used."""
        for number in self._own:
            table = self._read(number)
            rows = self._source_first[number] + np.arange(table.num_rows)
            if self.complete:
                complete = self._complete_rows(table)
                if not complete.all():
                    table, rows = select(table, complete), rows[complete]
            reader, _ = self._blocks[number]
            yield Block(number, int(self._first[number]), table, reader.path, rows)


class _Survey(NamedTuple):
    """The types of a block's columns, and its rows: all, and those that are used."""

    types: dict[str, str]
    rows: tuple[int, int]


def _verify_same_columns(first: TableReader, other: TableReader) -> None:
    """Raise DataError unless two tables have columns of the same names."""
    a, b = set(first.names), set(other.names)
    if a != b:
        name = min(a ^ b)
        has, lacks = (first, other) if name in a else (other, first)
        raise DataError(f"{has.path} has a column {name!r}, {lacks.path} has none")
