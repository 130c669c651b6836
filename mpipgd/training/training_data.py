"""The data of a run: HDF5 as it is, tables and bundled sets made into it."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..comm import mpi
from ..config.option import data_kinds, expect_used_by_data, flag
from ..config.options import TrainConfig
from ..data.create import cache
from ..data.create.bundled import path_of
from ..data.create.ingest import is_source
from ..data.create.roles import parse_column_options
from ..data.hdf5.source import Source, open_data
from ..errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..comm.mpi import Comm

TABLE_OPTIONS = (  # how a table is imported; see `ingest`
    *("label", "task", "drop_column", "missing", "ordinal", "hash", "date"),
    *("date_parts", "test", "test_size", "group", "separator", "decimal"),
    *("thousands", "encoding", "header"),
)
DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in dataclasses.fields(TrainConfig)
}


def table_options(options: TrainConfig) -> dict[str, Any]:
    """Return the options that say how a table is imported, as far as they are given."""
    values = {name: getattr(options, name) for name in TABLE_OPTIONS}
    return {name: value for name, value in values.items() if value != DEFAULTS[name]}


def import_flags(options: TrainConfig) -> dict[str, Any]:
    """Return the options of `mpipgd data import` for the table of a run."""
    flags = table_options(options)
    if options.weight is not None:
        flags["weight"] = options.weight
    if options.stratify and options.test is None:
        flags["stratify"] = True
    return flags


def import_options(options: TrainConfig) -> dict[str, Any]:
    """Return how `ingest` imports the table of a run; UsageError."""
    return parse_column_options(import_flags(options))


def with_data_file(
    options: TrainConfig,
    comm: Comm,
    folder: Path,
    say: Callable[[str], None] = lambda text: None,
) -> TrainConfig:
    """Return options whose data is HDF5; collective.

    A bundled set is written into the folder, a table imported into the cache beside it,
    and the options that say how are used up. `say` is told how a table was imported.
    Raises DataError, and UsageError for table options of other data.
    """
    given = table_options(options)
    if mpi.on_root(comm, is_source, options.data):
        with mpi.raise_collectively(comm):
            importing = import_options(options)
        data = cache.imported(comm, options.data, folder.parent, importing, say=say)
        used_up = {name: DEFAULTS[name] for name in (*TABLE_OPTIONS, "weight")}
        used_up["stratify"] = options.stratify and options.validation > 0
        return dataclasses.replace(options, data=data, **used_up)
    if given:
        raise UsageError(
            f"{flag(min(given))} takes a table, as CSV or Parquet; {options.data} is "
            "none",
            agreed=True,
        )
    if options.stratify and not options.validation:
        raise UsageError(
            f"--stratify takes --validation, or a table as CSV; {options.data} is none",
            agreed=True,
        )
    data = mpi.on_root(comm, partial(path_of, options.data, folder))
    return dataclasses.replace(options, data=data)


def expect_used_by_source(
    flags: Collection[str], options: TrainConfig, source: Source
) -> None:
    """Raise UsageError, on all ranks, for a flag that is for other kinds of data."""
    kinds = data_kinds(source.header.task, sparse=source.header.sparse)
    try:
        expect_used_by_data(flags, options, kinds)
    except UsageError as error:
        raise UsageError(str(error), agreed=True) from None


def open_source(options: TrainConfig, comm: Comm) -> Source:
    """Open the data file of options; collective."""
    return open_data(
        comm,
        options.data,
        x=options.x,
        y=options.y,
        weight=options.weight,
        share=options.rows_share,
    )
