"""Data larger than memory: how many rows fit, and passes over a split in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, overload

import numpy as np

from ..config.option import parse_bytes
from ..errors import UsageError
from .matrix import Csr, MappedRows, Matrix, index_type

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..config.options import TrainConfig
    from .base import RowFormat, RowRange
    from .hdf5.header import Header
    from .hdf5.prefetch import PrefetchReader, ReadBuffer
    from .hdf5.source import Source
    from .weighted import Targets

BLOCKS_PER_BUFFER = 4  # blocks of a pass in order, to a shuffle buffer


def row_bytes(header: Header, objective: RowFormat, entries: int = 0) -> int:
    """Return the bytes that a row takes: features, target, position in a buffer.

    A sparse row, of `entries` entries, is in memory twice while it is assembled.
    """
    if header.sparse:
        return 40 + 28 * (entries + objective.intercept)
    return (header.n_features + objective.intercept) * objective.dtype.itemsize + 24


def buffer_rows(
    options: TrainConfig, source: Source, objective: RowFormat, *, workers: int
) -> int | None:
    """Return the rows that a worker's shuffle buffer may hold; None if all rows fit.

    `--memory-limit` is the limit of a node; the result must not depend on ranks or
    nodes, so that one node is taken to host all workers. Raises UsageError.
    """
    if not options.memory_limit:
        return None
    limit = parse_bytes(options.memory_limit)
    n = sum(source.rows.values())
    size = row_bytes(source.header, objective, source.nnz() // max(1, n))
    if n * size <= limit:
        return None
    if options.split != "disjoint":
        raise UsageError(
            f"--memory-limit takes --split disjoint, found --split {options.split}"
        )
    buffers = 2 * workers * size + 2 * workers * size / BLOCKS_PER_BUFFER
    return max(1, int(limit / buffers))


class StreamedRows:
    """A split whose rows stay on disk: see `base.Split`. `X` and `y` have no rows.

    buffer_rows: rows of a worker's shuffle buffer; a block is a fraction of that.
    buffers: two, in turn read into and computed on by `blocks`.
    """

    in_memory: ClassVar[bool] = False

    def __init__(
        self,
        reader: PrefetchReader,
        name: str,
        *,
        first: int,
        shares: list[RowRange],
        buffer_rows: int,
        buffers: tuple[ReadBuffer, ReadBuffer],
    ) -> None:
        self.reader, self.name, self.buffer_rows = reader, name, buffer_rows
        self.first, self.shares, self.buffers = first, shares, buffers
        objective, header = reader.objective, reader.source.header
        self.X = empty_matrix(header, objective)
        self.y = reader.no_targets(name)
        self.mapped_example: MappedRows | None = reader.empty_mapped_rows()

    @overload
    def blocks(
        self, i: int, *, mapped: Literal[False] = False
    ) -> Iterator[tuple[Matrix, Targets]]: ...

    @overload
    def blocks(
        self, i: int, *, mapped: bool
    ) -> Iterator[tuple[Matrix | MappedRows, Targets]]: ...

    def blocks(
        self, i: int, *, mapped: bool = False
    ) -> Iterator[tuple[Matrix | MappedRows, Targets]]:
        """Yield X and y of the i-th local worker's share, block by block.

        The next block is read while the caller computes on the current one.
        """
        lo, hi = self.shares[i]
        step = block_rows(self.buffer_rows)
        pending: Future[tuple[Matrix | MappedRows, Targets]] | None = None
        for number, start in enumerate(range(lo, hi, step)):
            block = start, min(start + step, hi)
            buffer = self.buffers[number % 2]
            current, pending = (
                pending,
                self.reader.prefetch(self.name, [block], buffer, mapped=mapped),
            )
            if current:
                yield current.result()
        if pending:
            yield pending.result()


def block_rows(buffer_rows: int) -> int:
    """Return the rows of a block of a pass in order."""
    return max(1, buffer_rows // BLOCKS_PER_BUFFER)


def empty_matrix(header: Header, objective: RowFormat) -> Matrix:
    """Return an X without rows, in the format of the objective."""
    width = header.n_features + objective.intercept
    if not header.sparse:
        return np.empty((0, width), objective.dtype)
    indices = np.empty(0, index_type(width))
    return Csr(np.empty(0, objective.dtype), indices, np.zeros(1, np.int64), width)
