"""Charts for HTML pages: SVG that needs no script, and data for one that adds hovering.

Series differ by colour (Okabe & Ito 2008, for all kinds of sight), dashes and markers.
`page.js` puts a chart of uPlot, with read-outs and series that can be hidden, in the
place of the SVG on a screen; on paper and without scripts the SVG stands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BAR_COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#999999", "#56B4E9")
DASHES: tuple[tuple[float, ...], ...] = ((), (9, 3), (9, 3, 2, 3), (3, 3))
MARKERS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",  # circle
    "M-3.5,-3.5h7v7h-7z",
    "M0,-4.6L4.4,3.4H-4.4z",
    "M0,-5L5,0L0,5L-5,0z",
    "M0,4.6L4.4,-3.4H-4.4z",
    "M-4,-4L4,4M-4,4L4,-4",
    "M0,-5V5M-5,0H5",
)
LEFT, RIGHT, TOP, BOTTOM = 74.0, 16.0, 14.0, 46.0  # margins around the axes
LETTER = 6.6  # mean width of a letter of the labels
MAX_MARKERS = 8
MOST_SHOWN = 1e50  # uPlot draws no axis of larger numbers
MANY_POINTS = 40  # that are drawn as dots, not as markers

Point = tuple[float, float]


class Shape(NamedTuple):
    """The size of a chart with its axes, without its legend."""

    width: float
    height: float

    @property
    def right(self) -> float:
        """Where the axes end."""
        return self.width - RIGHT

    @property
    def bottom(self) -> float:
        """Where the x axis is."""
        return self.height - BOTTOM


WIDE, SQUARE = Shape(720.0, 340.0), Shape(470.0, 440.0)
BAR_WIDTH = 600.0


@dataclass(frozen=True)
class Series:
    """A named series of a chart; `y` has None where there is no number.

    `style` numbers colour, dashes and marker. `kind` is "line" (with some markers),
    "curve" (without), "thin" (a line in the background), "guide" (dotted), or "points".
    Series of one name share a legend,
    that of the line, and are hidden together. `intervals` are (low, high) of each
    point; `hollow` markers are not filled.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    style: int = 0
    kind: str = "line"
    intervals: Sequence[tuple[float, float]] = ()
    hollow: bool = False

    @property
    def colour(self) -> str:
        """The colour, as CSS has it."""
        return COLOURS[self.style % len(COLOURS)]

    @property
    def dash(self) -> tuple[float, ...]:
        """The lengths of dashes and gaps; empty for a solid line."""
        if self.kind == "guide":
            return (2, 3)
        return () if self.kind == "thin" else DASHES[self.style % len(DASHES)]


@dataclass(frozen=True)
class Axis:
    """An axis: its label, whether it is logarithmic, and its limits and ticks.

    What is None is chosen from the data. `whole`: ticks are whole numbers.
    """

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: tuple[float, ...] | None = None
    whole: bool = False


def line_chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    title: str,
    levels: Mapping[str, float] | None = None,
    shape: Shape = WIDE,
    interactive: bool = True,
) -> str:
    """Return a chart of series as HTML: SVG, and its data for `page.js`.

    `title` is read out to who does not see it; `levels` are named horizontal lines.
    Points that are not finite, or not above 0 on a logarithmic axis, are left out.
    """
    levels = levels or {}
    series = [_drawable(one, x, y) for one in series]
    x_values = [value for one in series for value in one.x]
    y_values = [value for one in series for value in one.y if value is not None]
    y_values += [end for one in series for pair in one.intervals for end in pair]
    margin = 0.05 if shape == SQUARE else 0.0
    x_scale = _Scale(x, x_values, LEFT, shape.right, margin=margin)
    y_scale = _Scale(y, [*y_values, *levels.values()], shape.bottom, TOP)
    legend, legend_height = _legend(series, shape)
    body = [
        *_grid(x_scale, y_scale, shape),
        *_levels(levels, y_scale, shape),
        *(mark for one in series for mark in _marks(one, x_scale, y_scale)),
        *legend,
    ]
    svg = _svg(body, shape, legend_height, title)
    if not interactive or max(map(abs, (y_scale.low, y_scale.high))) > MOST_SHOWN:
        return svg
    data = {
        "series": [
            _plain(one) | {"legend": one in _legend_series(series)} for one in series
        ],
        "x": _plain_axis(x_scale),
        "y": _plain_axis(y_scale),
        "levels": levels,
        "shape": shape._asdict() if shape != WIDE else None,
    }
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return f'{svg}<script type="application/json" class="chart">{text}</script>'


