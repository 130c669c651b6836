"""A parameter server: a vector that each rank reaches by one-sided MPI when ready."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..comm import mpi
from ..comm.backoff import backoff, spin_limit
from ..comm.even_partition import even_slices
from ..errors import UsageError, check_finite
from .base import Store

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray, IntArray
    from ..comm.base import Allreduce
    from ..plan.base import Plan

BINS = 64  # of the histogram of staleness; the last holds all that is beyond
READ, DONE = 0, 1  # columns of the clocks


class ParameterServer(Store):
    """The weights are on the first `servers` ranks, in slices; workers push and pull.

    w <- w + Σ_k u_k n_k / n / (1 + τ)  for the workers k of a rank, with n_k of the n
    rows of a step; τ is the staleness where `damping` is on (Zhang et al. 2016), else
    0. A push is one MPI operation that returns the weights from before it, so that it
    is the next pull as well.

    The clocks, on the first rank, say for how many steps each rank has read the
    weights, and of how many its updates are done. The staleness of an update is how
    many steps the slowest rank was behind when the weights for it were read. With a
    `bound` s a rank reads for step t when all have done t-s, and pushes its update of t
    when all have read for t-s (stale-synchronous parallel, Ho et al. 2013, §2, and the
    same in the other direction): with 0 no rank reads an update before its step is
    over, which is synchronous SGD. The slowest rank never waits, so that there is
    always one that goes on.
    """

    per_worker = True

    def __init__(
        self,
        weights: FloatArray,
        allreduce: Allreduce,
        plan: Plan,
        *,
        servers: int,
        bound: int | None = None,
        damping: bool = False,
    ) -> None:
        grid = allreduce.grid
        comm = grid.comm
        self.allreduce, self.plan, self.bound = allreduce, plan, bound
        self.damping, self.rank = damping, comm.rank
        if servers > comm.size:
            raise UsageError(
                f"--servers {servers}: the run has {comm.size} ranks", agreed=True
            )
        self.slices = even_slices(weights.size, servers)
        self.served = self.slices[comm.rank] if comm.rank < servers else slice(0)
        self.vector = mpi.RmaArray(comm, weights[self.served].size, weights.dtype)
        n_clocks = mpi.root_else(comm, comm.size, 0)
        self.clocks = mpi.RmaArray(comm, 2 * n_clocks, np.int64)
        self.local, self.previous = weights.copy(), np.empty_like(weights)
        # every worker of this rank sees the one replica: a stride of 0
        self.weights = np.lib.stride_tricks.as_strided(
            self.local, (grid.n_local_workers, weights.size), (0, weights.itemsize)
        )
        # each worker's share of the rows at each step of an epoch
        counts = plan.counts(grid.local_workers)
        sizes = plan.global_batch_sizes()
        self.shares = (counts / sizes[:, None]).astype(weights.dtype)[:, :, None]
        # workers of the other ranks
        ranges = [grid.workers_of_rank(rank) for rank in range(comm.size)]
        self.other_workers = np.array([last - first for first, last in ranges])
        self.other_workers[self.rank] = 0
        self.staleness_counts = np.zeros(BINS, np.int64)  # updates by their staleness
        self.delays = np.zeros(2, np.int64)  # others' updates in between: sum, largest
        self.checkpoint: dict[str, Array] = {
            "weights": self.local[None].copy(),
            "staleness": self.staleness_counts.copy(),
            "delays": self.delays.copy(),
        }
        self.spin_limit = spin_limit()
        self._begin(0)

    def _begin(self, step: int) -> None:
        """Let all ranks go on after `step` updates with their local weights."""
        self.vector.local[...] = self.local[self.served]
        clocks = self.clocks.local.reshape(-1, 2)
        clocks[:, READ], clocks[:, DONE] = step + 1, step
        self.step, self.staleness = step, 0
        # updates done when this rank's weights were read
        self.clock_at_read = np.full(self.other_workers.size, step)
        self.vector.barrier()
        self.clocks.barrier()

    def pull(self) -> FloatArray:
        return self.weights

    def push(self, update: FloatArray) -> None:
        update *= self.shares[self.step % self.plan.steps]
        pushed: FloatArray = update.sum(axis=0)
        if self.damping:
            pushed /= 1 + self.staleness
        began = perf_counter()
        clocks = self._wait(READ, self.step + 1)
        self._count_staleness(clocks[:, DONE])
        self._add(pushed)
        self.step += 1
        if self.bound is None:
            np.add(self.previous, pushed, out=self.local)
            self._publish(READ, self.step + 1, self.step)
        else:
            self._publish(DONE, self.step)
            clocks = self._wait(DONE, self.step)
            self._read(self.local)
            self._publish(READ, self.step + 1)
        self.clock_at_read = clocks[:, DONE]  # looked up before the weights were read
        self.clock_at_read[self.rank] = self.step
        self.staleness = self.step - int(self.clock_at_read.min())
        self.allreduce.clock.count_exchange(began, pushed.nbytes)

    def _wait(self, column: int, step: int) -> IntArray:
        """Return the clocks, once all are within the bound (if any) of a step."""
        polls, clocks = 0, np.empty((self.other_workers.size, 2), np.int64)
        self.clocks.read(0, clocks)
        while self.bound is not None and clocks[:, column].min() < step - self.bound:
            polls += 1
            backoff(polls, self.spin_limit)
            self.clocks.read(0, clocks)
        return clocks

    def _count_staleness(self, done: IntArray) -> None:
        """Count this rank's updates, and others' since the weights were read."""
        others = int(self.other_workers @ (done - self.clock_at_read))
        n_workers = len(self.weights)
        self.staleness_counts[min(self.staleness, BINS - 1)] += n_workers
        self.delays[0] += n_workers * others
        self.delays[1] = max(self.delays[1], others)

    def _add(self, pushed: FloatArray) -> None:
        """Add to the vector on the servers; `previous` gets what it held."""
        for rank, columns in enumerate(self.slices):
            if pushed[columns].size:
                self.vector.fetch_add(rank, pushed[columns], self.previous[columns])

    def _read(self, out: FloatArray) -> None:
        for rank, columns in enumerate(self.slices):
            if out[columns].size:
                self.vector.read(rank, out[columns])

    def _publish(self, column: int, *values: int) -> None:
        """Set this rank's clocks from a column on."""
        offset = 2 * self.rank + column
        self.clocks.write(0, offset, np.array(values, np.int64))

    def consensus(self, step: int) -> FloatArray:
        self.vector.barrier()
        vector = np.empty_like(self.local)
        self._read(vector)
        self.vector.barrier()
        norm = self.allreduce.squared_norm(vector)
        check_finite(norm, step - 1, self.plan.steps, "model")
        return vector

    def replicated_arrays(self) -> dict[str, Array]:
        self.checkpoint["weights"][...] = self.consensus(self.step)
        of_ranks = self.allreduce.grid.comm.allgather(
            (self.staleness_counts, self.delays)
        )
        counts, delays = zip(*of_ranks)
        self.checkpoint["staleness"][...] = np.sum(counts, axis=0)
        sums, largest = zip(*delays)
        self.checkpoint["delays"][...] = sum(sums), max(largest)
        return self.checkpoint

    def restore(self, step: int) -> None:
        # the first rank goes on with the counts of all ranks so far
        first = mpi.root_else(self.allreduce.grid.comm, 1, 0)
        self.staleness_counts[...] = first * self.checkpoint["staleness"]
        self.delays[...] = first * self.checkpoint["delays"]
        self.local[...] = self.checkpoint["weights"][0]
        self._begin(step)

    def summary(self) -> dict[str, Any]:
        arrays = self.replicated_arrays()
        counts, (total, largest) = arrays["staleness"], arrays["delays"].tolist()
        histogram = {str(s): int(n) for s, n in enumerate(counts) if n}
        mean = total / max(1, int(counts.sum()))
        return {"staleness": histogram, "delay": {"mean": mean, "max": largest}}

    def free(self) -> None:
        self.vector.free()
        self.clocks.free()
