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
    "scale": "train on several numbers of ranks, and say how it scales",
    "report": "draw the curves of runs",
    "predict": "write a run's predictions on data",
    "evaluate": "score a run's model on data",
    "data": "make, import, show and check data files",
    "doctor": "say what is right and wrong here for a run",
    "launch": "start a command's ranks by mpirun here, by srun in a job of SLURM",
    "submit": "write a job of SLURM into a run folder, and submit it",
    "status": "show how far runs have come",
}
HIDDEN = ("measure",)  # what other commands start
STARTING = ("launch", "submit")


def whole_number(flag, text, least=0):
    """Return the number that a flag was given; UsageError if it is none."""
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{flag} {text}: expected a whole number of at least {least}")
    return int(text)


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of ending the program; knows the nearest flag."""

    def error(self, message):
        """Raise UsageError."""
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def parse_args(self, args=None, namespace=None):
        """Parse, and refuse what is left over with the nearest known flag.

        A command whose `rest` is a list passes it on, to sbatch.
        """
        found, rest = self.parse_known_args(args, namespace)
        if getattr(found, "rest", None) is not None:
            found.rest = rest
        elif rest:
            parser = getattr(found, "parser", self)
            flags = [flag for each in parser._actions for flag in each.option_strings]
            word = rest[0].split("=")[0]
            kind = "flag" if word.startswith("-") else "argument"
            self.error(f"unknown {kind} {word}" + nearest(word, flags))
        return found


def parse(argv):
    """Return the command's module and its arguments. Imports neither MPI nor numpy.

    The `words` of commands that start another are what stands behind "--".
    """
    argv, words = list(argv), []
    if argv[:1] and argv[0] in STARTING and "--" in argv:
        behind = argv.index("--")
        argv, words = argv[:behind], argv[behind + 1 :]
    known = (*COMMANDS, *HIDDEN, "-h", "--help", "--version")
    if not argv or argv[0] not in known:
        argv.insert(0, "train")
    parser = Parser(
        prog="mpipgd",
        description="Parallel gradient descent for people with MPI.",
        epilog="mpirun -n 8 python -m mpipgd [COMMAND] …; no command means train",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in (*COMMANDS, *HIDDEN):
        module = importlib.import_module(f".{name}", __name__)
        shown = {"help": COMMANDS[name]} if name in COMMANDS else {}
        each = commands.add_parser(
            name, description=module.__doc__, allow_abbrev=False, **shown
        )
        module.configure(each)
        each.set_defaults(module=module, parser=each, command=name)
    args = parser.parse_args(argv)
    args.words = words
    return args.module, args


def printer(shown):
    """Return print, at once on the screen, or a function that prints nothing."""
    if not shown:
        return lambda *values: None
    return lambda *values: print(*values, file=sys.stdout, flush=True)
