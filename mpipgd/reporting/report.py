"""What a run did, in words and in plots, from its records and its folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_file import translate_os_errors
from ..config import toml
from ..config.options import SWEEP_KEYS
from ..errors import CheckpointError, UsageError
from . import plots, run_page
from .command_line import command_line
from .run_folder import read_epochs
from .tables import format_number, format_score, format_table
from .timing import TIME_KINDS

if TYPE_CHECKING:
    from .base import Record, ReportedRun

HEADINGS = ("run", "strategy", "workers", "epochs", "loss", "score", "seconds", "ended")


def header_lines(context: ReportedRun, ranks: int, step: int) -> Iterator[str]:
    """Yield the lines that say what a run is about to do, from a step on."""
    options, plan, header = context.options, context.plan, context.data.header
    objective, workers = context.objective, plan.workers
    sizes = sorted({int(size) for size in plan.sizes})
    rows = " to ".join(f"{size:,}" for size in dict.fromkeys((sizes[0], sizes[-1])))
    classes = f", {header.n_classes} classes" if header.classes else ""
    layout = "sparse" if header.sparse else "dense"
    split = "" if options.split == "disjoint" else f" ({options.split})"
    yield (
        f"data      {Path(options.data).name}: {plan.rows:,} training rows × "
        f"{header.n_features:,} features ({layout}{classes})"
    )
    yield (
        f"model     {options.model}, {objective.loss} loss, "
        f"{objective.size:,} weights ({objective.dtype})"
    )
    yield (
        f"strategy  {options.strategy}, {options.optimizer}: {workers} workers on "
        f"{min(workers, ranks)} ranks, {rows} rows a worker{split}, "
        f"{plan.steps:,} steps an epoch"
    )
    yield (
        f"batch     {plan.batch_size} rows a worker × {workers} workers = "
        f"{plan.batch_size * workers:,} rows a step"
    )
    if ranks > workers:
        idle = ranks - workers
        yield f"notice    {idle} of {ranks} ranks idle: there are {workers} workers"
    if context.data.validation:
        default = " (--many chooses by them)" if options.many else ""
        yield (
            f"held out  {options.validation:g} of the training rows, for validation"
            f"{default}"
        )
    if step:
        yield f"resume    after step {step:,} of {plan.steps * options.epochs:,}"
    yield ""


def footer_lines(
    context: ReportedRun, summary: Mapping[str, Any], page: Path | None
) -> Iterator[str]:
    """Yield the lines that say what a run did, and where to look next."""
    folder, time = context.options.run, summary["time"]
    seconds = sum(time[kind]["mean"] for kind in TIME_KINDS[:3]) or 1.0
    kinds = TIME_KINDS if context.options.memory_limit else TIME_KINDS[:3]
    shares = ", ".join(f"{kind} {time[kind]['mean'] / seconds:.0%}" for kind in kinds)
    score = "R²" if context.data.header.task == "regression" else "accuracy"
    split = "test" if context.data.test else "training"
    yield ""
    yield (
        f"{split} {score} {format_score(summary['score'])}; "
        f"training objective (loss + penalty) {format_number(summary['loss'], '.5g')}"
    )
    if "validation_score" in summary:
        yield (
            f"validation {score} {format_score(summary['validation_score'])}; "
            f"objective {format_number(summary['validation_loss'], '.4f')}"
        )
    if summary["climbed"]:
        yield (
            "warning: the training objective rose from "
            f"{format_number(summary['start_loss'], '.6g')}: the run diverged"
        )
    yield (
        f"{summary['epochs']} epochs, {_steps(context, summary)} in "
        f"{summary['seconds']:.2f} s: {summary['samples_per_second']:,.0f} rows/s "
        f"({shares})"
    )
    if len(summary["times"]) > 1:
        yield summary["slowest"]["text"]
    if summary["compile_seconds"] > 1:
        seconds = summary["compile_seconds"]
        yield f"compiling took {seconds:.1f} s more, once: it is kept for other runs"
    if "many" in summary:
        yield from _sweep_lines(summary)
    if summary["reason"] != "epochs":
        yield f"ended early: {summary['reason']}"
    yield f"weights {summary['weights_sha256'][:16]}…, in {folder}/model.h5"
    look = page if page else f"{folder}/metrics.jsonl"
    yield f"look at {look}; try: {_evaluation(context)}"


def _evaluation(context: ReportedRun) -> str:
    """Return the command that evaluates a run on the data that it was trained on."""
    options = context.options
    assert options.run is not None  # set by `run.train`
    words = ["evaluate", options.run, options.data]
    for flag, path in (("--x", options.x), ("--y", options.y)):
        words += [flag, path] if path else []
    return command_line(*words)


def _steps(context: ReportedRun, summary: Mapping[str, Any]) -> str:
    """Return how many steps, and iterations of L-BFGS, a run has taken."""
    iterations = summary.get("iterations")
    if iterations is None:
        return f"{summary['steps']:,} steps"
    taken = f"{iterations:,} iterations of L-BFGS"
    steps = summary["steps"] - iterations * context.plan.steps
    return f"{steps:,} steps, {taken}" if steps else taken


def _sweep_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each configuration of a sweep, the best one first."""
    configs = summary["many"]
    best = configs[summary["best"]]
    for config in [best, *(config for config in configs if config is not best)]:
        values = " ".join(
            f"{key}={config[key]:g}" for key in SWEEP_KEYS if key in config
        )
        loss = format_number(config["loss"], ".4f")
        key = "validation_score" if "validation_score" in config else "score"
        score = f"{key.replace('_', ' ')} {format_number(config.get(key), '.4f')}"
        result = "diverged" if config["diverged"] else f"objective {loss} {score}"
        yield f"{values:<40} {result}{' *' * (config is best)}"


