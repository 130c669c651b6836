"""Runs that were compared: gaps to the optimum, what the target took, and a ranking."""

import csv
import io
import json
import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...atomic_file import atomic_replace
from ...errors import CheckpointError
from ...reporting import report

FINAL = ("loss", "test_loss", "score", "seconds", "bytes")
TO_TARGET = {"seconds": "seconds_to_target", "epoch": "epochs_to_target"}
TO_TARGET |= {"bytes": "bytes_to_target"}
MEDIANS = (*FINAL, "rows_per_second", "gap", *TO_TARGET.values())
CSV_COLUMNS = (
    "label",
    "strategy",
    "repeat",
    "seed",
    "workers",
    "status",
    *FINAL,
    "epochs",
)
CSV_COLUMNS += ("steps", "rows_per_second", "gap", *TO_TARGET.values())
CSV_COLUMNS += ("compute", "exchange", "wait", "weights_sha256", "folder")


def run_result(label, options, repeat, status):
    """Return what a run left in its folder, as a dict; little, if it diverged."""
    folder = Path(options.run)
    records = [each for each in report.epochs(folder) if each["loss"] is not None]
    found = {"label": label, "strategy": options.strategy, "repeat": repeat}
    found |= {"seed": options.seed, "status": status, "folder": str(folder)}
    found |= {"records": records} | dict.fromkeys((*FINAL, "epochs", "steps"))
    summary = json.loads((folder / "summary.json").read_text())
    if status != "ok":
        return found
    time = {part: each["mean"] for part, each in summary["time"].items()}
    kept = {key: summary[key] for key in (*FINAL, "epochs", "steps", "workers")}
    kept["rows_per_second"] = summary["samples_per_second"]
    return found | kept | time | {"weights_sha256": summary["weights_sha256"]}


@dataclass
class Comparison:
    """Runs (as of `result`), the `Optimum`, and what may be left of the way to it."""

    runs: list
    best: object
    gap: float
    repeat: int
    facts: dict

    def __post_init__(self):
        for run in self.runs:
            if run["status"] == "ok" and run["loss"] > self.best.start:
                run["status"] = "climbed"
            run["gap"] = None if run["loss"] is None else run["loss"] - self.reference
            first = next(filter(self.reached, run["records"]), {})
            run |= {name: first.get(key) for key, name in TO_TARGET.items()}

    @property
    def known(self):
        """Whether the reference is the optimum, and not only the best of the runs."""
        return self.best.objective is not None

    @cached_property
    def reference(self):
        """The least objective: the optimum, or the least of all evaluations."""
        if self.known:
            return self.best.objective
        records = [record for run in self.runs for record in run["records"]]
        return min((record["loss"] for record in records), default=self.best.start)

    @cached_property
    def target(self):
        """The objective that times are taken at: `gap` of the way is left."""
        return self.reference + self.gap * (self.best.start - self.reference)

    def reached(self, record):
        """Say whether an evaluation is at the target or below."""
        return record["loss"] <= self.target

    @cached_property
    def rows(self):
        """The settings, ranked by the time to the target; medians over the repeats."""
        labels = dict.fromkeys(run["label"] for run in self.runs)
        rows = [self._row(label) for label in labels]
        return sorted(rows, key=_rank)

    def of(self, label):
        """Return the runs of a setting."""
        return [run for run in self.runs if run["label"] == label]

    def _row(self, label):
        runs = self.of(label)
        bad = [run["status"] for run in runs if run["status"] != "ok"]
        row = {"label": label, "strategy": runs[0]["strategy"]}
        row["status"] = bad[0] if bad else "ok"
        for key in MEDIANS:
            values = [run.get(key) for run in runs]
            row[key] = None if None in values else statistics.median(values)
        return row


def _rank(row):
    seconds, gap = row["seconds_to_target"], row["gap"]
    gap = math.inf if gap is None else gap
    return row["status"] != "ok", seconds is None, seconds or 0.0, gap


def short(value, form=".4g"):
    """Return a number in few digits, or a dash for None."""
    if value is None:
        return "–"
    return format(value, ".3g" if form == ".4f" and abs(value) > 1e3 else form)


def size(count):
    """Return a number of bytes in kB, MB or GB."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


COLUMNS = {  # heading -> what a row shows
    "setting": lambda row: row["label"],
    "gap": lambda row: short(row["gap"], ".2g"),
    "score": lambda row: short(row["score"], ".4f"),
    "seconds": lambda row: short(row["seconds"], ".3g"),
    "rows/s": lambda row: short(row["rows_per_second"], ",.0f"),
    "sent": lambda row: size(row["bytes"]),
    "s to target": lambda row: short(row["seconds_to_target"], ".3g"),
    "epochs": lambda row: short(row["epochs_to_target"], ".0f"),
    "bytes": lambda row: size(row["bytes_to_target"]),
    "": lambda row: "" if row["status"] == "ok" else row["status"],
}


def cells(made):
    """Return the ranked table as lists of texts, the headings first."""
    rows = [[show(row) for show in COLUMNS.values()] for row in made.rows]
    return [list(COLUMNS), *rows]


def table(made):
    """Yield the lines of the ranked table for a terminal, and what they mean."""
    rows = cells(made)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        first, *rest = (f"{c:>{w}}" for c, w in zip(row, widths))
        yield f"{row[0]:<{widths[0]}}  {'  '.join(rest)}".rstrip()
    yield from meaning(made)


def meaning(made):
    """Yield what gap and target are."""
    what = "the optimum" if made.known else "the best of these runs"
    yield f"gap: objective − {made.reference:.6g}, {what}"
    way = f"{100 * (1 - made.gap):g} % of the way there"
    yield f"target: {made.target:.6g}, {way}; epochs and bytes are those to the target"


def line(run):
    """Return a finished run in a line."""
    if run["status"] != "ok":
        return f"{run['label']}: {run['status']}"
    loss, score = short(run["loss"], ".6g"), short(run["score"], ".4f")
    return f"{run['label']}: objective {loss}, score {score}, {run['seconds']:.2f} s"


def write(folder, made):
    """Write results.csv, a row a run, and table.md, the ranked settings."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(made.runs)
    rows = ["| " + " | ".join(row) + " |" for row in cells(made)]
    rows.insert(1, "|---" + "|---:" * (len(COLUMNS) - 2) + "|---|")
    page = "\n".join([*rows, "", *meaning(made)]) + "\n"
    for name, content in (("results.csv", text.getvalue()), ("table.md", page)):
        with atomic_replace(folder / name, CheckpointError) as temporary:
            temporary.write_text(content)
