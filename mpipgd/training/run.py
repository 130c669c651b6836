"""A training run, from options to a run folder."""

from __future__ import annotations

import dataclasses
import pathlib
from functools import partial
from typing import TYPE_CHECKING, Any

from ..comm import mpi
from ..comm.topology import Grid
from ..config import toml
from ..config.option import flag
from ..config.options import TrainConfig
from ..data.create.bundled import path_of
from ..data.hdf5.source import Source, open_data
from ..errors import UsageError
from ..reporting import run_folder
from . import checkpoint
from .trainer import Resume, Trainer
from .watchdog import Watchdog

if TYPE_CHECKING:
    from ..comm.mpi import Comm

RESUMABLE_OPTIONS = {  # those that may differ from before
    "epochs", "target", "tol", "patience", "time_limit", "eval_every",
    "checkpoint_every", "hang_after", "picture", "quiet",
}  # fmt: skip


def train(options: TrainConfig, *, comm: Comm) -> dict[str, Any] | None:
    """Train as `options` say; return the summary, or None on ranks without a worker.

    Collective over `comm`. Raises an MpipgdError on all ranks for foreseeable errors.
    """
    options = dataclasses.replace(options, workers=options.workers or comm.size)
    create = partial(
        run_folder.create_run_folder, options.run, options.data, options.strategy
    )
    creation = mpi.on_root(
        comm,
        partial(
            run_folder.record_creation, create, given=options.run, inside="checkpoints"
        ),
    )
    on_root = mpi.root_else(comm, creation, None)
    with run_folder.removed_if_refused(on_root, begun="metrics.jsonl"):
        return _run(dataclasses.replace(options, run=str(creation.folder)), comm, None)


def resume(
    folder: str, changes: dict[str, Any], *, comm: Comm
) -> dict[str, Any] | None:
    """Go on with a run from its newest checkpoint that verifies, on any ranks.

    `changes` are options that may differ from before; others are a UsageError.
    Collective.
    """
    newest = mpi.on_root(comm, _load_checkpoint, folder, changes)
    options = toml.from_text(newest.attributes["config"], folder)
    options |= {"run": str(folder)} | changes
    return _run(TrainConfig(**options), comm, newest)


def _load_checkpoint(folder: str, changes: dict[str, Any]) -> Resume:
    for key in sorted(changes.keys() - RESUMABLE_OPTIONS):
        name = "DATA" if key == "data" else flag(key)
        others = ", ".join(flag(option) for option in sorted(RESUMABLE_OPTIONS))
        raise UsageError(
            f"--resume takes no {name}: the run goes on as it began, and only {others} "
            "may differ"
        )
    path, content = checkpoint.newest(folder)
    return Resume(path, content.attributes)


def open_training_data(options: TrainConfig, comm: Comm) -> Source:
    """Open the data; rank 0 first writes a bundled set into the run folder."""
    assert options.run is not None  # set by `run.train`
    data = mpi.on_root(comm, path_of, options.data, pathlib.Path(options.run))
    return open_data(comm, data, x=options.x, y=options.y, share=options.rows_share)


def _run(
    options: TrainConfig, comm: Comm, resume: Resume | None
) -> dict[str, Any] | None:
    assert options.workers is not None
    with Watchdog(comm, options.hang_after) as watchdog:
        source = open_training_data(options, comm)
        with mpi.freed_collectively(Grid(comm, options.workers)) as grid:
            if grid.idle:
                return None
            trainer = Trainer(options, grid, source, watchdog)
            with mpi.freed_collectively(trainer):
                return trainer.run(resume, ranks=comm.size)
