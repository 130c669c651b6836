"""HTML pages in one file: style, tables and pictures, without a server."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from ..atomic_file import atomic_write_text
from ..errors import CheckpointError
from . import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def write_page(
    path: str | os.PathLike[str], title: str, sections: Iterable[str]
) -> None:
    """Write a page of HTML with a title; `sections` are the HTML of its body."""
    body = "\n".join(sections)
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
    atomic_write_text(path, text, CheckpointError)


def definition_list(facts: Mapping[str, object]) -> str:
    """Return a list of facts, name -> value."""
    items = (
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{''.join(items)}</dl>"


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], bad: Sequence[bool]
) -> str:
    """Return a table of texts; `bad` says which rows stand out."""
    lines = ["".join(f'<th scope="col">{escape(text)}</th>' for text in headings)]
    lines += ["".join(f"<td>{escape(text)}</td>" for text in row) for row in rows]
    classes = ["", *("bad" if is_bad else "" for is_bad in bad)]
    body = (f'<tr class="{name}">{line}</tr>' for name, line in zip(classes, lines))
    return f'<div class="wide"><table>{"".join(body)}</table></div>'


def picture(figure: Figure, name: str, heading: str, caption: str) -> str:
    """Return a matplotlib figure with a heading and a caption.

    `name` is unique in the page: ids of the SVG begin with it.
    """
    image = plots.svg(figure, name).replace(
        "<svg", f'<svg role="img" aria-label="{escape(heading)}"', 1
    )
    return (
        f"<h2>{escape(heading)}</h2><figure>{image}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
