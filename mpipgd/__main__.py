"""Run one command on all ranks, and end them together."""

import signal

if __name__ == "__main__":  # until `configure_environment`, end without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import os
import select
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from . import cli, interrupts
from .cli.base import Command, ParallelCommand, Printer, StandaloneCommand
from .comm import environment
from .errors import MpipgdError, UsageError, printable

INTERRUPT_SECONDS = 0.5
OUTPUT_CLOSED = 128 + signal.SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, the same on all ranks."""
    cli.complete()
    environment.configure_environment()
    is_first = environment.rank() == 0  # MPI has not started: the launcher's number
    try:
        return _run(argv, is_first)
    except KeyboardInterrupt:
        _end_interrupted(is_first)
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        os._exit(OUTPUT_CLOSED)  # as programs do whose output goes into `head`


def _output_is_closed() -> bool:
    """Return whether nobody reads what this process prints."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _end_interrupted(is_first: bool) -> NoReturn:
    """End this process, and leave the other ranks to the launcher."""
    if is_first:
        print("mpipgd: interrupted", file=sys.stderr, flush=True)
    else:
        time.sleep(INTERRUPT_SECONDS)  # the first rank removes what it has begun
    os._exit(interrupts.INTERRUPTED)  # MPI's own end would wait for the others


def _run(argv: Sequence[str] | None, is_first: bool) -> int:
    """Run one command; return its exit code."""
    try:
        command_class, args = _parse(sys.argv[1:] if argv is None else argv, is_first)
        command = command_class(args)
        if isinstance(command, StandaloneCommand):
            return _run_standalone(command, is_first)
        assert isinstance(command, ParallelCommand)
        text = command.early_output()
    except MpipgdError as error:
        if not is_first:
            # Open MPI ends all ranks when the first of them fails: let that one print
            time.sleep(3)
        return _report(error, is_first)
    if text is not None:
        _printer(is_first)(text.rstrip("\n"))
        return 0
    return _run_parallel(command, is_first)


def _parse(
    argv: Sequence[str], is_first: bool
) -> tuple[type[Command], argparse.Namespace]:
    """Parse the arguments; --help ends all ranks, and one of them prints it."""
    if not is_first:
        sys.stdout = open("/dev/null", "w")
    try:
        return cli.parse(argv)
    finally:
        sys.stdout = sys.__stdout__


def _run_standalone(command: StandaloneCommand, is_first: bool) -> int:
    if environment.under_mpirun() and environment.launcher_size() > 1:
        raise UsageError(
            f"mpipgd {command.name} starts what it needs by itself, and found "
            f"{environment.launcher_size()} ranks: run it without mpirun"
        )
    return command.run(_printer(is_first))


def _run_parallel(command: ParallelCommand, is_first: bool) -> int:
    """Start MPI, run the command, agree on the exit code."""
    from .comm import mpi

    comm = mpi.world()
    try:
        command.check_world_size(comm.size)
        # programs that do not see each other are all rank 0 of a world of 1
        prints = comm.rank == 0 and (is_first or comm.size > 1)
        code = command.run(comm, _printer(prints))
    except MpipgdError as error:
        if not error.agreed and comm.size > 1:
            mpi.crash(comm, error)
        code = _report(error, is_first and comm.rank == 0)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            raise
        if interrupts.interrupted():  # made another exception by what it came upon
            raise KeyboardInterrupt from error
        mpi.crash(comm, error)
    return mpi.broadcast_exit_code(comm, code)


def _report(error: MpipgdError, prints: bool) -> int:
    """Print the message of an error on one rank; return its exit code."""
    if prints:
        print(f"mpipgd: {error}", file=sys.stderr, flush=True)
    return error.code


def _printer(prints: bool) -> Printer:
    """Return print without buffering, or a function that prints nothing."""
    if not prints:
        return lambda *values: None
    return lambda *values: print(
        *(printable(str(value)) for value in values), file=sys.stdout, flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
