"""Options as flags, as TOML and as text, by the fields of `options.Train`."""

import dataclasses
import json
import tomllib
import types
import typing
from dataclasses import fields

from ..errors import UsageError, nearest
from .option import flag
from .options import TrainConfig


def kind(each):
    """Return a field's type without None, and its item type if it holds several."""
    hint = each.type
    if isinstance(hint, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    items = typing.get_args(hint)
    return (hint, items[0]) if items else (hint, None)


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def convert(each, value, where):
    """Return a TOML value as the field's own type; refuse any other."""
    hint, item = kind(each)
    if item:
        items = value if isinstance(value, list) else [value]
        return tuple(_convert(item, one, where) for one in items)
    return _convert(hint, value, where)


def _convert(hint, value, where):
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UsageError(f"{where} = {value!r}: expected {_WORDS[hint]}")
    return value


def parse(text, hint, item, name):
    """Return the value of a flag from its text."""
    try:
        if item:
            return tuple(item(one) for one in text.split(","))
        return hint(text)
    except ValueError:
        many = "s, separated by commas" if item else ""
        wanted = _WORDS[item or hint] + many
        raise UsageError(f"{flag(name)} {text}: expected {wanted}") from None


def read(path):
    """Return the options in a TOML file, as a dict; refuse unknown keys and types."""
    try:
        with open(path, "rb") as file:
            return from_text(file.read().decode(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: {error}") from None


def from_text(text, where):
    """Return the options in a TOML text, as a dict."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: not TOML: {error}") from None
    known = {each.name: each for each in fields(TrainConfig)}
    for key in found.keys() - known.keys():
        raise UsageError(f"{where}: unknown key {key!r}" + nearest(key, known))
    return {key: convert(known[key], found[key], f"{where}: {key}") for key in found}


def to_text(config):
    """Return the TOML text of a configuration; what is None is left out."""
    lines, group = [], None
    for each in fields(config):
        value = getattr(config, each.name)
        if each.metadata["group"] != group:
            group = each.metadata["group"]
            lines += [""] * bool(lines) + [f"# {group}"]
        if value is not None:
            lines.append(f"{each.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def replace(config, **changes):
    """Return a configuration with some options changed."""
    return dataclasses.replace(config, **changes)
