"""What happens between steps: agreement, logging, checkpoints; see `base.Callback`.

Evaluation is in `evaluation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import interrupts
from ..comm import mpi
from ..errors import StopRequested, check_finite
from ..reporting.command_line import command_line
from ..transforms.base import flatten
from . import checkpoint
from .evaluation import SWITCH_TO_LBFGS

if TYPE_CHECKING:
    from ..array_types import Array
    from ..comm.topology import Grid
    from ..config.options import TrainConfig
    from ..data.hdf5.source import Source
    from ..data.load import Dataset
    from ..objectives.base import Objective
    from ..plan.base import Plan
    from ..reporting.console import Console, NullConsole
    from ..reporting.run_folder import NullRunFolder, RunFolder
    from ..reporting.timing import Clock
    from ..transforms.base import State
    from .base import Callback
    from .build import TrainingComponents
    from .evaluation import Evaluator
    from .watchdog import Watchdog

POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What callbacks may read. Only rank 0 has a real run folder and console.

    source: the files that `data` was read from. lbfgs_from: the step from which on
    L-BFGS trains, or None.
    """

    options: TrainConfig
    grid: Grid
    plan: Plan
    objective: Objective
    source: Source
    data: Dataset
    components: TrainingComponents
    clock: Clock
    run_folder: RunFolder | NullRunFolder
    console: Console | NullConsole
    config_text: str
    data_signature: str
    lbfgs_from: int | None = None

    def record(self, event: str, step: int) -> dict[str, Any]:
        """Return the fields that every line of the metrics has.

        Where L-BFGS has taken over, "iterations" counts its own.
        """
        iterations = {}
        if self.lbfgs_from is not None:
            iterations["iterations"] = (step - self.lbfgs_from) // self.plan.steps
        return iterations | {
            "event": event,
            "epoch": step // self.plan.steps,
            "step": step,
            "samples": int(self.plan.rows_consumed(0, step).sum()),
            "seconds": self.clock.now(),
        }


class CallbackList:
    """Several callbacks as one.

    Whatever the reason to stop, a checkpoint is made first, so that the run can go on.
    Raises StopRequested on all ranks where the reason is a signal.
    """

    def __init__(
        self, context: RunContext, save: CheckpointCallback, *callbacks: Callback
    ) -> None:
        self.context, self.save, self.callbacks = context, save, callbacks

    def next(self, step: int) -> float:
        return min(callback.next(step) for callback in self.callbacks)

    def __call__(self, step: int, state: State) -> str | None:
        reason = None
        for callback in self.callbacks:
            if callback.next(step - 1) == step:
                reason = callback(step, state) or reason
                if reason == SWITCH_TO_LBFGS:
                    return reason
        if reason is not None:
            self._stop(step, state, reason)
        return reason

    def _stop(self, step: int, state: State, reason: str) -> None:
        if self.save.last_saved_step != step:
            self.save.save(step, state)
        record = self.context.record("stop", step) | {"reason": reason}
        self.context.run_folder.metric(record)
        if reason == "signal":
            folder = self.context.options.run
            raise StopRequested(
                f"stopped on request after step {step:,}; go on with "
                f"{command_line('--resume', str(folder))}",
                agreed=True,
            )


