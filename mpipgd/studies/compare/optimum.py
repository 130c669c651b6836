"""The least objective there is, for smooth convex problems: the measure of all."""

import dataclasses
from typing import NamedTuple

import numpy as np

from ...comm import mpi
from ...comm.allreduce import make_allreduce
from ...comm.topology import Grid
from ...data.hdf5 import source as store
from ...data.load import load
from ...objectives import build_objective
from ...plan import partition
from ...reporting.timing import Clock
from ...transforms.lbfgs import Lbfgs, full_objective

MAX_ITERATIONS = 5000  # iterations


class Reference(NamedTuple):
    """The objective at the first weights, and the least one, or None: not known."""

    start: float
    objective: float | None = None
    iterations: int = 0
    gradient_norm: float = 0.0


def solve_reference(options, *, comm):
    """Return the `Optimum` of the data and model in `options`; collective.

    By L-BFGS (Liu & Nocedal 1989) over the gradient summed on all ranks, for linear
    models with a smooth loss and an l2 penalty or none. All ranks get the same bits
    of value and gradient, so that all take the same steps.
    """
    names = {"x": options.x, "y": options.y}
    source = store.open_data(comm, options.data, **names, share=options.rows_share)
    workers = min(comm.size, source.rows["train"])
    options = dataclasses.replace(
        options, dtype="float64", split="disjoint", workers=workers
    )
    found = None
    with mpi.freed_collectively(Grid(comm, workers)) as grid:
        if not grid.idle:
            found = _on(grid, source, options)
    return comm.bcast(found)


def _on(grid, source, options):
    with mpi.raise_collectively(grid.comm):
        objective = build_objective(options, source.header)
        rows = partition.build_plan(options, source.rows["train"])
        data = load(
            grid, source, rows, objective,
            options, clock=Clock(),
        )  # fmt: skip
    first = objective.init(np.random.default_rng([options.seed, 0]))
    args = grid, Clock(), objective.size, objective.dtype
    with (
        mpi.freed_collectively(data),
        mpi.freed_collectively(make_allreduce(*args)) as summed,
    ):
        function = full_objective(objective, data.train, rows.rows, summed)
        start = function(first)[0]
        smooth = options.model == "linear" and objective.smooth
        if not smooth or objective.l1_weights is not None:
            return Reference(start)
        return _descend(function, first, start)


def _descend(function, first, start):
    method = Lbfgs(function, first.size)
    w, state = first.copy(), method.state
    while not method.converged and method.iterations < MAX_ITERATIONS:
        method.iterate(w)
    norm = float(np.abs(state["gradient"]).max())
    return Reference(start, float(state["value"]), method.iterations, norm)
