"""A comparison as one page that opens from disk: table and pictures in one file."""

from html import escape

from ...reporting import plots
from ...reporting.html import definition_list, document, picture, table
from . import ranking

HEADINGS = {
    "sent": "sent per rank", "s to target": "seconds to target",
    "epochs": "epochs to target", "bytes": "bytes to target", "": "ended",
}  # fmt: skip


def write(folder, made):
    """Write index.html of a comparison (`ranking.Comparison`) into a folder."""
    title = f"{len(made.rows)} ways to descend on {made.facts['data']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(_reading(made))}</p>",
        _facts(made),
        "<h2>Ranked by the seconds to the target</h2>",
        _table(made),
        *_pictures(made),
    ]
    document(folder / "index.html", title, parts)


def _reading(made):
    what = "the optimum, found by L-BFGS" if made.known else "the best of these runs"
    return (
        "Each setting ran on the same rows, in the same order for the same seed, by "
        f"the same loop and clock. A gap is what the objective is above {what} "
        f"({made.reference:.8g}). The target is an objective of {made.target:.6g}: "
        f"{100 * (1 - made.gap):g} % of the way from the first weights, at "
        f"{made.best.start:.6g}. Seconds are of training alone, without evaluation; "
        "with several repeats all figures are medians."
    )


def _facts(made):
    facts = dict(made.facts) | {"repeats": made.repeat}
    if made.known:
        best = made.best
        facts["optimum"] = (
            f"{best.objective:.10g} after {best.iterations} iterations of L-BFGS, "
            f"largest slope {best.gradient_norm:.1e}"
        )
    return definition_list(facts)


def _table(made):
    head, *rows = ranking.cells(made)
    head = [HEADINGS.get(each, each) for each in head]
    return table(head, rows, [row["status"] != "ok" for row in made.rows])


def _pictures(made):
    """Yield the pictures, each with a heading and what it shows."""
    if not plots.has_matplotlib():
        yield "<p>Pictures need matplotlib: pip install matplotlib.</p>"
        return
    names = {
        "epoch": "What an epoch brings: the statistics of a strategy alone.",
        "seconds": "What a second brings, on this machine.",
        "bytes": "What a byte brings. The axis is logarithmic but near 0; "
        "settings at its left edge send nothing.",
    }
    if not any(run["bytes"] for run in made.runs):
        del names["bytes"]
        yield "<p>On one rank nothing is sent: there is no picture by bytes.</p>"
    for against, text in names.items():
        figure = plots.gaps(made, against)
        yield picture(figure, against, f"Gap by {plots.AXES[against][0]}", text)
    fine = (row["label"] for row in made.rows if row["status"] == "ok")
    series = {label: made.of(label)[0]["records"] for label in fine}
    figure = plots.runs(series, name="score (R² or accuracy)")
    text = "Of the first repeat; thin lines are the workers' own models, if recorded."
    yield picture(figure, "score", "Score by epochs", text)
