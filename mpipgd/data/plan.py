"""Which rows a worker reads at which step: a function of the workers alone."""

import numpy as np

from ..errors import DataError


class Disjoint:
    """Each worker owns an equal, contiguous part of the rows, in its own random order.

    Worker k of W owns the rows ⌊kn/W⌋ … ⌊(k+1)n/W⌋-1. Every worker takes the same
    number of steps an epoch, ⌈rows of the largest / batch_size⌉, and its rows are cut
    evenly among them, so that a step has at most `batch_size` rows.
    """

    def __init__(self, rows, workers, batch_size, *, seed=0, where="train/X"):
        if rows < workers:
            raise DataError(
                f"{where} holds {rows} rows; {workers} workers need at least {workers}"
            )
        self.rows, self.workers, self.seed = rows, workers, seed
        self.sizes = np.diff([self.bounds(k)[0] for k in range(workers + 1)])
        self.batch_size = min(batch_size, -(-rows // workers))
        self.steps = -(-(-(-rows // workers)) // self.batch_size)

    def bounds(self, worker):
        """Return the first row that a worker owns and the one after its last."""
        n, w = self.rows, self.workers
        return worker * n // w, (worker + 1) * n // w

    def order(self, epoch, worker):
        """Return the rows of a worker in the order of an epoch, counted from its first.

        The stream is keyed by (seed, epoch, worker), so nothing needs to be stored.
        """
        stream = np.random.default_rng([self.seed, epoch, worker])
        return stream.permutation(self.sizes[worker])

    def cuts(self, worker):
        """Return (steps+1,) positions in the order at which steps begin and end."""
        return self.sizes[worker] * np.arange(self.steps + 1) // self.steps

    def counts(self, workers):
        """Return (steps, len(workers)) how many rows each worker reads at each step."""
        return np.stack([np.diff(self.cuts(k)) for k in workers], axis=1)

    def totals(self):
        """Return (steps,) how many rows all workers together read at each step."""
        _, firsts, many = np.unique(self.sizes, return_index=True, return_counts=True)
        return sum(m * np.diff(self.cuts(k)) for k, m in zip(firsts, many))

    def read(self, first, last):
        """Return (workers,) how many rows each reads from step `first` to `last`-1."""
        (e, f), (s, t) = np.divmod([first, last], self.steps)
        n = self.sizes
        return (f - e) * n + n * t // self.steps - n * s // self.steps
