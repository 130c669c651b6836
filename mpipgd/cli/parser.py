"""The table of all commands, and the parser of the command line."""

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import __version__
from ..errors import UsageError, nearest
from .base import Command, check_data_name
from .coef import CoefCommand
from .compare import CompareCommand
from .data import DataCommand
from .doctor import DoctorCommand
from .evaluate import EvaluateCommand
from .export import ExportCommand
from .launch import LaunchCommand
from .measure import MeasureCommand
from .predict import PredictCommand
from .report import ReportCommand
from .scale import ScaleCommand
from .status import StatusCommand
from .submit import SubmitCommand
from .train import TrainCommand

COMMANDS: dict[str, type[Command]] = {
    command.name: command
    for command in (
        TrainCommand,
        CompareCommand,
        ScaleCommand,
        ReportCommand,
        PredictCommand,
        EvaluateCommand,
        CoefCommand,
        ExportCommand,
        DataCommand,
        DoctorCommand,
        LaunchCommand,
        SubmitCommand,
        StatusCommand,
        MeasureCommand,
    )
}
DEFAULT = "train"


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; see '{self.prog} --help'")

    @property
    def flags(self) -> list[str]:
        """The flags that it knows."""
        return [flag for action in self._actions for flag in action.option_strings]


def parse(argv: Sequence[str]) -> tuple[type[Command], argparse.Namespace]:
    """Return the command that a command line names, and its arguments.

    Imports neither MPI nor numpy. Raises UsageError for unknown flags.
    """
    words = list(argv)
    if not words or words[0] not in (*COMMANDS, "-h", "--help", "--version"):
        if words and not words[0].startswith("-"):
            check_data_name(words[0], COMMANDS)
        words.insert(0, DEFAULT)
    inner_words = []
    command = COMMANDS.get(words[0])
    if command and command.takes_inner_command and "--" in words:
        separator = words.index("--")
        words, inner_words = words[:separator], words[separator + 1 :]
    parser = _build_parser()
    args, unknown = parser.parse_known_args(words)
    if unknown and not args.command.takes_unknown_flags:
        flag = unknown[0].split("=")[0]
        kind = "flag" if flag.startswith("-") else "argument"
        parser.error(f"unknown {kind} {flag}" + nearest(flag, args.parser.flags))
    args.inner_words, args.unknown_words = inner_words, unknown
    return args.command, args


def complete() -> None:
    """Print the words that may follow, where a shell asks for them, and end.

    The shell asks by the environment variable _ARGCOMPLETE.
    """
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        position = int(os.environ["COMP_POINT"])
        line = _with_command(os.environ["COMP_LINE"][:position])
        os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
        argcomplete.autocomplete(_build_parser())


def _with_command(line: str) -> str:
    """Return a command line with the command that its last word belongs to.

    That is train where none is named, and the one behind "--" of those that take one.
    """
    program, _, rest = line.partition(" ")
    words = rest.split(" ")
    command = COMMANDS.get(words[0])
    if command and command.takes_inner_command and "--" in words[:-1]:
        inner = rest.partition(" -- ")[2]
        return _with_command(f"{program} {inner}")
    if command is None and (len(words) > 1 or rest.startswith("-")):
        return f"{program} {DEFAULT} {rest}"
    return line


def _build_parser() -> Parser:
    parser = Parser(
        prog="mpipgd",
        description="Parallel gradient descent for people with MPI.",
        epilog="mpirun -n 8 python -m mpipgd [COMMAND] …; no command means train",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        # argparse lists a command that has a help, even if that is None
        listing: dict[str, Any] = {"help": command.help} if command.help else {}
        subparser = subparsers.add_parser(
            name, description=command.__doc__, allow_abbrev=False, **listing
        )
        command.configure(subparser)
        subparser.set_defaults(command=command, parser=subparser)
    return parser
