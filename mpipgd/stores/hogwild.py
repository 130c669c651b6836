"""One vector for the ranks of a node, updated without locks."""

import math

import numpy as np

from ..comm import mpi
from ..data.matrix import Csr
from ..errors import check_finite
from ..objectives.kernel_arguments import HogwildExchange
from .base import SharedWeights

SLICES = 64  # chunks after which every weight of sparse rows was folded
OFTEN = 8  # a column with so many entries in a chunk is folded after each


class Hogwild(SharedWeights):
    """A vector in the memory that a node's ranks share; nodes average when due.

    Source: Niu et al. 2011, algorithm 1, which writes every row's update at once. Then
    two cores drag every cache line to and fro: with rows of 100 numbers 2 ranks do 0.56
    of what one does. So each rank has a replica, and folds it after every `chunk`
    of steps: it adds what it changed to the shared vector, still without a lock, and
    takes what the others did. With 2 ranks and chunks of 8, 16, 32, 64 and 256 rows
    that is 1.4, 1.9, 2.0, 2.1 and 2.1 times one rank. A replica is behind by a chunk of
    each other rank, so that learning rate × chunk × ranks should stay small: hence 64.

    Sparse rows of 76 of 47,000 columns, as frequent as words, touch too many to fold
    each time. The few columns with `OFTEN` entries a chunk are folded after every
    chunk, all others in `SLICES` turns: 1.9 times one rank (with 16 turns, and all
    columns with one entry a chunk, 1.7).
    """

    per_worker = True

    def __init__(self, weights, total, plan, *, every, chunk, rows=None):
        grid = total.grid
        self.total, self.plan, self.every, self.chunk = total, plan, every, chunk
        self.replica, self.base = weights.copy(), weights.copy()
        one = 0, weights.itemsize  # every hosted worker sees the one replica
        shape = grid.n_local_workers, weights.size
        self.weights = np.lib.stride_tricks.as_strided(self.replica, shape, one)
        self.kept = weights[None].copy()
        self.nodes = len(set(grid.node_leaders))
        self.shared = grid.node.size > 1
        self.compiled = rows is not None
        self.window = mpi.SharedArray(grid.node, weights.shape, weights.dtype)
        self._spread(weights)
        if self.compiled:
            hot, n_slices = self._hot(rows)
            self.kernel_args = HogwildExchange(
                base=self.base,
                shared=self.window.array,
                hot_weights=hot,
                next_slice=np.zeros(1, np.int64),
                n_slices=n_slices,
                chunk=chunk,
            )

    def _hot(self, X):
        """Return the weights to fold after every chunk, and the number of slices."""
        if not isinstance(X, Csr):
            return np.empty(0, np.int64), 1
        counts = np.bincount(X.indices, minlength=X.width)
        chunks = (X.indptr.size - 1) / (self.chunk * self.plan.batch_size)
        columns = np.flatnonzero(counts > OFTEN * chunks)
        many = self.base.size // X.width
        hot = (columns[:, None] * many + np.arange(many)).reshape(-1)
        return hot, SLICES

    def push(self, update):
        self.replica += update.sum(axis=0)

    def descent(self, objective):
        if not self.shared:
            return objective.sgd_steps

        def folding(w, X, y, order, cuts, rates):
            objective.sgd_steps(w, X, y, order, cuts, rates, exchange=self.kernel_args)
            chunks = -(-len(rates) // self.chunk)
            hot = self.kernel_args.hot_weights
            weights = hot.size + self.replica.size // self.kernel_args.n_slices
            self.total.clock.bytes_sent += chunks * weights * self.replica.itemsize

        return folding

    def next(self, step):
        due = math.inf
        if self.nodes > 1 and step < math.inf:
            due = (step // self.every + 1) * self.every
        if self.shared and not self.compiled and step < math.inf:
            due = min(due, (step // self.chunk + 1) * self.chunk)
        return due

    def synchronize(self, step):
        if self.nodes > 1 and step % self.every == 0:
            self._spread(self.consensus(step))
            return True
        if self.shared and not self.compiled and step % self.chunk == 0:
            self.fold()
        return False

    def fold(self, part=slice(None)):
        """Add what this replica has to the shared vector, and take what others did."""
        shared = self.window.array[part]
        shared += self.replica[part] - self.base[part]
        self.base[part] = shared
        self.replica[part] = shared
        self.total.clock.bytes_sent += shared.nbytes

    def _fold_in_turn(self):
        """Fold where all do it at once: a slice each at a time, to lose nothing."""
        node, size = self.total.grid.node, self.replica.size
        cuts = [size * k // node.size for k in range(node.size + 1)]
        self.window.barrier()
        for turn in range(node.rank, node.rank + node.size):
            k = turn % node.size
            self.fold(slice(cuts[k], cuts[k + 1]))
            self.window.barrier()

    def _spread(self, weights):
        """Go on from given weights, the same on all ranks; collective."""
        self.window.array[...] = self.base[...] = self.replica[...] = weights
        self.window.barrier()

    def consensus(self, step):
        vector = self.replica.copy()
        if self.shared:
            self._fold_in_turn()
            vector[...] = self.base[...] = self.replica[...] = self.window.array
            self.window.barrier()
        if self.nodes > 1:
            grid = self.total.grid
            rows = self.plan.sizes.astype(vector.dtype)
            mine = vector * rows[grid.first : grid.last, None]
            vector = self.total(mine) / rows.sum()
        check_finite(
            self.total.squared_norm(vector), step - 1, self.plan.steps, "model"
        )
        return vector

    def replicated_arrays(self):
        self.kept[...] = self.consensus(0)
        return {"weights": self.kept}

    def restore(self, step):
        self._spread(self.kept[0])

    def free(self):
        self.window.free()
