"""The grid: which rank hosts which workers, and which ranks share a node."""

from . import mpi
from .even_partition import even_partition
from .reduction_tree import cover_range


class Grid:
    """Which rank hosts which workers.

    Ranks are renumbered so that those of one node are neighbours; rank r of the H
    hosts holds the workers ⌊rW/H⌋ … ⌊(r+1)W/H⌋-1. Ranks beyond W idle: their `comm`
    is None. `node_size` cuts nodes smaller than the machine, to try several on one.
    """

    def __init__(self, comm, workers, *, node_size=None):
        self.workers = workers
        hosts = min(workers, comm.size)
        active = comm.Split(0 if comm.rank < hosts else mpi.UNDEFINED, comm.rank)
        self.idle = active == mpi.COMM_NULL
        self.comm = self.node = self.leaders = None
        if self.idle:
            return
        self.comm, self.node = _by_node(active, node_size)
        leads = mpi.root_else(self.node, 0, mpi.UNDEFINED)
        self.leaders = self.comm.Split(leads, self.comm.rank)
        self.first, self.last = self.workers_of_rank(self.comm.rank)
        self.n_local_workers = self.last - self.first
        ranges = [self.workers_of_rank(rank) for rank in range(hosts)]
        self.subtrees_of = [cover_range(lo, hi, workers) for lo, hi in ranges]
        self.node_leaders = self.comm.allgather(self.leader_rank())

    def workers_of_rank(self, rank):
        """Return the first worker of a rank and the one after its last."""
        size = self.comm.size
        return even_partition(self.workers, size, rank)

    def rank_of_worker(self, worker):
        """Return the rank that hosts a worker."""
        return ((worker + 1) * self.comm.size - 1) // self.workers

    def leader_rank(self):
        """Return the rank, in `comm`, of the first rank of this rank's node."""
        return self.comm.rank - self.node.rank

    def free(self):
        """Free the communicators; collective."""
        for comm in (self.leaders, self.node, self.comm):
            if comm is not None and comm != mpi.COMM_NULL:
                comm.Free()
        self.comm = self.node = self.leaders = None


def _by_node(active, node_size):
    """Return the active ranks ordered by node, and the ranks of this node."""
    shared = active.Split_type(mpi.SHARED_MEMORY, active.rank)
    first = shared.bcast(active.rank)
    colour = first if node_size is None else first + shared.rank // node_size
    order = sorted(range(active.size), key=active.allgather(colour).__getitem__)
    comm = active.Split(0, order.index(active.rank))
    node = comm.Split(colour, comm.rank)
    shared.Free()
    active.Free()
    return comm, node
