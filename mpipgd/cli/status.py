"""Show state, epoch, loss, rate and time left of runs, from their folders alone."""


def configure(parser):
    """Add the argument."""
    parser.add_argument("RUN", nargs="+", help="a run folder")


def alone(args, say):
    """Print a line a run."""
    from ..reporting import status

    for line in status.status(args.RUN):
        say(line)
    return 0
