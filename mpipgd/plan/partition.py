"""Which rows a worker reads at which step: a function of the workers alone."""

from functools import lru_cache

import numpy as np

from ..comm.even_partition import even_offsets, even_partition
from ..errors import DataError


class Plan:
    """The rows of W workers, cut into the same number of steps for all of them.

    Every worker takes ⌈rows of the largest / batch_size⌉ steps an epoch, and its rows
    are cut evenly among them, so that a step has at most `batch_size` rows. `sizes`
    (W,): rows of each worker. The rows are numbered 0 … rows-1 over the whole set.
    """

    def __init__(self, rows, workers, batch_size, *, sizes, seed=0):
        self.rows, self.workers, self.seed, self.sizes = rows, workers, seed, sizes
        largest = int(sizes.max())
        self.batch_size = min(batch_size, largest)
        self.steps = -(-largest // self.batch_size)

    def share(self, worker):
        """Return the first row of a worker's even share of all rows, and its end.

        For what is done once with every row: moments, losses, scores.
        """
        return even_partition(self.rows, self.workers, worker)

    def row_range(self, first, last):
        """Return the first row that the workers first … last-1 need, and the end."""
        return 0, self.rows

    def order(self, epoch, worker):
        """Return the rows of a worker in the order of an epoch.

        The stream is keyed by (seed, epoch, worker), so nothing needs to be stored.
        Rows that make one step stay in order: that is faster, and a sum is a sum.
        """
        if self.steps == 1:
            return self.worker_rows(worker, np.arange(self.sizes[worker]))
        stream = np.random.default_rng([self.seed, epoch, worker])
        return self.worker_rows(worker, stream.permutation(self.sizes[worker]))

    def worker_rows(self, worker, places):
        """Return the row numbers at some places among a worker's own rows."""
        return places

    def step_offsets(self, worker):
        """Return (steps+1,) positions in the order at which steps begin and end."""
        return self.sizes[worker] * np.arange(self.steps + 1) // self.steps

    def counts(self, workers):
        """Return (steps, len(workers)) how many rows each worker reads at each step."""
        return np.stack([np.diff(self.step_offsets(k)) for k in workers], axis=1)

    def global_batch_sizes(self):
        """Return (steps,) how many rows all workers together read at each step."""
        _, firsts, many = np.unique(self.sizes, return_index=True, return_counts=True)
        return sum(m * np.diff(self.step_offsets(k)) for k, m in zip(firsts, many))

    def rows_consumed(self, first, last):
        """Return (workers,) how many rows each reads from step `first` to `last`-1."""
        (e, f), (s, t) = np.divmod([first, last], self.steps)
        n = self.sizes
        return (f - e) * n + n * t // self.steps - n * s // self.steps


class Disjoint(Plan):
    """Each worker owns an equal, contiguous part of the rows: its share."""

    def __init__(self, rows, workers, batch_size, *, seed=0, where="train/X"):
        if rows < workers:
            raise DataError(
                f"{where} holds {rows} rows; {workers} workers need at least {workers}"
            )
        sizes = np.diff(even_offsets(rows, workers))
        super().__init__(rows, workers, batch_size, sizes=sizes, seed=seed)

    def row_range(self, first, last):
        return self.share(first)[0], self.share(last)[0]

    def worker_rows(self, worker, places):
        return self.share(worker)[0] + places


class Sample(Plan):
    """Each worker owns a random part of the rows; the parts of workers overlap.

    fraction × rows, rounded,, drawn without replacement by a stream keyed by (seed,
    worker). A fraction of 1 gives every worker a full copy.
    Source: Zinkevich et al. 2010, algorithm 3, draws the workers' parts at random.
    """

    def __init__(self, rows, workers, batch_size, *, fraction, seed=0):
        self.fraction = fraction
        sizes = np.full(workers, max(1, round(fraction * rows)))
        super().__init__(rows, workers, batch_size, sizes=sizes, seed=seed)
        self._rows_of = lru_cache(maxsize=None)(self._drawn)

    def _drawn(self, worker):
        # four words, the last not 0: apart from every (seed, epoch, worker)
        stream = np.random.default_rng([self.seed, 0, worker, 1])
        drawn = stream.permutation(self.rows)[: self.sizes[worker]]
        return np.sort(drawn)

    def worker_rows(self, worker, places):
        return self._rows_of(worker)[places]


PLANS = {  # name -> (options, rows) -> plan
    "disjoint": lambda o, n: Disjoint(n, o.workers, o.batch_size, seed=o.seed),
    "replicate": lambda o, n: Sample(
        n, o.workers, o.batch_size, fraction=1.0, seed=o.seed
    ),
    "sample": lambda o, n: Sample(
        n, o.workers, o.batch_size, fraction=o.fraction, seed=o.seed
    ),
}


def build_plan(options, rows):
    """Return the plan for so many rows; DataError where they do not go round."""
    return PLANS[options.split](options, rows)
