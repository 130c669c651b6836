"""mpipgd train; also the flags of a run, which `compare` and `scale` take too."""

import argparse
from collections.abc import Collection
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from ..config import toml
from ..config.option import (
    describe_applies,
    expect_used,
    flag,
    option_type,
    parse_flag,
)
from ..config.options import BUNDLED, TrainConfig
from ..errors import UsageError
from .base import ParallelCommand, Printer, check_data_name, complete_with

if TYPE_CHECKING:
    from ..comm.mpi import Comm

POSITIONAL = "data"  # the option that is an argument, not a flag
OPTIONS = {option.name: option for option in fields(TrainConfig)}


class GridAction(argparse.Action):
    """Collects words KEY=V1,V2 of a flag that may be repeated.

    A last word without "=" is DATA, which may stand behind the flag.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Append the words to those of the flag so far."""
        words = list(values)
        if "=" not in words[-1] and len(words) > 1:
            setattr(namespace, POSITIONAL.upper(), words.pop())
        for word in words:
            if "=" not in word:
                parser.error(f"{option_string} {word}: expected KEY=V1,V2")
        earlier = getattr(namespace, self.dest, None) or []
        setattr(namespace, self.dest, [*earlier, *words])


class TrainCommand(ParallelCommand):
    """Train a model on DATA in parallel; its weights depend on workers, not on
    ranks.
    """

    name = "train"
    help = "train a model; the command if none is named"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare a flag for each option."""
        _add_data_and_config(parser)
        parser.add_argument("--resume", metavar="RUN", help="go on with a run folder")
        parser.add_argument(
            "--print-config", action="store_true", help="print the TOML that would run"
        )
        _add_flags(parser, OPTIONS.values())

    def __init__(self, args: argparse.Namespace) -> None:
        self.options = given_options(args)
        self.config = TrainConfig(**self.options)
        self.resume: str | None = args.resume
        self.flags = given_flags(args)
        if not self.resume:
            check_flags_are_used(args, [self.config])
            if "allow_changed_data" in self.flags:
                raise UsageError(
                    "--allow-changed-data has no effect here: it needs --resume"
                )
        self.print_config: bool = args.print_config

    @property
    def run_folder(self) -> str | None:
        """The run folder that the command line names, if any."""
        return self.resume or self.config.run

    def early_output(self) -> str | None:
        """Return the configuration as TOML where that is all that is asked for."""
        return toml.to_text(self.config) if self.print_config else None

    def run(self, comm: "Comm", say: Printer) -> int:
        """Train, or resume a run."""
        from ..training import run

        if self.resume:
            run.resume(self.resume, self.options, comm=comm, say=say)
        else:
            run.train(self.config, comm=comm, say=say, flags=self.flags)
        return 0


def add_study_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the options of a run that are common to the many runs of a study."""
    _add_data_and_config(parser)
    varied = ("strategy", "run", "picture", "quiet", "allow_changed_data")
    common = [option for name, option in OPTIONS.items() if name not in varied]
    _add_flags(parser, common)


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given: the flags take precedence over --config."""
    options = toml.read(args.config) if args.config else {}
    given = vars(args)  # without the flags that were not given: argparse.SUPPRESS
    for name, option in OPTIONS.items():
        if name in given and name != POSITIONAL:
            value = given[name]
            if name == "many":
                value = " ".join(value)
            if isinstance(value, list):  # of a repeated flag
                options[name] = tuple(value)
            else:
                options[name] = (
                    parse_flag(option, value) if isinstance(value, str) else value
                )
    if POSITIONAL.upper() in given:
        options[POSITIONAL] = given[POSITIONAL.upper()]
        check_data_name(options[POSITIONAL])
    return options


def check_flags_are_used(
    args: argparse.Namespace, configs: Collection[TrainConfig]
) -> None:
    """Raise UsageError for a flag that none of the runs uses.

    What --config holds is not checked: it may be stored from any run.
    """
    for name in given_flags(args):
        expect_used(name, configs)


def given_flags(args: argparse.Namespace) -> set[str]:
    """Return the names of the options whose flags are on the command line."""
    return (OPTIONS.keys() & vars(args).keys()) - {POSITIONAL}


def _add_data_and_config(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument(
        POSITIONAL.upper(),
        nargs="?",
        default=argparse.SUPPRESS,
        help=_help_text(OPTIONS[POSITIONAL]),
    )
    complete_with(data, BUNDLED)
    parser.add_argument(
        "--config", metavar="FILE", help="read options from a TOML file"
    )


def _add_flags(
    parser: argparse.ArgumentParser, options: Collection[Field[Any]]
) -> None:
    """Add a flag for each option, in the groups that the options name."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in options:
        group = option.metadata["group"]
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        if option.name != POSITIONAL:
            add_flag(groups[group], option)


def add_flag(
    group: argparse._ActionsContainer, option: Field[Any], *aliases: str
) -> None:
    """Add the flag of an option, and other names for it."""
    name, text = flag(option.name), _help_text(option)
    if option_type(option).type is bool:
        group.add_argument(
            "--no-" + name.removeprefix("--") if option.default else name,
            dest=option.name,
            action="store_false" if option.default else "store_true",
            default=argparse.SUPPRESS,
            help=f"do not: {text}" if option.default else text,
        )
    elif option.name == "many":
        group.add_argument(
            name,
            action=GridAction,
            nargs="+",
            default=argparse.SUPPRESS,
            help=text,
            metavar="KEY=V1,V2",
        )
    elif option_type(option).item_type is str:
        group.add_argument(
            *(name, *aliases),
            dest=option.name,
            action="append",
            default=argparse.SUPPRESS,
            help=text,
            metavar=option.name.split("_")[-1].upper(),
        )
    else:
        choices = option.metadata["choices"]
        metavar = "|".join(choices) if choices else option.name.split("_")[-1].upper()
        action = group.add_argument(
            *(name, *aliases),
            dest=option.name,
            default=argparse.SUPPRESS,
            help=text,
            metavar=metavar,
        )
        if choices:  # argcomplete's way to attach them; `check_value` refuses others
            setattr(action, "completer", lambda **_: choices)  # noqa: B010


def _help_text(option: Field[Any]) -> str:
    """Return the help of an option, with its default in brackets."""
    text = option.metadata["help"].replace("%", "%%")
    applies = describe_applies(option)
    text += f" (with {applies})" if applies else ""
    default = option.default
    if default is None or isinstance(default, bool):
        return text
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} [{shown}]"
