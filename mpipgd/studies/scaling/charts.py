"""The charts of a study: times, speed-up, efficiency, shares, epochs to a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...reporting.charts import Axis, Series, bar_chart, line_chart
from ...reporting.timing import TIME_KINDS
from .statistics import Interval, ScalingResult

Value = Callable[[ScalingResult], float | None]


def chart_by_ranks(
    results: Sequence[ScalingResult],
    value: Value,
    interval: Callable[[ScalingResult], Interval | None],
    *,
    label: str,
    ideal: Callable[[int, ScalingResult], float] | None = None,
    log: bool = False,
) -> str:
    """Return a chart of one number of all settings of a mode by the ranks, as HTML.

    `ideal(ranks, base)`, where base is the result on the fewest ranks, is dotted;
    ranks that outnumber cores are a series of their own, with hollow markers.
    """
    series: list[Series] = []
    for number, name in enumerate(dict.fromkeys(result.label for result in results)):
        setting = [
            result
            for result in results
            if result.label == name and value(result) is not None
        ]
        if not setting:
            continue
        apart = [result for result in setting if not result.crowded]
        crowded = [result for result in setting if result.crowded]
        if crowded:  # below the other: they share a point, whose marker is filled
            text = f"{name}, more ranks than cores"
            line = _series(text, [*apart[-1:], *crowded], value, interval, number)
            series.append(_hollow(line))
        if apart:
            series.append(_series(name, apart, value, interval, number))
        predicted = [result for result in setting if result.predicted]
        if log and predicted:
            series.append(
                Series(
                    f"{name}, predicted",
                    [result.ranks for result in predicted],
                    [result.predicted for result in predicted],
                    5,
                    "points",
                )
            )
        if ideal:
            base = setting[0]
            x = [result.ranks for result in setting]
            ideals = [ideal(ranks, base) for ranks in x]
            series.append(Series(f"{name}, ideal", x, ideals, number, "guide"))
    ranks = sorted({result.ranks for result in results})
    return line_chart(
        series,
        Axis("ranks", True, ranks[0] / 1.2, ranks[-1] * 1.2, tuple(ranks)),
        Axis(label, log=log, low=None if log else 0.0),
        title=f"{label} by ranks",
    )


def _series(
    name: str,
    results: Sequence[ScalingResult],
    value: Value,
    interval: Callable[[ScalingResult], Interval | None],
    style: int,
) -> Series:
    y = [value(result) for result in results]
    pairs = [interval(result) for result in results]
    bounds = [pair for pair in pairs if pair is not None]
    intervals = bounds if len(bounds) == len(pairs) else ()
    return Series(name, [r.ranks for r in results], y, style, intervals=intervals)


def _hollow(series: Series) -> Series:
    return Series(
        series.name, series.x, series.y, series.style, "line", series.intervals, True
    )


def share_chart(results: Sequence[ScalingResult]) -> str:
    """Return the shares of compute, exchange, wait and read as bars, as HTML."""
    labels = [
        f"{result.label}, {result.ranks} rank{'s' if result.ranks > 1 else ''}"
        for result in results
    ]
    parts = {
        kind: [100 * result.shares[kind] for result in results] for kind in TIME_KINDS
    }
    return bar_chart(
        labels, parts, unit="% of the seconds", title="Shares of the time by ranks"
    )
