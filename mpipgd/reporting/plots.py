"""Pictures of runs: the one place that draws. Without matplotlib there are none.

Series differ by colour (Okabe & Ito 2008, for all kinds of sight), dashes and markers.
"""

import importlib.util
import io
import math
import re
import statistics

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.5, 1.2)))
MARKERS = "os^DvPX*<>"
AXES = {  # what a curve is drawn against: key of a record -> (label, unit)
    "epoch": ("epochs", 1),
    "seconds": ("seconds of training", 1),
    "bytes": ("MB sent per rank", 1e6),
    "samples": ("rows read", 1),
}
RC = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}


def has_matplotlib():
    """Say whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def figure(width=6.4, height=4.0):
    """Return an empty figure and its axes, with a light grid."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.add_subplot()
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes


def style(number, points=0):
    """Return colour and dashes of the n-th series; with `points`, some with markers."""
    found = {"color": COLOURS[number % len(COLOURS)]}
    found["linestyle"] = DASHES[number % len(DASHES)]
    if points:
        every = max(1, points // 6)
        found |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 5}
        found["markevery"] = (min(number % every, points - 1), every)
    return found


def svg(drawn, name):
    """Return a figure as SVG to stand in a page: text as text, ids that begin so."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(RC | {"svg.hashsalt": name}):
        drawn.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)


def loss(records, path):
    """Draw the losses and the score of one run by its epochs; return the path."""
    drawn, left = figure()
    x = [each["epoch"] for each in records]
    left.plot(x, _values(records, "loss"), label="training loss", **style(0))
    if any(each["test_loss"] is not None for each in records):
        left.plot(x, _values(records, "test_loss"), label="test loss", **style(1))
    right = left.twinx()
    right.plot(x, _values(records, "score"), color="#555555", ls=":", label="score")
    right.set_ylabel("score (R² or accuracy)")
    left.set(xlabel="epochs", ylabel="mean loss a row, with penalty")
    drawn.legend(loc="outside upper center", ncols=3, frameon=False)
    drawn.savefig(path, dpi=120)
    return path


def _values(records, key):
    """Return a series; gaps where a number was not finite."""
    return [float("nan") if each[key] is None else each[key] for each in records]


def runs(series, path=None, *, against="epoch", show="score", name="score"):
    """Draw the curves of several runs (label -> records); return the figure.

    The consensus is dashed, over thin lines of the workers' own models where their
    scores were recorded. It is saved at `path` if there is one.
    """
    label, unit = AXES[against]
    drawn, axes = figure(9.6, 4.4)
    lowest, shown = 0.0, []
    for number, (run, records) in enumerate(series.items()):
        x = [each[against] / unit for each in records]
        many = [r.get("worker_scores") for r in records] if show == "score" else [None]
        look = style(number, len(x)) | {"linewidth": 1.8}
        if None not in many:
            thin = {"color": look["color"], "linewidth": 0.6, "alpha": 0.5}
            axes.plot(x, many, **thin)
            axes.plot([], [], label=f"{run}: single workers", **thin)
            look["linestyle"] = "--"
        y = _values(records, show)
        axes.plot(x, y, label=run, **look)
        lowest = min([lowest, *y])
        shown += [v for v in y if math.isfinite(v)]
    if show == "score" and lowest < -0.1:
        axes.set_ylim(bottom=-0.1)  # far below guessing there is nothing to see
    if show != "score" and shown and 0 < 10 * min(shown) < max(shown):
        axes.set_yscale("log")  # one that climbs must not flatten the others
    axes.set(xlabel=label, ylabel=name)
    drawn.legend(loc="outside right upper", frameon=False)
    if path:
        drawn.savefig(path, dpi=120)
    return drawn


def gaps(made, against):
    """Draw objective − reference of all settings of a comparison; return the figure.

    Medians over the repeats are thick, the repeats thin.
    """
    label, unit = AXES[against]
    drawn, axes = figure(9.6, 4.4)
    floor = 1e-15 * max(abs(made.best.start), abs(made.reference), 1e-9)
    start = max(made.best.start - made.reference, floor)
    none = floor if made.known else math.nan  # the best of the runs has no gap
    lowest = max(made.target - made.reference, floor)
    for number, row in enumerate(made.rows):
        lines = []
        for run in made.of(row["label"]):
            x = (record[against] / unit for record in run["records"])
            y = (record["loss"] - made.reference for record in run["records"])
            lines.append(
                [(0.0, start), *zip(x, (gap if gap > floor else none for gap in y))]
            )
        middle = [[statistics.median(v) for v in zip(*at)] for at in zip(*lines)]
        look = style(number, len(middle))
        for each in lines if len(lines) > 1 else ():
            axes.plot(*zip(*each), linewidth=0.6, alpha=0.4, color=look["color"])
        axes.plot(*zip(*middle), label=row["label"], linewidth=1.8, **look)
        lowest = min([lowest, *(y for _, y in middle)])
    axes.set_yscale("log")
    axes.set_ylim(lowest / 2, 3 * start)  # what climbs leaves the picture
    _gap_axes(drawn, axes, made, against)
    axes.set_xlabel(label)
    return drawn


def _gap_axes(drawn, axes, made, against):
    """Scale and name the axes; draw the target."""
    target = made.target - made.reference
    axes.axhline(target, color="#555555", linewidth=0.8)
    axes.annotate(
        "target", (1, target), xycoords=("axes fraction", "data"),
        xytext=(-2, 3), textcoords="offset points", ha="right", color="#555555",
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )  # fmt: skip
    what = "optimum" if made.known else "best of the runs"
    axes.set_ylabel(f"objective − {what}")
    if against == "bytes":
        sent = [r["bytes"] for run in made.runs for r in run["records"] if r["bytes"]]
        if sent:
            least = 10 ** math.floor(math.log10(min(sent) / 1e6))
            axes.set_xscale("symlog", linthresh=least, linscale=0.4)
            axes.set_xlim(left=-least / 10)
    drawn.legend(loc="outside right upper", frameon=False)
