"""mpipgd status."""

import argparse

from .base import Printer, StandaloneCommand


class StatusCommand(StandaloneCommand):
    """Show state, epoch, loss, rate and time left of runs, from their folders alone."""

    name = "status"
    help = "show how far runs have come"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the argument."""
        parser.add_argument("RUN", nargs="+", help="a run folder; what is none says so")

    def __init__(self, args: argparse.Namespace) -> None:
        self.folders = args.RUN

    def run(self, say: Printer) -> int:
        """Print a line for each run."""
        from ..reporting import status

        for line in status.status(self.folders):
            say(line)
        return 0
