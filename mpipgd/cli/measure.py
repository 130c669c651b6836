"""Measure what `mpipgd scale --calibrate` wants to know, on these ranks."""

import json


def configure(parser):
    """Add the arguments."""
    parser.add_argument("WANTED", help="a JSON file that says what to measure")
    parser.add_argument("FOUND", help="the JSON file to write")


def main(args, comm, say):
    """Measure, and write what was found."""
    from pathlib import Path

    from ..comm import mpi
    from ..studies.scaling.microbench import measured

    wanted = mpi.on_root(comm, lambda: json.loads(Path(args.WANTED).read_text()))
    found = measured(comm, wanted)
    mpi.on_root(comm, lambda: Path(args.FOUND).write_text(json.dumps(found)))
    return 0
