"""Compared runs: gaps to the optimum, what it took to reach the target, a ranking."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from ...atomic_file import atomic_write_text
from ...config.options import TrainConfig
from ...errors import CheckpointError
from ...reporting.base import Record
from ...reporting.run_folder import read_epochs
from ...reporting.run_page import RunFiles
from ...reporting.tables import (
    format_bytes,
    format_number,
    format_score,
    format_table,
)
from .optimum import Reference

Run: TypeAlias = dict[str, Any]  # a run's values by CSV column, and its `records`
Row: TypeAlias = dict[str, Any]  # a setting: medians of its runs, see MEDIANS

FINAL = ("loss", "test_loss", "score", "seconds", "bytes")
TO_TARGET = {  # key of a record -> column
    "seconds": "seconds_to_target",
    "epoch": "epochs_to_target",
    "bytes": "bytes_to_target",
}
GAPS = tuple(digit * 10.0**-power for power in range(1, 8) for digit in (1, 0.5, 0.2))
LEAST_SECONDS = 0.05  # shorter times to the target say more about the machine's noise

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
    names = {
        "weights_sha256": summary["weights_sha256"],
        "score_name": RunFiles(folder).score,
    }
    return result | final | time | names


@dataclass(frozen=True)
class Comparison:
    """Runs (see `run_result`), the reference minimum, and what follows from them.

    `given_gap`: the share of the way from the first weights to the reference that may
    be left at the target, or None: then `gap` is one that separates the settings.
    `repeat`: runs of each setting; `facts`: what all of them share; `grid_axes`: how
    many words at the end of a label are of the grid.
    """

    results: list[Run]
    best: Reference
    given_gap: float | None
    repeat: int
    facts: dict[str, Any]
    grid_axes: int = 0

    @cached_property
    def gap(self) -> float:
        """The share of the way that may be left at the target.

        By default the largest of GAPS that no run reaches at its first evaluation, and
        at least half of the runs reach later; if there is none, the largest of those
        that tell most runs apart.
        """
        if self.given_gap is not None:
            return self.given_gap
        runs = [run["records"] for run in self.results if run["status"] == "ok"]
        firsts = {gap: [self._first(gap, records) for records in runs] for gap in GAPS}
        for gap, places in firsts.items():
            reached = [place for place in places if place is not None]
            if 0 not in reached and reached and 2 * len(reached) >= len(places):
                return gap
        return max(GAPS, key=lambda gap: len(set(firsts[gap])))

    def _first(self, gap: float, records: Sequence[Record]) -> int | None:
        """Return the number of the first evaluation that leaves at most a gap."""
        target = self._objective_at(gap)
        places = (k for k, record in enumerate(records) if record["loss"] <= target)
        return next(places, None)

    def _objective_at(self, gap: float) -> float:
        return self.reference + gap * (self.best.start - self.reference)

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
    def optimum_known(self) -> bool:
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
        return self._objective_at(self.gap)

    def reached(self, record: Record) -> bool:
        """Return whether an evaluation is at the target or below."""
        return record["loss"] <= self.target

    @cached_property
    def rows(self) -> list[Row]:
        """The settings, ranked by `ranked_by`; medians over the repeats."""
        return sorted(self._rows, key=self._rank)

    @cached_property
    def _rows(self) -> list[Row]:
        labels = dict.fromkeys(run["label"] for run in self.runs)
        return [self._row(label) for label in labels]

    @property
    def tuned_rows(self) -> list[Row]:
        """The best row of each strategy, as it was given, over the grid."""
        best: dict[str, Row] = {}
        for row in self.rows:
            words = row["label"].split(" ")
            label = " ".join(words[: len(words) - self.grid_axes])
            best.setdefault(label, row)
        return list(best.values())

    @cached_property
    def ranked_by(self) -> str:
        """What settings that reach the target are ranked by: a column of the table.

        The seconds to the target; the epochs where none takes LEAST_SECONDS. Where all
        that reach the target do so at their first evaluation, neither tells them apart,
        and it is the final gap, which decides ties, too.
        """
        rows = [row for row in self._rows if row["status"] == "ok"]
        reached = [row for row in rows if row["seconds_to_target"] is not None]
        if all(self._at_first_evaluation(row["label"]) for row in reached):
            return "gap"
        longest = max(row["seconds_to_target"] for row in reached)
        return "epochs_to_target" if longest < LEAST_SECONDS else "seconds_to_target"

    def _at_first_evaluation(self, label: str) -> bool:
        return all(
            run["records"] and self.reached(run["records"][0])
            for run in self.runs_of(label)
        )

    def _rank(self, row: Row) -> tuple[bool, bool, float, float]:
        """Return the sort key of a setting: successful ones come first."""
        gap = math.inf if row["gap"] is None else row["gap"]
        value = gap if self.ranked_by == "gap" else row[self.ranked_by]
        missed = row["seconds_to_target"] is None
        return row["status"] != "ok", missed, gap if missed else value, gap

    def notes(self) -> Iterator[str]:
        """Yield what is to be known of the ranking before it is believed."""
        if self.ranked_by == "gap":
            yield (
                "Every setting that reaches the target does so at its first "
                "evaluation, or none does: they are ranked by the final gap. Evaluate "
                "more often (--eval-every), or give a smaller --gap."
            )
        elif self.ranked_by == "epochs_to_target":
            yield (
                f"No setting takes {LEAST_SECONDS:g} s to the target: seconds are too "
                "short to rank, so epochs to the target do, and then the final gap."
            )

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


def _format_gap(gap: float | None) -> str:
    """Return a gap with two significant digits."""
    return "–" if gap is None else f"{float(f'{gap:.2g}'):g}"


COLUMNS: dict[str, Callable[[Row], str]] = {  # heading -> text of a row
    "setting": lambda row: row["label"],
    "gap": lambda row: _format_gap(row["gap"]),
    "score": lambda row: format_score(row["score"]),
    "seconds": lambda row: format_number(row["seconds"], ".3g"),
    "rows/s": lambda row: format_number(row["rows_per_second"], ",.0f"),
    "sent": lambda row: format_bytes(row["bytes"]),
    "s to target": lambda row: format_number(row["seconds_to_target"], ".3g"),
    "epochs": lambda row: format_number(row["epochs_to_target"], ".0f"),
    "bytes": lambda row: format_bytes(row["bytes_to_target"]),
    "": lambda row: "" if row["status"] == "ok" else row["status"],
}


RANKED_BY = {  # `Comparison.ranked_by` -> in words
    "seconds_to_target": "seconds to the target",
    "epochs_to_target": "epochs to the target",
    "gap": "final gap",
}


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return rows as lists of texts, the headings first."""
    return [list(COLUMNS), *([text(row) for text in COLUMNS.values()] for row in rows)]


