"""The least objective there is, for smooth convex problems: the measure of all."""

from typing import NamedTuple

import numpy as np

from . import config, mpi
from .clock import Clock
from .data import plan, store
from .data.load import load
from .exchange import merged
from .grid import Grid
from .models import build
from .sums import total

SMOOTH = ("squared", "huber", "log", "squared_hinge", "softmax")
LBFGS = {"maxcor": 20, "ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000, "maxfun": 10_000}


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
    source = store.open_data(comm, options.data, x=options.x, y=options.y)
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
            standardized=options.standardize, clock=Clock(),
        )  # fmt: skip
    first = objective.init(np.random.default_rng([options.seed, 0]))
    args = grid, Clock(), objective.size, objective.dtype
    with mpi.freeing(total(*args)) as summed:
        function = _function(objective, data.train, rows.rows, summed)
        start = function(first)[0]
        smooth = options.model == "linear" and objective.loss in SMOOTH
        if not smooth or objective.beta is not None:
            return Optimum(start)
        return _descend(function, first, start)


def _function(objective, part, n, summed):
    """Return w -> (objective, gradient) over all n rows of all ranks."""
    grid = summed.grid
    sums = np.empty((grid.hosted, objective.size))

    def function(w):
        rows = zip(map(part.of, range(grid.hosted)), sums)
        losses = [objective.gradient(w, X, y, None, out) for (X, y), out in rows]
        loss = merged(grid, losses, lambda a, b: a + b) / n + objective.penalty(w)
        gradient = summed(sums) / n
        if objective.alpha is not None:
            gradient += objective.alpha * w
        return loss, gradient

    return function


def _descend(function, first, start):
    from scipy.optimize import minimize

    found = minimize(function, first, jac=True, method="L-BFGS-B", options=LBFGS)
    norm = float(np.abs(found.jac).max())
    return Optimum(start, float(found.fun), int(found.nit), norm)
