"""A study as one HTML page with its tables and pictures inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...reporting.html import definition_list, picture, table, write_page
from ...reporting.plots import has_matplotlib
from . import export, plots, statistics
from .runner import Run
from .statistics import ScalingResult
from .study import Study

READING = (
    "Every number is a median over the repeats, with a 95 % bootstrap interval of that "
    "median. Speed-up and efficiency are against the fewest ranks of the same setting, "
    "whose seconds stand in the table. Time to a target is split in two: seconds an "
    "epoch are what the hardware did, epochs to the target what the statistics did. "
)
CROWDED = (
    "Hollow markers are runs with more ranks than cores: they say nothing about "
    "scaling, and have no efficiency."
)
TEXTS = {
    "strong": "Strong scaling: the same rows, shared by more ranks.",
    "weak": "Weak scaling: rows in proportion to the ranks.",
}


def write(
    folder: Path,
    study: Study,
    runs: Sequence[Run],
    results: Sequence[ScalingResult],
    forecast: Sequence[str] = (),
) -> None:
    """Write index.html of a study into its folder.

    `forecast`: HTML that follows the pictures.
    """
    title = f"Scaling on {study.name}"
    bad = [result.crowded for result in results]
    headings, *rows = export.cells(results)
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(READING + CROWDED * any(bad))}</p>",
        definition_list(_facts(study, runs)),
        *_incomplete(study, runs),
        *(
            f"<p>{escape(line)}.</p>"
            for line in statistics.weight_equality_lines(results, runs)
        ),
        table(headings, rows, bad),
        *_pictures(results),
        *forecast,
    ]
    write_page(folder / "index.html", title, sections)


def _facts(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """Return what all runs have in common, name -> value."""
    successful = [run for run in runs if run["status"] == "ok"]
    facts: dict[str, Any] = {}
    for label, base in study.settings.items():
        sizes = f"batch {base.batch_size} rows a worker"
        if base.strategy == "sync" and not base.workers and "strong" in study.modes:
            sizes = f"global batch {study.batch(base):,} in strong mode"
        model = f"{base.model}, {base.optimizer}, lr {base.lr:g}, {base.dtype or ''}"
        facts[label] = f"{model.rstrip(', ')}; {sizes}; {base.epochs} epochs"
    if successful:
        last = successful[-1]
        facts["machine"] = f"{last['platform']}, {last['cores']} cores a node"
        facts["MPI"] = last["library"]
        facts["nodes"] = f"up to {max(run['nodes'] for run in successful)}"
    return facts | {"repeats": study.repeat}


def _incomplete(study: Study, runs: Sequence[Run]) -> Iterator[str]:
    """Yield paragraphs on runs that are missing or failed."""
    total = len(list(study.points()))
    if len(runs) < total:
        yield f"<p><b>{len(runs)} of {total} runs have ended so far.</b></p>"
    for run in runs:
        if run["status"] != "ok":
            name = f"{run['mode']} {run['label']}, {run['ranks']} ranks"
            yield f"<p>{escape(name)}: {escape(run['status'])}</p>"


def _pictures(results: Sequence[ScalingResult]) -> Iterator[str]:
    """Yield the pictures of each mode."""
    if not has_matplotlib():
        yield "<p>Pictures need matplotlib: pip install matplotlib.</p>"
        return
    for mode, text in TEXTS.items():
        of_mode = [result for result in results if result.mode == mode]
        if of_mode:
            yield f"<h2>{mode.capitalize()} scaling</h2><p>{text}</p>"
            yield from _pictures_of_mode(mode, of_mode)


def _pictures_of_mode(mode: str, results: Sequence[ScalingResult]) -> Iterator[str]:
    """Yield the pictures of one mode."""
    strong = mode == "strong"
    figure = plots.plot_by_ranks(
        results, lambda r: r.seconds, lambda r: r.interval, label="seconds an epoch",
        ideal=_ideal if strong else lambda ranks, base: base.seconds, log=True,
    )  # fmt: skip
    text = "Seconds of training an epoch; dotted: ideal scaling from the fewest ranks."
    if any(result.predicted for result in results):
        text += " Crosses: as the model has it."
    yield picture(figure, f"{mode}-seconds", f"Time per epoch ({mode})", text)
    if any(result.efficiency is not None for result in results):
        figure = plots.plot_by_ranks(
            results, lambda r: r.speedup, lambda r: r.speedup_interval,
            label="speed-up", ideal=lambda ranks, base: ranks / base.ranks,
        )  # fmt: skip
        yield picture(figure, f"{mode}-speedup", f"Speed-up ({mode})", "Dotted: ideal.")
        figure = plots.plot_by_ranks(
            results, lambda r: r.efficiency, lambda r: r.efficiency_interval,
            label="efficiency", ideal=lambda ranks, base: 1.0,
        )  # fmt: skip
        text = "Of the ranks' time, what one rank would have needed too."
        yield picture(figure, f"{mode}-efficiency", f"Efficiency ({mode})", text)
    text = "Where a run's seconds went, a mean rank's; read: its rows, once a run."
    heading = f"Shares of the time ({mode})"
    yield picture(plots.plot_shares(results), f"{mode}-shares", heading, text)
    if any(result.epochs for result in results):
        figure = plots.plot_by_ranks(
            results, lambda r: r.epochs, lambda r: None, label="epochs to the target"
        )
        text = "The target is the worst of the runs' last losses: all reach it."
        yield picture(figure, f"{mode}-epochs", "What the statistics did", text)


def _ideal(ranks: int, base: ScalingResult) -> float:
    return base.seconds * base.ranks / ranks
