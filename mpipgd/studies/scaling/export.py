"""A study's tables: results.csv, runs.jsonl, Extra-P's text, and a terminal's."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...atomic_file import atomic_write_text
from ...errors import CheckpointError
from ...reporting.run_folder import file_name
from ...reporting.tables import format_number, format_table
from ...reporting.timing import TIME_KINDS
from .runner import Run
from .statistics import ScalingResult

COLUMNS = (
    "mode",
    "setting",
    "ranks",
    "repeats",
    "crowded",
    "epoch_seconds",
    "epoch_seconds_low",
    "epoch_seconds_high",
    "speedup",
    "speedup_low",
    "speedup_high",
    "efficiency",
    "efficiency_low",
    "efficiency_high",
    "epochs_to_target",
    "seconds_to_target",
    *TIME_KINDS,
    "predicted",
    "error",
)
HEADINGS = (
    "mode",
    "setting",
    "ranks",
    "s an epoch",
    "95 %",
    "speed-up",
    "efficiency",
    "epochs",
    "s to target",
    "predicted",
    "",
)


def write(folder: Path, runs: Sequence[Run], results: Sequence[ScalingResult]) -> None:
    """Write results.csv, runs.jsonl and extrap.txt into the folder of a study."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *map(values, results)])
    lines = "".join(json.dumps(run, ensure_ascii=False) + "\n" for run in runs)
    atomic_write_text(folder / "results.csv", text.getvalue(), CheckpointError)
    atomic_write_text(folder / "runs.jsonl", lines, CheckpointError)
    atomic_write_text(folder / "extrap.txt", extrap(results), CheckpointError)


def values(result: ScalingResult) -> tuple[Any, ...]:
    """Return the values of a row of results.csv."""
    return (
        *(result.mode, result.label, result.ranks, len(result.runs)),
        int(result.crowded),
        *(result.seconds, *result.interval),
        *(result.speedup, *(result.speedup_interval or (None, None))),
        *(result.efficiency, *(result.efficiency_interval or (None, None))),
        *(result.epochs, result.seconds_to_target),
        *(result.shares[kind] for kind in TIME_KINDS),
        *(result.predicted, result.error),
    )


def extrap(results: Sequence[ScalingResult]) -> str:
    """Return the seconds an epoch of all repeats in Extra-P's text format.

    One parameter, the ranks; a region for each mode and setting, on the numbers of
    ranks that all of them have and that had a core each.
    Source: Extra-P's documentation, "Text file format".
    """
    regions: dict[str, dict[int, list[float]]] = {}  # name -> ranks -> seconds
    for result in results:
        if not result.crowded:
            name = file_name(f"{result.mode}_{result.label}", "_")
            regions.setdefault(name, {})[result.ranks] = result.times
    points = sorted(set.intersection(*map(set, regions.values()))) if regions else []
    lines = ["PARAMETER p", "POINTS " + " ".join(f"({ranks})" for ranks in points)]
    for name, times in regions.items() if points else ():
        lines += ["", f"REGION {name}", "METRIC time"]
        lines += ["DATA " + " ".join(map(repr, times[ranks])) for ranks in points]
    return "\n".join(lines) + "\n"


def cells(results: Sequence[ScalingResult]) -> list[list[str]]:
    """Return the readable table as lists of texts, headings first.

    Columns with nothing in them are left out.
    """
    columns = zip(HEADINGS, *map(_cells, results))
    filled = [column for column in columns if not {*column[1:]} <= {"–", ""}]
    return [list(row) for row in zip(*filled)] or [list(HEADINGS)]


def _cells(result: ScalingResult) -> tuple[str, ...]:
    low, high = result.interval
    predicted = "–"
    if result.predicted is not None:
        predicted = f"{result.predicted:.4g} ({result.error:+.0%})"
    return (
        *(result.mode, result.label, str(result.ranks), f"{result.seconds:.4g}"),
        f"{low:.4g} … {high:.4g}",
        format_number(result.speedup, ".2f"),
        format_number(result.efficiency, ".2f"),
        format_number(result.epochs, ".3g"),
        format_number(result.seconds_to_target, ".3g"),
        predicted,
        "more ranks than cores" if result.crowded else "",
    )


def lines(results: Sequence[ScalingResult]) -> list[str]:
    """Return the table for a terminal."""
    return format_table(cells(results))
