"""A comparison as one HTML page with its table and pictures inside."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from ...reporting.html import definition_list, picture, table, write_page
from ...reporting.plots import AXES, has_matplotlib, plot_runs
from . import ranking
from .plots import plot_gaps

HEADINGS = {
    "sent": "sent per rank", "s to target": "seconds to target",
    "epochs": "epochs to target", "bytes": "bytes to target", "": "ended",
}  # fmt: skip


def write(folder: Path, comparison: ranking.Comparison) -> None:
    """Write index.html of a comparison into a folder."""
    title = f"{len(comparison.rows)} ways to descend on {comparison.facts['data']}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(_explanation(comparison))}</p>",
        _facts(comparison),
        "<h2>Ranked by the seconds to the target</h2>",
        _table(comparison),
        *_pictures(comparison),
    ]
    write_page(folder / "index.html", title, sections)


def _explanation(comparison: ranking.Comparison) -> str:
    return (
        "Each setting ran on the same rows, in the same order for the same seed, by "
        "the same loop and clock. A gap is what the objective is above "
        f"{_reference_source(comparison)} ({comparison.reference:.8g}). The target is "
        f"an objective of {comparison.target:.6g}: {100 * (1 - comparison.gap):g} % of "
        f"the way from the first weights, at {comparison.best.start:.6g}. Seconds are "
        "of training alone, without evaluation; with several repeats all figures are "
        "medians."
    )


def _reference_source(comparison: ranking.Comparison) -> str:
    if comparison.optimum_known:
        return "the optimum, found by L-BFGS"
    return "the best of these runs"


def _facts(comparison: ranking.Comparison) -> str:
    facts = dict(comparison.facts) | {"repeats": comparison.repeat}
    best = comparison.best
    if best.objective is not None:
        facts["optimum"] = (
            f"{best.objective:.10g} after {best.iterations} iterations of L-BFGS, "
            f"largest slope {best.gradient_norm:.1e}"
        )
    return definition_list(facts)


def _table(comparison: ranking.Comparison) -> str:
    headings, *rows = ranking.cells(comparison)
    headings = [HEADINGS.get(text, text) for text in headings]
    return table(headings, rows, [row["status"] != "ok" for row in comparison.rows])


def _pictures(comparison: ranking.Comparison) -> Iterator[str]:
    """Yield the pictures as HTML."""
    if not has_matplotlib():
        yield "<p>Pictures need matplotlib: pip install matplotlib.</p>"
        return
    captions = {
        "epoch": "What an epoch brings: the statistics of a strategy alone.",
        "seconds": "What a second brings, on this machine.",
        "bytes": "What a byte brings. The axis is logarithmic but near 0; "
        "settings at its left edge send nothing.",
    }
    if not any(run["bytes"] for run in comparison.runs):
        del captions["bytes"]
        yield "<p>On one rank nothing is sent: there is no picture by bytes.</p>"
    for against, caption in captions.items():
        figure = plot_gaps(comparison, against)
        yield picture(figure, against, f"Gap by {AXES[against][0]}", caption)
    labels = (row["label"] for row in comparison.rows if row["status"] == "ok")
    series = {label: comparison.runs_of(label)[0]["records"] for label in labels}
    figure = plot_runs(series, name="score (R² or accuracy)")
    caption = (
        "Of the first repeat; thin lines are the workers' own models, if recorded."
    )
    yield picture(figure, "score", "Score by epochs", caption)
