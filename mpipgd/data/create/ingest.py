"""Import files of other formats into data files: read, shuffle, split, write."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...atomic_file import translate_os_errors
from ...errors import DataError, UsageError
from ...reporting.progress import Progress
from ..hdf5.header import Header
from .arrays import read_idx, read_npz, read_openml, read_svmlight
from .csv import read_csv
from .split import ShardLayout, output_files, write_files

if TYPE_CHECKING:
    from ...array_types import IntArray

READERS: dict[str, Callable[..., Any]] = {
    "csv": read_csv,
    "svmlight": read_svmlight,
    "npz": read_npz,
    "idx": read_idx,
    "openml": read_openml,
}
SUFFIXES = {
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".svm", ".libsvm", ".svmlight"), "svmlight"),
    ".npz": "npz",
}
FLAGS = {"header": "no-header"}


class ImportResult(NamedTuple):
    """What `ingest` wrote: the header, {"train": n, "test": m}, and the files."""

    header: Header
    rows: dict[str, int]
    files: list[Path]


def ingest(
    source: str,
    out: str,
    *,
    kind: str | None = None,
    test_size: float = 0.2,
    seed: int = 0,
    shards: int = 1,
    overwrite: bool = False,
    quiet: bool = True,
    **options: Any,
) -> ImportResult:
    """Import SOURCE into OUT; serial.

    kind: one of `READERS`, by default guessed from the name. options: those of its
    reader (dtype, task, target, ordinal, …). Exactly round(n·test_size) rows, drawn by
    the seed, become test rows, unless the source has test rows. Raises DataError.
    """
    kind = kind or kind_of(source)
    reader = READERS[kind]
    _verify_options(reader, kind, options)
    files = output_files(out, shards, overwrite=overwrite)
    table = reader(source, **options)
    split = ShardLayout(table.rows, test_size, shards, n_test=table.n_test)
    order = _order(split, table.n_test is not None, seed)
    stream: dict[str, Any] = {"stream": None} if quiet else {}
    reading = Progress(table.rows, "reading", **stream)
    writing = Progress(table.rows, "writing", **stream)
    with (
        translate_os_errors(files[0], DataError),
        table.shuffled(split.destinations(order), files[0].parent, reading) as read,
    ):
        write_files(files, table.header, split, read, writing)
    return ImportResult(table.header, split.rows, files)


def kind_of(source: str) -> str:
    """Return the kind of a source, guessed from its name."""
    name = str(source)
    if name.startswith("openml:"):
        return "openml"
    if "-idx3-" in name or "idx3-ubyte" in name:
        return "idx"
    suffixes = [s for s in Path(name).suffixes if s not in (".gz", ".bz2")]
    kind = SUFFIXES.get(suffixes[-1].lower()) if suffixes else None
    if kind is None:
        raise DataError(
            f"{source}: the name does not tell its kind; add --kind "
            f"{'|'.join(READERS)}, or write openml:NAME"
        )
    return kind


def _order(split: ShardLayout, fixed_test: bool, seed: int) -> IntArray:
    """Return each row's number in train then test order; (n,) integers."""
    n_train, n_test = split.rows["train"], split.rows["test"]
    draw = np.random.default_rng(seed)
    if not fixed_test:
        return draw.permutation(n_train + n_test)
    tail = np.arange(n_train, n_train + n_test)
    return np.concatenate([draw.permutation(n_train), tail])


def _verify_options(
    reader: Callable[..., Any], kind: str, options: dict[str, Any]
) -> None:
    parameters = inspect.signature(reader).parameters
    for name in options:
        if name not in parameters:
            flag = FLAGS.get(name, name).replace("_", "-")
            raise UsageError(f"--{flag} does not apply to {kind} input")
