"""Dense rows in memory that a file is mapped to, used without a copy.

Rows in contiguous datasets, or in uncompressed chunks of full rows, need no HDF5 once
their byte offsets are known. The file is mapped; rows are paged in before their use,
and their pages released after it, so that only rows in use count as memory.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from ...array_types import BoolArray, ByteArray, FloatArray, IntArray
from ...errors import DataError
from ...jit import compiled
from ..matrix import Segment
from . import validate
from .checksum import fletcher32_matches

if TYPE_CHECKING:
    from ..standardize import Scaling
    from .chunk_layout import ChunkLayout

# Linux 5.14; unlike an access to the memory, it fails with an error instead of SIGBUS
POPULATE_READ = getattr(mmap, "MADV_POPULATE_READ", 22)
COPY_BYTES = 4 << 20  # of rows that `read` copies before it releases them
FAULT_BYTES = 1 << 16  # that Linux maps around a page fault


class MappedDataset:
    """A dense dataset (n, d) in the memory that its file is mapped to.

    `bytes` (file size,) uint8 is read-only; `verified` (blocks,) marks the blocks of
    which checksum and values have been verified.
    """

    def __init__(self, path: Path, name: str, layout: ChunkLayout) -> None:
        self.path, self.name, self.layout = path, name, layout
        with open(path, "rb", buffering=0) as file:
            self.memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.bytes: ByteArray = np.frombuffer(self.memory, np.uint8)
        self.verified: BoolArray = np.zeros(len(layout.offsets), bool)

    def fetch(self, a: int, b: int) -> Segment:
        """Return rows a … b-1, paged in and verified; valid until `release`.

        Raises DataError where the file is too short, a checksum does not match, or a
        value is not finite.
        """
        blocks = self.layout.blocks(a, b)
        offsets, ends = self.layout.offsets[blocks], self.layout.ends[blocks]
        if self.verified[blocks].all():
            if os.path.getsize(self.path) < ends.max(initial=0):
                raise DataError(f"{self.path} cannot be read: it ends too early")
            fault_in(self.bytes, offsets, ends)
        else:
            self._page_in(offsets, ends)
            self._verify(blocks)
            self.verified[blocks] = True
        return Segment(self.bytes, self.layout.spans(a, b))

    def _page_in(self, offsets: IntArray, ends: IntArray) -> None:
        """Read bytes into memory; DataError where the file does not hold them."""
        for first, end in _page_ranges(offsets, ends):
            try:
                if end > len(self.bytes):
                    raise OSError(errno.EFAULT, "it ends too early")
                self.memory.madvise(POPULATE_READ, first, end - first)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise DataError(f"{self.path} cannot be read: {error}") from error
                self._read_once(first, end)

    def _read_once(self, first: int, end: int) -> None:
        """Read bytes into the page cache, for Linux without `POPULATE_READ`."""
        scratch = bytearray(1 << 18)
        with open(self.path, "rb", buffering=0) as file:
            for offset in range(first, end, len(scratch)):
                os.preadv(file.fileno(), [scratch], offset)

    def _verify(self, blocks: slice) -> None:
        """Raise DataError for a block that is corrupt or holds a NaN or infinity."""
        layout = self.layout
        offsets, counts = layout.offsets[blocks], layout.counts[blocks]
        spans = np.stack([offsets, counts], axis=1)
        first = blocks.start * layout.block_rows
        if layout.has_checksum:
            size = layout.block_rows * layout.row_bytes
            bad = first_corrupt_block(self.bytes, offsets, size)
            if bad >= 0:
                lo = first + bad * layout.block_rows
                raise validate.corruption_error(
                    self.path, self.name, lo, lo + int(counts[bad])
                )
        like = np.empty(0, layout.dtype)
        if not all_finite(self.bytes, spans, layout.row_bytes, like):
            for offset, rows in spans.tolist():
                block = self.bytes[offset : offset + rows * layout.row_bytes]
                X = block.view(layout.dtype).reshape(rows, -1)
                validate.verify_finite(X, first, f"{self.path}: {self.name}")
                first += rows

    def release(self, a: int, b: int) -> None:
        """Unmap the pages of rows a … b-1, which stay in the system's page cache."""
        blocks = self.layout.blocks(a, b)
        offsets, ends = self.layout.offsets[blocks], self.layout.ends[blocks]
        for first, end in _page_ranges(offsets, ends):
            self.memory.madvise(mmap.MADV_DONTNEED, first, end - first)

    def read(
        self, a: int, b: int, out: FloatArray, scaling: Scaling | None = None
    ) -> None:
        """Copy rows a … b-1 to `out` (b-a, ≥ d), standardised by `scaling`.

        Columns of `out` beyond the d-th become ones.
        """
        pair = None if scaling is None else tuple(scaling)  # one type to compile for
        step = max(1, COPY_BYTES // self.layout.row_bytes)
        for lo in range(a, b, step):
            hi = min(b, lo + step)
            data, spans = self.fetch(lo, hi)
            row_bytes = self.layout.row_bytes
            copy_standardized(data, spans, row_bytes, pair, out[lo - a : hi - a])
            self.release(lo, hi)


def warm_up(dtype: DTypeLike) -> None:
    """Compile, or load, the functions that read rows of a dtype; they get no rows."""
    data, empty = np.frombuffer(b"", np.uint8), np.empty(0, np.int64)
    spans, out, row = empty.reshape(0, 2), np.empty((0, 1), dtype), np.empty(0, dtype)
    fault_in(data, empty, empty)
    first_corrupt_block(data, empty, 0)
    all_finite(data, spans, 1, row)
    for scaling in (None, (row, row)):
        copy_standardized(data, spans, 1, scaling, out)


def _page_ranges(offsets: IntArray, ends: IntArray) -> list[tuple[int, int]]:
    """Return (first, end) of byte ranges that begin with a page, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for first, end in zip(offsets.tolist(), ends.tolist()):
        first -= first % mmap.PAGESIZE
        if joined and joined[-1][0] <= first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    return joined


@compiled
def fault_in(data: ByteArray, offsets: IntArray, ends: IntArray) -> int:
    """Read from every page of some byte ranges, to take the page faults here.

    They would otherwise interrupt the computation; this runs in the reading thread.
    """
    total = 0
    for k in range(len(offsets)):
        for at in range(offsets[k], ends[k], FAULT_BYTES):
            total += data[at]
        total += data[ends[k] - 1]
    return total


@compiled
def first_corrupt_block(data: ByteArray, offsets: IntArray, size: int) -> int:
    """Return the number of the first block with a wrong checksum, or -1."""
    for k in range(len(offsets)):
        if not fletcher32_matches(data, offsets[k], size):
            return k
    return -1


@compiled
def all_finite(
    data: ByteArray, spans: IntArray, row_bytes: int, like: FloatArray
) -> bool:
    """Are all numbers, of the dtype of `like`, in some spans of rows finite?"""
    for k in range(len(spans)):
        at, rows = spans[k]
        x, total = data[at : at + rows * row_bytes].view(like.dtype), like.dtype.type(0)
        for j in range(x.size):
            total += x[j] * like.dtype.type(0)
        if total != 0:
            return False
    return True


@compiled
def copy_standardized(
    data: ByteArray,
    spans: IntArray,
    row_bytes: int,
    scaling: tuple[FloatArray, FloatArray] | None,
    out: FloatArray,
) -> None:
    """Write rows (x - mean) / deviation to `out`, or x; further columns become ones."""
    i = 0
    for k in range(len(spans)):
        at, rows = spans[k]
        X = data[at : at + rows * row_bytes].view(out.dtype).reshape(rows, -1)
        for r in range(rows):
            for j in range(X.shape[1]):
                if scaling is None:
                    out[i, j] = X[r, j]
                else:
                    out[i, j] = (X[r, j] - scaling[0][j]) / scaling[1][j]
            out[i, X.shape[1] :] = 1
            i += 1
