"""Reference minimum of smooth convex objectives, found by L-BFGS."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...comm import mpi
from ...comm.allreduce import make_allreduce
from ...comm.topology import Grid
from ...config.options import TrainConfig
from ...data.hdf5.source import Source
from ...data.load import load
from ...data.validation import hold_out
from ...objectives import build_objective
from ...plan.partition import build_plan
from ...reporting.timing import Clock
from ...training.build import standardize_target
from ...training.training_data import open_source
from ...transforms.lbfgs import Lbfgs, full_objective

if TYPE_CHECKING:
    from ...comm.mpi import Comm

MAX_ITERATIONS = 5000


class Reference(NamedTuple):
    """The objective at the first weights, and its minimum; None where unknown.

    `gradient_norm` is the largest absolute entry of the gradient at the minimum.
    """

    start: float
    objective: float | None = None
    iterations: int = 0
    gradient_norm: float = 0.0


def solve_reference(options: TrainConfig, *, comm: Comm) -> Reference:
    """Return the `Reference` of the data and model in `options`; collective.

    By L-BFGS (Liu & Nocedal 1989) over the gradient summed on all ranks, for linear
    models with a smooth loss and an l2 penalty or none. All ranks get the same bits
    of value and gradient, so that all take the same steps.
    """
    source = hold_out(comm, open_source(options, comm), options)
    workers = min(comm.size, source.rows["train"])
    options = dataclasses.replace(
        options, dtype="float64", split="disjoint", workers=workers
    )
    reference = None
    with mpi.freed_collectively(Grid(comm, workers)) as grid:
        if not grid.idle:
            reference = _solve(grid, source, options)
    return comm.bcast(reference)


def _solve(grid: Grid, source: Source, options: TrainConfig) -> Reference:
    with mpi.raise_collectively(grid.comm):
        objective = build_objective(options, source.header)
        plan = build_plan(options, source.rows["train"])
    objective = standardize_target(objective, grid, source, plan, options)
    with mpi.raise_collectively(grid.comm):
        data = load(grid, source, plan, objective, options, clock=Clock())
    w = objective.init(np.random.default_rng([options.seed, 0]))
    with (
        mpi.freed_collectively(data),
        mpi.freed_collectively(
            make_allreduce(grid, Clock(), objective.size, objective.dtype)
        ) as allreduce,
    ):
        function = full_objective(objective, data.train, plan.rows, allreduce)
        unit = objective.loss_unit
        start = function(w)[0] * unit
        if options.model != "linear" or not objective.smooth:  # or not convex
            return Reference(start)
        solver = Lbfgs(function, w.size)
        w, state = w.copy(), solver.state
        while not solver.converged and solver.iterations < MAX_ITERATIONS:
            solver.iterate(w)
        norm = float(np.abs(state["gradient"]).max())
        value = float(state["value"]) * unit
        return Reference(start, value, solver.iterations, norm)
