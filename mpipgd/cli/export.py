"""mpipgd export."""

import argparse
from typing import TYPE_CHECKING

from .base import ParallelCommand, Printer

if TYPE_CHECKING:
    from ..comm.mpi import Comm


class ExportCommand(ParallelCommand):
    """Write a run's model for scikit-learn, ONNX or NumPy, to be used without mpipgd.

    It takes raw features, and is compared with the run's model before it is reported.
    """

    name = "export"
    help = "write a run's model for scikit-learn, ONNX or NumPy"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("RUN", help="a run folder")
        add(
            "--to",
            required=True,
            choices=("sklearn", "onnx", "numpy"),
            help="a pipeline of scikit-learn saved by skops, an ONNX graph, or arrays "
            "in an NPZ file",
        )
        add("-o", "--output", metavar="FILE", required=True, help="the file")
        add("--overwrite", action="store_true", help="replace an output that exists")

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def run(self, comm: "Comm", say: Printer) -> int:
        """Write, and print how to load the file."""
        from ..training.export import export

        args = self.args
        say(export(args.RUN, args.to, args.output, comm=comm, overwrite=args.overwrite))
        return 0
