"""Large sums over the workers: in shared memory, each rank finishing a slice.

The ranks of a node write their workers' rows there, and each combines its own slice of
all of them, in the order of the tree. Where the optimizer works on that slice, too,
nothing is ever copied (see `stores.sliced`).
"""

from time import perf_counter

import numpy as np

from . import mpi
from .base import LocalReduce
from .overlap import OverlappedReduction
from .reduction_tree import merge_schedule


class SharedWindowReduce(LocalReduce):
    """Ranks of a node share their partial sums; each finishes the tree for a slice.

    Nodes exchange their own partial sums through their first ranks. `result` is apart
    from the partial sums so that a fast rank's next ones cannot overtake a slow reader.
    With `apart` the partial sums are the workers' own rows, written in place, and a
    rank asks for its slice alone.
    """

    def __init__(self, grid, clock, size, dtype, *, apart=False):
        super().__init__(grid, clock)
        self.sharded = apart
        nodes_of = grid.subtrees_of
        if apart:
            ranges = map(grid.workers_of_rank, range(grid.comm.size))
            nodes_of = [[(k, 1) for k in range(*each)] for each in ranges]
            self.nodes = nodes_of[grid.comm.rank]
        self._plan_nodes(nodes_of)
        rows = max(len(self.inner), len(self.outer)) + 1
        self.window = mpi.SharedArray(grid.node, (rows, size), dtype)
        self.marks = mpi.SharedArray(grid.node, (grid.node.size,), np.float64)
        self.partial, self.result = self.window.array[:-1], self.window.array[-1]
        self.rows = self.partial[self.first :][: len(self.nodes)]
        cut = [size * k // grid.node.size for k in range(grid.node.size + 1)]
        self.slice = slice(*cut[grid.node.rank : grid.node.rank + 2])
        self.local_copy = None if apart else np.empty(size, dtype)
        between = apart and len(self.shares) > 1
        self.pieces = OverlappedReduction(self) if between else None

    def _plan_nodes(self, nodes_of):
        """Find which partial sums merge inside this node and which between nodes."""
        grid, leads = self.grid, self.grid.node_leaders
        kept = {}
        for lead in sorted(set(leads)):
            ranks = [rank for rank, each in enumerate(leads) if each == lead]
            nodes = [node for rank in ranks for node in nodes_of[rank]]
            kept[lead] = merge_schedule(nodes, grid.workers) + (nodes,)
        mine = grid.leader_rank()
        self.first = sum(map(len, nodes_of[mine : grid.comm.rank]))
        self.pairs, self.left, self.inner = kept[mine]
        self.shares = [len(left) for _, left, _ in kept.values()]
        self.outer = [node for _, left, _ in kept.values() for _, node in left]
        self.last_pairs, _ = merge_schedule(self.outer, grid.workers)

    def __call__(self, rows):
        for k, partial in enumerate(self.subtree_sums(rows), self.first):
            self.partial[k] = partial
        began = perf_counter()
        self.result[self.slice] = self._reduced()
        self.window.barrier()
        self.local_copy[...] = self.result
        self.clock.count_exchange(began, self.rows.nbytes)
        return self.local_copy

    def reduce_scatter(self):
        """Return this rank's slice of the sum of what all ranks wrote into `rows`."""
        began = perf_counter()
        part = self._reduced()
        self.clock.count_exchange(began, self.rows.nbytes)
        return part

    def _reduced(self):
        here = self.pieces and self.pieces.finish()
        self.window.barrier()
        if not here:
            self.reduce_within_node(self.slice)
        part = self.partial[:, self.slice]
        if len(self.shares) > 1:
            if not here:
                self._between_nodes()
            for i, j in self.last_pairs:
                part[i] += part[j]
        return part[0]

    def reduce_within_node(self, span):
        """Finish what this node can of the tree, for some columns."""
        part = self.partial[:, span]
        for i, j in self.pairs:
            part[i] += part[j]

    def unmerged_subtrees(self, span=slice(None)):
        """Return a copy of some columns of this node's partial sums."""
        return np.stack([self.partial[i, span] for i, _ in self.left])

    def _between_nodes(self):
        """Replace this node's partial sums by those of all nodes, in order."""
        self.window.barrier()
        if self.grid.leaders != mpi.COMM_NULL:
            whole = self.partial[: len(self.outer)]
            gather(self.grid.leaders, self.unmerged_subtrees(), whole, self.shares)
        self.window.barrier()

    def post_norm(self, value):
        """Leave a number for the others to `verify` once they have met."""
        self.marks.array[self.grid.node.rank] = value

    def sum_norms(self):
        """Return the sum of the marks that this node's ranks left."""
        return self.marks.array.sum()

    def free(self):
        self.partial = self.result = self.rows = None
        self.window.free()
        self.marks.free()
        if self.pieces:
            self.pieces.free()


def gather(comm, mine, whole, counts):
    """Gather rows (m, size) of all ranks, of which each has `counts`, into `whole`.

    As (index, value) of what is not 0 where that is fewer bytes: gradients of sparse
    rows. Returns whether it was.
    """
    places = np.flatnonzero(mine)
    found = comm.allgather(len(places))
    if sum(found) * (places.itemsize + mine.itemsize) >= whole.nbytes:
        mpi.gather_rows(comm, mine, whole, counts)
        return False
    starts = np.cumsum([0, *counts[:-1]]) * whole.shape[1]
    indices, values = np.empty(sum(found), np.int64), np.empty(sum(found), mine.dtype)
    comm.Allgatherv(places, [indices, found])
    comm.Allgatherv(mine.reshape(-1)[places], [values, found])
    whole[...] = 0
    whole.reshape(-1)[indices + np.repeat(starts, found)] = values
    return True
