"""A study as one HTML page with its tables and charts inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...reporting.html import (
    definition_list,
    figure,
    heading,
    paragraph,
    table,
    write_page,
)
from . import charts, export, statistics
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
HEADINGS = {  # in the terminal's table -> on the page
    "s an epoch": "seconds an epoch",
    "95 %": "95 % interval",
    "epochs": "epochs to target",
    "s to target": "seconds to target",
}
TEXTS = {
    "strong": "The same rows, shared by more ranks.",
    "weak": "Rows in proportion to the ranks.",
}


def write(
    folder: Path,
    study: Study,
    runs: Sequence[Run],
    results: Sequence[ScalingResult],
    forecast: Sequence[str] = (),
) -> None:
    """Write index.html of a study into its folder.

    `forecast`: HTML that follows the charts.
    """
    title = f"Scaling on {study.name}"
    bad = [result.crowded for result in results]
    headings, *rows = export.cells(results)
    headings = [HEADINGS.get(text, text) for text in headings]
    sections = [
        paragraph(READING + CROWDED * any(bad)),
        definition_list(_facts(study, runs)),
        *_incomplete(study, runs),
        *_too_small(results),
        *(
            paragraph(f"{line}.")
            for line in statistics.weight_equality_lines(results, runs)
        ),
        heading("Results"),
        table(headings, rows, bad),
        *_figures(results),
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
        text = f"{len(runs)} of {total} runs have ended so far."
        yield paragraph(text, notice=True)
    for run in runs:
        if run["status"] != "ok":
            name = f"{run['mode']} {run['label']}, {run['ranks']} ranks"
            yield paragraph(f"{name}: {run['status']}", notice=True)


def _too_small(results: Sequence[ScalingResult]) -> Iterator[str]:
    """Yield a paragraph on the settings that are too little work to scale."""
    small = statistics.too_small(results)
    if small:
        least = 1e3 * statistics.LEAST_EPOCH_SECONDS
        epochs = (
            f"{label} ({mode}) {1e3 * seconds:.3g} ms"
            for (mode, label), seconds in small.items()
        )
        yield paragraph(
            "Too little work to say how it scales, or to predict it. An epoch takes "
            f"{', '.join(epochs)}; below {least:g} ms fixed costs count. Take more "
            "rows or a larger model.",
            notice=True,
        )


def _figures(results: Sequence[ScalingResult]) -> Iterator[str]:
    """Yield the figures of each mode."""
    for mode, text in TEXTS.items():
        of_mode = [result for result in results if result.mode == mode]
        if of_mode:
            yield heading(f"{mode.capitalize()} scaling")
            yield paragraph(text)
            yield from _figures_of_mode(mode, of_mode)


def _figures_of_mode(mode: str, results: Sequence[ScalingResult]) -> Iterator[str]:
    """Yield the figures of one mode."""
    strong = mode == "strong"
    chart = charts.chart_by_ranks(
        results, lambda r: r.seconds, lambda r: r.interval,
        label="seconds of training an epoch",
        ideal=_ideal if strong else lambda ranks, base: base.seconds, log=True,
    )  # fmt: skip
    text = "Dotted: ideal scaling from the fewest ranks."
    if any(result.predicted for result in results):
        text += " Points without a line: predicted by the cost model."
    yield figure(chart, f"Seconds an epoch ({mode})", text)
    if any(result.efficiency is not None for result in results):
        chart = charts.chart_by_ranks(
            results, lambda r: r.speedup, lambda r: r.speedup_interval,
            label="speed-up", ideal=lambda ranks, base: ranks / base.ranks,
        )  # fmt: skip
        yield figure(chart, f"Speed-up ({mode})", "Dotted: ideal.")
        chart = charts.chart_by_ranks(
            results, lambda r: r.efficiency, lambda r: r.efficiency_interval,
            label="efficiency", ideal=lambda ranks, base: 1.0,
        )  # fmt: skip
        text = "Of the ranks' time, what one rank would have needed too."
        yield figure(chart, f"Efficiency ({mode})", text)
    text = "Where a run's seconds went, a mean rank's; read: its rows, once a run."
    chart = charts.share_chart(results)
    yield figure(chart, f"Shares of the time, by setting and ranks ({mode})", text)
    if any(result.epochs for result in results):
        chart = charts.chart_by_ranks(
            results, lambda r: r.epochs, lambda r: None, label="epochs to the target"
        )
        text = "The target is the worst of the runs' last losses: all reach it."
        yield figure(chart, f"Epochs to the target ({mode})", text)


def _ideal(ranks: int, base: ScalingResult) -> float:
    return base.seconds * base.ranks / ranks
