"""A study's tables: results.csv, runs.jsonl, Extra-P's text, and a terminal's."""

import csv
import io
import json

from ...atomic_file import atomic_replace
from ...errors import CheckpointError
from ...reporting import tables
from .runner import SHARES

COLUMNS = ("mode", "setting", "ranks", "repeats", "crowded", "epoch_seconds")
COLUMNS += ("epoch_seconds_low", "epoch_seconds_high", "speedup", "speedup_low")
COLUMNS += ("speedup_high", "efficiency", "efficiency_low", "efficiency_high")
COLUMNS += ("epochs_to_target", "seconds_to_target", *SHARES, "predicted", "error")
HEADINGS = ("mode", "setting", "ranks", "s an epoch", "95 %", "speed-up", "efficiency")
HEADINGS += ("epochs", "s to target", "predicted", "")


def write(folder, records, rows):
    """Write results.csv, runs.jsonl and extrap.txt into the folder of a study."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *map(values, rows)])
    lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records)
    texts = {"results.csv": text.getvalue(), "runs.jsonl": lines}
    for name, content in (texts | {"extrap.txt": extrap(rows)}).items():
        with atomic_replace(folder / name, CheckpointError) as temporary:
            temporary.write_text(content)


def values(row):
    """Return the values of a row of results.csv."""
    none = None, None
    return (
        *(row.mode, row.label, row.ranks, len(row.runs), int(row.crowded)),
        *(row.seconds, *row.between),
        *(row.speedup, *(row.speedup_between or none)),
        *(row.efficiency, *(row.efficiency_between or none)),
        *(row.epochs, row.to_target),
        *(row.shares[name] for name in SHARES),
        *(row.predicted, row.error),
    )


def extrap(rows):
    """Return the seconds an epoch of all repeats in Extra-P's text format.

    One parameter, the ranks; a region for each mode and setting, on the numbers of
    ranks that all of them have and that had a core each.
    Source: Extra-P's documentation, "Text file format".
    """
    found = {}
    for row in rows:
        if not row.crowded:
            name = "".join(c if c.isalnum() else "_" for c in f"{row.mode}_{row.label}")
            found.setdefault(name, {})[row.ranks] = row.times
    points = sorted(set.intersection(*map(set, found.values()))) if found else []
    lines = ["PARAMETER p", "POINTS " + " ".join(f"({p})" for p in points)]
    for name, times in found.items() if points else ():
        lines += ["", f"REGION {name}", "METRIC time"]
        lines += ["DATA " + " ".join(map(repr, times[p])) for p in points]
    return "\n".join(lines) + "\n"


def cells(rows):
    """Return the table that people read, as lists of texts, headings first.

    Columns with nothing in them are left out.
    """
    columns = zip(HEADINGS, *map(_cells, rows))
    said = [each for each in columns if not {*each[1:]} <= {"–", ""}]
    return [list(row) for row in zip(*said)] or [HEADINGS]


def _cells(row):
    low, high = row.between
    return (
        *(row.mode, row.label, str(row.ranks), f"{row.seconds:.4g}"),
        f"{low:.4g} … {high:.4g}",
        _number(row.speedup, ".2f"),
        _number(row.efficiency, ".2f"),
        *(_number(row.epochs, ".3g"), _number(row.to_target, ".3g")),
        "–" if row.predicted is None else f"{row.predicted:.4g} ({row.error:+.0%})",
        "more ranks than cores" if row.crowded else "",
    )


def _number(value, form):
    return "–" if value is None else format(value, form)


def lines(rows):
    """Return the table for a terminal."""
    return tables.format_table(cells(rows))
