"""mpipgd compare."""

import argparse
import sys
from typing import TYPE_CHECKING, TypeVar

from ..errors import UsageError
from .base import ParallelCommand, Printer
from .train import (
    GridAction,
    add_study_flags,
    check_flags_are_used,
    given_flags,
    given_options,
)

if TYPE_CHECKING:
    from ..comm.mpi import Comm

Number = TypeVar("Number", int, float)


class CompareCommand(ParallelCommand):
    """Train with several strategies on the same data, plan and seeds, and rank them."""

    name = "compare"
    help = "train with several strategies, and rank them"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the flags of a comparison, and those that its runs share."""
        add = parser.add_argument
        add(
            "--strategies",
            metavar="LIST",
            default="all",
            help="all, or as sync,average:n_sync=5,sync:workers=1 [all]",
        )
        add(
            "--grid",
            metavar="KEY=V1,V2",
            action=GridAction,
            nargs="+",
            default=[],
            help="try every combination of these with each setting, as "
            "lr=0.1,0.01 batch_size=8,32; repeatable",
        )
        add("--repeat", metavar="N", default="1", help="with as many seeds [1]")
        add(
            "--gap",
            help="share of the way to the optimum that may be left at the target [one "
            "that separates the settings, at most 0.1]",
        )
        add("--out", metavar="DIR", help="the folder (default: runs/TIME-DATA-compare)")
        add_study_flags(parser)

    def __init__(self, args: argparse.Namespace) -> None:
        from ..studies.compare import settings

        self.settings = settings.parse(args.strategies, args.grid, given_options(args))
        check_flags_are_used(args, self.settings.values())
        self.repeat = _parse_positive(
            args.repeat, int, "--repeat", "a whole number of at least 1"
        )
        self.gap = args.gap and _parse_positive(
            args.gap, float, "--gap", "a number above 0"
        )
        self.grid_axes = len(args.grid)
        self.flags = given_flags(args)
        self.out: str | None = args.out

    def run(self, comm: "Comm", say: Printer) -> int:
        """Compare; the exit code is 4 where every setting diverged."""
        from ..studies.compare.compare import compare

        rows = compare(
            self.settings,
            out=self.out,
            repeat=self.repeat,
            gap=self.gap,
            grid_axes=self.grid_axes,
            comm=comm,
            say=say,
            flags=self.flags,
            command=" ".join(
                ["mpirun -n", str(comm.size), "python -m mpipgd", *sys.argv[1:]]
            ),
        )
        return 4 if all(row["status"] == "diverged" for row in rows) else 0


def _parse_positive(
    text: str, number_type: type[Number], flag: str, expected: str
) -> Number:
    try:
        value = number_type(text)
    except ValueError:
        value = number_type(0)
    if not value > 0:  # also true for NaN
        raise UsageError(f"{flag} {text}: expected {expected}")
    return value
