"""The least objective there is, for smooth convex problems: the measure of all."""

from typing import NamedTuple

import numpy as np

from . import config, mpi
from .clock import Clock
from .data import plan, store
from .data.load import load
from .finish import SMOOTH
from .grid import Grid
from .lbfgs import Lbfgs, over_all_rows
from .models import build
from .sums import total

MOST = 5000  # iterations


class Optimum(NamedTuple):
    """The objective at the first weights, and the least one, or None: not known."""

    start: float
    objective: float | None = None
    iterations: int = 0
    gradient_norm: float = 0.0


def optimum(options, *, comm):
    """Return the `Optimum` of the data and model in `options`; collective.

    By L-BFGS (Liu & Nocedal 1989) over the gradient summed on all ranks, for linear
    models with a smooth loss and an l2 penalty or none. All ranks get the same bits
    of value and gradient, so that all take the same steps.
    """
    names = {"x": options.x, "y": options.y}
    source = store.open_data(comm, options.data, **names, share=options.rows_share)
    workers = min(comm.size, source.rows["train"])
    options = config.replace(
        options, dtype="float64", split="disjoint", workers=workers
    )
    found = None
    with mpi.freeing(Grid(comm, workers)) as grid:
        if not grid.idle:
            found = _on(grid, source, options)
    return comm.bcast(found)


def _on(grid, source, options):
    with mpi.together(grid.comm):
        objective = build(options, source.header)
        rows = plan.build(options, source.rows["train"])
        data = load(
            grid, source, rows, objective,
            options, clock=Clock(),
        )  # fmt: skip
    first = objective.init(np.random.default_rng([options.seed, 0]))
    args = grid, Clock(), objective.size, objective.dtype
    with mpi.freeing(data), mpi.freeing(total(*args)) as summed:
        function = over_all_rows(objective, data.train, rows.rows, summed)
        start = function(first)[0]
        smooth = options.model == "linear" and objective.loss in SMOOTH
        if not smooth or objective.beta is not None:
            return Optimum(start)
        return _descend(function, first, start)


def _descend(function, first, start):
    method = Lbfgs(function)
    w = first.copy()
    state = method.init(w)
    while not method.converged and method.iterations < MOST:
        method.iterate(w)
    norm = float(np.abs(state["gradient"]).max())
    return Optimum(start, float(state["value"]), method.iterations, norm)
