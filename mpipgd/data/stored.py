"""Dense rows as they are stored: a file's bytes in memory, used where they lie.

Rows in one piece, or in chunks of whole rows without compression, need no HDF5 once
their addresses are known. A file is mapped; what is to be read is fetched into memory
first, and let go of after, so that no more of it counts than what is in use.
"""

import errno
import mmap
import os

import h5py
import numpy as np

from ..errors import DataError
from ..jit import compiled
from . import check
from .checksum import intact

FETCH = getattr(mmap, "MADV_POPULATE_READ", 22)  # Linux 5.14: fails, never kills
LEAST = 1 << 20  # bytes: less HDF5 reads as fast as this is compiled
BLOCK = 1 << 20  # bytes of rows that are in one piece
PIECE = 4 << 20  # bytes that are copied at once
AROUND = 1 << 16  # bytes that Linux maps when one of them is touched
CHECKSUM = 4  # bytes, behind a block


class Layout:
    """Where the rows of a dataset (n, d) lie: in blocks, from `places` to `ends`.

    A block has `rows` rows, the last one maybe fewer, and with `checked` a checksum.
    """

    def __init__(self, dataset, places, rows, checked):
        self.rows, self.checked, self.dtype = rows, checked, dataset.dtype
        self.row = dataset.shape[1] * self.dtype.itemsize  # bytes
        self.places = np.asarray(places, np.int64)
        firsts = np.arange(len(self.places)) * rows
        self.counts = np.minimum(firsts + rows, len(dataset)) - firsts
        # chunks are stored as whole ones
        sizes = rows * self.row + CHECKSUM if checked else self.counts * self.row
        self.ends = self.places + sizes

    def blocks(self, a, b):
        """Return the slice of the blocks that hold rows a … b-1."""
        return slice(a // self.rows, -(-b // self.rows))

    def spans(self, a, b):
        """Return (k, 2) places and numbers of rows of what rows a … b-1 lie in."""
        blocks = self.blocks(a, b)
        firsts = np.arange(blocks.start, blocks.stop) * self.rows
        lows = np.maximum(a - firsts, 0)
        counts = np.minimum(b - firsts, self.counts[blocks]) - lows
        return np.stack([self.places[blocks] + lows * self.row, counts], axis=1)


def layout(dataset):
    """Return the `Layout` of a dataset, or None where only HDF5 can read it."""
    native = dataset.dtype.isnative and dataset.dtype.kind == "f"
    if not native or dataset.nbytes < LEAST:
        return None
    row = dataset.shape[1] * dataset.dtype.itemsize
    if (offset := dataset.id.get_offset()) is not None:
        rows = max(1, BLOCK // row)
        places = offset + np.arange(0, len(dataset), rows) * row
        return Layout(dataset, places, rows, False)
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if codes not in ([], [h5py.h5z.FILTER_FLETCHER32]):
        return None
    if dataset.chunks is None or dataset.chunks[1] != dataset.shape[1]:
        return None
    found, rows = {}, dataset.chunks[0]
    dataset.id.chunk_iter(lambda info: found.__setitem__(info.chunk_offset[0], info))
    sizes = {(each.size, each.filter_mask) for each in found.values()}
    whole = sizes == {(rows * row + CHECKSUM * len(codes), 0)}
    if not whole or len(found) != -(-len(dataset) // rows):
        return None
    places = [found[first].byte_offset for first in sorted(found)]
    return Layout(dataset, places, rows, bool(codes))


class Direct:
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
            touch(self.bytes, places, ends)
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
                self.memory.madvise(FETCH, first, end - first)
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
            bad = damaged(self.bytes, places, where.rows * where.row)
            if bad >= 0:
                lo = first + bad * where.rows
                raise damage(self.path, self.name, lo, lo + int(counts[bad]))
        if not finite(self.bytes, spans, where.row, np.empty(0, where.dtype)):
            for at, rows in spans.tolist():
                some = self.bytes[at : at + rows * where.row].view(where.dtype)
                name = f"{self.path}: {self.name}"
                check.verify_finite(some.reshape(rows, -1), first, name)
                first += rows

    def release(self, a, b):
        """Let go of rows, which stay in the system's cache."""
        blocks = self.layout.blocks(a, b)
        for first, end in _pages(self.layout.places[blocks], self.layout.ends[blocks]):
            self.memory.madvise(mmap.MADV_DONTNEED, first, end - first)

    def read(self, a, b, out, scaling=None):
        """Read rows into the first columns of `out`, standardised by a scaling."""
        step = max(1, PIECE // self.layout.row)
        for lo in range(a, b, step):
            hi = min(b, lo + step)
            some = self.take(lo, hi)
            bring(*some, self.layout.row, scaling, out[lo - a : hi - a])
            self.release(lo, hi)


def damage(path, name, lo, hi):
    """Return the error that names rows lo … hi-1 as damaged."""
    return DataError(
        f"{path}: {name} cannot be read at rows {lo} … {hi - 1}: "
        "the checksum does not match or the file is damaged"
    )


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
def touch(data, places, ends):
    """Have bytes mapped by a thread that has the time, so that no other waits."""
    total = 0
    for k in range(len(places)):
        for at in range(places[k], ends[k], AROUND):
            total += data[at]
        total += data[ends[k] - 1]
    return total


@compiled
def damaged(data, places, size):
    """Return the number of the first block that its checksum refuses, or -1."""
    for k in range(len(places)):
        if not intact(data, places[k], size):
            return k
    return -1


@compiled
def finite(data, spans, row, like):
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
def bring(data, spans, row, scaling, out):
    """Copy rows into the first columns of `out`: (x - mean) / deviation, or x."""
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
            i += 1
