"""What the pieces of a run cost here: steps without exchange, exchange without steps.

Collective; `mpipgd scale --calibrate` runs it on one rank, then on several.
"""

import math
import time
from functools import partial

import numpy as np

from .. import config, loop, mpi
from ..clock import Clock
from ..course import Course
from ..data import store
from ..errors import Refusal
from ..grid import Grid
from ..options import Train
from ..sums import total
from ..watch import Watchdog

SPAN = 0.06  # seconds that a measurement takes at least
SPANS = 3  # of which the median counts
WORK = 1 << 17  # doubles that are read between two exchanges: 1 MB
LITTLE = 1e-7  # seconds that an exchange takes at least
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


def steps(comm, text, *, share, batch, alone):
    """Return what a step costs one worker, alone with a share of the rows, as a dict.

    `text`: the run's options as TOML. Unless it is `alone` in the run, steps that would
    meet the others are taken one by one, as on several ranks, but meet nobody.
    """
    base = Train(**config.from_text(text, "study.json"))
    options = config.replace(
        base, workers=1, rows_share=share, batch_size=batch, epochs=10**6,
        run=None, target=None, time_limit=None, sync_until=0.0,
    )  # fmt: skip
    names = {"x": options.x, "y": options.y}
    source = store.open_data(comm, options.data, **names, share=share)
    bytes_read = _bytes(source)
    with mpi.freeing(Grid(comm, 1)) as grid:
        course = Course(options, grid, source, Watchdog(comm, 0))
        with mpi.freeing(course):
            found = _timed(course, fused=alone or base.strategy != "sync")
        size, compiled = course.objective.size, bool(course.objective.compiled)
        dtype = np.dtype(course.objective.dtype).name
        read = course.clock.read
    return found | {
        "share": share, "alone": alone, "batch": course.plan.batch_size,
        "steps": course.plan.steps, "rows": course.plan.rows,
        "size": size, "dtype": dtype, "compiled": compiled,
        "read_seconds": read, "read_bytes": bytes_read,
    }  # fmt: skip


def _bytes(source):
    """Return about how many bytes the training rows take in the file."""
    width = np.dtype(source.header.dtype).itemsize
    return source.rows["train"] * source.header.n_features * width


def _timed(course, *, fused):
    """Return the seconds of a step, and of the slowest of several, as a dict."""
    parts, epoch = course.parts, course.plan.steps
    if not fused:
        return _one_by_one(course)
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
    return {"seconds": float(np.median(spent)), "slowest": {}}


def _one_by_one(course):
    """Do the loop's steps, each of them timed."""
    parts, epoch = course.parts, course.plan.steps
    store, transform, ends = parts.store, parts.transform, [time.perf_counter()]
    state, until = transform.init(store.pull()), ends[0] + 2 * SPANS * SPAN
    while len(ends) < LEAST or ends[-1] < until:
        weights = store.pull()
        gradient = parts.gradient(weights, len(ends) - 1)
        update, state = transform.update(gradient, state, weights)
        store.push(update)
        ends.append(time.perf_counter())
    spent = np.diff(ends)
    inside = np.arange(len(spent)) % epoch != 0
    steps = np.sort(spent[inside] if inside.any() else spent)
    began = time.perf_counter()
    course.plan.order(1, 0)  # all ranks do it at once: nobody waits for it
    order = (time.perf_counter() - began) / epoch
    most = {ranks: order + _slowest(steps, ranks) for ranks in RANKS}
    return {"seconds": most[1], "slowest": most}


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
    with mpi.freeing(Grid(comm, comm.size)) as grid:
        nodes = len(set(grid.node_ranks))
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

    Work between two of them lets caches and connections get as cold as in training; what
    that, and to write the gradient and to read the weights, takes is not counted.
    """
    work = np.ones(WORK)
    vectors = total(grid, Clock(), size, dtype, compiled=compiled, apart=apart)
    new, weights = np.ones(size, dtype), np.ones(size, dtype)
    mine = vectors.rows if vectors.apart else np.ones((1, size), dtype)

    def in_slices():
        work.sum()
        mine[0] = new
        part = vectors.of_slice()
        vectors.result[vectors.slice] = part
        vectors.window.meet()  # as when the weights are updated
        vectors.result.sum()

    def whole():
        work.sum()
        mine[0] = new
        vectors(mine).sum()

    def local():
        work.sum()
        own[0] = new
        weights.sum()

    own = np.ones((1, size), dtype)
    try:
        once = in_slices if vectors.apart else whole
        spent = _repeated(grid.comm, once) - _repeated(grid.comm, local)
        return max(LITTLE, spent)
    finally:
        vectors.free()


def _repeated(comm, once):
    """Return the median seconds of something collective, the slowest rank's."""
    for _ in range(3):
        once()
    comm.Barrier()
    began = time.perf_counter()
    once()
    each = max(1e-7, mpi.largest(comm, [time.perf_counter() - began])[0])
    times, spent = max(1, min(5000, math.ceil(SPAN / each))), []
    for _ in range(SPANS):
        comm.Barrier()
        began = time.perf_counter()
        for _ in range(times):
            once()
        spent.append((time.perf_counter() - began) / times)
    return float(mpi.largest(comm, [np.median(spent)])[0])


def measured(comm, wanted):
    """Return the costs that are wanted, of steps and of exchanges; collective."""
    found = {"steps": [], "exchanges": [], "host": mpi.host(), "mpi": mpi.library()}
    for each in wanted.get("steps", ()):
        try:
            label = each.pop("label")
            text = each.pop("options")
            found["steps"].append({"label": label} | steps(comm, text, **each))
        except Refusal as refusal:  # too few rows, say: one point less
            if not refusal.agreed and comm.size > 1:
                raise
    if "exchanges" in wanted:
        found["exchanges"] = exchanges(comm, wanted["exchanges"])
    return found
