"""The sum over all workers: what every allreduce can do."""

import numpy as np

from .reduction_tree import sum_rows


class LocalReduce:
    """Sum (hosted, size) over the rows of all ranks; the base does it on one rank.

    The rows are given away: they are overwritten. So is the result, by the next sum.
    """

    pieces = None  # that are under way before the rest is computed: see `pieces`
    sharded = False  # does a rank get a slice of it only? see `Windowed`
    columns = 1  # of the vector, as a matrix: models that are apart, see `squares`

    def __init__(self, grid, clock):
        self.grid, self.clock = grid, clock
        self.nodes = grid.subtrees_of[grid.comm.rank]
        self.counts = [len(nodes) for nodes in grid.subtrees_of]

    def squared_norm(self, vector):
        """Return Σ v²: finite where all of a model is finite, of any of the models."""
        if self.columns == 1:
            return vector.dot(vector)
        each = np.square(vector.reshape(-1, self.columns)).sum(axis=0)
        return np.fmin.reduce(each)

    def subtree_sums(self, rows):
        """Yield this rank's nodes of the tree, each summed over its workers' rows."""
        first = self.grid.first
        for start, length in self.nodes:
            yield sum_rows(rows[start - first : start - first + length])

    def __call__(self, rows):
        return sum_rows(rows)

    def free(self):
        """Free what was shared; collective."""
