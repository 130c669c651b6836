"""mpipgd evaluate."""

import argparse
from typing import TYPE_CHECKING

from .base import ParallelCommand, Printer

if TYPE_CHECKING:
    from ..comm.mpi import Comm


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of commands that apply a run's model to data."""
    parser.add_argument("RUN", help="a run folder")
    parser.add_argument(
        "DATA", help="a file, a glob, a folder of shards, or a bundled set"
    )
    parser.add_argument("--x", metavar="PATH", help="path of the features in the file")
    parser.add_argument("--y", metavar="PATH", help="path of the targets in the file")


class EvaluateCommand(ParallelCommand):
    """Score the model of a run folder on raw features, in parallel."""

    name = "evaluate"
    help = "score a run's model on data"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model_arguments(parser)

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def run(self, comm: "Comm", say: Printer) -> int:
        """Print rows, loss and score of each split."""
        from ..data.create.bundled import bundled_path
        from ..training import inference

        args = self.args
        with bundled_path(comm, args.DATA) as data:
            scores = inference.evaluate(args.RUN, data, comm=comm, x=args.x, y=args.y)
        say(f"{'part':<6} {'rows':>10} {'loss':>12} {'score':>8}")
        for split, result in scores.items():
            say(
                f"{split:<6} {result['rows']:>10,} {result['loss']:>12.6g} "
                f"{result['score']:>8.4f}"
            )
        return 0