class StopCheck:
    """Agree, every few milliseconds, on signals, the time limit and divergence.

    The number of steps between two checks follows from the time that the slowest rank
    took for the last ones, so that it is the same on all ranks.
    """

    def __init__(self, context: RunContext, watchdog: Watchdog, *, step: int) -> None:
        self.context, self.watchdog = context, watchdog
        self.last_check, self.interval = step, 1
        self.checked_at = 0.0  # by the training clock

    def next(self, step: int) -> float:
        stepper = self.context.components.stepper
        due = stepper.next_boundary(self.last_check + self.interval)
        return due if step < due else math.inf

    def __call__(self, step: int, state: State) -> str | None:
        context, limit = self.context, self.context.options.time_limit
        components = context.components
        elapsed = context.clock.now() - self.checked_at
        late = limit is not None and context.clock.now() >= limit
        norms = map(components.allreduce.squared_norm, components.store.pull())
        diverged = not np.isfinite(sum(norms))
        signals, late, diverged, elapsed = mpi.allreduce_max(
            context.grid.comm,
            [interrupts.stop_requested(), late, diverged, elapsed],
        )
        norm = math.nan if diverged else 0.0
        check_finite(norm, step - 1, context.plan.steps, "model")
        self.watchdog.heartbeat(step)
        context.console.progress(step)
        context.run_folder.progress(context.record, step, components.steps)
        self.last_check = step
        self.interval = max(
            1, self.interval * 2 if elapsed < POLL_SECONDS else self.interval // 2
        )
        self.checked_at = context.clock.now()
        return "signal" if signals else "time limit" if late else None


class CheckpointCallback:
    """A checkpoint every so many epochs or steps; the newest two and the best stay.

    last_saved_step: the step of the checkpoint that the run goes on from, or -1.
    """

    def __init__(
        self, context: RunContext, evaluator: Evaluator, *, last_saved_step: int = -1
    ) -> None:
        self.context, self.evaluator = context, evaluator
        every = context.options.checkpoint_every
        unit = 1 if every.endswith("s") else context.plan.steps
        self.interval = int(every.removesuffix("s")) * unit
        self.last_saved_step = last_saved_step

    def next(self, step: int) -> float:
        components = self.context.components
        boundary = components.stepper.next_boundary
        multiple = step // self.interval * self.interval
        due = boundary(multiple)
        if due <= step:
            due = boundary(multiple + self.interval)
        return min(due, components.steps)

    def __call__(self, step: int, state: State) -> None:
        context = self.context
        context.run_folder.metric(context.record("checkpoint", step))
        self.save(step, state)

    def save(self, step: int, state: State) -> None:
        """Write the state after `step` updates; collective."""
        context = self.context
        with context.clock.paused("checkpoint"):
            arrays = checkpoint.collect(
                context.grid, context.components.store, flatten(state)
            )
            with mpi.raise_collectively(context.grid.comm):
                if context.run_folder.folder:
                    self._write(step, arrays)
        self.last_saved_step = step

    def _write(self, step: int, arrays: dict[str, Array]) -> None:
        context, best = self.context, self.evaluator.best
        attributes = {
            "step": step,
            "epoch": step // context.plan.steps,
            "workers": context.grid.workers,
            "config": context.config_text,
            # whether L-BFGS has taken over: the name in checkpoints
            "finishing": int(context.components.stepper.full_batch),
            "lbfgs_from": -1 if context.lbfgs_from is None else context.lbfgs_from,
            "metrics_bytes": context.run_folder.length(),
            "seconds": context.clock.now(),
            "exchange": context.clock.exchange,
            "sent": context.clock.bytes_sent,
            "data_signature": context.data_signature,
            "target_deviation": math.sqrt(context.objective.loss_unit),
        } | {f"best_{key}": value for key, value in best._asdict().items()}
        folder = context.run_folder.folder
        assert folder is not None  # as on rank 0
        path = folder / "checkpoints" / checkpoint.file_name(step)
        checkpoint.write(path, arrays, attributes)
        checkpoint.remove_old(folder, best.step)


class SyncLogger:
    """A line for each synchronization, unless they come within 1 % of an epoch."""

    def __init__(self, context: RunContext) -> None:
        self.context = context

    def next(self, step: int) -> float:
        store, steps_per_epoch = self.context.components.store, self.context.plan.steps
        due = store.next_sync(step)
        frequent = store.next_sync(due) - due < steps_per_epoch / 100
        return math.inf if frequent else due

    def __call__(self, step: int, state: State) -> None:
        self.context.run_folder.metric(self.context.record("sync", step))
