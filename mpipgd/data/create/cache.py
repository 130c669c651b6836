"""Data files made of tables on first use, kept beside the runs, and used again.

A file in the cache has a name made of the source's signature and of all that decides
what is in it, so that another source, or other options, have another file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...comm import mpi
from ...errors import DataError
from .arrays import OPENERS
from .ingest import SUFFIXES, ingest, is_table, open_readers
from .table import apply_encoding

if TYPE_CHECKING:
    from ...comm.mpi import Comm
    from ..hdf5.header import Header

FOLDER = "cache"  # beside the run folders
VERSION = 1  # of what is written: another one makes all files anew
SAMPLES, SAMPLE_BYTES = 64, 1 << 16


def is_source(data: str) -> bool:
    """Return whether DATA is a file to import, by its ending: no HDF5, no folder."""
    suffixes = [suffix for suffix in Path(data).suffixes if suffix not in OPENERS]
    name = Path(data).name
    return (bool(suffixes) and suffixes[-1].lower() in SUFFIXES) or "idx3" in name


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

    sources = [data, *([options["test"]] if options.get("test") else [])]
    return _cached(comm, sources, folder, options, make, say)


def applied(
    comm: Comm,
    data: str,
    folder: Path,
    header: Header,
    *,
    labels: bool,
    ignore_unknown: bool = False,
) -> str:
    """Return the data file of a table in the encoding of a model's header; collective.

    Its rows are test rows, in the order of the table. Without `labels` they have none.
    """
    if not is_table(data):
        options: dict[str, Any] = {"test_size": 0.0}
        return imported(comm, data, folder, options)

    def make(out: str) -> None:
        with open_readers(comm, [data], Path(out).parent) as readers:
            apply_encoding(
                comm,
                readers[0],
                out,
                header,
                labels=labels,
                ignore_unknown=ignore_unknown,
            )

    assert header.encoding is not None
    key = {
        "encoding": header.encoding.to_json(),
        "classes": header.classes,
        "labels": labels,
        "ignore_unknown": ignore_unknown,
    }
    return _cached(comm, [data], folder, key, make)


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
