"""HogWild: one vector for the ranks of a node, updated without locks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..comm import mpi
from ..comm.even_partition import even_slices
from ..data.matrix import Csr
from ..errors import check_finite
from ..objectives.kernel_arguments import HogwildExchange
from .base import Store

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray, IntArray
    from ..comm.base import Allreduce
    from ..data.matrix import Matrix
    from ..data.weighted import Targets
    from ..objectives.base import CompiledObjective
    from ..plan.base import Plan, SgdKernel

SLICES = 64  # chunks after which every weight of sparse rows has been exchanged
HOT_COLUMN_ENTRIES = (
    8  # a column with so many entries in a chunk is exchanged each time
)


class Hogwild(Store):
    """A vector in memory that a node's ranks share; nodes average when it is due.

    Source: Niu et al. 2011, algorithm 1, which writes every row's update at once. Then
    cache lines move between the cores at every row: with rows of 100 numbers 2 ranks
    are 0.56 times as fast as one. So each rank has a replica, and exchanges updates
    after every `chunk` steps: it adds its changes to the shared vector, without a lock,
    and reads the changes of the others. With 2 ranks and chunks of 8, 16, 32, 64 and
    256 rows this is 1.4, 1.9, 2.0, 2.1 and 2.1 times as fast as one rank. A replica
    lags behind by a chunk of each other rank, so that learning rate × chunk × ranks
    should be small: hence 64.

    Sparse rows of 76 of 47,000 columns, as frequent as words, have too many columns to
    exchange all each time. The few columns with `HOT_COLUMN_ENTRIES` entries a chunk
    are exchanged after every chunk, all weights in `SLICES` slices, one a chunk: 1.9
    times as fast as one rank (with 16 slices, and all columns with one entry a chunk,
    1.7).

    rows: this rank's training rows where a compiled kernel takes the steps, else None.
    """

    per_worker = True

    def __init__(
        self,
        weights: FloatArray,
        allreduce: Allreduce,
        plan: Plan,
        *,
        sync_every: int,
        chunk: int,
        rows: Matrix | None = None,
    ) -> None:
        grid = allreduce.grid
        self.allreduce, self.plan = allreduce, plan
        self.sync_every, self.chunk = sync_every, chunk
        self.replica, self.base = weights.copy(), weights.copy()
        # every worker of this rank sees the one replica: a stride of 0
        self.weights = np.lib.stride_tricks.as_strided(
            self.replica, (grid.n_local_workers, weights.size), (0, weights.itemsize)
        )
        self.checkpoint_weights = weights[None].copy()
        self.several_nodes = grid.n_nodes > 1
        self.several_ranks = grid.node.size > 1
        self.compiled = rows is not None
        self.window = mpi.SharedArray(grid.node, weights.shape, weights.dtype)
        self._set_all(weights)
        if rows is not None:
            self.exchange_args = self._exchange_args(rows)

    def _exchange_args(self, X: Matrix) -> HogwildExchange:
        hot_weights, n_slices = np.empty(0, np.int64), 1
        if isinstance(X, Csr):
            entries = np.bincount(X.indices, minlength=X.width)
            chunks = (X.indptr.size - 1) / (self.chunk * self.plan.batch_size)
            columns = np.flatnonzero(entries > HOT_COLUMN_ENTRIES * chunks)
            n_outputs = self.base.size // X.width
            hot_weights = columns[:, None] * n_outputs + np.arange(n_outputs)
            hot_weights, n_slices = hot_weights.reshape(-1), SLICES
        return HogwildExchange(
            base=self.base,
            shared=self.window.array,
            hot_weights=hot_weights,
            next_slice=np.array([0]),
            n_slices=n_slices,
            chunk=self.chunk,
        )

    def pull(self) -> FloatArray:
        return self.weights

    def push(self, update: FloatArray) -> None:
        self.replica += update.sum(axis=0)

    def sgd_kernel(self, objective: CompiledObjective) -> SgdKernel:
        if not self.several_ranks:
            return objective.sgd_steps
        exchange, clock = self.exchange_args, self.allreduce.clock
        slice_size = self.replica.size // exchange.n_slices
        exchanged = exchange.hot_weights.size + slice_size  # weights a chunk

        def steps(
            w: FloatArray,
            X: Matrix,
            y: Targets,
            order: IntArray,
            offsets: IntArray,
            rates: FloatArray,
        ) -> None:
            objective.sgd_steps(w, X, y, order, offsets, rates, exchange=exchange)
            chunks = -(-len(rates) // self.chunk)
            clock.count_exchanges(0.0, chunks * exchanged * self.replica.itemsize)

        return steps

    def next_sync(self, step: float) -> float:
        due = math.inf
        if self.several_nodes and step < math.inf:
            due = (step // self.sync_every + 1) * self.sync_every
        if self.several_ranks and not self.compiled and step < math.inf:
            due = min(due, (step // self.chunk + 1) * self.chunk)
        return due

    def synchronize(self, step: int) -> bool:
        if self.several_nodes and step % self.sync_every == 0:
            self._set_all(self.consensus(step))
            return True
        if self.several_ranks and not self.compiled and step % self.chunk == 0:
            self.exchange_updates()
        return False

    def exchange_updates(self, columns: slice = slice(None)) -> None:
        """Add this replica's changes to the shared vector, and read all others'."""
        shared = self.window.array[columns]
        shared += self.replica[columns] - self.base[columns]
        self.base[columns] = shared
        self.replica[columns] = shared
        self.allreduce.clock.count_exchanges(0.0, shared.nbytes)

    def _exchange_in_rounds(self) -> None:
        """Exchange updates with one rank at a slice at a time, so that none is lost."""
        node = self.allreduce.grid.node
        slices = even_slices(self.replica.size, node.size)
        self.window.barrier()
        for round in range(node.rank, node.rank + node.size):
            self.exchange_updates(slices[round % node.size])
            self.window.barrier()

    def _set_all(self, weights: FloatArray) -> None:
        """Go on from given weights, the same on all ranks; collective."""
        self.window.array[...] = weights
        self.base[...] = self.replica[...] = weights
        self.window.barrier()

    def consensus(self, step: int) -> FloatArray:
        vector = self.replica.copy()
        if self.several_ranks:
            self._exchange_in_rounds()
            shared = self.window.array
            vector[...] = self.base[...] = self.replica[...] = shared
            self.window.barrier()
        if self.several_nodes:
            grid = self.allreduce.grid
            rows = self.plan.sizes.astype(vector.dtype)
            weighted = vector * rows[grid.first : grid.last, None]
            vector = self.allreduce(weighted) / rows.sum()
        norm = self.allreduce.squared_norm(vector)
        check_finite(norm, step - 1, self.plan.steps, "model")
        return vector

    def replicated_arrays(self) -> dict[str, Array]:
        self.checkpoint_weights[...] = self.consensus(0)
        return {"weights": self.checkpoint_weights}

    def restore(self, step: int) -> None:
        self._set_all(self.checkpoint_weights[0])

    def free(self) -> None:
        self.window.free()
