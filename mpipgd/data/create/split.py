"""How rows are spread over the output files and over the train and test parts."""

import re
from pathlib import Path

import numpy as np

from ...atomic_file import translate_os_errors
from ...errors import DataError, UsageError
from ..hdf5.writer import create

BLOCK_BYTES = 4 << 20
SHARD_NAME = "shard-{:04}.h5"


class ShardLayout:
    """The sizes of train and test, and the share of either in each of K files.

    The test part has exactly round(n·test_size) rows. File s holds the train rows
    ⌊s·n/K⌋ … ⌊(s+1)·n/K⌋-1, and the test rows likewise. A `place` numbers all rows
    file by file, in each the train rows first.
    """

    def __init__(self, rows, test_size, shards, *, n_test=None):
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
        share = np.arange(shards + 1)
        self.bounds = {part: share * n // shards for part, n in self.rows.items()}
        self.shards = shards

    def sizes(self, shard):
        """Return the rows of each part in one file."""
        return {p: int(b[shard + 1] - b[shard]) for p, b in self.bounds.items()}

    def segments(self):
        """Yield (shard, part, first row in the part, rows), file by file."""
        for shard in range(self.shards):
            for part, bounds in self.bounds.items():
                if self.sizes(shard)[part]:
                    yield shard, part, int(bounds[shard]), self.sizes(shard)[part]

    def places(self, rows):
        """Return where each row goes, given its number in train then test order."""
        train, test = self.bounds["train"], self.bounds["test"]
        n = self.rows["train"]
        is_test = rows >= n
        own = np.where(is_test, rows - n, rows)
        in_train = np.searchsorted(train, own, side="right") - 1
        in_test = np.searchsorted(test, own, side="right") - 1
        after = np.append(train[1:], n)  # train rows in the files up to this one
        return own + np.where(is_test, after[in_test], test[in_train])


def output_files(out, shards, *, overwrite=False):
    """Return the paths to write, their folder made; refuse to overwrite unasked.

    OUT is a folder of shard-0000.h5 … when it ends in "/", exists as a folder, or
    there is more than one shard; else it is one file.
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


def _remove_shard(old):
    if not re.fullmatch(r"shard-\d{4,}\.h5", old.name):
        raise UsageError(f"{old} is no shard of this data set: choose another folder")
    old.unlink()


def write_files(files, header, split, read, progress):
    """Write all files in order; `read(lo, hi)` gives (X, y) of rows by place."""
    step = max(1, BLOCK_BYTES // (8 * _row_values(header)))
    place = 0
    for shard, path in enumerate(files):
        sizes = split.sizes(shard)
        with create(path, header, rows=sizes) as writer:
            for part, count in sizes.items():
                for at in range(0, count, step):
                    hi = min(count, at + step)
                    writer.write(part, at, *read(place + at, place + hi))
                    progress.update(place + hi)
                place += count


def _row_values(header):
    return min(header.n_features, 4096) if header.sparse else header.n_features
