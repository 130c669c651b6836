"""Gradients of the workers -> one sum, together, in the order of the fixed tree.

Small vectors travel whole: every rank gathers the partial sums of all ranks and
finishes the tree by itself. Large ones are summed in memory that the ranks of a node
share: each rank finishes the tree for its own slice. Both give the same bits, on any
number of ranks, since the partial sums are nodes of the tree (see `tree`).
"""

from time import perf_counter

import numpy as np

from . import mpi
from .errors import Diverged
from .transforms import Transform
from .tree import fold, merges, sum_rows

# Below this a barrier costs more than the copies that it saves; found by
# scripts/bench exchange with 2, 4 and 8 ranks.
SMALL_BYTES = 32 * 1024


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
    """Every rank gets all partial sums and finishes the tree: one call, P times size."""

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


def total(grid, clock, size, dtype, *, reduction="fixed"):
    """Return the `Sum` that fits the grid and the size of the vector; free it."""
    if grid.comm.size == 1:
        return Sum(grid, clock)
    if reduction == "mpi":
        return Native(grid, clock, size, dtype)
    small = size * np.dtype(dtype).itemsize <= SMALL_BYTES
    return (Gathered if small else Windowed)(grid, clock, size, dtype)


def merged(grid, items, merge):
    """Merge one item a hosted worker over all workers, in the order of the tree.

    For the few numbers of an evaluation and the like: items are any picklable values.
    Collective; returns the same value on all ranks.
    """
    items, nodes = list(items), grid.nodes_of[grid.comm.rank]
    firsts = [start - grid.first for start, _ in nodes]
    mine = [fold(items[a : a + length], merge) for a, (_, length) in zip(firsts, nodes)]
    partials = [each for rank in grid.comm.allgather(mine) for each in rank]
    pairs, _ = merges([n for nodes in grid.nodes_of for n in nodes], grid.workers)
    for i, j in pairs:
        partials[i] = merge(partials[i], partials[j])
    return partials[0]


def mean(total, counts):
    """Gradient sums of the workers -> the mean over the rows of the global batch.

    g = Σ_k g_k / Σ_k n_k, with `counts` the rows of all workers at each step of an
    epoch. Takes (hosted, size), gives (1, size), the same on all ranks. Raises
    Diverged on all ranks when it is not finite.
    """
    counts = [float(count) for count in counts]
    epoch = len(counts)

    def init(weights):
        return {"t": np.zeros((), np.int64)}

    def update(gradient, state, weights):
        t = int(state["t"])
        state["t"][...] = t + 1
        g = total(gradient)
        g /= counts[t % epoch]
        finite(g.dot(g), t, epoch)
        return g[None], state

    return Transform(init, update)


def each_mean(counts):
    """Gradient sums of the hosted workers -> each one's mean over its own rows.

    `counts` (steps, hosted): rows of each worker at each step of an epoch; a worker
    without rows at a step has a gradient of zero.
    """
    rows = np.maximum(counts, 1)[:, :, None].astype(np.float64)
    epoch = len(rows)

    def init(weights):
        return {"t": np.zeros((), np.int64)}

    def update(gradient, state, weights):
        t = int(state["t"])
        state["t"][...] = t + 1
        gradient /= rows[t % epoch]
        return gradient, state

    return Transform(init, update)


def finite(value, step, steps_per_epoch):
    """Raise Diverged, known to all ranks, when a number they agree on is not finite."""
    if value - value != 0:
        epoch, within = divmod(step, steps_per_epoch)
        raise Diverged(
            f"diverged: the gradient is not finite at epoch {epoch + 1}, step "
            f"{within + 1}; a smaller --lr or --clip-norm may help",
            agreed=True,
        )
