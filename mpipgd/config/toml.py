"""Read and write the options of a run as TOML, by the fields of `TrainConfig`."""

import json
import os
import tomllib
from dataclasses import fields
from typing import Any

from ..errors import UsageError, nearest
from .option import check_toml_value
from .options import TrainConfig


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the options in a TOML file; UsageError for unknown keys and types."""
    try:
        with open(path, "rb") as file:
            return from_text(file.read().decode(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: {error}") from None


def from_text(text: str, where: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the options in a TOML text; errors say that it is from `where`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: not TOML: {error}") from None
    options = {option.name: option for option in fields(TrainConfig)}
    for key in values.keys() - options.keys():
        raise UsageError(f"{where}: unknown key {key!r}" + nearest(key, options))
    return {
        key: check_toml_value(options[key], value, f"{where}: {key}")
        for key, value in values.items()
    }


def to_text(config: TrainConfig) -> str:
    """Return the TOML text of a configuration, without the options that are None."""
    lines: list[str] = []
    group = None
    for option in fields(config):
        value = getattr(config, option.name)
        if option.metadata["group"] != group:
            group = option.metadata["group"]
            if lines:
                lines.append("")
            lines.append(f"# {group}")
        if value is not None:
            lines.append(f"{option.name} = {_to_toml(value)}")
    return "\n".join(lines) + "\n"


def _to_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_to_toml, value)) + "]"
    if isinstance(value, str):
        # TOML's strings are JSON's, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
