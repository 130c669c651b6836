"""Large sums over the workers: in shared memory, each rank finishing its slice.

The ranks of a node write their workers' rows there, and each adds up its own slice of
all of them, in tree order. Where the optimizer works on that slice, too, nothing is
copied (see `stores.sharded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from . import mpi
from .base import Allreduce, ExchangeClock
from .even_partition import even_slices
from .overlap import OverlappedReduction
from .reduction_tree import MergeSchedule, Subtree, merge_schedule

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..array_types import FloatArray
    from .mpi import Comm
    from .topology import Grid


class PostedNorms:
    """A number of each rank of a node, in shared memory, for a sum at the next barrier.

    So a rank can tell whether the slices of all ranks are finite without one more
    exchange: it posts Σ g² of its slice, and reads all after the barrier that follows
    the update of the weights.
    """

    def __init__(self, node: Comm) -> None:
        self._rank = node.rank
        self._shared = mpi.SharedArray(node, (node.size,), np.float64)

    def post(self, value: float) -> None:
        """Write this rank's number; the others may read it after a barrier."""
        self._shared.array[self._rank] = value

    def total(self) -> float:
        """Return the sum of what the ranks of this node posted before the barrier."""
        return float(self._shared.array.sum())

    def free(self) -> None:
        """Give the memory back; collective over the node."""
        self._shared.free()


