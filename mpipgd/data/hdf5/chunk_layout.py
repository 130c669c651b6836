"""Where in an HDF5 file the rows of a dense dataset are, to read them without HDF5."""

from collections.abc import Sequence

import h5py
import numpy as np

from ...array_types import IntArray

MIN_MAPPED_BYTES = 1 << 20  # less is read by HDF5 before what maps it is compiled
BLOCK_BYTES = 1 << 20  # of a contiguous dataset, cut into blocks of rows
CHECKSUM_BYTES = 4  # at the end of a chunk


class ChunkLayout:
    """The positions of the rows of a dataset (n, d): in blocks of consecutive rows.

    A block, a chunk of HDF5 or a part of a contiguous dataset, has `block_rows` rows,
    the last one maybe fewer. `offsets`, `ends` and `counts`, (blocks,) int64, are its
    first byte, the byte after its last, and its number of rows. With `has_checksum`
    every block ends with Fletcher's checksum of it. A row has `row_bytes` bytes.
    """

    def __init__(
        self,
        dataset: h5py.Dataset,
        offsets: Sequence[int] | IntArray,
        *,
        block_rows: int,
        has_checksum: bool,
    ) -> None:
        self.block_rows, self.has_checksum = block_rows, has_checksum
        self.dtype: np.dtype[np.floating] = dataset.dtype
        self.row_bytes: int = dataset.shape[1] * self.dtype.itemsize
        self.offsets: IntArray = np.asarray(offsets, np.int64)
        firsts = np.arange(len(self.offsets)) * block_rows
        self.counts: IntArray = np.minimum(firsts + block_rows, len(dataset)) - firsts
        sizes: IntArray | int = self.counts * self.row_bytes
        if has_checksum:  # of a chunk, which is stored at its full size
            sizes = block_rows * self.row_bytes + CHECKSUM_BYTES
        self.ends: IntArray = self.offsets + sizes

    def blocks(self, a: int, b: int) -> slice:
        """Return the slice of the blocks that hold rows a … b-1."""
        return slice(a // self.block_rows, -(-b // self.block_rows))

    def spans(self, a: int, b: int) -> IntArray:
        """Return (k, 2) byte offsets and numbers of rows that make up rows a … b-1."""
        blocks = self.blocks(a, b)
        firsts = np.arange(blocks.start, blocks.stop) * self.block_rows
        lows = np.maximum(a - firsts, 0)
        counts = np.minimum(b - firsts, self.counts[blocks]) - lows
        return np.stack([self.offsets[blocks] + lows * self.row_bytes, counts], axis=1)


def chunk_layout(dataset: h5py.Dataset) -> ChunkLayout | None:
    """Return the layout of a dataset (n, d); None where only HDF5 can read it.

    That is the case for compressed, converted or partly missing values, and for chunks
    that hold only some of the columns.
    """
    native = dataset.dtype.isnative and dataset.dtype.kind == "f"
    if not native or dataset.nbytes < MIN_MAPPED_BYTES or dataset.file.userblock_size:
        return None
    row_bytes = dataset.shape[1] * dataset.dtype.itemsize
    if (start := dataset.id.get_offset()) is not None:
        block_rows = max(1, BLOCK_BYTES // row_bytes)
        offsets = start + np.arange(0, len(dataset), block_rows) * row_bytes
        return ChunkLayout(dataset, offsets, block_rows=block_rows, has_checksum=False)
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if codes not in ([], [h5py.h5z.FILTER_FLETCHER32]):
        return None
    if dataset.chunks is None or dataset.chunks[1] != dataset.shape[1]:
        return None
    block_rows = dataset.chunks[0]
    chunks: dict[int, h5py.h5d.StoreInfo] = {}  # by their first row
    dataset.id.chunk_iter(lambda info: chunks.__setitem__(info.chunk_offset[0], info))
    full_size = block_rows * row_bytes + CHECKSUM_BYTES * len(codes)
    sizes_and_masks = {(chunk.size, chunk.filter_mask) for chunk in chunks.values()}
    complete = len(chunks) == -(-len(dataset) // block_rows)
    if sizes_and_masks != {(full_size, 0)} or not complete:
        return None
    offsets = [chunks[first].byte_offset for first in sorted(chunks)]
    if max(offsets) + block_rows * row_bytes > dataset.file.id.get_filesize():
        return None  # HDF5 will say what is wrong
    return ChunkLayout(
        dataset, offsets, block_rows=block_rows, has_checksum=bool(codes)
    )
