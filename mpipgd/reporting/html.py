"""A page that opens from disk: style, tables and pictures, all in one file."""

from html import escape

from ..atomic_file import atomic_replace
from ..errors import CheckpointError
from . import plots

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.15rem; margin-top: 2.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; white-space: nowrap;
        font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #555; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tr.bad td { color: #8a3b00; font-style: italic; }
figure { margin: 1rem 0 2rem; break-inside: avoid; } figure svg { width: 100%;
height: auto; } figcaption { color: #444; font-size: .9rem; }
@media print { body { margin: 0; max-width: none; font-size: 12px; } }
"""


def document(path, title, parts):
    """Write a page of HTML with a title, from its parts."""
    body = "\n".join(parts)
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
    with atomic_replace(path, CheckpointError) as temporary:
        temporary.write_text(text)


def definition_list(facts):
    """Return a list of facts, name -> value."""
    rows = (f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def table(head, rows, bad):
    """Return a table of texts; `bad` says which rows stand out."""
    lines = ["".join(f'<th scope="col">{escape(each)}</th>' for each in head)]
    lines += ["".join(f"<td>{escape(each)}</td>" for each in row) for row in rows]
    kinds = ["", *("bad" if each else "" for each in bad)]
    rows = (f'<tr class="{k}">{each}</tr>' for k, each in zip(kinds, lines))
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def picture(figure, name, heading, text):
    """Return a figure of matplotlib's with a heading and what it shows."""
    drawn = plots.svg(figure, name).replace(
        "<svg", f'<svg role="img" aria-label="{escape(heading)}"', 1
    )
    return (
        f"<h2>{escape(heading)}</h2><figure>{drawn}"
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )
