"""HTML pages in one file: style, script, tables and figures, without a server.

All pages of the program have this design. Nothing is loaded from a network, which a
policy in the page forbids. uPlot (Leon Sorokin, MIT licence: `uplot.LICENSE`), which
`page.js` uses, is kept beside this module, and inlined where a page has charts for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources

from ..atomic_file import atomic_write_text
from ..errors import CheckpointError

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:"
)
STYLE = """
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 70rem; margin: 1.5rem auto; padding: 0 1rem; }
header { border-bottom: 3px solid #0072B2; margin-bottom: 1rem; }
header p { color: #555; margin: 0; font-size: .85em; }
footer { border-top: 1px solid #ccc; color: #555; font-size: .8em; margin-top: 3rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .2rem 0 .6rem;
     overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; break-after: avoid; }
h2 + p { break-after: avoid; }
p, li { max-width: 46rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr;
     gap: .15rem 1rem; }
dt { color: #555; overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f4f4f4; padding: .5rem .8rem; font-size: .85rem;
      white-space: pre-wrap; overflow-wrap: anywhere; break-inside: avoid; }
pre code { display: block; font: inherit; padding-left: 3ch; text-indent: -3ch; }
.notice { border-left: 4px solid #E69F00; background: #fff8e8; padding: .4rem .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem;
        font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #555; vertical-align: bottom; font-weight: 600; }
td { white-space: nowrap; }
th.text, td.text { text-align: left; }
th:first-child, td:first-child { text-align: left; white-space: normal;
        overflow-wrap: break-word; min-width: 7rem; }
tr { break-inside: avoid; } thead { display: table-header-group; }
tr.bad td { color: #8a3b00; font-style: italic; }
th[scope=row] { border-bottom: 1px solid #ddd; }
table.matrix td, table.matrix th { text-align: center; min-width: 2.6rem; }
table.dense { font-size: .75rem; }
table.dense td, table.dense th { min-width: 1.4rem; padding: .2rem .25rem; }
table.matrix th:first-child { min-width: 5rem; text-align: right; }
table.upright thead th + th span { writing-mode: vertical-rl; transform: rotate(180deg);
       white-space: nowrap; }
figure { margin: .5rem 0 1.5rem; break-inside: avoid; }
figure > svg { width: 100%; max-width: calc(var(--width) * 1.15px); height: auto;
               display: block; }
svg text { font: 12px system-ui, sans-serif; fill: #333; }
svg .grid { stroke: #e4e4e4; fill: none; } svg .axis { stroke: #777; fill: none; }
svg .level { stroke: #555; fill: none; }
figcaption { color: #444; font-size: .9em; max-width: 46rem; }
@media screen { figure.enhanced > svg { display: none; }
  .u-legend { font-size: .85rem; text-align: left !important; }
  .u-legend th, .u-legend td { border: none; padding: .1rem .4rem;
    font-weight: normal; min-width: 0 !important; }
  .u-legend tr { cursor: pointer; }
  .u-legend tr.u-off { text-decoration: line-through; }
  figure { overflow-x: auto; } figure > svg { min-width: calc(var(--width) * .75px); } }
@media print { .live { display: none; }
  body { margin: 0; padding: 0; max-width: none; font-size: 11px; }
  h1 { font-size: 18px; } h2 { font-size: 14px; margin-top: 1.2rem; }
  .wide { overflow: visible; } table { font-size: 9px; }
  .short { break-inside: avoid; }
  table.dense { font-size: 7px; }
  table.dense td, table.dense th { min-width: 0; padding: 1px; }
  th, td { padding: 2px 3px; } td { white-space: normal; overflow-wrap: anywhere; }
  th:first-child, td:first-child { min-width: 4rem; }
  figure > svg { max-width: calc(var(--width) * .165mm); } pre { font-size: 9px; } }
@page { margin: 15mm; }
"""


CHART_HINT = (
    "Charts: point at a curve to read its values; click a name to hide or show its "
    "curve; drag to zoom, double-click to undo that."
)
MATRIX_LETTERS = 90  # of the names above a confusion matrix, side by side
DENSE_CLASSES = 12  # of matrices with wide cells
MOST_LETTERS = 32  # of the name of a class beside a matrix
SHORT_ROWS = 30  # of tables that are not divided in print


def write_page(
    path: str | os.PathLike[str], title: str, sections: Iterable[str]
) -> None:
    """Write a page of HTML with a title; `sections` are the HTML of its body."""
    from .. import __version__

    body = "\n".join(sections)
    style, script, hint = STYLE, "", ""
    if 'class="chart"' in body:
        hint = f'<p class="live">{CHART_HINT}</p>'
        style = _asset("uplot.min.css") + style
        script = f"<script>{_asset('uplot.min.js')}\n{_asset('page.js')}</script>\n"
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body>\n<header><p>mpipgd</p><h1>{escape(title)}</h1></header>\n"
        f"<main>\n{body}\n</main>\n"
        f"<footer>{hint}<p>Written by mpipgd {__version__}.</p></footer>\n"
        f"{script}</body></html>\n"
    )
    atomic_write_text(path, text, CheckpointError)


def _asset(name: str) -> str:
    """Return the text of a file beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def definition_list(facts: Mapping[str, object]) -> str:
    """Return a list of facts, name -> value."""
    items = (
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{''.join(items)}</dl>"


def paragraph(text: str, *, notice: bool = False) -> str:
    """Return a paragraph; a `notice` stands out."""
    opening = '<p class="notice">' if notice else "<p>"
    return f"{opening}{escape(text)}</p>"


def heading(text: str) -> str:
    """Return the heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    bad: Sequence[bool] | None = None,
) -> str:
    """Return a table of texts; `bad` says which rows stand out, by default none.

    Raises ValueError where `bad` has another length than `rows`.
    """
    columns = zip(*rows) if rows else [()] * len(headings)
    aligned = [' class="text"' if _is_text(column) else "" for column in columns]
    head = "".join(
        f'<th scope="col"{align}>{escape(text)}</th>'
        for align, text in zip(aligned, headings)
    )
    marks = [False] * len(rows) if bad is None else bad
    lines = (
        ('<tr class="bad">' if is_bad else "<tr>")
        + "".join(f"<td{a}>{escape(text)}</td>" for a, text in zip(aligned, row))
        + "</tr>"
        for row, is_bad in zip(rows, marks, strict=True)
    )
    return (
        f'<div class="{_classes(len(rows))}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _classes(rows: int) -> str:
    """Return the classes of the box of a table: a short one stays on one page."""
    return "wide short" if rows <= SHORT_ROWS else "wide"


def _is_text(column: Sequence[str]) -> bool:
    """Return whether cells are words, which are aligned to the left, not numbers."""
    return all(text[:1].isalpha() for text in column if text) and any(column)


def confusion_table(classes: Sequence[str], counts: Sequence[Sequence[float]]) -> str:
    """Return a confusion matrix: rows are true classes, columns predicted ones.

    Cells are shaded by their share of the row. The names of many classes stand upright
    above their columns.
    """
    width = sum(max(4, len(name)) for name in classes)
    style = "matrix" if width <= MATRIX_LETTERS else "matrix upright"
    style += " dense" if len(classes) > DENSE_CLASSES else ""
    columns = "".join(f'<th scope="col">{_class_name(name)}</th>' for name in classes)
    lines = []
    for name, row in zip(classes, counts):
        total = sum(row) or 1
        cells = "".join(
            f'<td style="background:rgba(0,114,178,{0.6 * count / total:.2f})">'
            f"{count:,.6g}</td>"
            for count in row
        )
        lines.append(f'<tr><th scope="row">{_class_name(name)}</th>{cells}</tr>')
    return (
        f'<div class="{_classes(len(classes))}"><table class="{style}"><thead><tr>'
        f'<th scope="col">true \\ predicted</th>{columns}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _class_name(name: str) -> str:
    """Return the HTML of a name; the end of a long one is seen on hovering only."""
    if len(name) <= MOST_LETTERS:
        return f"<span>{escape(name)}</span>"
    short = escape(name[: MOST_LETTERS - 1])
    return f'<span title="{escape(name)}">{short}…</span>'


def figure(chart: str, title: str, caption: str) -> str:
    """Return a chart with a heading and a caption."""
    return (
        f"{heading(title)}<figure>{chart}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def commands(lines: Sequence[str]) -> str:
    """Return commands as they are typed."""
    return f"<pre>{''.join(f'<code>{escape(line)}</code>' for line in lines)}</pre>"
