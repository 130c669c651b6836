"""What happens beside the descent: agree, log, save, stop; evaluate is in `scores`.

A hook names the `next` step at which it wants to be called, the same on all ranks,
and may answer with the reason for a stop.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..comm import environment, mpi
from ..errors import StopRequested, check_finite
from ..transforms.optimizers import flatten
from . import checkpoint
from .evaluation import SWITCH_TO_LBFGS

POLL_SECONDS = 0.02


@dataclass
class RunContext:
    """What the hooks of a run look at; journal and console are silent but on rank 0."""

    options: Any
    grid: Any
    plan: Any
    objective: Any
    data: Any  # Dataset
    parts: Any  # Assembly
    clock: Any
    journal: Any
    console: Any
    config_text: str

    def position(self, event, step):
        """Return the fields that every line of the metrics has."""
        return {
            "event": event,
            "epoch": step // self.plan.steps,
            "step": step,
            "samples": int(self.plan.rows_consumed(0, step).sum()),
            "seconds": self.clock.now(),
        }


class CallbackList:
    """Several hooks as one; `reason` is why they stopped the run.

    Whatever the reason, a checkpoint is made first, so that the run can go on.
    """

    def __init__(self, scene, save, *hooks):
        self.scene, self.save, self.hooks = scene, save, hooks
        self.reason = None

    def next(self, step):
        """Return the first step after this one at which a hook is due."""
        return min(hook.next(step) for hook in self.hooks)

    def __call__(self, step, state):
        due = [hook for hook in self.hooks if hook.next(step - 1) == step]
        for hook in due:
            self.reason = hook(step, state) or self.reason
            if self.reason == SWITCH_TO_LBFGS:
                return SWITCH_TO_LBFGS
        if self.reason:
            self._leave(step, state)
        return self.reason

    def _leave(self, step, state):
        if self.save.at != step:
            self.save.save(step, state)
        record = self.scene.position("stop", step) | {"reason": self.reason}
        self.scene.journal.metric(record)
        if self.reason == "signal":
            folder = self.scene.options.run
            raise StopRequested(
                f"stopped on request after step {step:,}; go on with --resume {folder}",
                agreed=True,
            )


class StopCheck:
    """Agree, every few milliseconds, on signals, the time limit and divergence.

    How many steps that is the ranks agree on too, by the slowest one's time.
    """

    def __init__(self, scene, watchdog, *, step=0):
        self.scene, self.watchdog = scene, watchdog
        self.step, self.every = step, 1
        self.polled = 0.0  # by the training clock

    def next(self, step):
        """Return the step of the next agreement."""
        due = self.scene.parts.whole(self.step + self.every)
        return due if step < due else math.inf

    def __call__(self, step, state):
        scene, limit = self.scene, self.scene.options.time_limit
        elapsed = scene.clock.now() - self.polled
        late = limit is not None and scene.clock.now() >= limit
        squares = map(scene.parts.total.squared_norm, scene.parts.store.pull())
        lost = not np.isfinite(sum(squares))
        signal, late, lost, elapsed = mpi.allreduce_max(
            scene.grid.comm, [environment.stop_requested(), late, lost, elapsed]
        )
        check_finite(math.nan if lost else 0.0, step - 1, scene.plan.steps, "model")
        self.watchdog.heartbeat(step)
        scene.console.progress(step)
        scene.journal.progress(scene.position, step, scene.parts.steps)
        self.step = step
        self.every = max(
            1, self.every * 2 if elapsed < POLL_SECONDS else self.every // 2
        )
        self.polled = scene.clock.now()
        return "signal" if signal else "time limit" if late else None


class CheckpointCallback:
    """A checkpoint every so many epochs or steps; the newest two and the best stay."""

    def __init__(self, scene, evaluate):
        self.scene, self.evaluate = scene, evaluate
        every = scene.options.checkpoint_every
        in_steps = every.endswith("s")
        unit = 1 if in_steps else scene.plan.steps
        self.every = int(every.removesuffix("s")) * unit
        self.at = -1  # the step of the last checkpoint

    def next(self, step):
        """Return the step of the next checkpoint, at the latest the last of the run."""
        before = step // self.every * self.every
        whole = self.scene.parts.whole
        due = whole(before) if whole(before) > step else whole(before + self.every)
        return min(due, self.scene.parts.steps)

    def __call__(self, step, state):
        scene = self.scene
        scene.journal.metric(scene.position("checkpoint", step))
        self.save(step, state)

    def save(self, step, state):
        """Write the state after `step` updates; collective."""
        scene = self.scene
        with scene.clock.paused("checkpoint"):
            arrays = checkpoint.collect(scene.grid, scene.parts.store, flatten(state))
            with mpi.raise_collectively(scene.grid.comm):
                if scene.journal.folder:
                    self._write(step, arrays)
        self.at = step

    def _write(self, step, arrays):
        scene, best = self.scene, self.evaluate.best
        attributes = {
            "step": step,
            "epoch": step // scene.plan.steps,
            "workers": scene.grid.workers,
            "config": scene.config_text,
            "finishing": int(scene.parts.solver is not None),
            "metrics_bytes": scene.journal.length(),
            "seconds": scene.clock.now(),
            "exchange": scene.clock.exchange,
            "sent": scene.clock.bytes_sent,
        } | {f"best_{key}": value for key, value in best.items()}
        path = scene.journal.folder / "checkpoints" / checkpoint.name(step)
        checkpoint.write(path, arrays, attributes)
        checkpoint.tidy(scene.journal.folder, best["step"])

    def resume(self, attributes):
        """Go on with the clock and the best of a checkpoint."""
        self.at = attributes["step"]
        self.scene.clock.exchange = attributes["exchange"]
        self.scene.clock.bytes_sent = attributes["sent"]
        best = self.evaluate.best
        best.update({key: attributes.get(f"best_{key}", best[key]) for key in best})


class SyncLogger:
    """A line for each averaging, unless they come within 1 % of an epoch."""

    def __init__(self, scene):
        self.scene = scene

    def next(self, step):
        """Return the step of the next averaging that is worth a line."""
        due = self.scene.parts.store.next(step)
        close = self.scene.parts.store.next(due) - due < self.scene.plan.steps / 100
        return math.inf if close else due

    def __call__(self, step, state):
        self.scene.journal.metric(self.scene.position("sync", step))