def table(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of the ranked tables for a terminal, and what they mean."""
    yield from format_table(cells(comparison.rows), right_aligned=True)
    if comparison.grid_axes:
        yield "\nbest of the grid for each strategy:"
        yield from format_table(cells(comparison.tuned_rows), right_aligned=True)
        yield ""
    yield from meaning(comparison)


def meaning(comparison: Comparison) -> Iterator[str]:
    """Yield lines that define gap, target and ranking."""
    source = "the optimum" if comparison.optimum_known else "the best of these runs"
    yield f"gap: objective − {comparison.reference:.6g}, {source}"
    way = f"{100 * (1 - comparison.gap):g} % of the way there"
    yield (
        f"target: {comparison.target:.6g}, {way}; "
        "epochs and bytes are those to the target"
    )
    yield f"ranked by the {RANKED_BY[comparison.ranked_by]}, ties by the final gap"
    yield from comparison.notes()


def line(run: Run) -> str:
    """Return a finished run in a line."""
    if run["status"] != "ok":
        return f"{run['label']}: {run['status']}"
    loss, score = format_number(run["loss"], ".6g"), format_score(run["score"])
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
    rows = ["| " + " | ".join(row) + " |" for row in cells(comparison.rows)]
    rows.insert(1, "|---" + "|---:" * (len(COLUMNS) - 2) + "|---|")
    markdown = "\n".join([*rows, "", *meaning(comparison)]) + "\n"
    atomic_write_text(folder / "table.md", markdown, CheckpointError)
