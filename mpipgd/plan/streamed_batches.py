"""Gradients over the batches of this rank's workers, from rows that stay on disk.

Each worker has two shuffle buffers in memory: one is used while the next one is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import Future
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from ..data.out_of_core import row_bytes
from .block_shuffle import BlockShuffle

if TYPE_CHECKING:
    from ..array_types import FloatArray, IntArray
    from ..data.matrix import MappedRows, Matrix
    from ..data.out_of_core import StreamedRows
    from ..data.weighted import Targets
    from ..objectives.base import Objective
    from ..reporting.timing import Clock
    from .base import Plan, SgdKernel


class _Loaded(NamedTuple):
    """A shuffle buffer in memory; `order` is None where all its rows make one step."""

    epoch: int
    number: int
    X: Matrix | MappedRows
    y: Targets
    order: IntArray | None


class _Pending(NamedTuple):
    """A shuffle buffer that is being read into one of the two memories."""

    epoch: int
    number: int
    memory: int
    rows: Future[tuple[Matrix | MappedRows, Targets]]


class StreamedBatches:
    """The gradients of `plan.base.GradientBatches`, from rows read as they are needed.

    out: as in `Batches`. The clock counts the time of waiting for rows.
    """

    def __init__(
        self,
        objective: Objective,
        plan: Plan,
        rows: StreamedRows,
        workers: Sequence[int],
        *,
        clock: Clock,
        out: FloatArray | None = None,
    ) -> None:
        self.objective, self.plan, self.reader = objective, plan, rows.reader
        self.workers, self.clock = list(workers), clock
        if out is None:
            out = np.empty((len(self.workers), objective.size), objective.dtype)
        self.sums = out
        header = rows.reader.source.header
        self.shuffle = BlockShuffle(
            plan, rows.buffer_rows, row_bytes(header, objective)
        )
        self.buffers = [self.shuffle.buffers_of(worker) for worker in self.workers]
        self.end_steps = [[b.end_step for b in buffers] for buffers in self.buffers]
        self.offsets = [plan.step_offsets(worker) for worker in self.workers]
        self.memories = [
            [self.reader.buffer(rows.buffer_rows) for _ in range(2)]
            for _ in self.workers
        ]
        self.current: list[_Loaded | None] = [None] * len(self.workers)
        self.pending: list[_Pending | None] = [None] * len(self.workers)
        self._gradient = np.empty(objective.size, objective.dtype)

    @property
    def fusible(self) -> bool:
        """Whether a compiled call can take the steps: not if one spans buffers."""
        return not self.shuffle.step_exceeds_buffer

    def next_boundary(self, step: int) -> int:
        return step

    def _prefetch(self, i: int, epoch: int, number: int, memory: int) -> _Pending:
        """Start to read a buffer of the i-th worker."""
        buffer = self.buffers[i][number]
        ranges = self.shuffle.row_ranges(epoch, self.workers[i], buffer)
        rows = self.reader.prefetch(
            "train",
            ranges,
            self.memories[i][memory],
            mapped=self._is_whole_gradient(i, number),
        )
        return _Pending(epoch, number, memory, rows)

    def _is_whole_gradient(self, i: int, number: int) -> bool:
        """Whether all rows of a buffer are of one step, and in no particular order."""
        buffer = self.buffers[i][number]
        starts_in_step = buffer.first >= self.offsets[i][buffer.end_step - 1]
        return self.shuffle.step_exceeds_buffer and bool(starts_in_step)

    def _load(self, i: int, epoch: int, number: int) -> _Loaded:
        """Return a buffer of the i-th worker, and start to read the one after it."""
        current = self.current[i]
        if current is not None and current[:2] == (epoch, number):
            return current
        began, pending = perf_counter(), self.pending[i]
        if pending is None or pending[:2] != (epoch, number):
            if pending is not None:
                pending.rows.result()
            pending = self._prefetch(i, epoch, number, 0)
        X, y = pending.rows.result()
        self.clock.count_read_wait(began)
        following = (epoch, number + 1)
        if number + 1 == len(self.buffers[i]):
            following = (epoch + 1, 0)
        self.pending[i] = self._prefetch(i, *following, 1 - pending.memory)
        order = None
        if not self._is_whole_gradient(i, number):
            buffer = self.buffers[i][number]
            order = self.shuffle.order(epoch, self.workers[i], number, buffer)
        current = self.current[i] = _Loaded(epoch, number, X, y, order)
        return current

    def _buffers_of_step(self, i: int, s: int) -> range:
        """Return the numbers of the buffers with the rows of a step: one, or slices."""
        end_steps = self.end_steps[i]
        first = bisect_right(end_steps, s)
        return range(first, bisect_right(end_steps, end_steps[first]))

    def __call__(self, weights: FloatArray, step: int) -> FloatArray:
        epoch, s = divmod(step, self.plan.steps)
        for i, total in enumerate(self.sums):
            w = weights[0] if len(weights) == 1 else weights[i]
            total[...] = 0
            for number in self._buffers_of_step(i, s):
                loaded = self._load(i, epoch, number)
                rows = loaded.order
                if rows is not None:
                    first = self.buffers[i][number].first
                    lo, hi = self.offsets[i][s : s + 2] - first
                    rows = rows[lo:hi]
                self.objective.gradient(w, loaded.X, loaded.y, rows, self._gradient)
                total += self._gradient
        return self.sums

    def sgd_steps(
        self,
        weights: FloatArray,
        step: int,
        until: int,
        rates: FloatArray,
        kernel: SgdKernel,
    ) -> None:
        """Take the plain-SGD steps `step` … `until`-1 of each worker, in place."""
        while step < until:
            epoch, s = divmod(step, self.plan.steps)
            n = min(until - step, self.plan.steps - s)
            for i, w in enumerate(weights):
                self._worker_steps(i, w, epoch, s, rates[:n], kernel)
            step, rates = step + n, rates[n:]

    def _worker_steps(
        self,
        i: int,
        w: FloatArray,
        epoch: int,
        s: int,
        rates: FloatArray,
        kernel: SgdKernel,
    ) -> None:
        """Take the i-th worker's steps from step `s` of an epoch, one for each rate."""
        first, end = s, s + len(rates)
        while s < end:
            (number,) = self._buffers_of_step(i, s)
            loaded, buffer = self._load(i, epoch, number), self.buffers[i][number]
            assert loaded.order is not None  # as `fusible`
            t = min(end, buffer.end_step)
            offsets = self.offsets[i][s : t + 1] - buffer.first
            kernel(
                w,
                cast("Matrix", loaded.X),  # mapped rows have no order
                loaded.y,
                loaded.order,
                offsets,
                rates[s - first : t - first],
            )
            s = t