def bar_chart(
    labels: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    *,
    unit: str,
    title: str,
    format_spec: str = ".3g",
) -> str:
    """Return stacked horizontal bars as SVG: a bar for each label, a colour a part."""
    totals = [sum(values) for values in zip(*parts.values())]
    longest = max(totals, default=0.0) or 1.0
    left = min(260.0, 24 + LETTER * max(map(len, labels), default=0))
    height, thickness = 24.0 * len(labels) + 52, 16.0
    right = BAR_WIDTH - RIGHT
    scale = _Scale(Axis(unit, low=0.0, high=longest), [], left, right)
    body = []
    for tick in scale.ticks:
        at = scale(tick)
        body.append(f'<path class="grid" d="M{at:.1f},8V{height - 44:.1f}"/>')
        body.append(_text(at, height - 28, f"{tick:,.7g}", anchor="middle"))
    body.append(_text((left + right) / 2, height - 8, unit, anchor="middle"))
    for row, label in enumerate(labels):
        top = 10 + 24.0 * row
        body.append(_text(left - 8, top + 12, label, anchor="end"))
        start = 0.0
        for number, (part, values) in enumerate(parts.items()):
            low, high = scale(start), scale(start + values[row])
            start += values[row]
            words = escape(f"{label}, {part}: {format(values[row], format_spec)}")
            body.append(
                f'<rect x="{low:.2f}" y="{top:.1f}" width="{max(0, high - low):.2f}" '
                f'height="{thickness}" fill="{BAR_COLOURS[number % len(BAR_COLOURS)]}">'
                f"<title>{words} {escape(unit)}</title></rect>"
            )
    names = [Series(part, (), (), number) for number, part in enumerate(parts)]
    legend, more = _bar_legend(names, height)
    return _svg([*body, *legend], Shape(BAR_WIDTH, height), more, title)


class _Scale:
    """Limits and ticks of an axis, and where its values are drawn."""

    def __init__(
        self,
        axis: Axis,
        values: Sequence[float],
        start: float,
        end: float,
        margin: float = 0.05,
    ) -> None:
        self.axis, self._start, self._end = axis, start, end
        low = min(values, default=0.1 if axis.log else 0.0)
        high = max(values, default=1.0)
        if axis.log:
            ratio = (high / low) ** margin if high > low else 2.0
            low, high = max(low / ratio, 1e-307), min(high * ratio, 1e307)
        else:
            extra = margin * (high - low) if high > low else 0.5 * abs(high) or 0.5
            low, high = low - extra, high + extra
        self.low = axis.low if axis.low is not None else low
        self.high = axis.high if axis.high is not None else high
        if self.high <= self.low:
            self.high = self.low * 10 if axis.log else self.low + 1
        self.ticks = axis.ticks or tuple(_ticks(self.low, self.high, axis))

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value; of one beyond the limits, the edge's."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.axis.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self._start + (value - low) / (high - low) * (self._end - self._start)


def _ticks(low: float, high: float, axis: Axis) -> Iterator[float]:
    """Yield round numbers between two limits, at most about eight."""
    if axis.log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = max(1, math.ceil((last - first) / 7))
        for power in range(first, last + 1, every):
            for factor in (1, 2, 5) if last - first <= 3 else (1,):
                if low <= factor * 10.0**power <= high:
                    yield factor * 10.0**power
        return
    rough = max((high - low) / 6, float(axis.whole))
    magnitude = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if axis.whole else (1, 2, 2.5, 5, 10)
    step = next(magnitude * f for f in factors if magnitude * f >= 0.999 * rough)
    number = math.ceil(low / step - 1e-9)  # of a tick
    while number * step <= high + 1e-9 * step:
        yield round(number * step, 12)
        number += 1


def _drawable(series: Series, x: Axis, y: Axis) -> Series:
    """Return a series without the x, and with gaps for the y, that cannot be drawn."""

    def fits(value: float | None, axis: Axis) -> bool:
        if value is None or not math.isfinite(value):
            return False
        return value > 0 or not axis.log

    kept = [number for number, value in enumerate(series.x) if fits(value, x)]
    return Series(
        series.name,
        [float(series.x[k]) for k in kept],
        [series.y[k] if fits(series.y[k], y) else None for k in kept],
        series.style,
        series.kind,
        [series.intervals[k] for k in kept] if series.intervals else (),
        series.hollow,
    )


def _grid(x: _Scale, y: _Scale, shape: Shape) -> Iterator[str]:
    """Yield grid lines, ticks and labels of the axes."""
    bottom, right = shape.bottom, shape.right
    for tick in y.ticks:
        yield f'<path class="grid" d="M{LEFT},{y(tick):.1f}H{right}"/>'
        yield _text(LEFT - 6, y(tick) + 4, f"{tick:,.7g}", anchor="end")
    for tick in x.ticks:
        yield f'<path class="grid" d="M{x(tick):.1f},{TOP}V{bottom}"/>'
        yield _text(x(tick), bottom + 17, f"{tick:,.7g}", anchor="middle")
    yield f'<path class="axis" d="M{LEFT},{TOP}V{bottom}H{right}"/>'
    yield _text((LEFT + right) / 2, bottom + 38, x.axis.label, anchor="middle")
    middle = (TOP + bottom) / 2
    yield (
        f'<text transform="translate(14,{middle})rotate(-90)" text-anchor="middle">'
        f"{escape(y.axis.label)}</text>"
    )


def _levels(levels: Mapping[str, float], y: _Scale, shape: Shape) -> Iterator[str]:
    for name, value in levels.items():
        at = y(value)
        yield f'<path class="level" d="M{LEFT},{at:.1f}H{shape.right}"/>'
        yield _text(LEFT + 4, at - 4, name)


