"""A training run, from options to a run folder."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from functools import partial
from typing import TYPE_CHECKING, Any

from ..comm import mpi
from ..comm.topology import Grid
from ..config import toml
from ..config.option import flag
from ..config.options import TrainConfig
from ..data.hdf5.signature import signature
from ..data.hdf5.source import Source
from ..data.validation import hold_out
from ..errors import DataError, UsageError
from ..reporting import run_folder
from . import checkpoint
from .trainer import Resume, Trainer
from .training_data import open_source, with_data_file
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..comm.mpi import Comm

RESUMABLE_OPTIONS = {  # those that may differ from before
    "epochs", "target", "tol", "patience", "time_limit", "eval_every",
    "checkpoint_every", "hang_after", "picture", "quiet", "allow_climb",
    "allow_changed_data",
}  # fmt: skip


SWEEP_VALIDATION = 0.2  # what --many is chosen by, unless --validation says more


def train(
    options: TrainConfig,
    *,
    comm: Comm,
    say: Callable[..., None] = lambda *text: None,
) -> dict[str, Any] | None:
    """Train as `options` say; return the summary, or None on ranks without a worker.

    `say` is told how a table was imported. Collective over `comm`. Raises an
    MpipgdError on all ranks for foreseeable errors.
    """
    options = dataclasses.replace(options, workers=options.workers or comm.size)
    if options.many and not options.validation:
        options = dataclasses.replace(options, validation=SWEEP_VALIDATION)
    create = partial(
        run_folder.create_run_folder, options.run, options.data, options.strategy
    )
    new_folder = run_folder.NewFolder(
        create, given=options.run, inside="checkpoints", begun="metrics.jsonl"
    )
    with new_folder:
        folder = mpi.on_root(comm, new_folder.create)
        options = dataclasses.replace(options, run=str(folder))
        return _run(options, comm, None, say)


def resume(
    folder: str,
    changes: dict[str, Any],
    *,
    comm: Comm,
    say: Callable[..., None] = lambda *text: None,
) -> dict[str, Any] | None:
    """Go on with a run from its newest checkpoint that verifies, on any ranks.

    `changes` are options that may differ from before; others are a UsageError. Of a run
    that has ended after all its epochs the summary is returned, and `say` told so.
    Collective.
    """
    newest = mpi.on_root(comm, _load_checkpoint, folder, changes)
    stored = toml.from_text(newest.attributes["config"], folder)
    if "target_deviation" not in newest.attributes:  # of an older version
        stored["standardize_target"] = False
    options = TrainConfig(**stored | {"run": str(folder)} | changes)
    if newest.attributes["epoch"] >= options.epochs:
        summary: dict[str, Any] | None = mpi.on_root(comm, _read_summary, folder)
        if summary is not None:
            done = newest.attributes["epoch"]
            say(
                f"nothing left to do: {folder} has made its {done} epochs; for more: "
                f"mpipgd train --resume {folder} --epochs {2 * done}"
            )
            return summary
    return _run(options, comm, newest, say)


def _read_summary(folder: str) -> dict[str, Any] | None:
    """Return the summary of a run that has left a model; else None."""
    path = pathlib.Path(folder, "summary.json")
    if not path.exists() or not pathlib.Path(folder, "model.h5").exists():
        return None
    summary: dict[str, Any] = json.loads(path.read_text())
    return summary if summary["exit"] == 0 else None


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


def _run(
    options: TrainConfig,
    comm: Comm,
    resume: Resume | None,
    say: Callable[..., None],
) -> dict[str, Any] | None:
    assert options.workers is not None
    with Watchdog(comm, options.hang_after) as watchdog:
        assert options.run is not None  # set by `train`
        quietly = (lambda *text: None) if options.quiet else say
        folder = pathlib.Path(options.run)
        source = open_source(with_data_file(options, comm, folder, quietly), comm)
        data_signature = signature(comm, source)
        if resume and not options.allow_changed_data:
            _expect_same_data(resume, data_signature, source)
        source = hold_out(comm, source, options)
        with mpi.freed_collectively(Grid(comm, options.workers)) as grid:
            if grid.idle:
                return None
            trainer = Trainer(
                options, grid, source, watchdog, data_signature=data_signature
            )
            with mpi.freed_collectively(trainer):
                return trainer.run(resume, ranks=comm.size)


def _expect_same_data(resume: Resume, data_signature: str, source: Source) -> None:
    """Raise DataError on all ranks where the data is not that of the checkpoint.

    Checkpoints without a signature, of older versions, go on with any data.
    """
    stored = resume.attributes.get("data_signature", data_signature)
    if stored != data_signature:
        files = ", ".join(map(str, source.files[:3]))
        more = f" and {len(source.files) - 3} more" if len(source.files) > 3 else ""
        raise DataError(
            f"{files}{more}: the data is not that which {resume.path} was made with "
            f"(signature {data_signature[:12]}, expected {stored[:12]}); bring the old "
            "data back, or go on with this one by --allow-changed-data",
            agreed=True,
        )
