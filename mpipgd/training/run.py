"""A training run, from options to a run folder."""

import dataclasses
import pathlib

from ..comm import mpi
from ..comm.topology import Grid
from ..config import toml
from ..config.option import flag
from ..config.options import TrainConfig
from ..data.create.bundled import BUNDLED
from ..data.create.make import make_bundled
from ..data.hdf5 import source as store
from ..errors import UsageError
from ..reporting import folders
from . import checkpoint
from .trainer import Trainer
from .watchdog import Watchdog

RESUMABLE_OPTIONS = {"epochs", "target", "tol", "patience", "time_limit", "eval_every"}
RESUMABLE_OPTIONS |= {"checkpoint_every", "hang_after", "picture", "quiet"}


def train(options, *, comm):
    """Train as `options` (options.Train) say; return the summary, None on idle ranks.

    Collective over `comm`. Raises a Refusal on all ranks for what can be foreseen.
    """
    options = dataclasses.replace(options, workers=options.workers or comm.size)
    named = options.run, options.data, options.strategy
    folder = mpi.on_root(comm, folders.create_run_folder, *named)
    return _run(dataclasses.replace(options, run=str(folder)), comm)


def resume(folder, changes, *, comm):
    """Go on with a run from its newest checkpoint that verifies, on any ranks.

    `changes` are options that may differ from before; others are a UsageError.
    """
    found = mpi.on_root(comm, _load_checkpoint, folder, changes)
    kept = toml.from_text(found["config"], folder) | {"run": str(folder)}
    return _run(TrainConfig(**kept | changes), comm, found)


def _load_checkpoint(folder, changes):
    for key in changes.keys() - RESUMABLE_OPTIONS:
        raise UsageError(f"--resume takes no {flag(key)}: the run goes on as it began")
    path, _, attributes = checkpoint.newest(folder)
    return attributes | {"path": path}


def open_data(options, comm):
    """Open the data; a bundled set is first made into the run folder, by rank 0."""
    data = options.data
    if data in BUNDLED and not pathlib.Path(data).exists():
        data = pathlib.Path(options.run) / "data.h5"
        mpi.on_root(comm, lambda: data.exists() or make_bundled(options.data, data))
    names = {"x": options.x, "y": options.y}
    return store.open_data(comm, data, **names, share=options.rows_share)


def _run(options, comm, found=None):
    with Watchdog(comm, options.hang_after) as watchdog:
        source = open_data(options, comm)
        with mpi.freed_collectively(Grid(comm, options.workers)) as grid:
            if grid.idle:
                return None
            course = Trainer(options, grid, source, watchdog)
            with mpi.freed_collectively(course):
                return course.go(found, ranks=comm.size)
