"""The contracts of a plan, and of the gradients over its batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..comm.even_partition import even_partition

if TYPE_CHECKING:
    from ..array_types import FloatArray, IntArray
    from ..data.matrix import Matrix
    from ..data.weighted import Targets


class Plan(ABC):
    """Which rows a worker reads at which step: a function of the workers alone.

    Every worker takes ⌈rows of the largest worker / batch_size⌉ steps an epoch, and its
    rows are divided evenly among them, so that a step has `batch_size` rows at most.
    Rows are numbered 0 … rows-1 over the whole training set.

    rows        training rows in all
    workers     W
    batch_size  rows that a worker reads a step at most
    steps       steps an epoch, the same for all workers
    sizes       (W,) int: rows of each worker
    seed        of the random order; keyed by (seed, epoch, worker), so that nothing of
                it needs to be stored in checkpoints
    """

    def __init__(
        self,
        rows: int,
        workers: int,
        batch_size: int,
        *,
        sizes: IntArray,
        seed: int = 0,
    ) -> None:
        self.rows, self.workers, self.seed, self.sizes = rows, workers, seed, sizes
        largest = int(sizes.max())
        self.batch_size = min(batch_size, largest)
        self.steps = -(-largest // self.batch_size)

    def share(self, worker: int) -> tuple[int, int]:
        """Return first and end of a worker's even share of all rows.

        For what is done once with every row: moments, losses, scores.
        """
        return even_partition(self.rows, self.workers, worker)

    def row_range(self, first: int, last: int) -> tuple[int, int]:
        """Return first and end of the rows that the workers first … last-1 need."""
        return 0, self.rows

    def order(self, epoch: int, worker: int) -> IntArray:
        """Return the row numbers of a worker, in the order of an epoch.

        Where one step takes all rows they stay in ascending order, which is faster.
        """
        if self.steps == 1:
            return self.worker_rows(worker, np.arange(self.sizes[worker]))
        stream = np.random.default_rng([self.seed, epoch, worker])
        return self.worker_rows(worker, stream.permutation(self.sizes[worker]))

    @abstractmethod
    def worker_rows(self, worker: int, indices: IntArray) -> IntArray:
        """Return the row numbers at some indices into a worker's own rows."""

    def step_offsets(self, worker: int) -> IntArray:
        """Return (steps+1,): step s reads order[offsets[s]:offsets[s+1]]."""
        offsets: IntArray = self.sizes[worker] * np.arange(self.steps + 1) // self.steps
        return offsets

    def counts(self, workers: Sequence[int]) -> IntArray:
        """Return (steps, len(workers)): rows that each worker reads at each step."""
        return np.stack([np.diff(self.step_offsets(k)) for k in workers], axis=1)

    def global_batch_sizes(self) -> IntArray:
        """Return (steps,): the rows that all workers together read at each step."""
        # workers of the same size take the same numbers of rows
        _, examples, n_workers = np.unique(
            self.sizes, return_index=True, return_counts=True
        )
        sizes: IntArray = sum(
            n * np.diff(self.step_offsets(k)) for k, n in zip(examples, n_workers)
        )
        return sizes

    def rows_consumed(self, first: int, last: int) -> IntArray:
        """Return (W,): the rows that each worker reads in steps `first` … `last`-1."""
        (e, f), (s, t) = np.divmod([first, last], self.steps)
        n = self.sizes
        consumed: IntArray = (f - e) * n + n * t // self.steps - n * s // self.steps
        return consumed


class SgdKernel(Protocol):
    """Many plain-SGD steps on one worker's weights in one call; `objective.sgd_steps`.

    Step s takes the mean gradient over X[order[offsets[s]:offsets[s+1]]] at rates[s],
    and changes `w` (size,) in place.
    """

    def __call__(
        self,
        w: FloatArray,
        X: Matrix,
        y: Targets,
        order: IntArray,
        offsets: IntArray,
        rates: FloatArray,
    ) -> None: ...


class GradientBatches(Protocol):
    """The gradients of this rank's workers over their batches of one step.

    fusible  whether `sgd_steps` can take the steps
    """

    @property
    def fusible(self) -> bool: ...

    def __call__(self, weights: FloatArray, step: int) -> FloatArray:
        """Return the gradient sums (n_local_workers, size) of a step, a row a worker.

        weights: (1, size), which all workers read, or (n_local_workers, size). `step`
        counts from the beginning of the run. The result belongs to this object, and is
        overwritten by the next call; the caller may change it until then.
        """

    def sgd_steps(
        self,
        weights: FloatArray,
        step: int,
        until: int,
        rates: FloatArray,
        kernel: SgdKernel,
    ) -> None:
        """Take the plain-SGD steps `step` … `until`-1 of each worker, in place.

        For workers that exchange nothing between these steps. rates (until - step,)
        float64: the learning rates.
        """

    def next_boundary(self, step: int) -> int:
        """Return the first step from `step` on at which a call of `sgd_steps` may end
        without a change of any bit."""


OnReady = Callable[[int], None]
