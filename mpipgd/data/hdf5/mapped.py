"""Dense rows as they are stored: a file's bytes in memory, used where they lie.

Rows in one piece, or in chunks of whole rows without compression, need no HDF5 once
their addresses are known. A file is mapped; what is to be read is fetched into memory
first, and let go of after, so that no more of it counts than what is in use.
"""

import errno
import mmap
import os

import numpy as np

from ...errors import DataError
from ...jit import compiled
from . import validate
from .checksum import fletcher32_matches

POPULATE_READ = getattr(
    mmap, "MADV_POPULATE_READ", 22
)  # Linux 5.14: fails, never kills
COPY_BYTES = 4 << 20  # bytes that are copied at once
AROUND = 1 << 16  # bytes that Linux maps when one of them is touched


class MappedDataset:
    """A dataset's rows in the memory that its file is mapped to."""

    def __init__(self, path, name, layout):
        self.path, self.name, self.layout = path, name, layout
        with open(path, "rb", buffering=0) as file:
            self.memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.bytes = np.frombuffer(self.memory, np.uint8)
        self.good = np.zeros(len(layout.places), bool)  # blocks, when first read

    def take(self, a, b):
        """Return the segment of rows a … b-1, fetched; DataError where they are bad."""
        blocks = self.layout.blocks(a, b)
        places, ends = self.layout.places[blocks], self.layout.ends[blocks]
        if self.good[blocks].all():
            if os.path.getsize(self.path) < ends.max(initial=0):
                raise DataError(f"{self.path} cannot be read: it ends too early")
            fault_in(self.bytes, places, ends)
        else:
            self._fetch(places, ends)
            self._verify(blocks)
            self.good[blocks] = True
        return self.bytes, self.layout.spans(a, b)

    def _fetch(self, places, ends):
        """Read bytes into memory, with an error where the file does not hold them."""
        for first, end in _pages(places, ends):
            try:
                if end > len(self.bytes):
                    raise OSError(errno.EFAULT, "it ends too early")
                self.memory.madvise(POPULATE_READ, first, end - first)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise DataError(f"{self.path} cannot be read: {error}") from error
                self._read_once(first, end)

    def _read_once(self, first, end):
        """Let an older system read bytes, with an error where it cannot."""
        scratch = bytearray(1 << 18)
        with open(self.path, "rb", buffering=0) as file:
            for at in range(first, end, len(scratch)):
                os.preadv(file.fileno(), [scratch], at)

    def _verify(self, blocks):
        """Raise DataError for blocks that are damaged or hold what is no number."""
        where = self.layout
        places, counts = where.places[blocks], where.counts[blocks]
        spans = np.stack([places, counts], axis=1)
        first = blocks.start * where.rows
        if where.checked:
            bad = first_corrupt_block(self.bytes, places, where.rows * where.row)
            if bad >= 0:
                lo = first + bad * where.rows
                raise validate.corruption_error(
                    self.path, self.name, lo, lo + int(counts[bad])
                )
        if not all_finite(self.bytes, spans, where.row, np.empty(0, where.dtype)):
            for at, rows in spans.tolist():
                some = self.bytes[at : at + rows * where.row].view(where.dtype)
                name = f"{self.path}: {self.name}"
                validate.verify_finite(some.reshape(rows, -1), first, name)
                first += rows

    def release(self, a, b):
        """Let go of rows, which stay in the system's cache."""
        blocks = self.layout.blocks(a, b)
        for first, end in _pages(self.layout.places[blocks], self.layout.ends[blocks]):
            self.memory.madvise(mmap.MADV_DONTNEED, first, end - first)

    def read(self, a, b, out, scaling=None):
        """Read rows into `out`, standardised by a scaling; more columns become ones."""
        step = max(1, COPY_BYTES // self.layout.row)
        for lo in range(a, b, step):
            hi = min(b, lo + step)
            some = self.take(lo, hi)
            copy_standardized(*some, self.layout.row, scaling, out[lo - a : hi - a])
            self.release(lo, hi)


def warm_up(dtype):
    """Compile, or load, what reads rows of a type, by calling it on no rows."""
    data, none = np.frombuffer(b"", np.uint8), np.empty(0, np.int64)
    spans, out, row = none.reshape(0, 2), np.empty((0, 1), dtype), np.empty(0, dtype)
    fault_in(data, none, none)
    first_corrupt_block(data, none, 0)
    all_finite(data, spans, 1, row)
    for scaling in (None, (row, row)):
        copy_standardized(data, spans, 1, scaling, out)


def _pages(places, ends):
    """Return [first, end] of bytes by whole pages, neighbours joined."""
    joined = []
    for first, end in zip(places.tolist(), ends.tolist()):
        first -= first % mmap.PAGESIZE
        if joined and joined[-1][0] <= first <= joined[-1][1]:
            joined[-1][1] = max(end, joined[-1][1])
        else:
            joined.append([first, end])
    return joined


@compiled
def fault_in(data, places, ends):
    """Have bytes mapped by a thread that has the time, so that no other waits."""
    total = 0
    for k in range(len(places)):
        for at in range(places[k], ends[k], AROUND):
            total += data[at]
        total += data[ends[k] - 1]
    return total


@compiled
def first_corrupt_block(data, places, size):
    """Return the number of the first block that its checksum refuses, or -1."""
    for k in range(len(places)):
        if not fletcher32_matches(data, places[k], size):
            return k
    return -1


@compiled
def all_finite(data, spans, row, like):
    """Are all numbers, of `like`'s type, in rows of `row` bytes finite ones?"""
    for k in range(len(spans)):
        at, rows = spans[k]
        x, total = data[at : at + rows * row].view(like.dtype), like.dtype.type(0)
        for j in range(x.size):
            total += x[j] * like.dtype.type(0)
        if total != 0:
            return False
    return True


@compiled
def copy_standardized(data, spans, row, scaling, out):
    """Copy rows into `out`: (x - mean) / deviation, or x, and in more columns ones."""
    i = 0
    for k in range(len(spans)):
        at, rows = spans[k]
        X = data[at : at + rows * row].view(out.dtype).reshape(rows, -1)
        for r in range(rows):
            for j in range(X.shape[1]):
                if scaling is None:
                    out[i, j] = X[r, j]
                else:
                    out[i, j] = (X[r, j] - scaling[0][j]) / scaling[1][j]
            out[i, X.shape[1] :] = 1
            i += 1
