"""What the columns of a table are for: label, features, weights, ids, groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ...errors import DataError, UsageError, nearest
from ..encoding import MAX_HASHES, shortened
from .learn import ColumnOptions


class Roles(NamedTuple):
    """The columns by what they are for, each by its name; see `import_table`."""

    label: str
    features: list[str]
    dropped: set[str]
    weight: str | None
    id: str | None
    group: str | None
    options: ColumnOptions

    @property
    def aside(self) -> set[str]:
        """The columns that are neither the label nor features, but are used."""
        return {name for name in (self.weight, self.id, self.group) if name}

    @property
    def used(self) -> list[str]:
        """All columns that are used."""
        return [*self.features, self.label, *sorted(self.aside)]


def find_roles(
    names: Sequence[str],
    path: str,
    *,
    label: str | None = None,
    drop_column: Collection[str] = (),
    weight: str | None = None,
    id_column: str | None = None,
    group: str | None = None,
    ordinal: Mapping[str, Sequence[str]] | None = None,
    hash: Mapping[str, int] | None = None,
    date: Mapping[str, str] | None = None,
    date_parts: Collection[str] = (),
) -> Roles:
    """Return the roles of the columns of a table, each given by name or number.

    The label is the last column by default. Raises DataError where there is no such
    column, UsageError where roles clash.
    """
    find = partial(column_name, names, path=path)
    target = names[-1] if label is None else find(label)
    dropped = {find(name) for name in drop_column}
    weight, id_column, group = (
        None if name is None else find(name) for name in (weight, id_column, group)
    )
    aside = dropped | {weight, id_column, group}
    if target in aside:
        raise UsageError(f"{target} is the label, and cannot be set aside")
    features = [name for name in names if name != target and name not in aside]
    if not features:
        raise DataError(
            f"{path} names the columns {shortened(names)} (line 1 of a CSV): none is "
            f"left for features beside the label, {target}"
        )
    options = ColumnOptions(
        {find(name): levels for name, levels in (ordinal or {}).items()},
        {find(name): size for name, size in (hash or {}).items()},
        {find(name): form for name, form in (date or {}).items()},
        {find(name) for name in date_parts},
    )
    if others := options.columns() - {*features}:
        raise UsageError(f"{min(others)} is no feature: nothing encodes it")
    return Roles(target, features, dropped, weight, id_column, group, options)


def column_name(names: Sequence[str], column: str, path: str) -> str:
    """Return the name of a column given by name, or number from 0 on; DataError."""
    if column in names:
        return column
    try:
        return names[int(column)]
    except (ValueError, IndexError):
        raise DataError(
            f"{path} has no column {column!r}{nearest(column, names)}; it has "
            f"{shortened(names)}"
        ) from None


def parse_ordinal(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return {column: levels} of texts such as "cut=Fair<Good<Ideal"; UsageError."""
    ordinal = {}
    for text in texts:
        name, _, levels = text.partition("=")
        ordinal[name] = tuple(levels.split("<"))
        if len(set(ordinal[name])) < max(2, len(ordinal[name])):
            raise UsageError(
                f"--ordinal is {text!r}, expected COLUMN=LOW<…<HIGH, each level once"
            )
    return ordinal


def parse_hash(texts: Iterable[str]) -> dict[str, int]:
    """Return {column: features} of texts such as "word=2^18"; UsageError."""
    sizes = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        base_text, _, exponent = size.partition("^")
        try:
            sizes[name] = int(base_text) ** int(exponent or 1)
        except ValueError:
            sizes[name] = 0
        if not name or not 2 <= sizes[name] <= MAX_HASHES:
            raise UsageError(
                f"--hash is {text!r}, expected COLUMN=2^BITS or COLUMN=FEATURES, 2 … "
                "2^30 features"
            )
    return sizes


def parse_date(texts: Iterable[str]) -> dict[str, str]:
    """Return {column: format} of texts such as "day=%d/%m/%Y"; UsageError."""
    formats = {}
    for text in texts:
        name, _, formats[name] = text.partition("=")
        if "%" not in formats[name] or not name:
            raise UsageError(f"--date is {text!r}, expected COLUMN=%d/%m/%Y or such")
    return formats


def parse_column_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return import options with texts such as "word=2^18" parsed; UsageError."""
    parsers: dict[str, Callable[[Iterable[str]], Any]] = {
        "ordinal": parse_ordinal,
        "hash": parse_hash,
        "date": parse_date,
    }
    return {
        name: parsers[name](value) if name in parsers else value
        for name, value in options.items()
    }
