"""In which order rows are read that do not fit: whole blocks first, then within a pile.

The blocks of a worker's rows are taken in random order, and what lies in memory
together, a pile of several blocks, is shuffled: reads stay long, and an epoch is nearly
as random as with a full shuffle. Source: CorgiPile, Xu et al. 2022, §3.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

BLOCK_BYTES = 4 << 20
PART_BYTES = 16 << 20
BLOCKS = 16  # a pile at the least, unless its rows are fewer


class ShuffleBuffer(NamedTuple):
    """The places first … last-1 of an epoch's order: several steps, or part of one."""

    first: int
    last: int
    until: int  # the step after those that end in this pile, or that it is a part of


class BlockShuffle:
    """The order of a plan's workers, in piles of at most `rows` rows.

    `row_bytes` says how many rows make a block of 4 MiB. As a plan's, the order is a
    function of (seed, epoch, worker).
    """

    def __init__(self, plan, rows, row_bytes):
        self.plan, self.rows = plan, rows
        self.block = max(1, min(rows // BLOCKS, BLOCK_BYTES // row_bytes))
        self.part = max(1, min(rows, PART_BYTES // row_bytes))  # of a larger step
        # what is read ahead may be an epoch further
        self.blocks = lru_cache(2 * plan.workers)(self._shuffled)
        self.split = int(np.ceil(plan.sizes.max() / plan.steps)) > rows

    def of(self, worker):
        """Return the piles of a worker in an epoch."""
        cuts, found, s = self.plan.step_offsets(worker), [], 0
        while s < self.plan.steps:
            first = int(cuts[s])
            fitting = int(np.searchsorted(cuts, first + self.rows, side="right")) - 1
            s = max(s + 1, fitting)
            last = int(cuts[s])
            part = self.rows if last - first <= self.rows else self.part
            for lo in range(first, last, part):
                found.append(ShuffleBuffer(lo, min(lo + part, last), s))
            if first == last:  # a step without rows
                found.append(ShuffleBuffer(first, first, s))
        return found

    def _shuffled(self, epoch, worker):
        """Return first rows, sizes and ends in the order, of the blocks of an epoch."""
        start, end = self.plan.share(worker)
        stream = np.random.default_rng([self.plan.seed, epoch, worker])
        lows = stream.permutation(-(-(end - start) // self.block)) * self.block
        sizes = np.minimum(lows + self.block, end - start) - lows
        return lows, sizes, np.cumsum(sizes)

    def ranges(self, epoch, worker, pile):
        """Return the (first, end) of the rows of a pile, as they are to be read."""
        start, _ = self.plan.share(worker)
        if self.plan.steps == 1:  # all of them, in any order
            return [(start + pile.first, start + pile.last)]
        lows, sizes, ends = self.blocks(epoch, worker)
        found = []
        for k in range(int(np.searchsorted(ends, pile.first, side="right")), len(ends)):
            lo = max(pile.first, int(ends[k] - sizes[k]))
            hi = min(pile.last, int(ends[k]))
            if lo >= hi:
                break
            shift = start + int(lows[k]) - int(ends[k] - sizes[k])
            found.append((lo + shift, hi + shift))
        return found

    def order(self, epoch, worker, number, pile):
        """Return the places within the `number`-th pile in the order of their turn."""
        key = [self.plan.seed, epoch, worker, 2 + number]
        return np.random.default_rng(key).permutation(pile.last - pile.first)
