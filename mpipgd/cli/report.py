"""mpipgd report."""

import argparse
from typing import TYPE_CHECKING

from ..errors import UsageError
from .base import ParallelCommand, Printer

if TYPE_CHECKING:
    from ..comm.mpi import Comm

AGAINST = {  # --against -> key of the metrics
    "epochs": "epoch",
    "seconds": "seconds",
    "bytes": "bytes",
    "samples": "samples",
}


class ReportCommand(ParallelCommand):
    """Draw the curves of one or several runs, and print how they ended."""

    name = "report"
    help = "draw the curves of runs"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("RUN", nargs="+", help="a run folder")
        add(
            "-o",
            "--output",
            metavar="OUT",
            help="the picture or page (default: report.png or, with --html, "
            "report.html, in the folder of a single RUN)",
        )
        add("--overwrite", action="store_true", help="replace an OUT that exists")
        add(
            "--html",
            action="store_true",
            help="write a page: all about a single RUN, or curves of several",
        )
        add(
            "--against",
            choices=AGAINST,
            default="epochs",
            help="what goes to the right",
        )
        add(
            "--show",
            choices=("score", "loss", "test_loss"),
            default="score",
            help="what goes up; single workers have scores only",
        )

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        if args.overwrite and not args.output:
            raise UsageError("--overwrite takes --output OUT, which is not there")

    def run(self, comm: "Comm", say: Printer) -> int:
        """Print a line for each run, and draw."""
        from functools import partial

        from ..atomic_file import verify_output
        from ..comm import mpi
        from ..reporting import report

        args = self.args
        if args.output:
            verify = partial(verify_output, overwrite=args.overwrite)
            mpi.on_root(comm, verify, args.output, [])
        axes = {"against": AGAINST[args.against], "show": args.show}
        draw = partial(report.report, html=args.html)
        for line in mpi.on_root(comm, draw, args.RUN, args.output, axes):
            say(line)
        return 0
