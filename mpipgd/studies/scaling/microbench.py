"""Measure what a run's steps and exchanges cost here, each without the other.

Collective; `mpipgd scale --calibrate` runs it on one rank, then on several.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...comm import mpi
from ...comm.allreduce import SMALL_BYTES, make_allreduce
from ...comm.reduce_scatter import SharedWindowReduce
from ...comm.topology import Grid
from ...config import toml
from ...config.options import TrainConfig
from ...errors import MpipgdError
from ...reporting.timing import Clock
from ...training import loop
from ...training.steppers import FusedLocalStepper
from ...training.trainer import Trainer
from ...training.training_data import open_source
from ...training.watchdog import Watchdog

if TYPE_CHECKING:
    from ...array_types import FloatArray
    from ...comm.mpi import Comm
    from ...transforms.base import State

MIN_SPAN = 0.06  # seconds that a measurement takes at least
SPANS = 3  # measurements, of which the median counts
WORK = 1 << 17  # doubles that are read between two exchanges: 1 MB
MIN_SECONDS = 1e-7  # of an exchange
MIN_STEPS = 30  # steps that are timed one by one
RANKS = [2**k for k in range(13)]  # for which the slowest step is predicted


class _EpochEnds:
    """A callback with nothing to do, called at the end of each epoch."""

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch

    def next(self, step: int) -> float:
        return (step // self.steps_per_epoch + 1) * self.steps_per_epoch

    def __call__(self, step: int, state: State) -> None:
        return None


class StepCost(NamedTuple):
    """Mean seconds of a step, and {ranks: seconds by which the slowest exceeds it}."""

    seconds: float
    delays: dict[int, float]


def steps(
    comm: Comm, text: str, *, share: float, batch: int, how: str
) -> dict[str, Any] | None:
    """Return what a step costs one worker with a share of the rows, as a dict, or None.

    text: the run's options as TOML. how: "alone", as by the one worker of a run or by
    workers that exchange nothing between steps; "one by one", as by workers that
    exchange at each step, but without the exchange; "marching", as by those whose
    exchanges are compiled with the steps (`FusedSyncStepper`), which is None where
    that is not possible.
    """
    options = dataclasses.replace(
        TrainConfig(**toml.from_text(text, "study.json")),
        workers=1,
        rows_share=share,
        batch_size=batch,
        epochs=10**6,
        run=None,
        target=None,
        time_limit=None,
        sync_until=0.0,
    )
    source = open_source(options, comm)
    with mpi.freed_collectively(Grid(comm, 1)) as grid:
        trainer = Trainer(
            options,
            grid,
            source,
            Watchdog(comm, 0),
            fuse_steps=how != "one by one",
        )
        with mpi.freed_collectively(trainer):
            cost = HOW[how](trainer)
            if cost is None:
                return None
    row_bytes = np.dtype(source.header.dtype).itemsize * source.header.n_features
    plan, objective = trainer.plan, trainer.objective
    return {
        "share": share,
        "how": how,
        "batch": plan.batch_size,
        "seconds": cost.seconds,
        "waits": cost.delays,
        "steps": plan.steps,
        "rows": plan.rows,
        "size": objective.size,
        "dtype": np.dtype(objective.dtype).name,
        "compiled": bool(objective.compiled),
        "read_seconds": trainer.clock.read,
        "read_bytes": plan.rows * row_bytes,
    }


def _alone(trainer: Trainer) -> StepCost:
    """Return the mean seconds of a step in the loop, without delays."""
    components, epoch = trainer.components, trainer.plan.steps

    def run(step: int, steps: int) -> int:
        return loop.train(
            components.stepper,
            components.store,
            _EpochEnds(epoch),
            step=step,
            steps=steps,
        )[0]

    step = run(step=0, steps=epoch)  # the first epoch finds nothing in the caches
    began = time.perf_counter()
    step = run(step=step, steps=step + epoch)
    seconds = time.perf_counter() - began
    epochs, spans = max(1, math.ceil(MIN_SPAN / seconds)), []
    for _ in range(SPANS if seconds < 1.0 else 1):
        began = time.perf_counter()
        step = run(step=step, steps=step + epochs * epoch)
        spans.append((time.perf_counter() - began) / (epochs * epoch))
    return StepCost(float(np.median(spans)), {})


def _one_by_one(trainer: Trainer) -> StepCost:
    """Return the mean seconds of single steps, and the delays of several ranks."""
    seconds = _step_seconds(trainer)
    began = time.perf_counter()
    trainer.plan.order(1, 0)  # all ranks do it at the same time: it delays nobody
    order = (time.perf_counter() - began) / trainer.plan.steps
    return StepCost(float(seconds.mean()) + order, _straggler_delays(seconds))


def _fused_sync(trainer: Trainer) -> StepCost | None:
    """Return the same for compiled steps; None where they are not possible."""
    objective = trainer.objective
    small = objective.size * np.dtype(objective.dtype).itemsize <= SMALL_BYTES
    fusible = isinstance(trainer.components.stepper, FusedLocalStepper)
    supported = objective.supports_fused_sync(trainer.data.train.X)
    averaged = trainer.options.average_from is not None
    if not (small and supported and fusible) or averaged:
        return None
    cost = _alone(trainer)
    return cost._replace(delays=_straggler_delays(_step_seconds(trainer)))


HOW: dict[str, Callable[[Trainer], StepCost | None]] = {
    "alone": _alone,
    "one by one": _one_by_one,
    "marching": _fused_sync,
}


def _step_seconds(trainer: Trainer) -> FloatArray:
    """Take steps one by one; return the seconds of each but an epoch's first."""
    stepper, weights = trainer.components.stepper, trainer.components.store.pull()
    ends = [time.perf_counter()]
    until = ends[0] + 2 * SPANS * MIN_SPAN
    while len(ends) < MIN_STEPS or ends[-1] < until:
        step = len(ends) - 1
        stepper.advance(weights, step, step + 1)
        ends.append(time.perf_counter())
    seconds = np.diff(ends)
    inside = np.arange(len(seconds)) % trainer.plan.steps != 0
    return seconds[inside] if inside.any() else seconds


