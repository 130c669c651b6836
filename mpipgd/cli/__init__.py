"""One file a command: read the options, call the library, print the result.

A command is a module with `configure(parser)`, which imports nothing heavy, and
`main(args, comm, say)`, which returns the exit code; `say` prints on rank 0 alone.
"""

import argparse
import importlib
import sys

from .. import __version__
from ..errors import UsageError, nearest

COMMANDS = {
    "train": "train a model; the command if none is named",
    "compare": "train with several strategies, and rank them",
    "report": "draw the curves of runs",
    "predict": "write a run's predictions on data",
    "evaluate": "score a run's model on data",
    "data": "make, import, show and check data files",
}


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of ending the program; knows the nearest flag."""

    def error(self, message):
        """Raise UsageError."""
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def parse_args(self, args=None, namespace=None):
        """Parse, and refuse what is left over with the nearest known flag."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            parser = getattr(found, "parser", self)
            flags = [flag for each in parser._actions for flag in each.option_strings]
            word = rest[0].split("=")[0]
            kind = "flag" if word.startswith("-") else "argument"
            self.error(f"unknown {kind} {word}" + nearest(word, flags))
        return found


def parse(argv):
    """Return the command's module and its arguments. Imports neither MPI nor numpy."""
    argv = list(argv)
    if not argv or (
        argv[0] not in COMMANDS and argv[0] not in ("-h", "--help", "--version")
    ):
        argv.insert(0, "train")
    parser = Parser(
        prog="mpipgd",
        description="Parallel gradient descent for people with MPI.",
        epilog="mpirun -n 8 python -m mpipgd [COMMAND] …; no command means train",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        module = importlib.import_module(f".{name}", __name__)
        each = commands.add_parser(
            name, help=text, description=module.__doc__, allow_abbrev=False
        )
        module.configure(each)
        each.set_defaults(module=module, parser=each)
    args = parser.parse_args(argv)
    return args.module, args


def printer(shown):
    """Return print, at once on the screen, or a function that prints nothing."""
    if not shown:
        return lambda *values: None
    return lambda *values: print(*values, file=sys.stdout, flush=True)
