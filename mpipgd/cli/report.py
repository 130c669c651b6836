"""Draw the curves of one or several runs, and print how they ended."""

AGAINST = {"epochs": "epoch", "seconds": "seconds", "bytes": "bytes"}
AGAINST |= {"samples": "samples"}


def configure(parser):
    """Add the arguments."""
    add = parser.add_argument
    add("RUN", nargs="+", help="a run folder")
    where = "the picture (default: report.png, in the folder of a single RUN)"
    add("-o", "--output", metavar="OUT.png", help=where)
    add("--against", choices=AGAINST, default="epochs", help="what goes to the right")
    add(
        "--show",
        choices=("score", "loss", "test_loss"),
        default="score",
        help="what goes up; single workers have scores only",
    )


def main(args, comm, say):
    """Print a line a run, and draw."""
    from ..comm import mpi
    from ..reporting import report

    more = {"against": AGAINST[args.against], "show": args.show}
    for line in mpi.on_root(comm, report.report, args.RUN, args.output, more):
        say(line)
    return 0
