"""mpipgd doctor."""

import argparse
import importlib
from typing import TYPE_CHECKING

from ..errors import UsageError
from .base import ParallelCommand, Printer

if TYPE_CHECKING:
    from ..comm.mpi import Comm

TIMEOUT = 60.0  # seconds after which a launcher or a network that hangs is given up


class DoctorCommand(ParallelCommand):
    """Say what is right and wrong here for a run, and how to launch it instead.

    Under the launcher that a run would have, as `mpirun -n 8 python -m mpipgd doctor`,
    or alone. The exit code is 0 only where a run would go well, else 2.
    """

    name = "doctor"
    help = "say what is right and wrong here for a run"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the argument."""
        parser.add_argument(
            "--folder", default="runs", help="where runs will be written [runs]"
        )

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder: str = args.folder
        try:
            importlib.import_module("..comm.mpi", __package__)
        except (ImportError, RuntimeError) as error:
            raise UsageError(
                f"doctor: mpi4py finds no MPI: {str(error).splitlines()[0]}; "
                "pip install mpich, or load the module that mpi4py was built with"
            ) from error

    def check_world_size(self, size: int) -> None:
        """Accept any size: `run` reports what the launcher did wrong."""

    def run(self, comm: "Comm", say: Printer) -> int:
        """Print the findings; the exit code is 2 where a run would not go well."""
        from ..cluster import doctor, probe
        from ..reporting import tables
        from ..training.watchdog import Watchdog

        with Watchdog(comm, TIMEOUT):
            ranks, world = probe.probe(comm, self.folder)
        findings = doctor.examine(ranks, world)
        rows = [(finding.level, finding.subject, finding.text) for finding in findings]
        for line in tables.format_table(rows):
            say(line)
        faults = sum(finding.level == doctor.FAULT for finding in findings)
        if faults:
            say(f"\n{faults} to be put right; launch with\n")
        else:
            say("\na run would go well; launch with\n")
        say(f"    {doctor.launch_line(findings, ranks, world)}")
        return 2 if faults else 0
