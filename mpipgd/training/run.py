"""A training run, from options to a run folder."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

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
from ..reporting.command_line import command_line
from . import checkpoint
from .trainer import Resume, Trainer
from .training_data import expect_used_by_source, open_source, with_data_file
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

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
    flags: Collection[str] = (),
) -> dict[str, Any] | None:
    """Train as `options` say; return the summary, or None on ranks without a worker.

    `say` is told how a table was imported. `flags` are names of options that are
    refused where the data is of another kind than they are for. Collective over
    `comm`. Raises an MpipgdError on all ranks for foreseeable errors.
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
    mpi.on_root(comm, _expect_new_trace, options.trace)
    with new_folder:
        folder = mpi.on_root(comm, new_folder.create)
        options = dataclasses.replace(options, run=str(folder))
        return _run(options, comm, None, say, flags=flags)


def _expect_new_trace(path: str | None) -> None:
    """Raise UsageError where a run that begins would replace a file by its trace."""
    if path is not None and pathlib.Path(path).exists():
        raise UsageError(f"--trace {path} exists already: name another file")


def resume(
    folder: str,
    changes: dict[str, Any],
    *,
    comm: Comm,
    say: Callable[..., None] = lambda *text: None,
) -> dict[str, Any] | None:
    """Go on with a run from its newest checkpoint that verifies, on any ranks.

    `changes` are options that may differ from before; others are a UsageError. Of a run
    that has ended, and that the changes do not let go on, the summary is returned, and
    `say` told so. Collective.
    """
    newest = mpi.on_root(comm, _load_checkpoint, folder, changes)
    stored = toml.from_text(newest.attributes["config"], folder)
    if "target_deviation" not in newest.attributes:  # of an older version
        stored["standardize_target"] = False
    options = TrainConfig(**stored | {"run": str(folder)} | changes)
    summary: dict[str, Any] | None = mpi.on_root(comm, _read_summary, folder)
    if summary is not None:
        end = _end(summary, newest, TrainConfig(**stored), options)
        if end is not None:
            text = f"nothing left to do: {folder} {end.text}"
            if end.changes:
                line = command_line("train", "--resume", folder, *end.changes)
                text += f"; for more: {line}"
            say(text)
            return summary
    return _run(options, comm, newest, say)


class _End(NamedTuple):
    """Why a run would not go on, and flags by which it would, if any would."""

    text: str
    changes: tuple[str, ...]


def _end(
    summary: Mapping[str, Any], newest: Resume, before: TrainConfig, now: TrainConfig
) -> _End | None:
    """Return why a run that has ended would end at once; None where it would not.

    before, now: its options when it ended, and those to go on with.
    """
    epoch, reason = int(newest.attributes["epoch"]), summary["reason"]
    if epoch >= now.epochs:
        return _End(f"has made its {epoch} epochs", ("--epochs", str(2 * epoch or 1)))
    early = f"ended early, after epoch {epoch}"
    if reason == "target" and now.target is not None:
        score = summary.get("validation_score", summary["score"])
        if score >= now.target:
            text = f"{early}: its score {score:.4g} reaches --target {now.target:g}"
            return _End(text, ("--target", f"{(1 + score) / 2:.4g}"))
    if reason == "plateau" and now.tol is not None:
        stale = int(newest.attributes["best_stale"])
        if stale >= now.patience and now.tol >= (before.tol or 0):
            text = (
                f"{early}: the loss has fallen by less than --tol {now.tol:g} for "
                f"{stale} evaluations"
            )
            return _End(text, ("--patience", str(stale + now.patience)))
    if reason == "time limit" and now.time_limit is not None:
        seconds = summary["seconds"]
        if seconds >= now.time_limit:
            text = f"{early}: it has trained for {seconds:.3g} of {now.time_limit:g} s"
            return _End(text, ("--time-limit", f"{2 * seconds:.3g}"))
    if reason == "converged":
        return _End(f"{early}: L-BFGS has converged", ())
    return None


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
    *,
    flags: Collection[str] = (),
) -> dict[str, Any] | None:
    assert options.workers is not None
    with Watchdog(comm, options.hang_after) as watchdog:
        assert options.run is not None  # set by `train`
        quietly = (lambda *text: None) if options.quiet else say
        folder = pathlib.Path(options.run)
        source = open_source(with_data_file(options, comm, folder, quietly), comm)
        expect_used_by_source(flags, options, source)
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