def _straggler_delays(seconds: FloatArray) -> dict[int, float]:
    """Return {ranks: seconds}: by how much the slowest of so many exceeds the mean."""
    ordered = np.sort(seconds)
    mean = float(ordered.mean())
    return {ranks: _slowest(ordered, ranks) - mean for ranks in RANKS}


def _slowest(ordered: FloatArray, ranks: int) -> float:
    """Return the expected seconds of the slowest of so many independent steps.

    E[max] = Σ x₍ᵢ₎ ((i/n)^P - ((i-1)/n)^P) over the n measured steps, in order.
    """
    share = (np.arange(len(ordered) + 1) / len(ordered)) ** ranks
    return float(np.diff(share) @ ordered)


def exchanges(comm: Comm, cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what sums over all ranks cost: a dict for each (size, dtype, …) of cases.

    As in training: a worker a rank, in the fixed order, the whole sum on each rank or,
    with `apart`, each rank's slice.
    """
    costs = []
    with mpi.freed_collectively(Grid(comm, comm.size)) as grid:
        for case in cases:
            seconds = _exchange_seconds(
                grid,
                case["size"],
                case["dtype"],
                compiled=case["compiled"],
                sharded=case["apart"],
            )
            nbytes = case["size"] * np.dtype(case["dtype"]).itemsize
            costs.append(
                case
                | {"ranks": comm.size, "nodes": grid.n_nodes, "seconds": seconds}
                | {"bytes": nbytes}
            )
    return costs


def _exchange_seconds(
    grid: Grid, size: int, dtype: str, *, compiled: bool, sharded: bool
) -> float:
    """Return the seconds of an exchange, as of a gradient that was just computed.

    Work between two of them makes caches and connections as cold as in training. The
    time of that work, of writing the gradient and of reading weights is subtracted.
    """
    work = np.ones(WORK)
    allreduce = make_allreduce(
        grid, Clock(), size, dtype, compiled=compiled, sharded=sharded
    )
    private, (gradient, weights) = np.ones((1, size), dtype), np.ones((2, size), dtype)
    rows = allreduce.gradient_buffer
    if rows is None:
        rows = np.ones((1, size), dtype)

    def with_reduce_scatter() -> None:
        assert isinstance(allreduce, SharedWindowReduce)  # as it is sharded
        work.sum()
        rows[0] = gradient
        local = allreduce.reduce_scatter(rows)
        allreduce.result[allreduce.slice] = local
        allreduce.window.barrier()  # as when the weights are updated
        allreduce.result.sum()

    def with_allreduce() -> None:
        work.sum()
        rows[0] = gradient
        allreduce(rows).sum()

    def without_exchange() -> None:
        work.sum()
        private[0] = gradient
        weights.sum()

    try:
        exchange = with_reduce_scatter if allreduce.sharded else with_allreduce
        seconds = _median_seconds(grid.comm, exchange)
        return max(MIN_SECONDS, seconds - _median_seconds(grid.comm, without_exchange))
    finally:
        allreduce.free()


def _median_seconds(comm: Comm, action: Callable[[], None]) -> float:
    """Return the median seconds of a collective action, those of the slowest rank."""
    for _ in range(3):
        action()
    comm.Barrier()
    began = time.perf_counter()
    action()
    seconds = max(1e-7, mpi.allreduce_max(comm, [time.perf_counter() - began])[0])
    repeats, spans = max(1, min(5000, math.ceil(MIN_SPAN / seconds))), []
    for _ in range(SPANS):
        comm.Barrier()
        began = time.perf_counter()
        for _ in range(repeats):
            action()
        spans.append((time.perf_counter() - began) / repeats)
    return float(mpi.allreduce_max(comm, [float(np.median(spans))])[0])


def measure(comm: Comm, requests: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the costs that are asked for, of steps and of exchanges; collective.

    Steps are each rank's own, at the same time: on several ranks they share the memory.
    """
    costs: dict[str, list[dict[str, Any]]] = {"steps": [], "exchanges": []}
    for request in requests.get("steps", ()):
        comm.Barrier()
        try:
            cost = steps(
                mpi.comm_self(),
                request["options"],
                share=request["share"],
                batch=request["batch"],
                how=request["how"],
            )
        except MpipgdError:  # too few rows, say, the same on each rank: a point less
            continue
        if cost:
            cost["seconds"] = float(np.mean(comm.allgather(cost["seconds"])))
            label = {"label": request["label"], "ranks": comm.size}
            costs["steps"].append(label | cost)
    if "exchanges" in requests:
        costs["exchanges"] = exchanges(comm, requests["exchanges"])
    return costs
