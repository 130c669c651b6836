"""Rows that stay on the disk: how many fit, and passes over them in order."""

import numpy as np

from ..config.option import parse_bytes
from ..errors import UsageError
from .matrix import Csr, index_type

BLOCKS_PER_BUFFER = 4  # a pile holds as many rows as so many pieces of a pass in order


def row_bytes(header, objective, entries=0):
    """Return how many bytes a row takes: features, target, and its place in a pile.

    A sparse row of so many entries lies in memory twice while it is put together.
    """
    if header.sparse:
        return 40 + 28 * (entries + objective.intercept)
    return (header.n_features + objective.intercept) * objective.dtype.itemsize + 24


def buffer_rows(options, source, objective):
    """Return the rows of a pile that `--memory-limit` allows a worker; None: all fit.

    Not a matter of ranks or nodes: a node is taken to host all workers.
    """
    limit = options.memory_limit and parse_bytes(options.memory_limit)
    if limit is None:
        return None
    n = sum(source.rows.values())
    each = row_bytes(source.header, objective, source.entries() // max(1, n))
    if n * each <= limit:
        return None
    if options.split != "disjoint":
        found = f"--split {options.split}"
        raise UsageError(f"--memory-limit takes --split disjoint, found {found}")
    buffers = (
        2 * options.workers * each + 2 * options.workers * each / BLOCKS_PER_BUFFER
    )
    return max(1, int(limit / buffers))


class StreamedRows:
    """A part of the data as `load.Part`, but its rows come in pieces from the disk."""

    def __init__(self, reader, name, first, shares, rows, buffers):
        self.reader, self.name, self.buffer_rows = reader, name, rows
        self.rows = max(1, rows // BLOCKS_PER_BUFFER)
        self.first, self.shares, self.buffers = first, shares, buffers
        objective, header = reader.objective, reader.source.header
        width = header.n_features + objective.intercept
        self.X = np.empty((0, width), objective.dtype)
        if header.sparse:
            none = np.empty(0, index_type(width))
            zero = np.zeros(1, np.int64)
            self.X = Csr(np.empty(0, objective.dtype), none, zero, width)
        self.y = objective.targets(np.empty(0, header.y_dtype))
        self.mapped_example = reader.nothing_stored()

    def blocks(self, i, *, mapped=False):
        """Yield X and y of the i-th hosted worker's share, piece by piece.

        With `mapped`, X may be what only gradients can be taken of.
        """
        lo, hi = self.shares[i]
        spans = [(a, min(a + self.rows, hi)) for a in range(lo, hi, self.rows)]
        waiting, turn = None, 0
        for span in [*spans, None]:
            coming = None
            if span:
                buffer = self.buffers[turn % 2]
                coming = self.reader.prefetch(self.name, [span], buffer, mapped=mapped)
            if waiting:
                yield waiting.result()
            waiting, turn = coming, turn + 1
