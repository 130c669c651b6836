"""A comparison as one HTML page with its tables and charts inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...reporting.html import (
    definition_list,
    figure,
    heading,
    paragraph,
    table,
    write_page,
)
from ...reporting.plots import AXES
from ...reporting.run_page import runs_chart
from . import ranking
from .charts import gap_chart

HEADINGS = {
    "sent": "sent per rank", "s to target": "seconds to target",
    "epochs": "epochs to target", "bytes": "bytes to target", "": "ended",
}  # fmt: skip


STEPS = {  # strategy -> what a step of it is, with W workers at a learning rate
    "sync": "One update by the mean gradient of all W workers.",
    "average": "One update of each worker's own model by its own gradient; models "
    "are averaged at a synchronization, so that W updates count as their mean.",
    "oneshot": "One update of each worker's own model by its own gradient; models "
    "are averaged once, at the end.",
    "elastic": "One update of each worker's own model; at a synchronization models "
    "and the center pull at each other, and the center is evaluated.",
    "gossip": "One update of each worker's own model; neighbours average theirs.",
    "hogwild": "W updates, all added to one vector: at the same learning rate it moves "
    "up to W times as far as sync, which takes their mean.",
    "async": "W updates, all added to one vector: at the same learning rate it moves "
    "up to W times as far as sync, which takes their mean, by gradients that are late.",
}


def write(folder: Path, comparison: ranking.Comparison) -> None:
    """Write index.html of a comparison into a folder."""
    count = len(comparison.rows)
    noun = "setting" if count == 1 else "settings"
    title = f"{count} {noun} compared on {comparison.facts.get('data', 'data')}"
    sections = [
        paragraph(_explanation(comparison)),
        _facts(comparison),
        *_tables(comparison),
        heading("What a step is"),
        paragraph(
            "With W workers. Strategies differ in what becomes of the workers' "
            f"gradients, and are to be compared at the learning rate that suits each: "
            f"{_tuning(comparison)}."
        ),
        _steps(comparison),
        *_figures(comparison),
    ]
    write_page(folder / "index.html", title, sections)


def _explanation(comparison: ranking.Comparison) -> str:
    return (
        "Each setting ran on the same rows, in the same order for the same seed, by "
        "the same loop and clock. A gap is what the objective is above "
        f"{_reference_source(comparison)} ({comparison.reference:.8g}). The target is "
        f"an objective of {comparison.target:.6g}: {100 * (1 - comparison.gap):g} % of "
        f"the way from the first weights, at {comparison.best.start:.6g}"
        f"{_target_choice(comparison)}. Seconds are "
        "of training alone, without evaluation; with several repeats all figures are "
        "medians."
    )


def _target_choice(comparison: ranking.Comparison) -> str:
    if comparison.given_gap is not None:
        return ", as asked for by --gap"
    return ", chosen so that the first evaluation does not decide where it can"


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


def _tables(comparison: ranking.Comparison) -> Iterator[str]:
    """Yield the ranked tables; at equal tuning first, where a grid was given."""
    ranked = f"ranked by {ranking.RANKED_BY[comparison.ranked_by]}"
    notes = [paragraph(note, notice=True) for note in comparison.notes()]
    if comparison.grid_axes:
        yield heading(f"Best of the grid for each strategy, {ranked}")
        yield from notes
        yield _table(comparison, comparison.tuned_rows)
    yield heading(f"All settings, {ranked}")
    if not comparison.grid_axes:
        yield from notes
    yield _table(comparison, comparison.rows)


def _tuning(comparison: ranking.Comparison) -> str:
    """Return where settings are compared at equal tuning, or how to do so."""
    if comparison.grid_axes:
        return "see the best of the grid above"
    return "--grid lr=0.01,0.1,1 tries several"


def _table(comparison: ranking.Comparison, rows: Sequence[ranking.Row]) -> str:
    """Return the table of some rows; without the last column if all ended well."""
    headings, *cells = ranking.cells(rows)
    names = HEADINGS | {"score": _score_name(comparison)}
    headings = [names.get(text, text) for text in headings]
    bad = [row["status"] != "ok" for row in rows]
    if not any(bad):
        headings, cells = headings[:-1], [row[:-1] for row in cells]
    return table(headings, cells, bad)


def _score_name(comparison: ranking.Comparison) -> str:
    """Return what the score is, as "test accuracy"."""
    records = [record for run in comparison.runs for record in run["records"]]
    tested = all(record["test_loss"] is not None for record in records)
    names = {run["score_name"] for run in comparison.runs if "score_name" in run}
    score = names.pop() if len(names) == 1 else "score"
    return f"{'test' if tested else 'training'} {score}"


def _steps(comparison: ranking.Comparison) -> str:
    strategies = dict.fromkeys(row["strategy"] for row in comparison.rows)
    return definition_list({name: STEPS.get(name, "") for name in strategies})


def _figures(comparison: ranking.Comparison) -> Iterator[str]:
    """Yield the charts as HTML."""
    captions = {
        "epoch": "What an epoch brings: the statistics of a strategy alone.",
        "seconds": "What a second brings, on this machine.",
        "bytes": "What a byte brings. The axis is logarithmic; settings at its left "
        "edge send nothing.",
    }
    if not any(run["bytes"] for run in comparison.runs):
        del captions["bytes"]
        yield paragraph("On one rank nothing is sent: there is no chart by bytes.")
    beyond = ""
    if any(run["status"] != "ok" for run in comparison.runs):
        beyond = " A curve that reaches the upper edge is beyond it from there on."
    for against, caption in captions.items():
        chart, caption = gap_chart(comparison, against), caption + beyond
        yield figure(chart, f"Gap of the objective by {AXES[against][0]}", caption)
    rows = [row for row in comparison.rows if row["status"] == "ok"]
    records = {
        row["label"]: comparison.runs_of(row["label"])[0]["records"] for row in rows
    }
    name = _score_name(comparison)
    chart = runs_chart(records, label=name)
    caption = "Of the first repeat. " if comparison.repeat > 1 else ""
    if any(r.get("worker_scores") for run in records.values() for r in run):
        caption += "Thin lines are the workers' own models."
    yield figure(chart, f"{name[0].upper()}{name[1:]} by epochs", caption)
