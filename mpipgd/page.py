"""A comparison as one page that opens from disk: table and pictures in one file."""

from html import escape

from . import curves, ranking
from .atomic import replacing
from .errors import CheckpointError

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.15rem; margin-top: 2.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem;
        font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #555; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tr.bad td { color: #8a3b00; font-style: italic; }
figure { margin: 1rem 0 2rem; break-inside: avoid; } figure svg { width: 100%;
height: auto; } figcaption { color: #444; font-size: .9rem; }
@media print { body { margin: 0; max-width: none; font-size: 12px; } }
"""
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
    body = "\n".join(parts)
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
    with replacing(folder / "index.html", CheckpointError) as temporary:
        temporary.write_text(text)


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
    rows = (f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def _table(made):
    head, *rows = ranking.cells(made)
    head = [HEADINGS.get(each, each) for each in head]
    lines = ["".join(f'<th scope="col">{escape(each)}</th>' for each in head)]
    kinds = ["", *("" if row["status"] == "ok" else "bad" for row in made.rows)]
    lines += ["".join(f"<td>{escape(each)}</td>" for each in row) for row in rows]
    rows = (f'<tr class="{k}">{each}</tr>' for k, each in zip(kinds, lines))
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _pictures(made):
    """Yield the pictures, each with a heading and what it shows."""
    if not curves.drawable():
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
        figure = curves.gaps(made, against)
        yield _picture(figure, against, f"Gap by {curves.AXES[against][0]}", text)
    fine = (row["label"] for row in made.rows if row["status"] == "ok")
    series = {label: made.of(label)[0]["records"] for label in fine}
    figure = curves.runs(series, name="score (R² or accuracy)")
    text = "Of the first repeat; thin lines are the workers' own models, if recorded."
    yield _picture(figure, "score", "Score by epochs", text)


def _picture(figure, name, heading, text):
    drawn = curves.svg(figure, name).replace(
        "<svg", f'<svg role="img" aria-label="{escape(heading)}"', 1
    )
    return (
        f"<h2>{escape(heading)}</h2><figure>{drawn}"
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )
