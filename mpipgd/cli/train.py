"""Train a model on DATA in parallel; its weights depend on workers, not on ranks."""

import argparse
from dataclasses import fields

from ..config import toml
from ..config.option import flag
from ..config.options import TrainConfig

POSITIONAL = "data"


def configure(parser, *, without=()):
    """Add a flag for each option of a run; `without` some, where runs are many."""
    parser.add_argument(
        POSITIONAL.upper(), nargs="?", default=argparse.SUPPRESS, help=_help("data")
    )
    parser.add_argument(
        "--config", metavar="FILE", help="read options from a TOML file"
    )
    if not without:
        parser.add_argument("--resume", metavar="RUN", help="go on with a run folder")
        parser.add_argument(
            "--print-config", action="store_true", help="print the TOML that would run"
        )
    groups = {}
    for each in fields(TrainConfig):
        name = each.metadata["group"]
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        if each.name != POSITIONAL and each.name not in without:
            _add(groups[name], each)


def _help(name):
    each = next(each for each in fields(TrainConfig) if each.name == name)
    text, default = each.metadata["help"].replace("%", "%%"), each.default
    if default is None or isinstance(default, bool):
        return text
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} [{shown}]"


def _add(group, each):
    hint, item = toml.kind(each)
    name, text = flag(each.name), _help(each.name)
    if hint is bool and each.default:
        group.add_argument(
            "--no-" + name[2:], dest=each.name, action="store_false",
            default=argparse.SUPPRESS, help=f"do not: {text}",
        )  # fmt: skip
    elif hint is bool:
        group.add_argument(
            name, action="store_true", default=argparse.SUPPRESS, help=text
        )
    else:
        choices = each.metadata["choices"]
        metavar = "|".join(choices) if choices else each.name.split("_")[-1].upper()
        group.add_argument(
            name, dest=each.name, default=argparse.SUPPRESS, help=text, metavar=metavar
        )


def options(args):
    """Return the options that were given: the flags over the TOML file."""
    found = toml.read(args.config) if args.config else {}
    given = vars(args)
    for each in fields(TrainConfig):
        if each.name in given and each.name != POSITIONAL:
            value = given[each.name]
            text = isinstance(value, str)
            hint = toml.kind(each)
            found[each.name] = toml.parse(value, *hint, each.name) if text else value
    if POSITIONAL.upper() in given:
        found[POSITIONAL] = given[POSITIONAL.upper()]
    return found


def check(args):
    """Refuse, before MPI starts, options that contradict each other or themselves."""
    args.options = options(args)
    args.train = TrainConfig(**args.options)


def early(args):
    """Return what can be printed before MPI starts, or None."""
    return toml.to_text(args.train) if args.print_config else None


def main(args, comm, say):
    """Train, or go on with a run."""
    from ..training import run

    if args.resume:
        run.resume(args.resume, args.options, comm=comm)
    else:
        run.train(args.train, comm=comm)
    return 0
