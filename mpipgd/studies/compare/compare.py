"""Train with several settings on the same data, plan and seeds, one after another."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...comm import mpi
from ...config.options import TrainConfig
from ...errors import DivergenceError, MpipgdError, UsageError
from ...reporting.run_folder import (
    NewFolder,
    create_folder,
    file_name,
)
from ...training import run
from ...training.training_data import expect_used_by_source, open_source, with_data_file
from . import page, ranking
from .optimum import solve_reference

if TYPE_CHECKING:
    from ...comm.mpi import Comm


def compare(
    settings: Mapping[str, TrainConfig],
    *,
    out: str | None = None,
    repeat: int = 1,
    gap: float | None = None,
    grid_axes: int = 0,
    comm: Comm,
    say: Callable[..., None],
    command: str = "",
    flags: Collection[str] = (),
) -> list[ranking.Row]:
    """Train with each of the settings (label -> options); write tables and a page.

    Repeats take the seeds seed, seed+1, …, and are the outer loop, so that what
    disturbs the machine disturbs all settings. `gap` is the share of the way from the
    first weights to the optimum that may be left at the target. Collective; returns the
    ranked rows. A setting that diverges is a row that says so. `flags` as `run.train`
    takes them.
    """
    first = next(iter(settings.values()))
    given = Path(out).absolute() if out else None
    new_folder = NewFolder(
        partial(_create_folder, given, first.data),
        given=given,
        inside="runs",
        begun="runs/*",
    )
    with new_folder:
        folder = mpi.on_root(comm, new_folder.create)
        opened = {
            label: with_data_file(options, comm, folder, say)
            for label, options in settings.items()
        }
        some = next(iter(opened.values()))
        with contextlib.closing(open_source(some, comm)) as source:
            expect_used_by_source(flags, some, source)
        best = solve_reference(some, comm=comm)
    if best.objective is not None:
        say(
            f"optimum {best.objective:.6g} by L-BFGS in {best.iterations} iterations "
            f"(largest slope {best.gradient_norm:.1g})"
        )
    runs: list[ranking.Run] = []
    for label, options, number in _runs(opened, repeat, folder / "runs"):
        status = _train_one(options, comm)
        runs.append(
            mpi.on_root(comm, ranking.run_result, label, options, number, status)
        )
        say(f"{len(runs)}/{repeat * len(settings)}  {ranking.line(runs[-1])}")
    facts = _common([_facts(options, comm.size) for options in settings.values()])
    facts |= {"command": command} if command else {}
    comparison = ranking.Comparison(runs, best, gap, repeat, facts, grid_axes)
    mpi.on_root(comm, _write, folder, comparison)
    say()
    for text in ranking.table(comparison):
        say(text)
    say(f"\nlook at {folder}/index.html; tables: results.csv, table.md")
    return comparison.rows


def _runs(
    settings: Mapping[str, TrainConfig], repeat: int, folder: Path
) -> Iterator[tuple[str, TrainConfig, int]]:
    """Yield label, options and number of the repeat of each run, in their order."""
    runs = itertools.product(range(repeat), settings.items())
    for index, (number, (label, options)) in enumerate(runs):
        yield (
            label,
            dataclasses.replace(
                options,
                run=str(folder / f"{index:03d}-{file_name(label)}"),
                seed=options.seed + number,
                quiet=True,
                picture=False,
            ),
            number,
        )


def _train_one(options: TrainConfig, comm: Comm) -> str:
    """Train; return how it ended, on all ranks, also on those without a worker."""
    status = "ok"
    with mpi.raise_collectively(comm):
        try:
            run.train(options, comm=comm)
        except DivergenceError:
            status = "diverged"
        except MpipgdError as error:  # not yet known to ranks without a worker
            raise type(error)(str(error)) from error
    return comm.bcast(status)


def _create_folder(given: Path | None, data: str) -> Path:
    if given and (given / "runs").exists():
        raise UsageError(f"--out {given} holds a comparison: name another folder")
    return create_folder(given, data, "compare", inside="runs").absolute()


def _common(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the facts on which all settings agree."""
    first, *rest = facts
    return {
        name: value
        for name, value in first.items()
        if all((name, value) in others.items() for others in rest)
    }


def _facts(options: TrainConfig, ranks: int) -> dict[str, Any]:
    """Return the facts of a setting that the page shows, except its strategy."""
    loss = f", {options.loss} loss" if options.loss else ""
    penalty = "no penalty"
    if options.penalty != "none":
        alphas = ", ".join(f"{alpha:g}" for alpha in options.alpha)
        penalty = f"{options.penalty} penalty {alphas}"
    return {
        "data": Path(options.data).name,
        "model": f"{options.model}{loss}, {penalty}",
        "ranks": ranks,
        "workers": options.workers or ranks,
        "batch": f"{options.batch_size} rows a worker",
        "optimizer": f"{options.optimizer}, learning rate {options.lr:g} "
        f"({options.schedule})",
        "epochs": options.epochs,
    }


def _write(folder: Path, comparison: ranking.Comparison) -> None:
    ranking.write(folder, comparison)
    page.write(folder, comparison)
