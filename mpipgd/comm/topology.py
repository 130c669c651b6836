"""The grid: which rank hosts which workers, and which ranks share a node."""

from __future__ import annotations

from . import mpi
from .even_partition import even_partition
from .mpi import Comm
from .reduction_tree import cover_range


class Grid:
    """Which rank hosts which workers.

    Ranks are renumbered so that those of one node (machine) are neighbours; rank r of
    the R ranks that host workers holds the workers ⌊rW/R⌋ … ⌊(r+1)W/R⌋-1. Ranks beyond
    W are `idle` and have no communicators. `node_size` divides a machine into smaller
    nodes, to test several nodes on one machine. Created and freed collectively.

    workers             W, the number of workers of all ranks
    first, last         this rank's workers are first … last-1
    n_local_workers     last - first
    comm                the ranks that host workers
    node                those of them on this machine
    leaders             the first rank of each node; COMM_NULL on the others
    subtrees_of         [rank] -> the subtrees of the reduction tree that it sums
    node_leaders        [rank] -> the rank, in `comm`, of the first rank of its node
    """

    comm: Comm
    node: Comm
    leaders: Comm

    def __init__(
        self, comm: Comm, workers: int, *, node_size: int | None = None
    ) -> None:
        self.workers = workers
        hosts = min(workers, comm.size)
        color = 0 if comm.rank < hosts else mpi.UNDEFINED
        active = mpi.split(comm, color, comm.rank)
        self.idle = active == mpi.COMM_NULL
        self._communicators: list[Comm] = []
        if self.idle:
            return
        self.comm, self.node = _by_node(active, node_size)
        leader_color = mpi.root_else(self.node, 0, mpi.UNDEFINED)
        self.leaders = mpi.split(self.comm, leader_color, self.comm.rank)
        self._communicators = [self.leaders, self.node, self.comm]
        self.first, self.last = self.workers_of_rank(self.comm.rank)
        self.n_local_workers = self.last - self.first
        ranges = [self.workers_of_rank(rank) for rank in range(hosts)]
        self.subtrees_of = [cover_range(first, last, workers) for first, last in ranges]
        self.node_leaders = self.comm.allgather(self.leader_rank())

    @property
    def local_workers(self) -> range:
        """The workers that this rank hosts."""
        return range(self.first, self.last)

    @property
    def n_nodes(self) -> int:
        """The number of nodes that host workers."""
        return len(set(self.node_leaders))

    def workers_of_rank(self, rank: int) -> tuple[int, int]:
        """Return the first worker of a rank and the one after its last."""
        return even_partition(self.workers, self.comm.size, rank)

    def rank_of_worker(self, worker: int) -> int:
        """Return the rank that hosts a worker."""
        return ((worker + 1) * self.comm.size - 1) // self.workers

    def leader_rank(self) -> int:
        """Return the rank, in `comm`, of the first rank of this rank's node."""
        return self.comm.rank - self.node.rank

    def free(self) -> None:
        """Free the communicators; collective."""
        for comm in self._communicators:
            if comm != mpi.COMM_NULL:
                comm.Free()
        self._communicators = []


def _by_node(active: Comm, node_size: int | None) -> tuple[Comm, Comm]:
    """Return the active ranks ordered by node, and the ranks of this node."""
    shared = mpi.split_by_node(active)
    first = shared.bcast(active.rank)
    color = first if node_size is None else first + shared.rank // node_size
    order = sorted(range(active.size), key=active.allgather(color).__getitem__)
    comm = mpi.split(active, 0, order.index(active.rank))
    node = mpi.split(comm, color, comm.rank)
    shared.Free()
    active.Free()
    return comm, node
