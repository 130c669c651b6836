"""Gossip: a replica for each worker, averaged with its neighbours only."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from ..errors import check_finite
from .local import LocalSgd, SyncSchedule

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..comm.base import Allreduce
    from ..plan.base import Plan


def ring(worker: int, workers: int) -> set[int]:
    """Return the neighbours of a worker on a ring."""
    return {(worker - 1) % workers, (worker + 1) % workers}


def torus(worker: int, workers: int) -> set[int]:
    """Return the neighbours of a worker on the torus that is nearest to a square."""
    height = max(h for h in range(1, math.isqrt(workers) + 1) if workers % h == 0)
    width = workers // height
    row, column = divmod(worker, width)
    in_row = {row * width + neighbour for neighbour in ring(column, width)}
    return in_row | {neighbour * width + column for neighbour in ring(row, height)}


def complete(worker: int, workers: int) -> set[int]:
    """Return all the other workers."""
    return set(range(workers)) - {worker}


TOPOLOGIES: dict[str, Callable[[int, int], set[int]]] = {
    topology.__name__: topology for topology in (ring, torus, complete)
}


class Gossip(LocalSgd):
    """Replicas; when due, each becomes the mean of itself and its neighbours.

    w_k <- Σ_{j ∈ N(k) ∪ {k}} w_j / (|N(k)| + 1), in the order of the workers; all have
    the same number of neighbours, so the mixing matrix is doubly stochastic. The model
    of the run is the plain mean of all. Ranks exchange only the replicas that are
    needed. Source: D-PSGD, Lian et al. 2017, algorithm 1, with the step before the
    mixing.
    """

    def __init__(
        self,
        weights: FloatArray,
        allreduce: Allreduce,
        plan: Plan,
        sync_schedule: SyncSchedule,
        *,
        topology: str,
    ) -> None:
        super().__init__(weights, allreduce, plan, sync_schedule)
        grid, neighbours = allreduce.grid, TOPOLOGIES[topology]
        rank = grid.comm.rank
        mixed = {k: neighbours(k, grid.workers) | {k} for k in range(grid.workers)}
        self.mixed = [sorted(mixed[k]) for k in grid.local_workers]
        self.sends: dict[int, set[int]] = {}  # rank -> workers whose replicas it needs
        self.receives: dict[int, set[int]] = {}
        for k, members in mixed.items():
            destination = grid.rank_of_worker(k)
            for j in members:
                source = grid.rank_of_worker(j)
                if source != destination and source == rank:
                    self.sends.setdefault(destination, set()).add(j)
                elif source != destination and destination == rank:
                    self.receives.setdefault(source, set()).add(j)

    def average(self, step: int) -> None:
        rows = self._exchange()
        mixed = np.empty_like(self.weights)
        for out, members in zip(mixed, self.mixed, strict=True):
            out[...] = rows[members[0]]
            for j in members[1:]:
                out += rows[j]
            out /= len(members)
        self.weights[...] = mixed

    def _exchange(self) -> dict[int, FloatArray]:
        """Return worker -> replica for all that this rank's workers mix."""
        grid, clock = self.allreduce.grid, self.allreduce.clock
        rows = dict(zip(grid.local_workers, self.weights))
        began, requests, nbytes = perf_counter(), [], 0
        for rank, workers in sorted(self.receives.items()):
            block = np.empty((len(workers), self.weights.shape[1]), self.weights.dtype)
            requests.append(grid.comm.Irecv(block, rank))
            rows |= zip(sorted(workers), block)
        for rank, workers in sorted(self.sends.items()):
            block = np.stack([rows[k] for k in sorted(workers)])
            requests.append(grid.comm.Isend(block, rank))
            nbytes += block.nbytes
        for request in requests:
            request.Wait()
        clock.count_exchange(began, nbytes)
        return rows

    def finalize(self, step: int) -> None:
        """Leave the replicas as they are: their mean is the model."""

    def consensus(self, step: int) -> FloatArray:
        total = self.allreduce(self.weights.copy())
        mean = total / self.allreduce.grid.workers
        norm = self.allreduce.squared_norm(mean)
        check_finite(norm, step - 1, self.plan.steps, "model")
        return mean
