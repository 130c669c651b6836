"""How rows are divided among the output files and the train and test splits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...atomic_file import translate_os_errors
from ...errors import DataError, UsageError
from ..hdf5.writer import create

if TYPE_CHECKING:
    from ...array_types import IntArray
    from ...reporting.progress import Progress
    from ..hdf5.header import Header
    from .external_shuffle import RowReader

BLOCK_BYTES = 4 << 20
SHARD_NAME = "shard-{:04}.h5"


class ShardLayout:
    """The sizes of train and test, and the share of either in each of K files.

    The test split has exactly round(n·test_size) rows. File s holds the train rows
    ⌊s·n/K⌋ … ⌊(s+1)·n/K⌋-1, and the test rows likewise. A destination numbers all rows
    file by file, in each file the train rows first.
    """

    def __init__(
        self, rows: int, test_size: float, shards: int, *, n_test: int | None = None
    ) -> None:
        if not 0 <= test_size < 1:
            raise UsageError(f"--test-size is {test_size}, expected 0 ≤ size < 1")
        if rows < 1:
            raise DataError("the source holds no rows")
        if not 1 <= shards <= rows:
            raise UsageError(f"--shards is {shards}, expected 1 … {rows}, the rows")
        n_test = round(rows * test_size) if n_test is None else n_test
        if n_test >= rows:
            raise UsageError(f"all {rows} rows would be test rows: lower --test-size")
        self.rows = {"train": rows - n_test, "test": n_test}
        numbers = np.arange(shards + 1)
        self.bounds = {name: numbers * n // shards for name, n in self.rows.items()}
        self.shards = shards

    def sizes(self, shard: int) -> dict[str, int]:
        """Return the rows of each split in one file."""
        return {
            name: int(bounds[shard + 1] - bounds[shard])
            for name, bounds in self.bounds.items()
        }

    def segments(self) -> Iterator[tuple[int, str, int, int]]:
        """Yield (shard, split, first row in the split, rows), file by file."""
        for shard in range(self.shards):
            for name, bounds in self.bounds.items():
                if self.sizes(shard)[name]:
                    yield shard, name, int(bounds[shard]), self.sizes(shard)[name]

    def destinations(self, rows: IntArray) -> IntArray:
        """Return the destination of rows, given their numbers in train, test order."""
        train, test = self.bounds["train"], self.bounds["test"]
        n = self.rows["train"]
        is_test = rows >= n
        in_split = np.where(is_test, rows - n, rows)
        in_train = np.searchsorted(train, in_split, side="right") - 1
        in_test = np.searchsorted(test, in_split, side="right") - 1
        after = np.append(train[1:], n)  # train rows in the files up to this one
        destinations: IntArray = in_split + np.where(
            is_test, after[in_test], test[in_train]
        )
        return destinations


def output_files(
    out: str | Path, shards: int, *, overwrite: bool = False
) -> list[Path]:
    """Return the paths to write, and make their folder.

    OUT is a folder of shard-0000.h5 … when it ends in "/", exists as a folder, or
    there is more than one shard; else it is one file. Raises UsageError where a file
    exists, unless `overwrite`.
    """
    path = Path(out)
    with translate_os_errors(path, DataError):
        if shards == 1 and not str(out).endswith("/") and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            present, files = [path] if path.exists() else [], [path]
        else:
            path.mkdir(parents=True, exist_ok=True)
            present = sorted(path.glob("*.h5"))
            files = [path / SHARD_NAME.format(shard) for shard in range(shards)]
        if present and not overwrite:
            raise UsageError(f"{present[0]} exists already: --overwrite replaces it")
        for old in set(present) - set(files):
            _remove_shard(old)
    return files


def _remove_shard(old: Path) -> None:
    if not re.fullmatch(r"shard-\d{4,}\.h5", old.name):
        raise UsageError(f"{old} is no shard of this data set: choose another folder")
    old.unlink()


def write_files(
    files: list[Path],
    header: Header,
    split: ShardLayout,
    read: RowReader,
    progress: Progress,
    *,
    extra: Mapping[str, np.dtype[Any]] | None = None,
) -> None:
    """Write all files; `read(lo, hi)` gives rows by destination, see `Rows`."""
    step = max(1, BLOCK_BYTES // (8 * _row_values(header)))
    destination = 0
    for shard, path in enumerate(files):
        sizes = split.sizes(shard)
        with create(path, header, rows=sizes, extra=extra) as writer:
            for name, count in sizes.items():
                for lo in range(0, count, step):
                    hi = min(count, lo + step)
                    writer.write(name, lo, *read(destination + lo, destination + hi))
                    progress.update(destination + hi)
                destination += count


def write_in_order(
    path: Path,
    header: Header,
    n: int,
    read: RowReader,
    *,
    labels: bool,
    extra: Mapping[str, np.dtype[Any]] | None = None,
) -> None:
    """Write n rows as the test rows of one file; without `labels` they have no y."""
    rows = {"train": 0, "test": n}
    step = max(1, BLOCK_BYTES // (8 * _row_values(header)))
    with (
        translate_os_errors(path, DataError),
        create(path, header, rows=rows, labels=labels, extra=extra) as writer,
    ):
        for lo in range(0, n, step):
            writer.write("test", lo, *read(lo, min(n, lo + step)))


def _row_values(header: Header) -> int:
    return min(header.n_features, 4096) if header.sparse else header.n_features