class SharedWindowReduce(Allreduce):
    """Ranks of a node share their partial sums; each finishes the tree for a slice.

    Nodes exchange their partial sums through their first ranks. `result` is separate
    from the partial sums, so that the next ones of a fast rank cannot overwrite what a
    slow rank still reads.

    With `sharded` the partial sums are the workers' own rows, written in place in
    `gradient_buffer`, and a rank takes its slice only, by `reduce_scatter`.
    """

    def __init__(
        self,
        grid: Grid,
        clock: ExchangeClock,
        size: int,
        dtype: DTypeLike,
        *,
        sharded: bool = False,
        n_models: int = 1,
    ) -> None:
        super().__init__(grid, clock, n_models=n_models)
        self.sharded = sharded
        subtrees_of: Sequence[Sequence[Subtree]] = grid.subtrees_of
        if sharded:
            ranges = [grid.workers_of_rank(rank) for rank in range(grid.comm.size)]
            subtrees_of = [[Subtree(k, 1) for k in range(*r)] for r in ranges]
            self.subtrees = list(subtrees_of[grid.comm.rank])
        # which partial sums merge inside this node, and which between nodes
        schedules: dict[int, MergeSchedule] = {}  # leader of a node -> its merges
        node_subtrees: dict[int, list[Subtree]] = {}
        for leader in sorted(set(grid.node_leaders)):
            ranks = [r for r, lead in enumerate(grid.node_leaders) if lead == leader]
            node_subtrees[leader] = [s for rank in ranks for s in subtrees_of[rank]]
            schedules[leader] = merge_schedule(node_subtrees[leader], grid.workers)
        leader = grid.leader_rank()
        self.first_row = sum(map(len, subtrees_of[leader : grid.comm.rank]))
        self.node_pairs, self.unmerged = schedules[leader]
        self.unmerged_counts = [len(s.remaining) for s in schedules.values()]
        between = [subtree for s in schedules.values() for _, subtree in s.remaining]
        self.internode_rows = len(between)
        self.internode_pairs = merge_schedule(between, grid.workers).pairs

        rows = max(len(node_subtrees[leader]), self.internode_rows) + 1
        self.window = mpi.SharedArray(grid.node, (rows, size), dtype)
        self.partial_sums: FloatArray = self.window.array[:-1]
        self.result: FloatArray = self.window.array[-1]
        self.local_rows: FloatArray = self.partial_sums[self.first_row :][
            : len(self.subtrees)
        ]
        self._columns = even_slices(size, grid.node.size)[grid.node.rank]  # it sums
        if sharded:
            self.slice = self._columns
        self.local_copy = np.empty(0 if sharded else size, dtype)
        self.gradient_buffer = self.local_rows if sharded else None
        self.several_nodes = len(self.unmerged_counts) > 1
        self.overlap: OverlappedReduction | None = None
        if sharded and self.several_nodes:
            self.overlap = OverlappedReduction(self)

    def __call__(self, rows: FloatArray) -> FloatArray:
        for row, subtree_sum in zip(self.local_rows, self.subtree_sums(rows)):
            row[...] = subtree_sum
        began = perf_counter()
        self.result[self._columns] = self._reduce_slice()
        self.window.barrier()
        self.local_copy[...] = self.result
        self.clock.count_exchange(began, self.local_rows.nbytes)
        return self.local_copy

    def reduce_scatter(self, rows: FloatArray) -> FloatArray:
        """Return this rank's slice of the sum; `rows` is `gradient_buffer`."""
        if rows is not self.gradient_buffer:
            self.local_rows[...] = rows
        began = perf_counter()
        result = self._reduce_slice()
        self.clock.count_exchange(began, self.local_rows.nbytes)
        return result

    def _reduce_slice(self) -> FloatArray:
        """Return this rank's slice of the sum of what all ranks have written."""
        overlapped = self.overlap is not None and self.overlap.wait()
        self.window.barrier()
        if not overlapped:
            self.reduce_within_node(self._columns)
        partial_sums = self.partial_sums[:, self._columns]
        if self.several_nodes:
            if not overlapped:
                self._exchange_between_nodes()
            for i, j in self.internode_pairs:
                partial_sums[i] += partial_sums[j]
        result: FloatArray = partial_sums[0]
        return result

    def reduce_within_node(self, columns: slice) -> None:
        """Merge what can be merged within this node, for some columns."""
        partial_sums = self.partial_sums[:, columns]
        for i, j in self.node_pairs:
            partial_sums[i] += partial_sums[j]

    def unmerged_subtrees(self, columns: slice = slice(None)) -> FloatArray:
        """Return a copy of some columns of what this node could not merge itself."""
        return np.stack([self.partial_sums[i, columns] for i, _ in self.unmerged])

    def _exchange_between_nodes(self) -> None:
        """Replace this node's partial sums by those of all nodes, in order."""
        self.window.barrier()
        if self.grid.leaders != mpi.COMM_NULL:
            gathered = self.partial_sums[: self.internode_rows]
            local = self.unmerged_subtrees()
            allgather_sparse(self.grid.leaders, local, gathered, self.unmerged_counts)
        self.window.barrier()

    def free(self) -> None:
        del self.partial_sums, self.result, self.local_rows
        self.gradient_buffer = None
        self.window.free()
        if self.overlap is not None:
            self.overlap.free()


def allgather_sparse(
    comm: Comm, local: FloatArray, gathered: FloatArray, counts: Sequence[int]
) -> bool:
    """Gather the rows (counts[rank], size) of all ranks into `gathered`; collective.

    Sent as (index, value) of the numbers that are not 0 where that is fewer bytes, as
    for gradients of sparse rows. Returns whether it was.
    """
    indices = np.flatnonzero(local)
    nonzeros = comm.allgather(len(indices))
    total = sum(nonzeros)
    if total * (indices.itemsize + local.itemsize) >= gathered.nbytes:
        mpi.gather_rows(comm, local, gathered, counts)
        return False
    rank_offsets = np.cumsum([0, *counts[:-1]]) * gathered.shape[1]
    all_indices, values = np.empty(total, np.int64), np.empty(total, local.dtype)
    comm.Allgatherv(indices, [all_indices, nonzeros])
    comm.Allgatherv(local.reshape(-1)[indices], [values, nonzeros])
    gathered[...] = 0
    gathered.reshape(-1)[all_indices + np.repeat(rank_offsets, nonzeros)] = values
    return True
