"""What several test files use: programs under mpirun, and small data files."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from mpipgd import Grid
from mpipgd.config.options import TrainConfig
from mpipgd.data.hdf5.header import Header
from mpipgd.data.load import SplitRows
from mpipgd.data.matrix import append_intercept
from mpipgd.objectives import build_objective
from mpipgd.plan import partition as plans
from mpipgd.reporting.timing import Clock
from mpipgd.training import loop
from mpipgd.training.build import build_training

BIN = Path(sys.executable).parent
ENV = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


may_start_programs = False  # whether the test that runs has the marker for it


def without_picture(args):
    """Return the flag that spares a run its picture, which takes longer than it."""
    return ["--no-picture"] if "--run" in args else []


def start(ranks, *args, program=("-m", "mpipgd"), cwd=None, **env):
    """Start a program under mpirun, its output to be read; it has a time-out.

    With no `ranks` it starts without mpirun, for commands that start ranks themselves.
    """
    assert may_start_programs, "it has neither marker: `launcher` nor `programs`"
    mpirun = [BIN / "mpirun", "-n", str(ranks)] if ranks else []
    command = [*mpirun, sys.executable, *program, *args, *without_picture(args)]
    if ranks:
        command = ["timeout", "-k", "5", "100", *command]
    return subprocess.Popen(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | ENV | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=90):
    """Return exit code, output and errors of a started program."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def run(ranks, *args, **more):
    """Run a program under mpirun; return exit code, output and errors."""
    return finish(start(ranks, *args, **more))


def options(data, run, **more):
    """Return quiet options for a short run, with a checkpoint at its end."""
    known = {
        "picture": False,
        "quiet": True,
        "checkpoint_every": "1000",
        "workers": 8,
        "epochs": 3,
        "hang_after": 60.0,
    }
    return TrainConfig(**known | {"data": str(data), "run": str(run)} | more)


class NoCallback:
    """A callback with nothing to do."""

    def next(self, step):
        """Return never."""
        return float("inf")

    def __call__(self, step, state):
        return None


def problem(rows=240, features=6, classes=None, seed=3):
    """Return a header, X and y of a small problem with noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features))
    if classes is None:
        y = X @ rng.normal(size=features) + 0.1 * rng.normal(size=rows) + 1.0
        return Header("regression", features), X, y
    teacher = rng.normal(size=(features, classes))
    y = (X @ teacher + rng.gumbel(size=(rows, classes))).argmax(axis=1)
    task = "binary" if classes == 2 else "multiclass"
    return Header(task, features, classes=tuple(range(classes))), X, y


def objective(w, X, y, alpha):
    """Return the ridge objective of weights whose last is the intercept."""
    residual = X @ w[:-1] + w[-1] - y
    return 0.5 * np.mean(residual**2) + 0.5 * alpha * w[:-1] @ w[:-1]


def ridge(X, y, alpha):
    """Return the weights that minimise the objective."""
    A = np.column_stack([X, np.ones(len(X))])
    strength = np.diag([*[alpha * len(X)] * X.shape[1], 0.0])
    return np.linalg.solve(A.T @ A + strength, A.T @ y)


def descend(comm, header, X, y, *, plan=None, **options):
    """Train on arrays, without files or hooks; return the weights, on every rank."""
    options = TrainConfig(**{"lr": 0.05, "epochs": 3} | options)
    model = build_objective(options, header)
    workers = options.workers or comm.size
    options = dataclasses.replace(options, workers=workers)
    plan = plan or plans.build_plan(options, len(y))
    grid = Grid(comm, workers)
    weights = None
    if not grid.idle:
        lo, hi = plan.row_range(grid.first, grid.last)
        mine = append_intercept(X[lo:hi]) if model.intercept else X[lo:hi]
        shares = [plan.share(k) for k in range(grid.first, grid.last)]
        part = SplitRows(mine, model.targets(y[lo:hi]), lo, shares)
        components = build_training(options, grid, plan, model, part, Clock())
        step, _ = loop.train(
            components.stepper,
            components.store,
            NoCallback(),
            steps=components.steps,
        )
        weights = components.store.consensus(step).copy()
        components.free()
    grid.free()
    return comm.bcast(weights)
