"""mpipgd coef."""

import argparse
from typing import TYPE_CHECKING

from ..errors import UsageError
from .base import ParallelCommand, Printer, parse_integer

if TYPE_CHECKING:
    from ..comm.mpi import Comm


class CoefCommand(ParallelCommand):
    """Print the coefficients of a run's linear model by name.

    They are those of the raw features, the largest standardised ones first.
    """

    name = "coef"
    help = "print the coefficients of a run's linear model"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("RUN", help="a run folder")
        add("-o", "--output", metavar="FILE.csv", help="write them, instead")
        add("--overwrite", action="store_true", help="replace an output that exists")
        add("--top", metavar="N", help="the N largest ones only")
        add(
            "--standardized",
            action="store_true",
            help="those of the standardised features, which can be compared",
        )
        add(
            "--order",
            choices=("size", "columns"),
            default="size",
            help="by the size of the standardised ones (default), or as the columns",
        )

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        if args.overwrite and not args.output:
            raise UsageError("--overwrite takes -o FILE.csv, which is not there")
        self.top = None if args.top is None else parse_integer("--top", args.top, 1)

    def run(self, comm: "Comm", say: Printer) -> int:
        """Print or write the table."""
        from ..reporting.tables import format_table
        from ..training.coefficients import coefficients

        args = self.args
        table = coefficients(
            args.RUN,
            comm=comm,
            standardized=args.standardized,
            top=self.top,
            by_size=args.order == "size",
            output=args.output,
            overwrite=args.overwrite,
        )
        if args.output:
            say(f"{args.output}: {len(table.names):,} coefficients")
            return 0
        rows = [["name", *table.columns]]
        for name, values in zip(table.names, table.values):
            rows.append([name, *(f"{value:.6g}" for value in values)])
        for line in format_table(rows, right_aligned=True):
            say(line)
        return 0
