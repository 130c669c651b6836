"""Gradients over the batches of this rank's workers, from rows in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..data.matrix import slice_rows
from ..objectives.kernel_arguments import SyncSgdSteps

if TYPE_CHECKING:
    from ..array_types import FloatArray, IntArray
    from ..comm.base import SharedMemoryRound
    from ..data.base import Split
    from ..data.matrix import Matrix
    from ..data.weighted import Targets
    from ..objectives.base import CompiledObjective, Objective
    from .base import OnReady, Plan, SgdKernel


class Batches:
    """The gradients of `plan.base.GradientBatches`, from rows in memory.

    workers         those of this rank
    out             (n_local_workers, size) memory for the gradients, or None: its own
    on_ready        called with the first column that is final, layer by layer, while
                    the last worker's gradient is computed; or None
    steps_per_call  how many steps a compiled call must take at once (see
                    `Objective.steps_per_call`); 0: any number
    """

    fusible = True

    def __init__(
        self,
        objective: Objective,
        plan: Plan,
        rows: Split,
        workers: Sequence[int],
        *,
        out: FloatArray | None = None,
        on_ready: OnReady | None = None,
        steps_per_call: int = 0,
    ) -> None:
        self.objective, self.plan, self.rows = objective, plan, rows
        self.workers = list(workers)
        if out is None:
            out = np.empty((len(self.workers), objective.size), objective.dtype)
        self.sums = out
        self.steps_per_call = steps_per_call
        self.offsets = [plan.step_offsets(worker) for worker in self.workers]
        self._offset_lists = [offsets.tolist() for offsets in self.offsets]  # faster
        self._gradients = [objective.gradient] * len(self.workers)
        if on_ready is not None:
            self._gradients[-1] = partial(objective.gradient, on_layer_ready=on_ready)
        self._epoch: int | None = None

    def _begin_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self.order = [self.plan.order(epoch, worker) for worker in self.workers]
        for order in self.order:
            order -= self.rows.first
        self._contiguous = [self._contiguous_rows(order) for order in self.order]

    def _contiguous_rows(self, order: IntArray) -> tuple[Matrix, Targets] | None:
        """Return views of a worker's X and y; None unless a step takes all its rows."""
        first, end = (order[0], order[-1] + 1) if len(order) else (0, 0)
        if self.plan.steps > 1 or end - first != len(order):
            return None
        return slice_rows(self.rows.X, first, end), self.rows.y[first:end]

    def __call__(self, weights: FloatArray, step: int) -> FloatArray:
        epoch, s = divmod(step, self.plan.steps)
        if epoch != self._epoch:
            self._begin_epoch(epoch)
        X, y = self.rows.X, self.rows.y
        shared = len(weights) == 1
        for i, (order, offsets) in enumerate(zip(self.order, self._offset_lists)):
            w, gradient = weights[0] if shared else weights[i], self._gradients[i]
            contiguous = self._contiguous[i]
            if contiguous is not None:
                gradient(w, *contiguous, None, self.sums[i])
            else:
                gradient(w, X, y, order[offsets[s] : offsets[s + 1]], self.sums[i])
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
            if epoch != self._epoch:
                self._begin_epoch(epoch)
            n = min(until - step, self.plan.steps - s)
            if self.steps_per_call:
                n = min(n, self.next_boundary(step + 1) - step)
            for w, order, offsets in zip(weights, self.order, self.offsets):
                kernel(
                    w,
                    self.rows.X,
                    self.rows.y,
                    order,
                    offsets[s : s + n + 1],
                    rates[:n],
                )
            step, rates = step + n, rates[n:]

    def next_boundary(self, step: int) -> int:
        s, n = step % self.plan.steps, self.steps_per_call or 1
        return step - s + min(-(-s // n) * n, self.plan.steps)

    def fused_sync_steps(
        self,
        objective: CompiledObjective,
        weights: FloatArray,
        step: int,
        rates: FloatArray,
        batch_sizes: IntArray,
        round_args: SharedMemoryRound,
    ) -> tuple[int, int]:
        """Take synchronous steps of the first worker within an epoch, in place.

        rates, batch_sizes (n,): the learning rate and the rows of all workers at each
        step. Returns the steps taken and the nanoseconds spent in exchanges; see
        `Linear.fused_sync_steps`.
        """
        epoch, s = divmod(step, self.plan.steps)
        if epoch != self._epoch:
            self._begin_epoch(epoch)
        offsets = self.offsets[0][s : s + len(rates) + 1]
        steps = SyncSgdSteps(self.order[0], offsets, rates, batch_sizes)
        return objective.fused_sync_steps(
            weights[0], self.rows.X, self.rows.y, steps, round_args
        )
