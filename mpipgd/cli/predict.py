"""mpipgd predict."""

import argparse
from typing import TYPE_CHECKING

from .base import ParallelCommand, Printer
from .evaluate import add_model_arguments, read_options

if TYPE_CHECKING:
    from ..comm.mpi import Comm


class PredictCommand(ParallelCommand):
    """Write a run's predictions on raw features to a file, in parallel.

    The data needs no targets. The format of the file is that of its ending: .csv, .tsv,
    .parquet, .arrow, .feather or .h5.
    """

    name = "predict"
    help = "write a run's predictions on data"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model_arguments(parser)
        add = parser.add_argument
        add("-o", "--output", metavar="FILE", required=True, help="the file")
        add(
            "--split",
            choices=("all", "train", "test"),
            default="all",
            help="the rows to predict (default: all)",
        )
        add(
            "--probabilities",
            action="store_true",
            help="also a column of probabilities for each class, named by its label "
            "(losses log and softmax; .h5 has them anyway)",
        )
        add(
            "--id",
            metavar="COLUMN",
            help="also the ids of the rows as a first column of this name: of the "
            "table, or those that data import --id has kept",
        )

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def run(self, comm: "Comm", say: Printer) -> int:
        """Predict, and print the number of rows of each split."""
        from ..data.create.bundled import bundled_path
        from ..training import inference

        args = self.args
        with bundled_path(comm, args.DATA) as data:
            rows_of_split = inference.predict(
                args.RUN,
                data,
                args.output,
                comm=comm,
                read_options=read_options(args),
                split=args.split,
                probabilities=args.probabilities,
                id_column=args.id,
                overwrite=args.overwrite,
            )
        for split, rows in rows_of_split.items():
            which = f" of the {split} rows" if len(rows_of_split) > 1 else ""
            say(f"{args.output}: {rows:,} predictions{which}")
        return 0
