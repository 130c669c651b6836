"""Rows of the workers -> one sum, the same bits on any number of ranks.

Every rank sums its own workers' rows into nodes of the fixed tree (see `tree`). Small
sums travel whole: every rank gets those of all ranks and finishes the tree by itself,
through MPI or, on one node, through shared memory.
Large ones are finished in shared memory, each rank for its own slice.
"""

from time import perf_counter

import numpy as np

from . import mpi
from .tree import merges, sum_rows
from .waiting import pause, spins

# Below this, copying all sums costs less than waiting twice; by scripts/bench exchange.
SMALL_BYTES = 32 * 1024
LINE = 8  # int64 in a cache line: each rank's flag has a line of its own


class Sum:
    """Sum (hosted, size) over the rows of all ranks; the base does it on one rank.

    The rows are given away: they are overwritten. So is the result, by the next sum.
    """

    def __init__(self, grid, clock):
        self.grid, self.clock = grid, clock
        self.nodes = grid.nodes_of[grid.comm.rank]
        self.counts = [len(nodes) for nodes in grid.nodes_of]

    def partials(self, rows):
        """Yield this rank's nodes of the tree, each summed over its workers' rows."""
        first = self.grid.first
        for start, length in self.nodes:
            yield sum_rows(rows[start - first : start - first + length])

    def __call__(self, rows):
        return sum_rows(rows)

    def free(self):
        """Free what was shared; collective."""


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
        self.clock.exchange += perf_counter() - began
        self.clock.sent += self.mine.nbytes
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
        self.total = self._in_numpy
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
        self.clock.exchange += perf_counter() - began
        self.clock.sent += self.mine.nbytes
        return self.out[0]

    def free(self):
        self.shared = None
        self.slots.free()
        self.flags.free()


class Windowed(Sum):
    """Ranks of a node share their partial sums; each finishes the tree for a slice.

    Nodes exchange their own partial sums through their first ranks. `result` is apart
    from the partial sums so that a fast rank's next ones cannot overtake a slow reader.
    """

    def __init__(self, grid, clock, size, dtype):
        super().__init__(grid, clock)
        self._plan_nodes()
        rows = max(len(self.inner), len(self.outer)) + 1
        self.window = mpi.Window(grid.node, (rows, size), dtype)
        self.partial, self.result = self.window.array[:-1], self.window.array[-1]
        cut = [size * k // grid.node.size for k in range(grid.node.size + 1)]
        self.slice = slice(*cut[grid.node.rank : grid.node.rank + 2])
        self.private = np.empty(size, dtype)

    def _plan_nodes(self):
        """Find which partial sums merge inside this node and which between nodes."""
        grid, leads = self.grid, self.grid.node_ranks
        kept = {}
        for lead in sorted(set(leads)):
            ranks = [rank for rank, each in enumerate(leads) if each == lead]
            nodes = [node for rank in ranks for node in grid.nodes_of[rank]]
            kept[lead] = merges(nodes, grid.workers) + (nodes,)
        mine = grid.leader_rank()
        self.first = sum(self.counts[mine : grid.comm.rank])
        self.pairs, self.left, self.inner = kept[mine]
        self.shares = [len(left) for _, left, _ in kept.values()]
        self.outer = [node for _, left, _ in kept.values() for _, node in left]
        self.last_pairs, _ = merges(self.outer, grid.workers)

    def __call__(self, rows):
        for k, partial in enumerate(self.partials(rows), self.first):
            self.partial[k] = partial
        began = perf_counter()
        self.window.meet()
        part = self.partial[:, self.slice]
        for i, j in self.pairs:
            part[i] += part[j]
        if len(self.shares) > 1:
            self._between_nodes()
            for i, j in self.last_pairs:
                part[i] += part[j]
        self.result[self.slice] = part[0]
        self.window.meet()
        self.private[...] = self.result
        self.clock.exchange += perf_counter() - began
        self.clock.sent += len(self.nodes) * self.private.nbytes
        return self.private

    def _between_nodes(self):
        """Replace this node's partial sums by those of all nodes, in order."""
        self.window.meet()
        if self.grid.leaders != mpi.NOBODY:
            width = self.private.nbytes
            mine = np.stack([self.partial[i] for i, _ in self.left])
            counts = [share * width for share in self.shares]
            whole = self.partial[: len(self.outer)]
            self.grid.leaders.Allgatherv([mine, mpi.BYTE], [whole, counts, mpi.BYTE])
        self.window.meet()

    def free(self):
        self.partial = self.result = None
        self.window.free()


class Native(Sum):
    """MPI's own Allreduce, in whatever order the library likes: for comparison."""

    def __init__(self, grid, clock, size, dtype):
        super().__init__(grid, clock)
        self.vector = np.empty(size, dtype)

    def __call__(self, rows):
        np.sum(rows, axis=0, out=self.vector)
        began = perf_counter()
        self.grid.comm.Allreduce(mpi.IN_PLACE, self.vector)
        self.clock.exchange += perf_counter() - began
        self.clock.sent += self.vector.nbytes
        return self.vector


REDUCTIONS = ("fixed", "mpi")


def total(grid, clock, size, dtype, *, reduction="fixed", compiled=False):
    """Return the `Sum` that fits the grid and the size of the vector; free it."""
    if grid.comm.size == 1:
        return Sum(grid, clock)
    if reduction == "mpi":
        return Native(grid, clock, size, dtype)
    if size * np.dtype(dtype).itemsize > SMALL_BYTES:
        return Windowed(grid, clock, size, dtype)
    if grid.node.size < grid.comm.size:
        return Gathered(grid, clock, size, dtype)
    return Flagged(grid, clock, size, dtype, compiled=compiled)
