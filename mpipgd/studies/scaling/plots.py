"""The plots of a study: times, speed-up, efficiency, shares, epochs to a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...reporting.plots import new_figure, series_style
from ...reporting.timing import TIME_KINDS
from .statistics import Interval, ScalingResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARE_COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#999999")


def plot_by_ranks(
    results: Sequence[ScalingResult],
    value: Callable[[ScalingResult], float | None],
    interval: Callable[[ScalingResult], Interval | None],
    *,
    label: str,
    ideal: Callable[[int, ScalingResult], float] | None = None,
    log: bool = False,
) -> Figure:
    """Plot one number of all settings of a mode by the ranks; return the figure.

    `ideal(ranks, base)`, where base is the result on the fewest ranks, is drawn thin;
    ranks that outnumber cores have hollow markers.
    """
    figure, axes = new_figure(6.4, 3.7)
    for number, name in enumerate(dict.fromkeys(result.label for result in results)):
        setting = [
            (result, y)
            for result in results
            if result.label == name and (y := value(result)) is not None
        ]
        if not setting:
            continue
        style = series_style(number, 1) | {"markevery": None}
        x = [result.ranks for result, _ in setting]
        axes.plot(x, [y for _, y in setting], label=name, **style)
        for result, y in setting:
            low, high = interval(result) or (y, y)
            axes.vlines(result.ranks, low, high, color=style["color"], linewidth=1.2)
            if result.crowded:
                hollow = {"markerfacecolor": "white", "linestyle": "", "zorder": 5}
                axes.plot([result.ranks], [y], **style | hollow)
        if ideal:
            base = setting[0][0]
            ideals = [ideal(ranks, base) for ranks in x]
            axes.plot(x, ideals, color=style["color"], linewidth=0.6, linestyle=":")
        predicted = [result for result, y in setting if y == result.seconds]
        _plot_predictions(axes, predicted, style)
    _format_ranks(axes, sorted({result.ranks for result in results}))
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _plot_predictions(
    axes: Axes, results: Sequence[ScalingResult], style: dict[str, Any]
) -> None:
    """Plot the predictions of times as crosses."""
    points = [(row.ranks, row.predicted) for row in results if row.predicted]
    if points:
        x, y = zip(*points)
        axes.plot(x, y, "x", color=style["color"], markersize=9, label="predicted")


def _format_ranks(axes: Axes, ranks: Sequence[int]) -> None:
    """Make the axis of ranks logarithmic, with those that ran as its ticks."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(number) for number in ranks])
    axes.minorticks_off()
    axes.set_xlim(ranks[0] / 1.2, ranks[-1] * 1.2)
    axes.set_xlabel("ranks")


def plot_shares(results: Sequence[ScalingResult]) -> Figure:
    """Plot the shares of compute, exchange, wait and read as bars."""
    names = [f"{result.label}\n{result.ranks}" for result in results]
    figure, axes = new_figure(max(6.4, 1.0 + 0.8 * len(results)), 3.4)
    bottom = [0.0] * len(results)
    for kind, colour in zip(TIME_KINDS, SHARE_COLOURS):
        heights = [100 * result.shares[kind] for result in results]
        axes.bar(names, heights, 0.7, bottom=bottom, label=kind, color=colour)
        bottom = [below + height for below, height in zip(bottom, heights)]
    axes.set(ylim=(0, 100), ylabel="% of the seconds", xlabel="setting, ranks")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure
