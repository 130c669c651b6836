"""Import files of other formats into data files: read, shuffle, split, write."""

from __future__ import annotations

import contextlib
import glob
import inspect
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...atomic_file import translate_os_errors, verify_output
from ...comm import mpi
from ...errors import DataError, UsageError
from ...reporting.progress import Progress
from ..tables.arrow import ArrowReader, ParquetReader
from ..tables.csv import CsvReader
from .arrays import (
    OPENERS,
    Arrays,
    Table,
    read_idx,
    read_npz,
    read_openml,
    read_svmlight,
)
from .roles import find_roles
from .split import ShardLayout, output_files, write_files, write_in_order
from .table import Import, draw_order, import_table

if TYPE_CHECKING:
    from ...comm.mpi import Comm
    from ..hdf5.header import Header
    from ..tables.base import TableReader

TABLE_READERS: dict[str, Callable[..., TableReader]] = {
    "csv": CsvReader,
    "parquet": ParquetReader,
    "arrow": ArrowReader,
}
ARRAY_READERS: dict[str, Callable[..., Arrays]] = {
    "svmlight": read_svmlight,
    "npz": read_npz,
    "idx": read_idx,
    "openml": read_openml,
}
KINDS = (*TABLE_READERS, *ARRAY_READERS)
SUFFIXES = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), "arrow"),
    **dict.fromkeys((".svm", ".libsvm", ".svmlight"), "svmlight"),
    ".npz": "npz",
}
FLAGS = {"header": "no-header", "id_column": "id"}
CSV_OPTIONS = ("separator", "decimal", "thousands", "encoding", "header")
CREATION_OPTIONS = {
    "comm",
    "readers",
    "out",
    "quiet",
    "names",
    "path",
}  # not of the command line


def ingest(
    comm: Comm,
    source: str,
    out: str,
    *,
    kind: str | None = None,
    test: str | None = None,
    test_size: float = 0.2,
    seed: int = 0,
    shards: int = 1,
    overwrite: bool = False,
    quiet: bool = True,
    **options: Any,
) -> Import:
    """Import SOURCE into OUT; collective.

    source: a file, or several tables with the same columns as a glob or a folder. kind:
    one of `KINDS`, by default guessed from the name. options: those of its reader and,
    for tables, of `import_table` (label, task, ordinal, …). Exactly round(n·test_size)
    rows, drawn by the seed, become test rows, unless the source has test rows, or the
    file `test` holds them. Raises DataError and UsageError.
    """
    source, out = str(source), str(out)
    paths: list[str] = mpi.on_root(comm, source_files, source)
    with mpi.raise_collectively(comm):
        kind = kind or kind_of(paths[0])
        _verify_options(kind, options | ({"test": test} if test else {}))
    common: dict[str, Any] = {
        "test_size": test_size,
        "seed": seed,
        "shards": shards,
        "overwrite": overwrite,
    }
    if kind in TABLE_READERS:
        return _import_tables(comm, paths, out, kind, test, quiet, common | options)
    with mpi.raise_collectively(comm):
        if len(paths) > 1:
            raise UsageError(f"{source} is {len(paths)} files, {kind} takes one")
    target = {name: options.pop(name, None) for name in ("task", "dtype")}

    def read() -> Table:
        table = ARRAY_READERS[kind](paths[0], **options).table(**target)
        if test is None:
            return table
        if kind_of(test) not in ARRAY_READERS:
            raise UsageError(f"--test {test} is {kind_of(test)}, expected {kind}")
        arrays = ARRAY_READERS[kind_of(test)](test)
        return table.with_test(arrays.table_like(table.header, labels=True))

    done: Import = mpi.on_root(
        comm, partial(_import_arrays, paths[0], out, read, quiet, **common)
    )
    return done


def apply_arrays(
    comm: Comm, source: str, out: str, header: Header, *, labels: bool
) -> None:
    """Write the rows of arrays as test rows, in order, for a model; collective.

    header: of the data that the model was trained on; see `Arrays.table_like`.
    """
    with mpi.raise_collectively(comm):
        kind = kind_of(source)

    def write() -> None:
        table = ARRAY_READERS[kind](source).table_like(header, labels=labels)
        (file,) = output_files(out, 1, overwrite=True)
        read = table.shuffled(np.arange(table.rows))
        write_in_order(file, table.header, table.rows, read, labels=labels)

    mpi.on_root(comm, write)


def source_files(source: str) -> list[str]:
    """Return the files of a source: a glob or a folder of tables, sorted, or one file.

    Raises DataError where there are none, or of several kinds.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(str(file) for file in path.iterdir() if _has_kind(file))
    elif not path.exists() and any(char in source for char in "*?["):
        files = sorted(glob.glob(source))
    else:
        return [source]
    kinds = {kind_of(file) for file in files}
    if len(kinds) != 1:
        what = "no file" if not kinds else f"files of kinds {', '.join(sorted(kinds))}"
        raise DataError(f"{source} holds {what}, expected tables of one kind")
    return files


def _has_kind(path: Path) -> bool:
    suffixes = [suffix for suffix in path.suffixes if suffix not in OPENERS]
    return bool(suffixes) and suffixes[-1].lower() in SUFFIXES


def is_source(data: str) -> bool:
    """Return whether DATA is to be imported: no HDF5, and no bundled set."""
    path = Path(data)
    if path.is_dir():
        return not any(path.glob("*.h5")) and any(map(_has_kind, path.iterdir()))
    return _has_kind(path) or "idx3" in path.name


def _import_tables(
    comm: Comm,
    paths: list[str],
    out: str,
    kind: str,
    test: str | None,
    quiet: bool,
    options: dict[str, Any],
) -> Import:
    reading = {key: options.pop(key) for key in CSV_OPTIONS if key in options}
    with mpi.raise_collectively(comm):
        kinds = dict.fromkeys(paths, kind) | ({test: kind_of(test)} if test else {})
        if test in paths:
            raise UsageError(f"--test {test}: it is the file of the training rows")
        if test and kinds[test] not in TABLE_READERS:
            raise UsageError(f"--test {test} is {kinds[test]}, expected a table")
    mpi.on_root(comm, partial(_verify_out, out, [*kinds], options["overwrite"]))
    with open_readers(comm, kinds, Path(out).parent, **reading) as readers:
        return import_table(
            comm,
            readers[:-1] if test else readers,
            out,
            test=readers[-1] if test else None,
            quiet=quiet,
            **options,
        )


def is_table(source: str) -> bool:
    """Return whether a source is a table of named columns, or several, by name."""
    return kind_of(source_files(source)[0]) in TABLE_READERS


def is_csv(source: str) -> bool:
    """Return whether a source is a CSV, or several, by name."""
    return kind_of(source_files(source)[0]) == "csv"


@contextlib.contextmanager
def open_readers(
    comm: Comm, kinds: Mapping[str, str], folder: Path, **csv_options: Any
) -> Iterator[list[TableReader]]:
    """Yield the readers of tables, path -> kind; collective.

    A folder takes decompressed files. csv_options: how a CSV is written.
    """
    with contextlib.ExitStack() as stack:
        readers = []
        for path, kind in kinds.items():
            with mpi.raise_collectively(comm):
                if not Path(path).is_file():
                    raise DataError(f"{path} does not exist or is no file")
            file = stack.enter_context(decompressed(comm, path, folder))
            options = csv_options if kind == "csv" else {}
            readers.append(TABLE_READERS[kind](comm, path, file=file, **options))
        yield readers


def _verify_out(out: str, sources: list[str], overwrite: bool) -> None:
    for source in sources:
        if not Path(source).is_file():
            raise DataError(f"{source} does not exist or is no file")
    if Path(out).is_file():
        verify_output(out, sources, overwrite=overwrite)


@contextlib.contextmanager
def decompressed(comm: Comm, path: str, folder: Path) -> Iterator[str]:
    """Yield the path of a file as it is, or decompressed into a folder; collective."""
    opener = OPENERS.get(Path(path).suffix)
    if opener is None:
        yield path
        return
    temporary: str = mpi.on_root(comm, partial(_decompress, path, opener, folder))
    try:
        yield temporary
    finally:
        comm.barrier()
        with contextlib.suppress(FileNotFoundError):
            mpi.root_else(comm, Path(temporary).unlink, list)()


def _decompress(path: str, opener: Callable[..., Any], folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        translate_os_errors(folder, DataError),
        tempfile.NamedTemporaryFile(
            prefix=".mpipgd-", suffix=Path(path).stem, dir=folder, delete=False
        ) as plain,
    ):
        try:
            with opener(path, "rb") as packed:
                shutil.copyfileobj(packed, plain, 1 << 20)
        except (OSError, EOFError, zlib.error) as error:
            Path(plain.name).unlink()
            raise DataError(f"{path} cannot be decompressed: {error}") from error
    return plain.name


def _import_arrays(
    source: str,
    out: str,
    read: Callable[[], Table],
    quiet: bool,
    *,
    test_size: float,
    seed: int,
    shards: int,
    overwrite: bool,
) -> Import:
    if Path(out).is_file() and Path(source).is_file():
        verify_output(out, [source], overwrite=overwrite)
    files = output_files(out, shards, overwrite=overwrite)
    table = read()
    layout = ShardLayout(table.rows, test_size, shards, n_test=table.n_test)
    order = draw_order(layout, table.n_test is not None, seed)
    table.verify_trained(order < layout.rows["train"])
    progress = Progress(table.rows, "writing", **_stream(quiet))
    with translate_os_errors(files[0], DataError):
        rows = table.shuffled(layout.destinations(order))
        write_files(files, table.header, layout, rows, progress)
    return Import(table.header, layout.rows, files, [])


def _stream(quiet: bool) -> dict[str, Any]:
    return {"stream": None} if quiet else {}


def kind_of(source: str) -> str:
    """Return the kind of a source, guessed from its name."""
    name = str(source)
    if name.startswith("openml:"):
        return "openml"
    if "-idx3-" in name or "idx3-ubyte" in name:
        return "idx"
    suffixes = [s for s in Path(name).suffixes if s not in OPENERS]
    kind = SUFFIXES.get(suffixes[-1].lower()) if suffixes else None
    if kind is None:
        raise DataError(
            f"{source}: the name does not tell its kind; add --kind "
            f"{'|'.join(KINDS)}, or write openml:NAME"
        )
    return kind


def _verify_options(kind: str, options: dict[str, Any]) -> None:
    """Raise UsageError for an option that a kind of sources does not take."""
    if kind in TABLE_READERS:
        parameters = [
            inspect.signature(f).parameters for f in (import_table, find_roles)
        ]
        applying = {name for names in parameters for name in names} - CREATION_OPTIONS
        applying |= {*CSV_OPTIONS} if kind == "csv" else set()
    else:
        reader = inspect.signature(ARRAY_READERS[kind])
        applying = {*reader.parameters, "task", "dtype", "test"}
    for name in options:
        if name not in applying:
            flag = FLAGS.get(name, name).replace("_", "-")
            raise UsageError(f"--{flag} does not apply to {kind} input")
