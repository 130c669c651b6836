"""mpipgd measure, which `mpipgd scale --calibrate` starts."""

import argparse
import json
from typing import TYPE_CHECKING

from .base import ParallelCommand, Printer

if TYPE_CHECKING:
    from ..comm.mpi import Comm


class MeasureCommand(ParallelCommand):
    """Measure what `mpipgd scale --calibrate` wants to know, on these ranks."""

    name = "measure"
    help = None

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("WANTED", help="a JSON file that says what to measure")
        parser.add_argument("FOUND", help="the JSON file to write")

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def run(self, comm: "Comm", say: Printer) -> int:
        """Measure, and write the results."""
        from pathlib import Path

        from ..comm import mpi
        from ..studies.scaling.microbench import measure

        request, results_file = Path(self.args.WANTED), Path(self.args.FOUND)
        wanted = mpi.on_root(comm, lambda: json.loads(request.read_text()))
        results = measure(comm, wanted)
        mpi.on_root(comm, lambda: results_file.write_text(json.dumps(results)))
        return 0
