"""Charts: what is drawn, where, and the data that the script gets."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from mpipgd.reporting import html
from mpipgd.reporting.charts import SQUARE, WIDE, Axis, Series, bar_chart, line_chart

STEPS = Axis("steps", low=0, high=10)


def split(chart):
    """Return the SVG of a chart as a tree, and the data for the script."""
    svg, _, rest = chart.partition("<script")
    text = re.sub("^.*?>|</script>$", "", rest)
    return ElementTree.fromstring(svg), json.loads(text) if text else None


def lines(tree):
    """Return the points (x, y) of each line, by the name of its series."""
    paths = {}
    for path in tree.iter("path"):
        title = path.find("title")
        if title is not None:
            numbers = re.findall(r"-?[\d.]+", path.get("d"))
            paths[title.text] = list(zip(*[map(float, numbers)] * 2))
    return paths


def test_equal_steps_are_equally_far_and_more_is_higher():
    tree, data = split(
        line_chart([Series("a", (0, 5, 10), (1, 2, 3))], STEPS, Axis("y"), title="t")
    )
    (x0, y0), (x1, y1), (x2, y2) = lines(tree)["a"]
    assert x1 - x0 == pytest.approx(x2 - x1) and y0 > y1 > y2
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert data["series"][0]["y"] == [1, 2, 3] and data["x"]["label"] == "steps"


def test_decades_are_equally_far_on_a_logarithmic_axis():
    axis = Axis("y", log=True, low=1e-4, high=1.0)
    tree, _ = split(
        line_chart([Series("a", (0, 5, 10), (1e-3, 1e-2, 1e-1))], STEPS, axis, title="")
    )
    ((_, y0), (_, y1), (_, y2)) = lines(tree)["a"]
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    ticks = {text.text for text in tree.iter("text")}
    assert {"0.0001", "0.001", "0.01", "0.1", "1"} <= ticks


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, 0.0, -1.0])
def test_what_cannot_be_drawn_is_a_gap(bad):
    axis = Axis("y", log=True)
    chart = line_chart(
        [Series("a", (0, 1, 2, 3), (1.0, bad, 2.0, 3.0))], STEPS, axis, title=""
    )
    tree, data = split(chart)
    assert len(lines(tree)["a"]) == 3 and data["series"][0]["y"][1] is None
    assert "nan" not in chart.lower() and "inf" not in chart.lower()


@pytest.mark.parametrize("values", [(), (2.0,), (0.0, 0.0), (1e-300, 1e300), (None,)])
@pytest.mark.parametrize("log", [False, True])
def test_few_equal_and_extreme_values_are_drawn(values, log):
    series = [Series("a", range(len(values)), values)]
    tree, data = split(line_chart(series, Axis("x"), Axis("y", log=log), title=""))
    points = [point for of_series in lines(tree).values() for point in of_series]
    assert all(0 <= x <= WIDE.width and 0 <= y <= WIDE.height for x, y in points)
    assert (data is None) == (1e300 in values)  # too large for the script
    if data:
        low, high = data["y"]["range"]
        assert low < high and all(map(math.isfinite, (low, high)))


def test_names_are_texts_and_leave_no_script():
    name = "</script><b>&"
    chart = line_chart([Series(name, (0, 1), (0, 1))], STEPS, Axis(name), title=name)
    assert chart.count("</script>") == 1 and "<b>" not in chart
    tree, data = split(chart)
    assert data["series"][0]["name"] == name and name in lines(tree)


def test_series_of_one_name_have_one_legend():
    thin = [Series("a", (0, 1), (0, k), 1, "thin") for k in range(3)]
    series = [*thin, Series("a", (0, 1), (0, 1), 1), Series("b", (0, 1), (1, 0), 2)]
    tree, data = split(line_chart(series, STEPS, Axis("y"), title=""))
    assert [one["legend"] for one in data["series"]] == [False] * 3 + [True] * 2
    assert [text.text for text in tree.iter("text")].count("a") == 1


def test_points_and_square_charts_are_drawn_in_full():
    x = [k / 100 for k in range(100)]
    chart = line_chart(
        [Series("rows", x, x, 0, "points")],
        Axis("a"), Axis("b"), title="t", shape=SQUARE,
    )  # fmt: skip
    assert chart.count("h0") == 100
    width, height = SQUARE
    assert f"--width:{width:.0f}" in chart
    pairs = re.findall(r"M([\d.]+),([\d.]+)h0", chart)
    assert len(pairs) == 100
    assert all(float(a) <= width and float(b) <= height for a, b in pairs)


def test_bars_are_as_long_as_their_numbers():
    parts = {"compute": (3.0, 1.0), "wait": (1.0, 0.0)}
    tree, _ = split(bar_chart(["0", "1"], parts, unit="seconds", title="t"))
    width = {
        bar.find("title").text: float(bar.get("width"))
        for bar in tree.iter("rect")
        if bar.find("title") is not None
    }
    unit = width["1, compute: 1 seconds"]
    assert width["0, compute: 3 seconds"] == pytest.approx(3 * unit, abs=0.02)
    assert width["0, wait: 1 seconds"] == pytest.approx(unit, abs=0.02)
    assert width["1, wait: 0 seconds"] == 0


def test_the_script_is_there_only_for_charts_that_use_it(tmp_path):
    chart = line_chart([Series("a", (0, 1), (0, 1))], STEPS, Axis("y"), title="t")
    html.write_page(tmp_path / "with.html", "t", [html.figure(chart, "h", "c")])
    html.write_page(tmp_path / "without.html", "t", [html.paragraph("text")])
    text = (tmp_path / "with.html").read_text()
    assert "uPlot (v1.6.32)" in text and "uplot.LICENSE" not in text
    assert "uPlot" not in (tmp_path / "without.html").read_text()
