"""Synchronous steps of a rank with one worker, many in one compiled call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..comm.allreduce import SharedMemoryAllreduce
from ..errors import check_finite
from ..objectives.kernel_arguments import SyncSgdSteps
from ..plan.batches import Batches
from ..transforms.base import flatten
from .steppers import GenericStepper

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..comm.base import Allreduce
    from ..config.options import TrainConfig
    from ..data.base import Split
    from ..objectives.base import CompiledObjective, Objective
    from ..plan.base import GradientBatches
    from ..stores.base import Store
    from ..transforms.base import Transform
    from ..transforms.schedules import Schedule


def can_fuse_sync(
    options: TrainConfig,
    batches: GradientBatches,
    objective: Objective,
    allreduce: Allreduce,
    rows: Split,
) -> bool:
    """Whether this rank can take synchronous plain-SGD steps in one compiled call.

    Ranks that can and ranks that cannot work together: they exchange the same sums.
    """
    return (
        isinstance(allreduce, SharedMemoryAllreduce)
        and allreduce.compiled
        and isinstance(batches, Batches)
        and (options.strategy, options.average_from) == ("sync", None)
        and len(batches.workers) == 1
        and batches.plan.steps > 1
        and options.trace is None
        and objective.supports_fused_sync(rows.X)
    )


class FusedSyncStepper(GenericStepper):
    """Gradient, sum over ranks and update in one compiled call, for many steps.

    Bit-equal to `GenericStepper`, whose state it keeps as if each step had been taken
    there, so that a run can go on step by step, on other ranks, after a checkpoint.
    """

    batches: Batches

    def __init__(
        self,
        batches: Batches,
        transform: Transform,
        store: Store,
        objective: CompiledObjective,
        rows: Split,
        *,
        schedule: Schedule,
        allreduce: SharedMemoryAllreduce,
    ) -> None:
        super().__init__(batches, transform, store, objective, rows)
        self.compiled_objective = objective
        self.allreduce, self.schedule = allreduce, schedule
        self.batch_sizes = batches.plan.global_batch_sizes()
        self._step_counters = [
            array
            for path, array in flatten(self.state).items()
            if path.split("/")[-1] == "t"
        ]

    def advance(self, weights: FloatArray, step: int, until: int) -> None:
        plan = self.batches.plan
        rates = np.asarray(self.schedule(np.arange(step, until)), dtype=np.float64)
        first = step
        while step < until:
            s = step % plan.steps
            n = min(until - step, plan.steps - s)
            taken, nanoseconds = self.batches.fused_sync_steps(
                self.compiled_objective,
                weights,
                step,
                rates[step - first :][:n],
                self.batch_sizes[s : s + n],
                self.allreduce.next_round_args(),
            )
            self.allreduce.skip_rounds(taken, nanoseconds / 1e9)
            if taken < n:  # the mean gradient was not finite
                check_finite(np.nan, step + taken, plan.steps)
            step += n
        for counter in self._step_counters:
            counter[...] = until

    def warm_up(self) -> None:
        objective = self.compiled_objective
        no_rows, offsets = np.empty(0, np.int64), np.zeros(1, np.int64)
        steps = SyncSgdSteps(no_rows, offsets, np.empty(0), self.batch_sizes[:0])
        w = np.zeros(objective.size, objective.dtype)
        round_args = self.allreduce.next_round_args()
        objective.fused_sync_steps(w, self.rows.X, self.rows.y, steps, round_args)
        super().warm_up()
