"""One vector that the ranks reach without each other's help, when each is ready."""

from time import perf_counter

import numpy as np

from ..comm import mpi
from ..comm.backoff import backoff, spin_limit
from ..errors import UsageError, check_finite
from .base import SharedWeights

BINS = 64  # of the histogram of staleness; the last holds all that is beyond
READ, DONE = 0, 1  # columns of the clocks


class ParameterServer(SharedWeights):
    """The weights lie on the first `servers` ranks, in slices; workers push and pull.

    w <- w + Σ_k u_k n_k / n / (1 + τ)  for the workers k of a rank, with n_k of the n
    rows of a step; τ is the staleness where `damping` is on (Zhang et al. 2016),
    else 0. A push is one MPI operation that returns the weights it found, so that it is
    the next pull as well.

    The clocks, on the first rank, say for how many steps each rank has read the
    weights, and of how many its updates are done. The staleness of an update is how
    many steps the slowest rank was behind when the weights for it were read. With a
    `bound` s a rank reads for step t when all have done t-s, and pushes its update of t
    when all have read for t-s (stale-synchronous parallel, Ho et al. 2013, §2, and the
    same the other way): with 0 nobody sees an update before its step is over, which is
    synchronous SGD. The slowest rank never waits, so that somebody always goes on.
    """

    per_worker = True

    def __init__(self, weights, total, plan, *, servers, bound=None, damping=False):
        self.total, self.plan, self.bound = total, plan, bound
        self.damping, comm = damping, total.grid.comm
        self.rank = comm.rank
        if servers > comm.size:
            raise UsageError(
                f"--servers {servers}: the run has {comm.size} ranks", agreed=True
            )
        cuts = [weights.size * k // servers for k in range(servers + 1)]
        self.slices = [slice(*cuts[k : k + 2]) for k in range(servers)]
        self.mine = self.slices[comm.rank] if comm.rank < servers else slice(0)
        self.vector = mpi.RmaArray(comm, weights[self.mine].size, weights.dtype)
        rows = mpi.root_else(comm, comm.size, 0)
        self.clocks = mpi.RmaArray(comm, 2 * rows, np.int64)
        self.local, self.found = weights.copy(), np.empty_like(weights)
        one = 0, weights.itemsize  # every hosted worker sees the one replica
        shape = total.grid.n_local_workers, weights.size
        self.weights = np.lib.stride_tricks.as_strided(self.local, shape, one)
        self._measure(plan, total.grid, weights.dtype)
        self._begin(0)

    def _measure(self, plan, grid, dtype):
        """Prepare the workers' shares of the rows, and the counts of staleness."""
        counts = plan.counts(range(grid.first, grid.last))
        self.shares = (counts / plan.global_batch_sizes()[:, None]).astype(dtype)[
            :, :, None
        ]
        hosted = [np.ptp(grid.workers_of_rank(rank)) for rank in range(grid.comm.size)]
        self.others = np.array(hosted)
        self.others[self.rank] = 0
        self.counts = np.zeros(BINS, np.int64)  # updates by their staleness
        self.delays = np.zeros(2, np.int64)  # others' updates in between: sum, largest
        self.kept = {"weights": self.local[None].copy()}
        self.kept |= {"staleness": self.counts.copy(), "delays": self.delays.copy()}
        self.spins = spin_limit()

    def _begin(self, step):
        """Let all ranks go on after `step` updates with their local weights."""
        self.vector.local[...] = self.local[self.mine]
        clocks = self.clocks.local.reshape(-1, 2)
        clocks[:, READ], clocks[:, DONE] = step + 1, step
        self.step, self.staleness = step, 0
        self.seen = np.full(self.others.size, step)  # done, when weights were read
        self.vector.barrier()
        self.clocks.barrier()

    def push(self, update):
        update *= self.shares[self.step % self.plan.steps]
        pushed = update.sum(axis=0)
        if self.damping:
            pushed /= 1 + self.staleness
        began = perf_counter()
        clocks = self._wait(READ, self.step + 1)
        self._count(clocks[:, DONE])
        self._add(pushed)
        self.step += 1
        if self.bound is None:
            np.add(self.found, pushed, out=self.local)
            self._publish(READ, self.step + 1, self.step)
        else:
            self._publish(DONE, self.step)
            clocks = self._wait(DONE, self.step)
            self._read(self.local)
            self._publish(READ, self.step + 1)
        self.seen = clocks[:, DONE]  # looked up before the weights were read
        self.seen[self.rank] = self.step
        self.staleness = self.step - int(self.seen.min())
        self.total.clock.count_exchange(began, pushed.nbytes)

    def _wait(self, column, step):
        """Return the clocks, once all are within the bound (if any) of a step."""
        looked, clocks = 0, np.empty((self.others.size, 2), np.int64)
        self.clocks.read(0, clocks)
        while self.bound is not None and clocks[:, column].min() < step - self.bound:
            looked += 1
            backoff(looked, self.spins)
            self.clocks.read(0, clocks)
        return clocks

    def _count(self, done):
        """Count the updates about to be pushed, and others' since the weights' read."""
        between, hosted = int(self.others @ (done - self.seen)), len(self.weights)
        self.counts[min(self.staleness, BINS - 1)] += hosted
        self.delays[0] += hosted * between
        self.delays[1] = max(self.delays[1], between)

    def _add(self, pushed):
        for rank, part in enumerate(self.slices):
            if pushed[part].size:
                self.vector.add(rank, pushed[part], self.found[part])

    def _read(self, out):
        for rank, part in enumerate(self.slices):
            if out[part].size:
                self.vector.read(rank, out[part])

    def _publish(self, column, *values):
        place = 2 * self.rank + column
        self.clocks.write(0, place, np.array(values, np.int64))

    def consensus(self, step):
        self.vector.barrier()
        vector = np.empty_like(self.local)
        self._read(vector)
        self.vector.barrier()
        check_finite(
            self.total.squared_norm(vector), step - 1, self.plan.steps, "model"
        )
        return vector

    def replicated_arrays(self):
        self.kept["weights"][...] = self.consensus(self.step)
        found = self.total.grid.comm.allgather((self.counts, self.delays))
        counts, delays = zip(*found)
        self.kept["staleness"][...] = np.sum(counts, axis=0)
        sums, largest = zip(*delays)
        self.kept["delays"][...] = sum(sums), max(largest)
        return self.kept

    def restore(self, step):
        first = mpi.root_else(self.total.grid.comm, 1, 0)  # the counts so far are its
        self.counts[...] = first * self.kept["staleness"]
        self.delays[...] = first * self.kept["delays"]
        self.local[...] = self.kept["weights"][0]
        self._begin(step)

    def summary(self):
        kept = self.replicated_arrays()
        counts, (between, largest) = kept["staleness"], kept["delays"].tolist()
        histogram = {str(s): int(n) for s, n in enumerate(counts) if n}
        mean = between / max(1, int(counts.sum()))
        return {"staleness": histogram, "delay": {"mean": mean, "max": largest}}

    def free(self):
        self.vector.free()
        self.clocks.free()
