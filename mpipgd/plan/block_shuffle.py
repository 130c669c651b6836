"""Block-shuffled read order for rows larger than memory.

The blocks of a worker's rows are read in random order, and the rows of several blocks
that are in memory together, a shuffle buffer, are shuffled: reads stay long, and an
epoch is nearly as random as with a full shuffle. Source: CorgiPile, Xu et al. 2022, §3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..array_types import IntArray
    from .base import Plan

BLOCK_BYTES = 4 << 20
SLICE_BYTES = 16 << 20
MIN_BLOCKS = 16  # in a buffer, unless it has fewer rows


class ShuffleBuffer(NamedTuple):
    """The rows first … last-1 of an epoch's order: several steps, or a slice of one.

    `end_step` is the step after those that end in this buffer, or that it is a slice
    of.
    """

    first: int
    last: int
    end_step: int


class BlockShuffle:
    """The order of a plan's workers, in buffers of `rows` rows at most.

    row_bytes: memory of a row, which decides how many rows make a block of 4 MiB. As a
    plan's, the order is a function of (seed, epoch, worker).

    step_exceeds_buffer  whether a step has more rows than a buffer
    """

    def __init__(self, plan: Plan, rows: int, row_bytes: int) -> None:
        self.plan, self.rows = plan, rows
        self.block_rows = max(1, min(rows // MIN_BLOCKS, BLOCK_BYTES // row_bytes))
        # rows read at once of a step that exceeds the buffer
        self.slice_rows = max(1, min(rows, SLICE_BYTES // row_bytes))
        # prefetching may be an epoch ahead
        self._blocks = lru_cache(2 * plan.workers)(self._shuffled_blocks)
        self.step_exceeds_buffer = int(np.ceil(plan.sizes.max() / plan.steps)) > rows

    def buffers_of(self, worker: int) -> list[ShuffleBuffer]:
        """Return the buffers of a worker in an epoch, in order."""
        offsets, s = self.plan.step_offsets(worker), 0
        buffers: list[ShuffleBuffer] = []
        while s < self.plan.steps:
            first = int(offsets[s])
            last_fitting = int(
                np.searchsorted(offsets, first + self.rows, side="right") - 1
            )
            s = max(s + 1, last_fitting)
            last = int(offsets[s])
            rows = self.rows if last - first <= self.rows else self.slice_rows
            buffers += [
                ShuffleBuffer(lo, min(lo + rows, last), s)
                for lo in range(first, last, rows)
            ]
            if first == last:  # a step without rows
                buffers.append(ShuffleBuffer(first, first, s))
        return buffers

    def _shuffled_blocks(
        self, epoch: int, worker: int
    ) -> tuple[IntArray, IntArray, IntArray]:
        """Return first rows, sizes, and ends in the order, of an epoch's blocks."""
        start, end = self.plan.share(worker)
        stream = np.random.default_rng([self.plan.seed, epoch, worker])
        n_blocks = -(-(end - start) // self.block_rows)
        firsts = stream.permutation(n_blocks) * self.block_rows
        sizes = np.minimum(firsts + self.block_rows, end - start) - firsts
        return firsts, sizes, np.cumsum(sizes)

    def row_ranges(
        self, epoch: int, worker: int, buffer: ShuffleBuffer
    ) -> list[tuple[int, int]]:
        """Return the (first, end) of the rows of a buffer, in the order of reading."""
        start, _ = self.plan.share(worker)
        if self.plan.steps == 1:  # a step takes all of them: the order does not matter
            return [(start + buffer.first, start + buffer.last)]
        firsts, sizes, ends = self._blocks(epoch, worker)
        ranges = []
        for k in range(int(np.searchsorted(ends, buffer.first, "right")), len(ends)):
            lo = max(buffer.first, int(ends[k] - sizes[k]))
            hi = min(buffer.last, int(ends[k]))
            if lo >= hi:
                break
            shift = start + int(firsts[k]) - int(ends[k] - sizes[k])
            ranges.append((lo + shift, hi + shift))
        return ranges

    def order(
        self, epoch: int, worker: int, number: int, buffer: ShuffleBuffer
    ) -> IntArray:
        """Return the order in which the rows of the `number`-th buffer are used."""
        key = [self.plan.seed, epoch, worker, 2 + number]
        return np.random.default_rng(key).permutation(buffer.last - buffer.first)
