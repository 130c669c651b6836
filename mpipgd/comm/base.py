"""The contract of a sum over all workers, and what its implementations share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from .reduction_tree import sum_rows

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray, IntArray
    from .topology import Grid


class ExchangeClock(Protocol):
    """What counts the seconds and bytes of exchanges; see `reporting.timing.Clock`."""

    def count_exchange(self, began: float, nbytes: int = 0) -> None:
        """Count an exchange from `began`, by `time.perf_counter`, until now."""

    def count_exchanges(self, seconds: float, nbytes: int) -> None:
        """Count exchanges whose seconds were measured elsewhere."""


class Overlap(Protocol):
    """Communication of finished parts of a gradient while the rest is computed."""

    def on_gradient_ready(self, lo: int) -> None:
        """Take note that this rank's rows are final from column `lo` on."""


class Allreduce(ABC):
    """The sum of one vector (size,) of each worker over all workers, on every rank.

    Called with the rows (n_local_workers, size) of this rank's workers. The rows are
    given away: they may be overwritten. The result belongs to the allreduce, and is
    overwritten by the next call. All calls are collective over the grid's ranks. In
    fixed order (all but `MpiAllreduce`) the result has the same bits on any number of
    ranks.

    gradient_buffer  (n_local_workers, size) where rows should be written, so that they
                     need not be copied, or None: anywhere
    sharded          a rank can have its slice of the sum alone, by `reduce_scatter`
    slice            the columns of that slice; all where not sharded
    overlap          what takes finished parts of the rows early, or None
    n_models         the vectors hold the weights of so many models as the columns of a
                     matrix: see `squared_norm`
    """

    sharded = False
    overlap: Overlap | None = None
    gradient_buffer: FloatArray | None = None

    def __init__(self, grid: Grid, clock: ExchangeClock, *, n_models: int = 1) -> None:
        self.grid, self.clock, self.n_models = grid, clock, n_models
        self.slice = slice(None)
        self.subtrees = grid.subtrees_of[grid.comm.rank]
        self.counts = [len(subtrees) for subtrees in grid.subtrees_of]

    @abstractmethod
    def __call__(self, rows: FloatArray) -> FloatArray:
        """Return the sum (size,) of all workers' rows."""

    def reduce_scatter(self, rows: FloatArray) -> FloatArray:
        """Return this rank's slice of the sum; where sharded, of the buffer's rows."""
        return self(rows)

    def squared_norm(self, vector: FloatArray) -> float:
        """Return Σ v²; of several models the smallest, so that one may diverge alone.

        Not finite where a number of the vector (of all models) is not, or overflows.
        """
        if self.n_models == 1:
            return float(vector.dot(vector))
        norms = np.square(vector.reshape(-1, self.n_models)).sum(axis=0)
        return float(np.fmin.reduce(norms))

    def subtree_sums(self, rows: FloatArray) -> Iterator[FloatArray]:
        """Yield the sum over each of this rank's subtrees, in place in `rows`."""
        first = self.grid.first
        for start, length in self.subtrees:
            yield sum_rows(rows[start - first : start - first + length])

    def free(self) -> None:
        """Free what the ranks share; collective."""


class SharedMemoryRound(NamedTuple):
    """What `shared_memory.tree_sum` needs beside this rank's sums.

    slots       (2, n, size) shared memory for the partial sums of all subtrees, used
                in turn
    flags       (ranks, ints of a cache line) int64, shared: the last round for which a
                rank has written its sums
    rank        this rank's flag
    first_slot  the first slot of this rank
    spin_limit  how often it polls before it yields the core; 0: it sleeps
    round       the number of the sum, from 1 on
    pairs       (k, 2) int64: the additions that finish the tree
    out         (n, size) private memory; row 0 gets the result
    """

    slots: Array
    flags: IntArray
    rank: int
    first_slot: int
    spin_limit: int
    round: int
    pairs: IntArray
    out: FloatArray
