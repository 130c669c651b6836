"""Where dense rows lie in an HDF5 file, when they can be read without HDF5."""

import h5py
import numpy as np

LEAST = 1 << 20  # bytes: less HDF5 reads as fast as what reads it is compiled
BLOCK = 1 << 20  # bytes of rows that are in one piece
CHECKSUM = 4  # bytes, behind a block


class ChunkLayout:
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


def chunk_layout(dataset):
    """Return the `Layout` of a dataset, or None where only HDF5 can read it."""
    native = dataset.dtype.isnative and dataset.dtype.kind == "f"
    if not native or dataset.nbytes < LEAST or dataset.file.userblock_size:
        return None
    row = dataset.shape[1] * dataset.dtype.itemsize
    if (offset := dataset.id.get_offset()) is not None:
        rows = max(1, BLOCK // row)
        places = offset + np.arange(0, len(dataset), rows) * row
        return ChunkLayout(dataset, places, rows, False)
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
    if max(places) + rows * row > dataset.file.id.get_filesize():
        return None  # HDF5 will say what is wrong
    return ChunkLayout(dataset, places, rows, bool(codes))
