"""Start one command on all ranks, and end them together."""

import sys
import time

from . import cli
from .comm import environment
from .errors import MpipgdError, UsageError


def main(argv=None):
    """Run one command; return its exit code, the same on all ranks."""
    environment.configure_environment()
    first = environment.rank() == 0
    try:
        module, args = _parse(argv, first)
        getattr(module, "check", lambda args: None)(args)
        text = getattr(module, "early", lambda args: None)(args)
        if hasattr(module, "alone"):
            return _alone(module, args, first)
    except MpipgdError as refusal:
        if not first:  # Open MPI ends all ranks with the first that fails: not this one
            time.sleep(3)
        return _refuse(refusal, first)
    if text is not None:
        cli.printer(first)(text.rstrip("\n"))
        return 0
    return _together(module, args, first)


def _parse(argv, first):
    """Parse the arguments; --help is printed by one rank and ends all of them."""
    if not first:
        sys.stdout = open("/dev/null", "w")
    try:
        return cli.parse(sys.argv[1:] if argv is None else argv)
    finally:
        sys.stdout = sys.__stdout__


def _refuse(refusal, shown):
    if shown:
        print(f"mpipgd: {refusal}", file=sys.stderr, flush=True)
    return refusal.code


def _alone(module, args, first):
    """Run a command that needs no MPI, and starts ranks itself if it wants some."""
    if environment.under_mpirun() and environment.launcher_size() > 1:
        raise UsageError(
            f"mpipgd {args.command} starts what it needs by itself, and found "
            f"{environment.launcher_size()} ranks: run it without mpirun"
        )
    return module.alone(args, cli.printer(first))


def _together(module, args, first):
    """Start MPI, run the command, agree on the exit code."""
    from .comm import mpi

    comm = mpi.world()
    try:
        getattr(module, "verify", environment.check_world_size)(comm.size)
        shown = comm.rank == 0 and (first or comm.size > 1)  # programs may be apart
        code = module.main(args, comm, cli.printer(shown))
    except MpipgdError as refusal:
        if not refusal.agreed and comm.size > 1:
            mpi.crash(comm, refusal)
        code = _refuse(refusal, first and comm.rank == 0)
    except BaseException as error:
        mpi.crash(comm, error)
    return mpi.broadcast_exit_code(comm, code)


if __name__ == "__main__":
    sys.exit(main())
