"""One option of a run: a dataclass field with help, known values and bounds."""

import itertools
import math
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, NamedTuple

from ..errors import UsageError, expect

_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text"}
_TYPE_NAMES |= {bool: "true or false"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}
MINIMUM_BYTES = 10**6  # of a number without a unit: less is a forgotten unit


@dataclass(frozen=True)
class AnyBut:
    """What an option applies to: every value of another one but this."""

    value: Any


@dataclass(frozen=True)
class Lacks:
    """What an option applies to: a list KEY=V1,V2 … of another one without this key."""

    value: str


# What an option applies to: the other options that must all have one of these values,
# or a value that is not this one. AnyBut(None) stands for an option that was given.
Applies = Mapping[str, tuple[Any, ...] | AnyBut | Lacks]


def option(
    default: Any,
    text: str,
    *,
    group: str,
    choices: Iterable[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    applies: Applies | Sequence[Applies] = (),
    data: str | None = None,
) -> Any:
    """Return a dataclass field whose metadata holds help, known values and bounds.

    applies: where the option is used, if not in every run; of several, one suffices.
    data: the kind of data that it is for, one of `data_kinds`, if not for all.
    """
    metadata = {
        "help": text,
        "choices": choices,
        "group": group,
        "low": low,
        "high": high,
        "applies": (applies,) if isinstance(applies, Mapping) else applies,
        "data": data,
    }
    return field(default=default, metadata=metadata)


def describe_applies(option: Field[Any]) -> str:
    """Return what an option applies to, as "--split sample"; "" for every run."""
    alternatives = [
        ", ".join(_describe(*item) for item in applies.items())
        for applies in option.metadata["applies"]
    ]
    needed = " or ".join(alternatives), option.metadata["data"]
    return ", ".join(filter(None, needed))


def _describe(name: str, wanted: tuple[Any, ...] | AnyBut | Lacks) -> str:
    if isinstance(wanted, Lacks):
        return f"no {wanted.value} in {flag(name)}"
    if wanted == AnyBut(None):
        return flag(name)
    if isinstance(wanted, AnyBut):
        value = wanted.value
        number = f"{value:g}" if isinstance(value, float) else value
        return f"{flag(name)} other than {number}"
    if wanted == (None,):
        return f"no {flag(name)}"
    return f"{flag(name)} {'|'.join(map(str, wanted))}"


def is_used(option: Field[Any], config: Any) -> bool:
    """Return whether a run with the options `config` uses an option."""
    alternatives = option.metadata["applies"]
    return not alternatives or any(
        all(_applies(getattr(config, name), wanted) for name, wanted in applies.items())
        for applies in alternatives
    )


def _applies(value: Any, wanted: tuple[Any, ...] | AnyBut | Lacks) -> bool:
    if isinstance(wanted, AnyBut):
        return bool(value != wanted.value)
    if isinstance(wanted, Lacks):
        keys = re.findall(r"(\w+)\s*=", value or "")
        return wanted.value not in keys
    return value in wanted


def data_kinds(task: str, *, sparse: bool) -> tuple[str, str]:
    """Return the kinds of data of a task, with sparse or dense features."""
    targets = "regression" if task == "regression" else "classes"
    return targets, "sparse features" if sparse else "dense features"


def expect_used_by_data(
    names: Iterable[str], config: Any, kinds: Collection[str]
) -> None:
    """Raise UsageError for one of the options that is not for data of these kinds."""
    for option in fields(config):
        kind = option.metadata["data"]
        if option.name not in names or kind is None or kind in kinds:
            continue
        if getattr(config, option.name) != option.default:
            raise UsageError(
                f"{_as_given(option, config)} has no effect here: it needs {kind}; "
                f"found {', '.join(kinds)}"
            )


def _as_given(option: Field[Any], config: Any) -> str:
    """Return the flag that gives an option its value."""
    value, text = getattr(config, option.name), flag(option.name)
    if isinstance(value, tuple):
        return f"{text} {','.join(map(str, value))}"
    if not isinstance(value, bool):
        return f"{text} {value}"
    return "--no-" + text.removeprefix("--") if option.default else text


def expect_used(name: str, configs: Collection[Any], where: str = "") -> None:
    """Raise UsageError for a changed option that none of some runs uses.

    configs: their options, each a `TrainConfig`; where: what gave the option, by
    default its flag.
    """
    first = next(iter(configs))
    option = next(field for field in fields(first) if field.name == name)
    users = [config for config in configs if is_used(option, config)]
    changed = [c for c in configs if getattr(c, name) != option.default]
    if users or not changed:
        return
    text = _as_given(option, changed[0])
    found = []
    for other in dict.fromkeys(itertools.chain(*option.metadata["applies"])):
        values = dict.fromkeys(str(getattr(config, other)) for config in configs)
        found.append(f"{flag(other)} {', '.join(values)}".replace("None", "not given"))
    raise UsageError(
        f"{where}{text} has no effect here: it needs {describe_applies(option)}; found "
        f"{'; '.join(found)}"
    )


def flag(name: str) -> str:
    """Return the flag of a field: --lr-scaling for lr_scaling."""
    return "--" + name.replace("_", "-")


class OptionType(NamedTuple):
    """The type of an option's values, None apart.

    type: int, float, str, bool or, for an option that holds several values, tuple[…];
    item_type: the type of each of several values, else None.
    """

    type: Any
    item_type: Any


def option_type(option: Field[Any]) -> OptionType:
    """Return the type of a field of `TrainConfig`, such as tuple[float, ...] | None."""
    hint: Any = option.type
    if isinstance(hint, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    arguments = typing.get_args(hint)
    return OptionType(hint, arguments[0] if arguments else None)


def parse_flag(option: Field[Any], text: str) -> Any:
    """Return the value of an option from the text given to its flag."""
    value_type, item_type = option_type(option)
    try:
        if item_type:
            return tuple(item_type(item) for item in text.split(","))
        return value_type(text)
    except ValueError:
        expected = _TYPE_NAMES.get(value_type, "")
        if item_type:
            expected = f"{_PLURALS[item_type]}, separated by commas"
        raise UsageError(f"{flag(option.name)} {text}: expected {expected}") from None


def check_toml_value(option: Field[Any], value: Any, where: str) -> Any:
    """Return a TOML value as the option's own type; UsageError for any other type.

    Where the option holds several values, one is taken as a list of one.
    """
    value_type, item_type = option_type(option)
    if item_type:
        items = value if isinstance(value, list) else [value]
        return tuple(_check_toml_type(item_type, item, where) for item in items)
    return _check_toml_type(value_type, value, where)


def _check_toml_type(expected: Any, value: Any, where: str) -> Any:
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise UsageError(f"{where} = {value!r}: expected {_TYPE_NAMES[expected]}")
    return value


def check_value(option: Field[Any], value: Any) -> None:
    """Raise UsageError for a value that is not a known one, or out of bounds."""
    if value is None:
        return
    low, high = option.metadata["low"], option.metadata["high"]
    choices = option.metadata["choices"]
    for item in value if isinstance(value, tuple) else (value,):
        if choices:
            expect(flag(option.name), item, choices)
        # `not item >= low` is also true for NaN
        if (low is not None and not item >= low) or (high is not None and item > high):
            upper = "" if high is None else f" and at most {high}"
            raise UsageError(
                f"{flag(option.name)} {item}: expected at least {low}{upper}"
            )


def parse_bytes(text: str) -> int:
    """Return the bytes of --memory-limit from a text such as 2GB."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number = text.rstrip("BKMGTbkmgt")
    try:
        count = float(number) * units[text[len(number) :].upper()]
    except (ValueError, KeyError):
        count = 0
    has_unit = len(number) < len(text)
    if not (1 if has_unit else MINIMUM_BYTES) <= count < math.inf:
        raise UsageError(
            f"--memory-limit {text}: expected bytes with a unit, as 500MB or 2GB"
        )
    return int(count)


BALANCED = "balanced"


def parse_class_weight(text: str) -> dict[str, float]:
    """Return {label: weight} of "LABEL=2,OTHER=0.5"; {} of "balanced".

    Raises UsageError for a weight that is no finite number from 0.
    """
    weights: dict[str, float] = {}
    for pair in [] if text == BALANCED else text.split(","):
        label, _, number = pair.rpartition("=")
        try:
            weights[label.strip()] = weight = float(number)
            valid = bool(label) and 0 <= weight < math.inf
        except ValueError:
            valid = False
        if not valid:
            raise UsageError(
                f"--class-weight {text}: found {pair!r}, expected {BALANCED}, or "
                "LABEL=NUMBER with a number from 0"
            )
    return weights
