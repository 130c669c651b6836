"""Say what is right and wrong here for a run, and how to launch it instead.

Under the launcher that a run would have, as `mpirun -n 8 python -m mpipgd doctor`, or
alone. The exit code is 0 only where a run would go well, else 2.
"""

import importlib

from ..errors import UsageError

LIMIT = 60.0  # seconds after which a launcher or a network that hangs is given up


def configure(parser):
    """Add the argument."""
    parser.add_argument(
        "--folder", default="runs", help="where runs will be written [runs]"
    )


def check(args):
    """Refuse an MPI that cannot even be loaded."""
    try:
        importlib.import_module("..comm.mpi", __package__)
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"doctor: mpi4py finds no MPI: {str(error).splitlines()[0]}; "
            "pip install mpich, or load the module that mpi4py was built with"
        ) from error


def verify(size):
    """Refuse nothing: what the launcher did wrong is for `main` to say."""


def main(args, comm, say):
    """Print what was found; 2 where a run would not go well."""
    from ..cluster import doctor, probe
    from ..reporting import tables
    from ..training.watchdog import Watchdog

    with Watchdog(comm, LIMIT):
        ranks, whole = probe.probe(comm, args.folder)
    found = doctor.findings(ranks, whole)
    rows = [(each.level, each.about, each.text) for each in found]
    for line in tables.format_table(rows):
        say(line)
    faults = sum(each.level == doctor.FAULT for each in found)
    whole["cores"] = ranks[0]["cores"]
    if faults:
        say(f"\n{faults} to be put right; launch with\n")
    else:
        say("\na run would go well; launch with\n")
    say(f"    {doctor.launch_line(found, whole)}")
    return 2 if faults else 0
