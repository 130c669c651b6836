"""The charts of a comparison: how far each setting is from the optimum."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from ...reporting.charts import Axis, Series, line_chart
from ...reporting.plots import axis_of
from .ranking import Comparison


def gap_chart(comparison: Comparison, against: str) -> str:
    """Return a chart of objective − reference of all settings, as HTML.

    `against` is a key of AXES. Medians over the repeats are thick, the repeats thin.
    Bytes have a logarithmic axis, at whose left edge is what was sent without bytes.
    """
    records = (record for run in comparison.runs for record in run["records"])
    label, unit = axis_of(against, records)
    reference, best = comparison.reference, comparison.best
    floor = 1e-15 * max(abs(best.start), abs(reference), 1e-9)
    start = max(best.start - reference, floor)
    # if the reference is the best of the runs, that run has no gap to draw
    no_gap = floor if comparison.optimum_known else math.nan
    target = max(comparison.target - reference, floor)
    lowest, least = target, _least(comparison) / unit if against == "bytes" else 0.0
    series: list[Series] = []
    for number, row in enumerate(comparison.rows):
        lines = []
        for run in comparison.runs_of(row["label"]):
            x = (max(record[against] / unit, least) for record in run["records"])
            gaps = (record["loss"] - reference for record in run["records"])
            y = (gap if gap > floor else no_gap for gap in gaps)
            lines.append([(least, start), *zip(x, y)])
        medians = [
            tuple(statistics.median(values) for values in zip(*points))
            for points in zip(*lines)
        ]
        repeats = lines if len(lines) > 1 else []
        series += [_series(row["label"], line, number, "thin") for line in repeats]
        series.append(_series(row["label"], medians, number, "line"))
        lowest = min([lowest, *(y for _, y in medians if math.isfinite(y))])
    source = "optimum" if comparison.optimum_known else "best of the runs"
    return line_chart(
        series,
        Axis(label, log=against == "bytes", whole=against == "epoch"),
        # a run that diverges leaves the chart
        Axis(f"objective − {source}", log=True, low=lowest / 2, high=3 * start),
        title=f"Gap by {label}",
        levels={"target": target},
    )


def _series(
    name: str, points: Sequence[tuple[Any, ...]], style: int, kind: str
) -> Series:
    x, y = zip(*points)
    return Series(name, x, y, style, kind)


def _least(comparison: Comparison) -> float:
    """Return a tenth of the fewest bytes that any run had sent, but none."""
    values = [
        record["bytes"]
        for run in comparison.runs
        for record in run["records"]
        if record["bytes"]
    ]
    return 0.1 * min(values, default=1.0)
