"""Compared runs: gaps to the optimum, what it took to reach the target, a ranking."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from ...atomic_file import atomic_write_text
from ...config.options import TrainConfig
from ...errors import CheckpointError
from ...reporting.base import Record
from ...reporting.run_folder import read_epochs
from ...reporting.tables import format_bytes, format_number, format_table
from .optimum import Reference

Run: TypeAlias = dict[str, Any]  # a run's values by CSV column, and its `records`
Row: TypeAlias = dict[str, Any]  # a setting: medians of its runs, see MEDIANS

FINAL = ("loss", "test_loss", "score", "seconds", "bytes")
TO_TARGET = {  # key of a record -> column
    "seconds": "seconds_to_target",
    "epoch": "epochs_to_target",
    "bytes": "bytes_to_target",
}
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
    "steps",
    "rows_per_second",
    "gap",
    *TO_TARGET.values(),
    "compute",
    "exchange",
    "wait",
    "weights_sha256",
    "folder",
)


def run_result(label: str, options: TrainConfig, repeat: int, status: str) -> Run:
    """Return what a run left in its folder; without final values if it diverged."""
    folder = Path(str(options.run))
    records = [record for record in read_epochs(folder) if record["loss"] is not None]
    result: Run = {
        "label": label,
        "strategy": options.strategy,
        "repeat": repeat,
        "seed": options.seed,
        "status": status,
        "folder": str(folder),
        "records": records,
    } | dict.fromkeys((*FINAL, "epochs", "steps"))
    summary = json.loads((folder / "summary.json").read_text())
    if status != "ok":
        return result
    time = {kind: ranks["mean"] for kind, ranks in summary["time"].items()}
    final = {key: summary[key] for key in (*FINAL, "epochs", "steps", "workers")}
    final["rows_per_second"] = summary["samples_per_second"]
    return result | final | time | {"weights_sha256": summary["weights_sha256"]}


@dataclass(frozen=True)
class Comparison:
    """Runs (see `run_result`), the reference minimum, and what follows from them.

    `gap`: the share of the way from the first weights to the reference that may be left
    at the target; `repeat`: runs of each setting; `facts`: what all of them share.
    """

    results: list[Run]
    best: Reference
    gap: float
    repeat: int
    facts: dict[str, Any]

    @cached_property
    def runs(self) -> list[Run]:
        """The runs, with their gaps, and with what it took to reach the target."""
        return [self._judged(run) for run in self.results]

    def _judged(self, run: Run) -> Run:
        loss, status = run["loss"], run["status"]
        if status == "ok" and loss > self.best.start:
            status = "diverged"
        reached: Iterator[Record] = filter(self.reached, run["records"])
        first = next(reached, {})
        return (
            run
            | {"status": status}
            | {"gap": None if loss is None else loss - self.reference}
            | {column: first.get(key) for key, column in TO_TARGET.items()}
        )

    @property
    def known(self) -> bool:
        """Whether the reference is the optimum, and not only the best of the runs."""
        return self.best.objective is not None

    @cached_property
    def reference(self) -> float:
        """The smallest objective: the optimum, or the smallest of all evaluations."""
        if self.best.objective is not None:
            return self.best.objective
        losses = (record["loss"] for run in self.results for record in run["records"])
        return min(losses, default=self.best.start)

    @cached_property
    def target(self) -> float:
        """The objective to reach: reference + gap · (start − reference)."""
        return self.reference + self.gap * (self.best.start - self.reference)

    def reached(self, record: Record) -> bool:
        """Return whether an evaluation is at the target or below."""
        return record["loss"] <= self.target

    @cached_property
    def rows(self) -> list[Row]:
        """The settings, ranked by the time to the target; medians over the repeats."""
        labels = dict.fromkeys(run["label"] for run in self.runs)
        rows = [self._row(label) for label in labels]
        return sorted(rows, key=_rank)

    def runs_of(self, label: str) -> list[Run]:
        """Return the runs of a setting."""
        return [run for run in self.runs if run["label"] == label]

    def _row(self, label: str) -> Row:
        runs = self.runs_of(label)
        failures = [run["status"] for run in runs if run["status"] != "ok"]
        row = {
            "label": label,
            "strategy": runs[0]["strategy"],
            "status": failures[0] if failures else "ok",
        }
        for key in MEDIANS:
            values: list[Any] = [run.get(key) for run in runs]
            row[key] = None if None in values else statistics.median(values)
        return row


def _rank(row: Row) -> tuple[bool, bool, float, float]:
    """Return the sort key of a setting: successful and fast ones come first."""
    seconds, gap = row["seconds_to_target"], row["gap"]
    gap = math.inf if gap is None else gap
    return row["status"] != "ok", seconds is None, seconds or 0.0, gap


def _format_score(score: float | None) -> str:
    """Return a score with four decimals; a large one, of a bad model, in short."""
    large = score is not None and abs(score) > 1e3
    return format_number(score, ".3g" if large else ".4f")


COLUMNS: dict[str, Callable[[Row], str]] = {  # heading -> text of a row
    "setting": lambda row: row["label"],
    "gap": lambda row: format_number(row["gap"], ".2g"),
    "score": lambda row: _format_score(row["score"]),
    "seconds": lambda row: format_number(row["seconds"], ".3g"),
    "rows/s": lambda row: format_number(row["rows_per_second"], ",.0f"),
    "sent": lambda row: format_bytes(row["bytes"]),
    "s to target": lambda row: format_number(row["seconds_to_target"], ".3g"),
    "epochs": lambda row: format_number(row["epochs_to_target"], ".0f"),
    "bytes": lambda row: format_bytes(row["bytes_to_target"]),
    "": lambda row: "" if row["status"] == "ok" else row["status"],
}


def cells(comparison: Comparison) -> list[list[str]]:
    """Return the ranked table as lists of texts, the headings first."""
    rows = [[text(row) for text in COLUMNS.values()] for row in comparison.rows]
    return [list(COLUMNS), *rows]


def table(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of the ranked table for a terminal, and what they mean."""
    yield from format_table(cells(comparison), right_aligned=True)
    yield from meaning(comparison)


def meaning(comparison: Comparison) -> Iterator[str]:
    """Yield lines that define gap and target."""
    source = "the optimum" if comparison.known else "the best of these runs"
    yield f"gap: objective − {comparison.reference:.6g}, {source}"
    way = f"{100 * (1 - comparison.gap):g} % of the way there"
    yield (
        f"target: {comparison.target:.6g}, {way}; "
        "epochs and bytes are those to the target"
    )


def line(run: Run) -> str:
    """Return a finished run in a line."""
    if run["status"] != "ok":
        return f"{run['label']}: {run['status']}"
    loss, score = format_number(run["loss"], ".6g"), _format_score(run["score"])
    return f"{run['label']}: objective {loss}, score {score}, {run['seconds']:.2f} s"


def write(folder: Path, comparison: Comparison) -> None:
    """Write results.csv, a row a run, and table.md, the ranked settings."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(comparison.runs)
    atomic_write_text(folder / "results.csv", text.getvalue(), CheckpointError)
    rows = ["| " + " | ".join(row) + " |" for row in cells(comparison)]
    rows.insert(1, "|---" + "|---:" * (len(COLUMNS) - 2) + "|---|")
    markdown = "\n".join([*rows, "", *meaning(comparison)]) + "\n"
    atomic_write_text(folder / "table.md", markdown, CheckpointError)
