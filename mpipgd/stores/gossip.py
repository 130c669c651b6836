"""Replicas that are averaged with their neighbours alone."""

import math
from time import perf_counter

import numpy as np

from ..errors import check_finite
from .local import LocalSgd


def ring(worker, workers):
    """Return the neighbours of a worker on a ring."""
    return {(worker - 1) % workers, (worker + 1) % workers}


def torus(worker, workers):
    """Return the neighbours of a worker on the torus that is nearest to a square."""
    height = max(h for h in range(1, math.isqrt(workers) + 1) if workers % h == 0)
    width = workers // height
    row, column = divmod(worker, width)
    beside = {row * width + each for each in ring(column, width)}
    return beside | {each * width + column for each in ring(row, height)}


def complete(worker, workers):
    """Return all the other workers."""
    return set(range(workers)) - {worker}


TOPOLOGIES = {each.__name__: each for each in (ring, torus, complete)}


class Gossip(LocalSgd):
    """Replicas; when due, each becomes the mean of itself and its neighbours.

    w_k <- Σ_{j ∈ N(k) ∪ {k}} w_j / (|N(k)| + 1), in the order of the workers; all have
    as many neighbours, so the mixing matrix is doubly stochastic. The model of the run
    is the plain mean of all. Ranks send each other only the replicas that are wanted.
    Source: D-PSGD, Lian et al. 2017, algorithm 1, with the step before the mixing.
    """

    def __init__(self, weights, total, plan, due, *, topology):
        super().__init__(weights, total, plan, due)
        grid, find = total.grid, TOPOLOGIES[topology]
        rank = grid.comm.rank
        mixed = {k: find(k, grid.workers) | {k} for k in range(grid.workers)}
        self.wanted = [sorted(mixed[k]) for k in range(grid.first, grid.last)]
        self.sends, self.receives = {}, {}
        for k, members in mixed.items():
            host = grid.rank_of_worker(k)
            for j in members:
                if host != (other := grid.rank_of_worker(j)):
                    if other == rank:
                        self.sends.setdefault(host, set()).add(j)
                    elif host == rank:
                        self.receives.setdefault(other, set()).add(j)

    def meet(self, step):
        rows = self._exchanged()
        mixed = np.empty_like(self.weights)
        for out, members in zip(mixed, self.wanted, strict=True):
            out[...] = rows[members[0]]
            for j in members[1:]:
                out += rows[j]
            out /= len(members)
        self.weights[...] = mixed

    def _exchanged(self):
        """Return worker -> replica for all that the hosted workers mix."""
        grid, clock = self.total.grid, self.total.clock
        rows = dict(zip(range(grid.first, grid.last), self.weights))
        began, requests, sent = perf_counter(), [], 0
        for rank, workers in sorted(self.receives.items()):
            block = np.empty((len(workers), self.weights.shape[1]), self.weights.dtype)
            requests.append(grid.comm.Irecv(block, rank))
            rows |= zip(sorted(workers), block)
        for rank, workers in sorted(self.sends.items()):
            block = np.stack([rows[k] for k in sorted(workers)])
            requests.append(grid.comm.Isend(block, rank))
            sent += block.nbytes
        for request in requests:
            request.Wait()
        clock.count_exchange(began, sent)
        return rows

    def finalize(self, step):
        """Leave the replicas as they are: their mean is the model."""

    def consensus(self, step):
        mean = self.total(self.weights.copy()) / self.total.grid.workers
        check_finite(self.total.squared_norm(mean), step - 1, self.plan.steps, "model")
        return mean
