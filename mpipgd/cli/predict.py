"""mpipgd predict."""

import argparse
from typing import TYPE_CHECKING

from .base import ParallelCommand, Printer
from .evaluate import add_model_arguments

if TYPE_CHECKING:
    from ..comm.mpi import Comm


class PredictCommand(ParallelCommand):
    """Write a run's predictions on raw features to an HDF5 file, in parallel."""

    name = "predict"
    help = "write a run's predictions on data"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model_arguments(parser)
        parser.add_argument(
            "-o", "--output", metavar="OUT.h5", required=True, help="the file"
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
                args.RUN, data, args.output, comm=comm, x=args.x, y=args.y
            )
        for split, rows in rows_of_split.items():
            say(
                f"{args.output}: /{split}/prediction and /{split}/output, {rows:,} rows"
            )
        return 0
