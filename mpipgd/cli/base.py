"""What a command of the command line is: see `Command`."""

import argparse
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from ..comm import environment
from ..config.options import BUNDLED
from ..errors import UsageError, nearest

if TYPE_CHECKING:
    from ..comm.mpi import Comm

Printer: TypeAlias = Callable[..., None]  # print on the root, nothing elsewhere


class Command(ABC):
    """One command. Its docstring is the description that its --help prints.

    `mpipgd --help` imports all commands, so that what a command needs (numpy, MPI) is
    imported in the functions that need it.

    args: what the parser made of the flags that `configure` declares, and from `parse`
    `args.inner_words` and `args.unknown_words`. The constructor checks them, before MPI
    starts, and raises UsageError.
    """

    name: ClassVar[str]
    help: ClassVar[str | None]  # its line in `mpipgd --help`; None: not listed there
    # the words after "--" are another command, and come as args.inner_words
    takes_inner_command: ClassVar[bool] = False
    # unknown flags are no error, and come as args.unknown_words
    takes_unknown_flags: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    @abstractmethod
    def __init__(self, args: argparse.Namespace) -> None: ...


class ParallelCommand(Command):
    """A command that all ranks run together."""

    def early_output(self) -> str | None:
        """Return what to print instead of starting MPI and running, if anything."""
        return None

    def check_world_size(self, size: int) -> None:
        """Raise UsageError where MPI sees fewer ranks than the launcher started."""
        environment.check_world_size(size)

    @abstractmethod
    def run(self, comm: "Comm", say: Printer) -> int:
        """Run and return the exit code; collective."""


class StandaloneCommand(Command):
    """A command of one process without MPI, which may start ranks of its own."""

    @abstractmethod
    def run(self, say: Printer) -> int:
        """Run and return the exit code."""


def parse_integer(flag: str, text: str, minimum: int = 0) -> int:
    """Return the whole number given to a flag; UsageError where it is none."""
    if not text.isdecimal() or int(text) < minimum:
        raise UsageError(
            f"{flag} {text}: expected a whole number of at least {minimum}"
        )
    return int(text)


def complete_with(action: argparse.Action, names: Iterable[str]) -> None:
    """Let a shell complete an argument by names, besides the files that there are."""

    def complete(prefix: str, **context: object) -> list[str]:
        from argcomplete.completers import FilesCompleter

        files = list(FilesCompleter()(prefix))
        return [name for name in names if name.startswith(prefix)] + files

    setattr(action, "completer", complete)  # noqa: B010 argcomplete's way to attach it


def check_data_name(data: str, commands: Iterable[str] = ()) -> None:
    """Raise UsageError for a single word that names no data that there is.

    A path with a folder or an ending, and a glob, are left to those who open them.
    commands: what may have been meant, besides a bundled set.
    """
    is_word = re.fullmatch(r"[\w-]+", data)
    if is_word and data not in BUNDLED and not os.path.exists(data):
        kinds = "command, file" if commands else "file"
        hint = nearest(data, (*commands, *BUNDLED))
        raise UsageError(f"{data}: no {kinds} or bundled set of this name{hint}")
