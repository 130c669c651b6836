"""Rows of the workers -> one sum, the same bits on any number of ranks.

Every rank sums its own workers' rows into nodes of the fixed tree (see `tree`). Small
sums travel whole: every rank gets those of all ranks and finishes the tree by itself,
through MPI or, on one node, through shared memory.
Large ones are finished in shared memory, each rank for its own slice.
"""

from time import perf_counter

import numpy as np

from . import mpi
from .backoff import backoff, spin_limit
from .base import LocalReduce
from .environment import oversubscribed
from .reduce_scatter import SharedWindowReduce
from .reduction_tree import merge_schedule

# Below this, copying all sums costs less than waiting twice; by scripts/bench exchange.
SMALL_BYTES = 32 * 1024
LINE = 8  # int64 in a cache line: each rank's flag has a line of its own


class AllgatherReduce(LocalReduce):
    """Every rank gets all partial sums by one MPI call, and finishes the tree."""

    def __init__(self, grid, clock, size, dtype):
        super().__init__(grid, clock)
        before = sum(self.counts[: grid.comm.rank])
        self.all = np.empty((sum(self.counts), size), dtype)
        self.mine = self.all[before : before + len(self.nodes)]
        nodes = [node for each in grid.subtrees_of for node in each]
        pairs, _ = merge_schedule(nodes, grid.workers)
        self.pairs = [(self.all[i], self.all[j]) for i, j in pairs]
        width = size * self.all.itemsize
        self.target = [self.all, [count * width for count in self.counts], mpi.BYTE]

    def __call__(self, rows):
        for mine, partial in zip(self.mine, self.subtree_sums(rows)):
            mine[...] = partial
        began = perf_counter()
        self.grid.comm.Allgatherv(mpi.IN_PLACE, self.target)
        self.clock.count_exchange(began, self.mine.nbytes)
        for left, right in self.pairs:
            left += right
        return self.all[0]


class SharedMemoryAllreduce(LocalReduce):
    """Gathered through memory that the ranks of the one node share, without MPI calls.

    Each rank has a flag there that counts its turns; it waits for all others' flags.
    Slots take turns: who writes turn t+2 knows that all have read turn t. The whole is
    one compiled call where numba is loaded anyway, else the same in numpy.
    """

    def __init__(self, grid, clock, size, dtype, *, compiled):
        super().__init__(grid, clock)
        nodes = [node for each in grid.subtrees_of for node in each]
        self.pairs, _ = merge_schedule(nodes, grid.workers)
        self.mine = np.empty((len(self.nodes), size), dtype)
        self.out = np.empty((len(nodes), size), dtype)
        self.slots = mpi.SharedArray(grid.node, (2, *self.out.shape), dtype)
        self.flags = mpi.SharedArray(grid.node, (grid.comm.size, LINE), np.int64)
        self.flags.fill(0)
        self.turn, before = 0, sum(self.counts[: grid.comm.rank])
        # only while every rank has a core to itself does it pay to look without a nap
        self.place = grid.comm.rank, before, spin_limit()
        self.shared = self.slots.array, self.flags.array
        self.total, self.compiled = self._in_numpy, compiled
        if compiled:
            self._compile()

    def _compile(self):
        from . import shared_memory

        self.total = shared_memory.tree_sum
        self.pairs = np.array(self.pairs, np.int64).reshape(-1, 2)
        lone = np.zeros_like(self.shared[0]), np.zeros_like(self.shared[1][:1])
        warm = self.mine, lone, (0, 0, 0), 1, self.pairs, self.out
        mpi.node_leader_first(self.grid.node, lambda: shared_memory.tree_sum(*warm))

    def _in_numpy(self, mine, shared, place, turn, pairs, out):
        """Do what `shared.total` does."""
        (slots, flags), (me, first, spins) = shared, place
        slots[turn % 2, first : first + len(mine)] = mine
        self.flags.sync()
        flags[me, 0] = turn
        looked, coming = 0, flags[:, 0]
        while coming.min() < turn:
            looked += 1
            backoff(looked, spins)
        self.flags.sync()
        out[...] = slots[turn % 2]
        for i, j in pairs:
            out[i] += out[j]

    def __call__(self, rows):
        mine = rows
        if len(rows) > 1:
            mine = self.mine
            for row, partial in zip(mine, self.subtree_sums(rows), strict=True):
                row[...] = partial
        began = perf_counter()
        self.turn += 1
        self.total(mine, self.shared, self.place, self.turn, self.pairs, self.out)
        self.clock.count_exchange(began, self.mine.nbytes)
        return self.out[0]

    def next_round_args(self):
        """Return what `shared.total` wants of the next turn, but this rank's sums."""
        return self.shared, self.place, self.turn + 1, self.pairs, self.out

    def skip_rounds(self, times, seconds):
        """Count so many turns that somebody else took, and their seconds."""
        self.turn += times
        self.clock.exchange += seconds
        self.clock.bytes_sent += times * self.mine.nbytes

    def free(self):
        self.shared = None
        self.slots.free()
        self.flags.free()


class MpiAllreduce(LocalReduce):
    """MPI's own Allreduce, in whatever order the library likes: for comparison."""

    def __init__(self, grid, clock, size, dtype):
        super().__init__(grid, clock)
        self.vector = np.empty(size, dtype)

    def __call__(self, rows):
        np.sum(rows, axis=0, out=self.vector)
        began = perf_counter()
        self.grid.comm.Allreduce(mpi.IN_PLACE, self.vector)
        self.clock.count_exchange(began, self.vector.nbytes)
        return self.vector


REDUCTIONS = ("fixed", "mpi")


def make_allreduce(
    grid, clock, size, dtype, *, reduction="fixed", compiled=False, apart=False
):
    """Return the `Sum` that fits the grid and the size of the vector; free it.

    `apart`: whoever uses a large sum can do with each rank having a slice of it.
    """
    if grid.comm.size == 1:
        return LocalReduce(grid, clock)
    if reduction == "mpi":
        return MpiAllreduce(grid, clock, size, dtype)
    if size * np.dtype(dtype).itemsize > SMALL_BYTES:
        together = len(set(grid.node_leaders)) < grid.comm.size  # alike on all nodes
        return SharedWindowReduce(grid, clock, size, dtype, apart=apart and together)
    slow = (
        oversubscribed() and not compiled
    )  # to nap in Python takes longer than MPI does
    if grid.node.size < grid.comm.size or slow:
        return AllgatherReduce(grid, clock, size, dtype)
    return SharedMemoryAllreduce(grid, clock, size, dtype, compiled=compiled)
