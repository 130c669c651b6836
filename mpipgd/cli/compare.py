"""Train with several strategies on the same data, plan and seeds, and rank them."""

import sys

from ..errors import UsageError
from . import train


def configure(parser):
    """Add the flags of a comparison, and those of a run but for its strategy."""
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
        nargs="+",
        default=[],
        help="try every combination of these with each setting, as lr=0.1,0.01",
    )
    add("--repeat", metavar="N", default="1", help="with as many seeds [1]")
    add(
        "--gap",
        default="0.1",
        help="share of the way to the optimum that may be left at the target [0.1]",
    )
    add("--out", metavar="DIR", help="the folder (default: runs/TIME-DATA-compare)")
    train.configure(parser, without=("strategy", "run", "picture", "quiet"))


def check(args):
    """Refuse, before MPI starts, settings that cannot be."""
    from ..studies.compare import settings

    args.settings = settings.parse(args.strategies, args.grid, train.options(args))
    args.repeat = _number(args.repeat, int, "--repeat", "a whole number of at least 1")
    args.gap = _number(args.gap, float, "--gap", "a number above 0")


def _number(text, kind, flag, wanted):
    try:
        value = kind(text)
    except ValueError:
        value = 0
    if not value > 0:
        raise UsageError(f"{flag} {text}: expected {wanted}")
    return value


def main(args, comm, say):
    """Compare; the exit code is 4 where every setting diverged."""
    from ..studies.compare.compare import compare

    more = {"out": args.out, "repeat": args.repeat, "gap": args.gap}
    command = " ".join(["mpirun -n", str(comm.size), "python -m mpipgd", *sys.argv[1:]])
    rows = compare(args.settings, **more, comm=comm, say=say, command=command)
    return 4 if all(row["status"] == "diverged" for row in rows) else 0
