"""What the pieces of a run cost here: steps without exchange, exchange without steps.

Collective; `mpipgd scale --calibrate` runs it on one rank, then on several.
"""

import dataclasses
import math
import time
from functools import partial

import numpy as np

from ...comm import mpi
from ...comm.allreduce import SMALL_BYTES, make_allreduce
from ...comm.topology import Grid
from ...config import toml
from ...config.options import TrainConfig
from ...data.hdf5 import source as store
from ...errors import MpipgdError
from ...reporting.timing import Clock
from ...training import loop
from ...training.trainer import Trainer
from ...training.watchdog import Watchdog

SPAN = 0.06  # seconds that a measurement takes at least
SPANS = 3  # of which the median counts
WORK = 1 << 17  # doubles that are read between two exchanges: 1 MB
MIN_SECONDS = 1e-7  # seconds that an exchange takes at least
LEAST = 30  # steps that are looked at one by one
RANKS = [2**k for k in range(13)]  # among which the slowest step is foretold


class _NoHooks:
    """Hooks with nothing to do but to stop after an epoch."""

    def __init__(self, steps):
        self.steps = steps

    def next(self, step):
        """Return the end of this epoch."""
        return (step // self.steps + 1) * self.steps

    def __call__(self, step, state):
        return None


def steps(comm, text, *, share, batch, how):
    """Return what a step costs one worker with a share of the rows, as a dict, or None.

    `text`: the run's options as TOML. `how` it is taken: "alone", as by the one worker
    of a run or by workers that drift; "one by one", as by those that meet at each step,
    but meeting nobody; "marching", as by those whose meetings are compiled with the
    steps (see `march`), which is None where they cannot be.
    """
    base = TrainConfig(**toml.from_text(text, "study.json"))
    options = dataclasses.replace(
        base, workers=1, rows_share=share, batch_size=batch, epochs=10**6,
        run=None, target=None, time_limit=None, sync_until=0.0,
    )  # fmt: skip
    names = {"x": options.x, "y": options.y}
    source = store.open_data(comm, options.data, **names, share=share)
    with mpi.freed_collectively(Grid(comm, 1)) as grid:
        course = Trainer(options, grid, source, Watchdog(comm, 0))
        with mpi.freed_collectively(course):
            found = HOW[how](course)
            if found is None:
                return None
            mean, waits = found
    width = np.dtype(source.header.dtype).itemsize * source.header.n_features
    return {
        "share": share, "how": how, "batch": course.plan.batch_size,
        "seconds": mean, "waits": waits,
        "steps": course.plan.steps, "rows": course.plan.rows,
        "size": course.objective.size, "dtype": np.dtype(course.objective.dtype).name,
        "compiled": bool(course.objective.compiled),
        "read_seconds": course.clock.read, "read_bytes": course.plan.rows * width,
    }  # fmt: skip


def _alone(course):
    """Return the mean seconds of a step, and no waits."""
    parts, epoch = course.parts, course.plan.steps
    state = parts.transform.init(parts.store.pull())
    run = partial(
        loop.train, parts.gradient, parts.transform, parts.store, _NoHooks(epoch),
        state=state, descend=parts.descend,
    )  # fmt: skip
    at = run(step=0, steps=epoch)  # the first epoch finds nothing in the caches
    began = time.perf_counter()
    at = run(step=at, steps=at + epoch)
    once = time.perf_counter() - began
    epochs, spent = max(1, math.ceil(SPAN / once)), []
    for _ in range(SPANS if once < 1.0 else 1):
        began = time.perf_counter()
        at = run(step=at, steps=at + epochs * epoch)
        spent.append((time.perf_counter() - began) / (epochs * epoch))
    return float(np.median(spent)), {}


def _one_by_one(course):
    """Return the mean seconds of the loop's steps, and the waits of several ranks."""
    parts, store, transform = course.parts, course.parts.store, course.parts.transform
    state = transform.init(store.pull())

    def step(t):
        nonlocal state
        weights = store.pull()
        update, state = transform.update(parts.gradient(weights, t), state, weights)
        store.push(update)

    spent = _each(step, course.plan.steps)
    began = time.perf_counter()
    course.plan.order(1, 0)  # all ranks do it at once: nobody waits for it
    order = (time.perf_counter() - began) / course.plan.steps
    return float(spent.mean()) + order, _straggler_delays(spent)


def _fused_sync(course):
    """Return the same for compiled steps; None where they cannot be."""
    options, parts, objective = course.options, course.parts, course.objective
    small = objective.size * np.dtype(objective.dtype).itemsize <= SMALL_BYTES
    able = getattr(objective, "supports_fused_sync", lambda X: False)(
        course.data.train.X
    )
    if not (small and able and parts.descend) or options.average_from is not None:
        return None
    mean, _ = _alone(course)
    weights = parts.store.pull()
    return mean, _straggler_delays(
        _each(lambda t: parts.descend(weights, t, t + 1), course.plan.steps)
    )


HOW = {"alone": _alone, "one by one": _one_by_one, "marching": _fused_sync}


def _each(step, epoch):
    """Take steps for a while; return the seconds of each but an epoch's first."""
    ends = [time.perf_counter()]
    until = ends[0] + 2 * SPANS * SPAN
    while len(ends) < LEAST or ends[-1] < until:
        step(len(ends) - 1)
        ends.append(time.perf_counter())
    spent = np.diff(ends)
    inside = np.arange(len(spent)) % epoch != 0
    return spent[inside] if inside.any() else spent


def _straggler_delays(spent):
    """Return {ranks: seconds}: by how much the slowest of so many exceeds the mean."""
    spent = np.sort(spent)
    return {ranks: _slowest(spent, ranks) - float(spent.mean()) for ranks in RANKS}


def _slowest(steps, ranks):
    """Return the expected seconds of the slowest of so many independent steps.

    E[max] = Σ x₍ᵢ₎ ((i/n)^P - ((i-1)/n)^P) over the n steps that were seen, in order.
    """
    share = (np.arange(len(steps) + 1) / len(steps)) ** ranks
    return float(np.diff(share) @ steps)


def exchanges(comm, cases):
    """Return what sums over all ranks cost: a dict for each (size, dtype, …) of cases.

    As in training: a worker a rank, in the fixed order, whole or, `apart`, in slices.
    """
    found = []
    with mpi.freed_collectively(Grid(comm, comm.size)) as grid:
        nodes = len(set(grid.node_leaders))
        for case in cases:
            seconds = _exchange(grid, **case)
            item = np.dtype(case["dtype"]).itemsize
            found.append(
                case
                | {"ranks": comm.size, "nodes": nodes, "seconds": seconds}
                | {"bytes": case["size"] * item}
            )
    return found


def _exchange(grid, size, dtype, compiled, apart):
    """Return the seconds of an exchange, as of a gradient that was just computed.

    Work between two of them lets caches and connections get as cold as in training.
    What that takes, and writing the gradient and reading weights, is not counted.
    """
    work = np.ones(WORK)
    vectors = make_allreduce(grid, Clock(), size, dtype, compiled=compiled, apart=apart)
    own, (new, weights) = np.ones((1, size), dtype), np.ones((2, size), dtype)
    mine = vectors.rows if vectors.sharded else np.ones((1, size), dtype)

    def in_slices():
        work.sum()
        mine[0] = new
        part = vectors.reduce_scatter()
        vectors.result[vectors.slice] = part
        vectors.window.barrier()  # as when the weights are updated
        vectors.result.sum()

    def whole():
        work.sum()
        mine[0] = new
        vectors(mine).sum()

    def local():
        work.sum()
        own[0] = new
        weights.sum()

    try:
        once = _repeated(grid.comm, in_slices if vectors.sharded else whole)
        return max(MIN_SECONDS, once - _repeated(grid.comm, local))
    finally:
        vectors.free()


def _repeated(comm, once):
    """Return the median seconds of something collective, the slowest rank's."""
    for _ in range(3):
        once()
    comm.Barrier()
    began = time.perf_counter()
    once()
    each = max(1e-7, mpi.allreduce_max(comm, [time.perf_counter() - began])[0])
    times, spent = max(1, min(5000, math.ceil(SPAN / each))), []
    for _ in range(SPANS):
        comm.Barrier()
        began = time.perf_counter()
        for _ in range(times):
            once()
        spent.append((time.perf_counter() - began) / times)
    return float(mpi.allreduce_max(comm, [np.median(spent)])[0])


def measured(comm, wanted):
    """Return the costs that are wanted, of steps and of exchanges; collective.

    Steps are each rank's own, at the same time: on several ranks they share the memory.
    """
    found = {"steps": [], "exchanges": []}
    for each in wanted.get("steps", ()):
        label, text = each.pop("label"), each.pop("options")
        comm.Barrier()
        try:
            cost = steps(mpi.comm_self(), text, **each)
        except MpipgdError:  # too few rows, say, on each rank alike: one point less
            continue
        if cost:
            cost["seconds"] = float(np.mean(comm.allgather(cost["seconds"])))
            found["steps"].append({"label": label, "ranks": comm.size} | cost)
    if "exchanges" in wanted:
        found["exchanges"] = exchanges(comm, wanted["exchanges"])
    return found
