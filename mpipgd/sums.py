"""Rows of the workers -> one sum, the same bits on any number of ranks.

Every rank sums its own workers' rows into nodes of the fixed tree (see `tree`). Small
sums travel whole: every rank gets those of all ranks and finishes the tree by itself,
through MPI or, on one node, through shared memory.
Large ones are finished in shared memory, each rank for its own slice.
"""

from time import perf_counter

import numpy as np

from . import mpi
from .launch import crowded
from .slices import Sum, Windowed
from .tree import merges
from .waiting import pause, spins

# Below this, copying all sums costs less than waiting twice; by scripts/bench exchange.
SMALL_BYTES = 32 * 1024
LINE = 8  # int64 in a cache line: each rank's flag has a line of its own


class Gathered(Sum):
    """Every rank gets all partial sums by one MPI call, and finishes the tree."""

    def __init__(self, grid, clock, size, dtype):
        super().__init__(grid, clock)
        before = sum(self.counts[: grid.comm.rank])
        self.all = np.empty((sum(self.counts), size), dtype)
        self.mine = self.all[before : before + len(self.nodes)]
        nodes = [node for each in grid.nodes_of for node in each]
        pairs, _ = merges(nodes, grid.workers)
        self.pairs = [(self.all[i], self.all[j]) for i, j in pairs]
        width = size * self.all.itemsize
        self.target = [self.all, [count * width for count in self.counts], mpi.BYTE]

    def __call__(self, rows):
        for mine, partial in zip(self.mine, self.partials(rows)):
            mine[...] = partial
        began = perf_counter()
        self.grid.comm.Allgatherv(mpi.IN_PLACE, self.target)
        self.clock.exchanged(began, self.mine.nbytes)
        for left, right in self.pairs:
            left += right
        return self.all[0]


class Flagged(Sum):
    """Gathered through memory that the ranks of the one node share, without MPI calls.

    Each rank has a flag there that counts its turns; it waits for all others' flags.
    Slots take turns: who writes turn t+2 knows that all have read turn t. The whole is
    one compiled call where numba is loaded anyway, else the same in numpy.
    """

    def __init__(self, grid, clock, size, dtype, *, compiled):
        super().__init__(grid, clock)
        nodes = [node for each in grid.nodes_of for node in each]
        self.pairs, _ = merges(nodes, grid.workers)
        self.mine = np.empty((len(self.nodes), size), dtype)
        self.out = np.empty((len(nodes), size), dtype)
        self.slots = mpi.Window(grid.node, (2, *self.out.shape), dtype)
        self.flags = mpi.Window(grid.node, (grid.comm.size, LINE), np.int64)
        self.flags.fill(0)
        self.turn, before = 0, sum(self.counts[: grid.comm.rank])
        # only while every rank has a core to itself does it pay to look without a nap
        self.place = grid.comm.rank, before, spins()
        self.shared = self.slots.array, self.flags.array
        self.total, self.compiled = self._in_numpy, compiled
        if compiled:
            self._compile()

    def _compile(self):
        from . import shared

        self.total = shared.total
        self.pairs = np.array(self.pairs, np.int64).reshape(-1, 2)
        lone = np.zeros_like(self.shared[0]), np.zeros_like(self.shared[1][:1])
        warm = self.mine, lone, (0, 0, 0), 1, self.pairs, self.out
        mpi.first_alone(self.grid.node, lambda: shared.total(*warm))

    def _in_numpy(self, mine, shared, place, turn, pairs, out):
        """Do what `shared.total` does."""
        (slots, flags), (me, first, spins) = shared, place
        slots[turn % 2, first : first + len(mine)] = mine
        self.flags.sync()
        flags[me, 0] = turn
        looked, coming = 0, flags[:, 0]
        while coming.min() < turn:
            looked += 1
            pause(looked, spins)
        self.flags.sync()
        out[...] = slots[turn % 2]
        for i, j in pairs:
            out[i] += out[j]

    def __call__(self, rows):
        mine = rows
        if len(rows) > 1:
            mine = self.mine
            for row, partial in zip(mine, self.partials(rows), strict=True):
                row[...] = partial
        began = perf_counter()
        self.turn += 1
        self.total(mine, self.shared, self.place, self.turn, self.pairs, self.out)
        self.clock.exchanged(began, self.mine.nbytes)
        return self.out[0]

    def meeting(self):
        """Return what `shared.total` wants of the next turn, but this rank's sums."""
        return self.shared, self.place, self.turn + 1, self.pairs, self.out

    def met(self, times, seconds):
        """Count so many turns that somebody else took, and their seconds."""
        self.turn += times
        self.clock.exchange += seconds
        self.clock.sent += times * self.mine.nbytes

    def free(self):
        self.shared = None
        self.slots.free()
        self.flags.free()


class Native(Sum):
    """MPI's own Allreduce, in whatever order the library likes: for comparison."""

    def __init__(self, grid, clock, size, dtype):
        super().__init__(grid, clock)
        self.vector = np.empty(size, dtype)

    def __call__(self, rows):
        np.sum(rows, axis=0, out=self.vector)
        began = perf_counter()
        self.grid.comm.Allreduce(mpi.IN_PLACE, self.vector)
        self.clock.exchanged(began, self.vector.nbytes)
        return self.vector


REDUCTIONS = ("fixed", "mpi")


def total(grid, clock, size, dtype, *, reduction="fixed", compiled=False, apart=False):
    """Return the `Sum` that fits the grid and the size of the vector; free it.

    `apart`: whoever uses a large sum can do with each rank having a slice of it.
    """
    if grid.comm.size == 1:
        return Sum(grid, clock)
    if reduction == "mpi":
        return Native(grid, clock, size, dtype)
    if size * np.dtype(dtype).itemsize > SMALL_BYTES:
        together = len(set(grid.node_ranks)) < grid.comm.size  # alike on all nodes
        return Windowed(grid, clock, size, dtype, apart=apart and together)
    slow = crowded() and not compiled  # to nap in Python takes longer than MPI does
    if grid.node.size < grid.comm.size or slow:
        return Gathered(grid, clock, size, dtype)
    return Flagged(grid, clock, size, dtype, compiled=compiled)
