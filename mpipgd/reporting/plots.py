"""Pictures of runs as PNG or PDF files. Without matplotlib there are none.

Series differ by colour (Okabe & Ito 2008, for all kinds of sight), dashes and markers.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from .base import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.5, 1.2)))
MARKERS = "os^DvPX*<>"
AXES = {  # what curves are drawn against: key of a record -> (label, unit)
    "epoch": ("epochs", 1),
    "seconds": ("seconds of training", 1),
    "bytes": ("bytes sent per rank", 1),
    "samples": ("rows read", 1),
}
BYTES = {"GB": 1e9, "MB": 1e6, "kB": 1e3}
PART_STYLES = {"test": 0, "training": 1, "validation": 2}  # of the curves of a run
VALIDATION = {"score": "validation_score", "loss": "validation_loss"}  # beside a key


def axis_of(against: str, records: Iterable[Record]) -> tuple[str, float]:
    """Return label and unit of an axis on which curves of some records are drawn.

    `against` is a key of AXES; the unit of bytes is that of the largest.
    """
    if against != "bytes":
        return AXES[against]
    largest = max((record["bytes"] for record in records), default=0)
    name = next((name for name, size in BYTES.items() if largest >= size), "bytes")
    return f"{name} sent per rank", BYTES.get(name, 1.0)


def has_matplotlib() -> bool:
    """Return whether matplotlib can be imported."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(width: float = 6.4, height: float = 4.0) -> tuple[Figure, Axes]:
    """Return an empty figure (size in inches) and its axes, with a light grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def series_style(number: int, points: int = 0) -> dict[str, Any]:
    """Return colour and dashes of the n-th series, as keywords of `plot`.

    With `points`, the length of the series, some of them get a marker.
    """
    style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)]}
    style["linestyle"] = DASHES[number % len(DASHES)]
    if points:
        every = max(1, points // 6)
        style |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 5}
        style["markevery"] = (min(number % every, points - 1), every)
    return style


def plot_loss(records: Sequence[Record], path: str | os.PathLike[str]) -> Figure:
    """Plot the losses and scores of one run by its epochs, into a file; return it."""
    figure, left = new_figure()
    x = [record["epoch"] for record in records]
    losses = {"loss": "training", "validation_loss": "validation", "test_loss": "test"}
    for key, part in losses.items():
        if _has(records, key):
            y = _values(records, key)
            style = series_style(PART_STYLES[part])
            left.plot(x, y, label=f"{part} objective", **style)
    right = left.twinx()
    scored = "test" if _has(records, "test_loss") else "training"
    scores = {"score": (scored, ":"), "validation_score": ("validation", "-.")}
    for key, (split, dots) in scores.items():
        if _has(records, key):
            y = _values(records, key)
            right.plot(x, y, color="#555555", ls=dots, label=f"{split} score")
    right.set_ylabel("score (R² or accuracy)")
    left.set(xlabel="epochs", ylabel="objective: mean loss a row + penalty")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)
    return figure


def _values(records: Sequence[Record], key: str) -> list[float]:
    """Return a series; NaN, a gap in the plot, where a number was not finite."""
    values = (record.get(key) for record in records)
    return [math.nan if value is None else value for value in values]


def _has(records: Sequence[Record], key: str) -> bool:
    """Return whether any record has a number of this name."""
    return any(record.get(key) is not None for record in records)


def plot_runs(
    series: Mapping[str, Sequence[Record]],
    path: str | os.PathLike[str] | None = None,
    *,
    against: str = "epoch",
    show: str = "score",
    name: str = "score",
) -> Figure:
    """Plot the curves of several runs (label -> records); return the figure.

    `against` is a key of AXES, `show` a key of the records and `name` its label. The
    consensus is dashed, over thin lines of the workers' own models where their scores
    were recorded; what is measured on validation rows is dotted. The figure is saved at
    `path` if there is one.
    """
    label, unit = axis_of(against, chain.from_iterable(series.values()))
    figure, axes = new_figure(9.6, 4.4)
    lowest, finite = 0.0, []
    for number, (run, records) in enumerate(series.items()):
        x = [record[against] / unit for record in records]
        style = series_style(number, len(x)) | {"linewidth": 1.8}
        worker_scores: list[Any] = [record.get("worker_scores") for record in records]
        if show == "score" and None not in worker_scores:
            thin = {"color": style["color"], "linewidth": 0.6, "alpha": 0.5}
            axes.plot(x, worker_scores, **thin)
            axes.plot([], [], label=f"{run}: single workers", **thin)
            style["linestyle"] = "--"
        y = _values(records, show)
        axes.plot(x, y, label=run, **style)
        held_out = VALIDATION.get(show, "")
        if _has(records, held_out):
            dotted = {"color": style["color"], "linestyle": ":", "linewidth": 1.4}
            values = _values(records, held_out)
            axes.plot(x, values, label=f"{run}: validation", **dotted)
            y = y + values
        lowest = min([lowest, *y])
        finite += [value for value in y if math.isfinite(value)]
    if show == "score" and lowest < -0.1:
        axes.set_ylim(bottom=-0.1)  # scores far below those of guessing say nothing
    if show != "score" and finite and 0 < 10 * min(finite) < max(finite):
        axes.set_yscale("log")  # a run that diverges must not flatten the others
    axes.set(xlabel=label, ylabel=name)
    figure.legend(loc="outside right upper", frameon=False)
    if path:
        figure.savefig(path, dpi=120)
    return figure
