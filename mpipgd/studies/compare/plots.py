"""The plots of a comparison: how far each setting is from the optimum."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from ...reporting.plots import AXES, new_figure, series_style
from .ranking import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_gaps(comparison: Comparison, against: str) -> Figure:
    """Plot objective − reference of all settings of a comparison; return the figure.

    `against` is a key of AXES. Medians over the repeats are thick, the repeats thin.
    """
    label, unit = AXES[against]
    reference, best = comparison.reference, comparison.best
    figure, axes = new_figure(9.6, 4.4)
    floor = 1e-15 * max(abs(best.start), abs(reference), 1e-9)
    start = max(best.start - reference, floor)
    # if the reference is the best of the runs, that run has no gap to draw
    no_gap = floor if comparison.optimum_known else math.nan
    lowest = max(comparison.target - reference, floor)
    for number, row in enumerate(comparison.rows):
        lines = []
        for run in comparison.runs_of(row["label"]):
            x = (record[against] / unit for record in run["records"])
            gaps = (record["loss"] - reference for record in run["records"])
            y = (gap if gap > floor else no_gap for gap in gaps)
            lines.append([(0.0, start), *zip(x, y)])
        medians = [
            [statistics.median(values) for values in zip(*points)]
            for points in zip(*lines)
        ]
        style = series_style(number, len(medians))
        for line in lines if len(lines) > 1 else ():
            axes.plot(*zip(*line), linewidth=0.6, alpha=0.4, color=style["color"])
        axes.plot(*zip(*medians), label=row["label"], linewidth=1.8, **style)
        lowest = min([lowest, *(y for _, y in medians)])
    axes.set_yscale("log")
    axes.set_ylim(lowest / 2, 3 * start)  # a run that diverges leaves the plot
    _draw_target(axes, comparison)
    source = "optimum" if comparison.optimum_known else "best of the runs"
    axes.set(xlabel=label, ylabel=f"objective − {source}")
    if against == "bytes":
        _scale_bytes(axes, comparison)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _draw_target(axes: Axes, comparison: Comparison) -> None:
    target = comparison.target - comparison.reference
    axes.axhline(target, color="#555555", linewidth=0.8)
    axes.annotate(
        "target", (1, target), xycoords=("axes fraction", "data"),
        xytext=(-2, 3), textcoords="offset points", ha="right", color="#555555",
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )  # fmt: skip


def _scale_bytes(axes: Axes, comparison: Comparison) -> None:
    """Make the axis of bytes logarithmic, but linear near 0: some send nothing."""
    sent = [
        record["bytes"]
        for run in comparison.runs
        for record in run["records"]
        if record["bytes"]
    ]
    if sent:
        smallest = 10 ** math.floor(math.log10(min(sent) / 1e6))
        axes.set_xscale("symlog", linthresh=smallest, linscale=0.4)
        axes.set_xlim(left=-smallest / 10)
