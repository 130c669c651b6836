"""Data files made of tables on first use, kept beside the runs, and used again.

A file in the cache has a name made of the source's signature and of all that decides
what is in it, so that another source, or other options, have another file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...comm import mpi
from ...errors import DataError, UsageError
from .arrays import labels_beside
from .ingest import (
    apply_arrays,
    ingest,
    is_csv,
    is_table,
    kind_of,
    open_readers,
    source_files,
)
from .table import apply_encoding

if TYPE_CHECKING:
    from ...comm.mpi import Comm
    from ..hdf5.header import Header

FOLDER = "cache"  # beside the run folders
VERSION = 1  # of what is written: another one makes all files anew
SAMPLES, SAMPLE_BYTES = 64, 1 << 16


def imported(
    comm: Comm,
    data: str,
    folder: Path,
    options: dict[str, Any],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Return the data file of a source, imported unless the cache has it; collective.

    folder: that of the runs. options: those of `ingest`.
    """

    def make(out: str) -> None:
        done = ingest(comm, data, out, **options)
        for note in done.notes:
            say(f"notice    {note}")

    sources = mpi.on_root(comm, partial(_all_files, data, options.get("test")))
    return _cached(comm, sources, folder, options, make, say)


def imported_before(
    comm: Comm, data: str, folder: Path, options: dict[str, Any]
) -> str | None:
    """Return what `imported` has written for the same source and options, if it has."""

    def find() -> str | None:
        test = options.get("test")
        if test is not None and not Path(test).exists():
            return None
        path = folder / FOLDER / _file_name(_all_files(data, test), options)
        return str(path) if path.exists() else None

    found: str | None = mpi.on_root(comm, find)
    return found


def _all_files(data: str, test: str | None = None) -> list[str]:
    """Return the files that decide what is in a source."""
    files = [*source_files(data), *([test] if test else [])]
    labels_files = [labels_beside(file) for file in files]
    return [*files, *(file for file in labels_files if file is not None)]


def applied(
    comm: Comm,
    data: str,
    folder: Path,
    header: Header,
    *,
    labels: bool,
    id_column: str | None = None,
    drop_column: Sequence[str] = (),
    ignore_unknown: bool = False,
    reading: Mapping[str, Any] | None = None,
) -> str:
    """Return the data file of a source in the encoding of a model's header; collective.

    Its rows are test rows, in the order of the source. Without `labels` they have none.
    The rest is for tables, see `apply_encoding`; reading: how a CSV is written.
    """
    with mpi.raise_collectively(comm):
        table = is_table(data)
        if reading and not is_csv(data):
            raise UsageError(f"--{min(reading)} takes a CSV; {data} is none")
    sources = mpi.on_root(comm, _all_files, data)

    def make(out: str) -> None:
        if not table:
            apply_arrays(comm, sources[0], out, header, labels=labels)
            return
        folder = Path(out).parent
        how = {"names_known": True, **(reading or {})} if is_csv(data) else {}
        kinds = {source: kind_of(source) for source in sources}
        with open_readers(comm, kinds, folder, **how) as readers:
            apply_encoding(
                comm,
                readers,
                out,
                header,
                labels=labels,
                id_column=id_column,
                drop_column=drop_column,
                ignore_unknown=ignore_unknown,
            )

    encoding = header.encoding
    key = {
        "encoding": None if encoding is None else encoding.to_json(),
        "header": str(replace(header, encoding=None)),
        "labels": labels,
        "id_column": id_column,
        "drop_column": list(drop_column),
        "ignore_unknown": ignore_unknown,
        "reading": dict(reading or {}),
    }
    return _cached(comm, sources, folder, key, make)


def _cached(
    comm: Comm,
    sources: list[str],
    folder: Path,
    options: dict[str, Any],
    make: Callable[[str], None],
    say: Callable[[str], None] = lambda text: None,
) -> str:
    name = mpi.on_root(comm, partial(_file_name, sources, options))
    path = folder / FOLDER / name
    if mpi.on_root(comm, path.exists):
        say(f"table     {sources[0]}: imported before, as {path}")
        return str(path)
    make(str(path))
    say(f"table     {sources[0]}: imported as {path}")
    return str(path)


def _file_name(sources: list[str], options: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([VERSION, options], default=str).encode())
    for source in sources:
        digest.update(_signature(source))
    stem = Path(sources[0]).name.split(".")[0]
    return f"{stem}-{digest.hexdigest()[:16]}.h5"


def _signature(source: str) -> bytes:
    """Return the sha256 of size, time and evenly spaced pieces of a file; DataError."""
    digest = hashlib.sha256()
    if not Path(source).is_file():  # a pipe would wait for its writer
        raise DataError(f"{source} does not exist or is no file")
    try:
        with open(source, "rb") as file:
            status = os.fstat(file.fileno())
            digest.update(repr((status.st_size, status.st_mtime_ns)).encode())
            step = max(SAMPLE_BYTES, status.st_size // SAMPLES)
            for start in range(0, status.st_size, step):
                file.seek(start)
                digest.update(file.read(SAMPLE_BYTES))
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}") from error
    return digest.digest()