def report(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    plot_options: Mapping[str, str] | None = None,
    *,
    html: bool = False,
) -> list[str]:
    """Plot the curves of runs on one axis; return lines that say how they ended.

    `output` is the path of a picture, `plot_options` are keywords of
    `plots.plot_runs`. With `html` there is a page in its place: of a single run,
    without `output`, the report.html of its folder. Unfinished runs are drawn as far
    as they are. Raises UsageError for what is no run folder.
    """
    plot_options = {"against": "epoch", "show": "score", **(plot_options or {})}
    series = {_name(folder, folders): _evaluations(folder) for folder in folders}
    rows = [HEADINGS, *map(_summary_row, folders, series)]
    lines = format_table(rows)
    if html:
        return [*lines, f"look at {_write_page(folders, output, plot_options, rows)}"]
    if not plots.has_matplotlib():
        return [*lines, "no picture: pip install matplotlib"]
    path = output or Path(folders[0] if len(folders) == 1 else ".") / "report.png"
    tested = all(
        record["test_loss"] is not None
        for records in series.values()
        for record in records
    )
    names = {
        "score": ("test " if tested else "") + "score (R² or accuracy)",
        "loss": "training objective",
        "test_loss": "test objective",
    }
    with translate_os_errors(path, CheckpointError), _refusing_format(path):
        plots.plot_runs(series, path, name=names[plot_options["show"]], **plot_options)
    return [*lines, f"look at {path}"]


def _write_page(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None,
    plot_options: Mapping[str, str],
    rows: Sequence[Sequence[str]],
) -> str | os.PathLike[str]:
    """Write the page of one run or of several; return its path."""
    if len(folders) == 1 and output is None:
        return run_page.write_run_page(folders[0])
    path = output or run_page.PAGE
    runs = {_name(folder, folders): folder for folder in folders}
    run_page.write_runs_page(runs, path, rows=rows, **plot_options)
    return path


def _name(
    folder: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]]
) -> str:
    """Return the last name of a folder, or its path where the name is not unique."""
    name = Path(folder).resolve().name
    same = [other for other in folders if Path(other).resolve().name == name]
    return name if len(same) == 1 else str(folder)


def _evaluations(folder: str | os.PathLike[str]) -> list[Record]:
    """Return the evaluations of a run; UsageError where there are none."""
    try:
        records = read_epochs(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}: no run folder: {error!r}") from error
    if not records:
        raise UsageError(f"{folder}: nothing was evaluated yet")
    return records


def _summary_row(folder: str | os.PathLike[str], name: str) -> tuple[str, ...]:
    """Return a row of the table of runs."""
    last, options = _evaluations(folder)[-1], toml.read(f"{folder}/config.toml")
    summary = Path(folder) / "summary.json"
    try:
        reason = "not yet"
        if summary.exists():
            reason = json.loads(summary.read_text())["reason"]
        workers, epoch = str(options["workers"]), str(last["epoch"])
        loss = format_number(last["loss"], ".4f")
        score = format_score(last["score"])
        seconds = f"{last['seconds']:.2f}"
        strategy = options["strategy"]
        return name, strategy, workers, epoch, loss, score, seconds, reason
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}: no whole run folder: {error!r}") from error


@contextlib.contextmanager
def _refusing_format(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise matplotlib's ValueError for an unknown format as UsageError."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