def _marks(series: Series, x: _Scale, y: _Scale) -> Iterator[str]:
    """Yield the SVG of a series: its line, intervals and markers."""
    runs: list[list[Point]] = [[]]
    points: list[Point] = []  # those with markers, which a line has inside the axes
    for x_value, y_value in zip(series.x, series.y):
        if y_value is None:
            runs.append([])
            continue
        point = x(x_value), y(y_value)
        runs[-1].append(point)
        if series.kind == "points" or y.low <= y_value <= y.high:
            points.append(point)
    colour, width = series.colour, 2.0
    opacity = ""
    if series.kind in ("thin", "guide"):
        width, opacity = 1.0, ' opacity=".55"'
    dash = " ".join(f"{length:g}" for length in series.dash)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    if series.kind != "points":
        path = "".join(
            "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in run) for run in runs if run
        )
        yield (
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"'
            f"{dashes}{opacity}><title>{escape(series.name)}</title></path>"
        )
    for x_value, (low, high) in zip(series.x, series.intervals):
        yield (
            f'<path d="M{x(x_value):.1f},{y(low):.1f}V{y(high):.1f}" '
            f'stroke="{colour}" stroke-width="1.4"/>'
        )
    if series.kind in ("thin", "guide", "curve"):
        return
    if series.kind == "points" and len(points) > MANY_POINTS:
        dots = "".join(f"M{a:.1f},{b:.1f}h0" for a, b in points)
        yield (
            f'<path d="{dots}" stroke="{colour}" stroke-width="5" opacity=".45" '
            'stroke-linecap="round"/>'
        )
        return
    every = 1 if series.kind == "points" else max(1, len(points) // MAX_MARKERS)
    for a, b in points[series.style % every :: every]:
        yield _marker(series, a, b)


def _marker(series: Series, x: float, y: float) -> str:
    shape = MARKERS[series.style % len(MARKERS)]
    fill = "#fff" if series.hollow else series.colour
    return (
        f'<path transform="translate({x:.1f},{y:.1f})" d="{shape}" '
        f'fill="{fill}" stroke="{series.colour}" stroke-width="1.3"/>'
    )


def _legend(series: Sequence[Series], shape: Shape) -> tuple[list[str], float]:
    """Return the names of series with samples of their lines, and their height."""
    marks, left, top = [], LEFT, shape.height + 8
    for one in _legend_series(series):
        length = 44 + LETTER * len(one.name)
        if left > LEFT and left + length > shape.right:
            left, top = LEFT, top + 20
        sample = Series(one.name, (0, 1), (0, 1), one.style, one.kind)
        dash = " ".join(f"{length:g}" for length in sample.dash)
        if one.kind != "points":
            marks.append(
                f'<path d="M{left:.0f},{top:.0f}h28" stroke="{one.colour}" '
                f'stroke-width="{1 if one.kind in ("thin", "guide") else 2}" '
                f'stroke-dasharray="{dash}"/>'
            )
        if one.kind in ("line", "points"):
            marks.append(_marker(one, left + 14, top))
        marks.append(_text(left + 34, top + 4, one.name))
        left += length + 12
    return marks, top - shape.height + 14 if series else 0.0


def _legend_series(series: Sequence[Series]) -> list[Series]:
    """Return a series for each name, one that is not in the background if there is."""
    chosen: dict[str, Series] = {}
    for one in series:
        if one.name not in chosen or chosen[one.name].kind == "thin":
            chosen[one.name] = one
    return list(chosen.values())


def _bar_legend(parts: Sequence[Series], top: float) -> tuple[list[str], float]:
    marks, left = [], LEFT
    for number, part in enumerate(parts):
        colour = BAR_COLOURS[number % len(BAR_COLOURS)]
        box = f'<rect x="{left:.0f}" y="{top + 2:.0f}" width="14" height="12"'
        marks.append(f'{box} fill="{colour}"/>')
        marks.append(_text(left + 20, top + 12, part.name))
        left += 50 + LETTER * len(part.name)
    return marks, 22.0


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {where}>{escape(text)}</text>"


def _svg(body: Sequence[str], shape: Shape, legend: float, title: str) -> str:
    """Return a drawing of a shape, with a legend of some height below."""
    return (
        f'<svg role="img" style="--width:{shape.width:.0f}" '
        f'aria-label="{escape(title)}" '
        f'viewBox="0 0 {shape.width:.0f} {shape.height + legend:.0f}">'
        f"{''.join(body)}</svg>"
    )


def _plain(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "x": list(series.x),
        "y": list(series.y),
        "colour": series.colour,
        "dash": list(series.dash),
        "kind": series.kind,
        "hollow": series.hollow,
        "intervals": [list(pair) for pair in series.intervals],
    }


def _plain_axis(scale: _Scale) -> dict[str, Any]:
    return {
        "label": scale.axis.label,
        "log": scale.axis.log,
        "whole": scale.axis.whole,
        "range": [scale.low, scale.high],
        "ticks": list(scale.ticks) if scale.axis.ticks or scale.axis.log else None,
    }
