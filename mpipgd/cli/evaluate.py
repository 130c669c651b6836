"""mpipgd evaluate."""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..config.options import BUNDLED
from ..errors import UsageError
from .base import ParallelCommand, Printer, complete_with
from .data import CSV_OPTIONS
from .train import OPTIONS, add_flag

if TYPE_CHECKING:
    from ..comm.mpi import Comm
    from ..training.inference import ReadOptions

MAX_LISTED_CLASSES = 20
CLASS_NAMES = {
    "rows": "rows",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "average_precision": "av. precision",
}


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of commands that apply a run's model to data."""
    parser.add_argument("RUN", help="a run folder")
    add = parser.add_argument
    data = add(
        "DATA",
        help="a table as CSV or Parquet, a data file, a glob, a folder, or a bundled "
        "set",
    )
    complete_with(data, BUNDLED)
    add("--x", metavar="PATH", help="path of the features in an HDF5 file")
    add("--y", metavar="PATH", help="path of the targets in an HDF5 file")
    add(
        "--drop-column",
        metavar="COLUMN",
        action="append",
        default=[],
        help="table: a column that the model does not know; repeatable",
    )
    add(
        "--unknown",
        choices=("error", "ignore"),
        default="error",
        help="table: refuse texts that are no category of the model (default), or take "
        "them as none",
    )
    for option in CSV_OPTIONS:
        add_flag(parser, OPTIONS[option])
    add("--overwrite", action="store_true", help="replace an output that exists")


def read_options(args: argparse.Namespace) -> "ReadOptions":
    """Return how the data is read, from the arguments."""
    from ..training.inference import ReadOptions

    given = vars(args)  # without the flags that were not given
    return ReadOptions(
        args.x,
        args.y,
        tuple(args.drop_column),
        args.unknown == "ignore",
        {name: given[name] for name in CSV_OPTIONS if name in given},
    )


class EvaluateCommand(ParallelCommand):
    """Score the model of a run folder on raw features, in parallel.

    Metrics are exact, and the same on any number of ranks.
    """

    name = "evaluate"
    help = "score a run's model on data"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--curves",
            metavar="FILE.csv",
            help="write the points of ROC, precision-recall and calibration curves "
            "(classes)",
        )

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        if args.overwrite and not args.curves:
            raise UsageError("--overwrite takes --curves FILE.csv, which is not there")

    def run(self, comm: "Comm", say: Printer) -> int:
        """Print the metrics of all splits."""
        from ..data.create.bundled import bundled_path
        from ..training import inference

        args = self.args
        with bundled_path(comm, args.DATA) as data:
            metrics = inference.evaluate(
                args.RUN,
                data,
                comm=comm,
                read_options=read_options(args),
                curves=args.curves,
                overwrite=args.overwrite,
            )
        if args.json:
            say(json.dumps(metrics, indent=1, allow_nan=False, ensure_ascii=False))
            return 0
        for line in _lines(metrics):
            say(line)
        if args.curves:
            say(f"{args.curves}: points of the curves")
        return 0


def _lines(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the tables: splits, then a split's classes, or its confusion matrix."""
    from ..reporting.tables import METRIC_NAMES, format_number, format_table

    first = next(iter(metrics.values()))
    keys = [key for key in METRIC_NAMES if key in first]
    rows = [
        [
            "part",
            "rows",
            "loss (without penalty)",
            "score",
            *(METRIC_NAMES[key] for key in keys),
        ]
    ]
    for split, of_split in metrics.items():
        row = [split, f"{of_split['rows']:,}", format_number(of_split["loss"], ".6g")]
        row.append(format_number(of_split["score"], ".4f"))
        rows.append(row + [format_number(of_split[key], ".4g") for key in keys])
    yield from format_table(rows, right_aligned=True)
    for split, of_split in metrics.items():
        if classes := of_split.get("classes"):
            yield from _class_lines(split, classes, of_split)
        if targets := of_split.get("targets"):
            yield from _target_lines(split, targets)
        for note in of_split["notes"]:
            yield f"{split}: {note}"


def _target_lines(split: str, targets: list[dict[str, Any]]) -> Iterator[str]:
    from ..reporting.tables import METRIC_NAMES, format_number, format_table

    keys = [key for key in METRIC_NAMES if key in targets[0]]
    rows = [[f"{split}, target", *(METRIC_NAMES[key] for key in keys)]]
    for of_target in targets:
        values = [format_number(of_target[key], ".4g") for key in keys]
        rows.append([str(of_target["target"]), *values])
    yield ""
    yield from format_table(rows, right_aligned=True)


def _class_lines(
    split: str, classes: list[dict[str, Any]], of_split: Mapping[str, Any]
) -> Iterator[str]:
    from ..reporting.tables import format_number, format_table

    keys = [key for key in CLASS_NAMES if key in classes[0]]
    rows = [[f"{split}, class", *(CLASS_NAMES[key] for key in keys)]]
    if len(classes) <= MAX_LISTED_CLASSES:
        for of_class in classes:
            values = [format_number(of_class[key], ".4f") for key in keys[1:]]
            rows.append([str(of_class["label"]), f"{of_class['rows']:,}", *values])
    for name in ("macro", "weighted"):
        averages = of_split[name]
        values = [format_number(averages.get(key), ".4f") for key in keys[1:4]]
        rows.append([f"({name} mean)", "", *values, *[""] * (len(keys) - 4)])
    yield ""
    yield from format_table(rows, right_aligned=True)
    if len(classes) <= MAX_LISTED_CLASSES:
        labels = [str(of_class["label"]) for of_class in classes]
        matrix = [["true \\ predicted", *labels]]
        for label, counts in zip(labels, of_split["confusion_matrix"]):
            matrix.append([label, *(f"{count:,}" for count in counts)])
        yield ""
        yield from format_table(matrix, right_aligned=True)
