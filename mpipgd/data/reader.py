"""Rows read ahead into memory that is used again, by a thread beside the computation.

Contiguous data are read straight from the file. All others HDF5 must decode, which in
this process would hold everybody up: a helper process does it, in shared memory.
"""

import json
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import DataError
from . import check
from .rows import ready, stack
from .standardize import standardize

CHUNK_BYTES = 1 << 18  # read at once from a contiguous file: it stays in the cache


class Buffer:
    """Memory for (rows, width) features and as many targets, shared with a helper."""

    def __init__(self, rows, width, dtype):
        dtype = np.dtype(dtype)
        self.shape, self.dtype = (rows, width), dtype
        size = rows * width * dtype.itemsize
        self.nbytes = size + -size % 8 + 8 * rows
        self.handle = os.memfd_create("mpipgd")
        os.ftruncate(self.handle, max(1, self.nbytes))
        self.memory = mmap.mmap(self.handle, max(1, self.nbytes))
        self.X, self.y = arrays(self.memory, rows, width, dtype)
        self.X[:, -1] = 1  # the column of ones, where there is one

    def close(self):
        """Give the memory back."""
        self.X = self.y = None
        os.close(self.handle)


def arrays(memory, rows, width, dtype):
    """Return X (rows, width) and y (rows,), int64 or float64, that lie in a buffer."""
    X = np.frombuffer(memory, dtype, rows * width).reshape(rows, width)
    offset = X.nbytes + -X.nbytes % 8
    return X, np.frombuffer(memory, np.int64, rows, offset)


class Reader:
    """Reads rows of a `Source`, and makes them what the objective wants."""

    def __init__(self, source, objective):
        self.source, self.objective = source, objective
        self.scaling = None
        self.thread = ThreadPoolExecutor(1)
        self.helper, self.buffers = None, []
        self.seen = set()  # the parts of which every row is known to be finite

    def buffer(self, rows):
        """Return a `Buffer` for so many rows; sparse ones need none."""
        header = self.source.header
        width = header.n_features + self.objective.intercept
        room = 0 if header.sparse else rows
        self.buffers.append(Buffer(room, width, self.objective.dtype))
        return self.buffers[-1]

    def ahead(self, part, ranges, buffer):
        """Return the future (X, y) of the rows in some ranges, in that order."""
        return self.thread.submit(self._read, part, ranges, buffer)

    def _read(self, part, ranges, buffer):
        if self.source.header.sparse:
            return self._sparse(part, ranges)
        at, width = 0, self.source.header.n_features
        y = np.empty(sum(hi - lo for lo, hi in ranges), self.source.header.y_dtype)
        for lo, hi in ranges:
            X = buffer.X[at : at + hi - lo]
            for file, a, b, begin in self.source.overlaps(part, lo, hi):
                rows = slice(begin, begin + b - a)
                y[at : at + hi - lo][rows] = self._dense(
                    part, (file, a, b), X[rows], (buffer, at + begin)
                )
            at += hi - lo
        return buffer.X[
            :at, : width + self.objective.intercept
        ], self.objective.targets(y)

    def _dense(self, part, span, X, place):
        """Read one file's rows into X; return their targets."""
        file, a, b = span
        shard = self.source.open(file)
        dataset = shard.parts[part][0]
        start = dataset.id.get_offset()
        if start is not None and dataset.dtype == X.dtype:
            begin = shard.path, start, a
            _read_contiguous(*begin, X[:, : dataset.shape[1]], self.scaling)
        else:
            self._help(shard, part, (a, b), place)
            if self.scaling:
                standardize(X, *self.scaling)
        y = self.source.targets(shard, part, a, b)
        if part not in self.seen:
            for name, values in zip(shard.names[part], (X, y)):
                check.verify_finite(values, a, f"{shard.path}: {name}")
        return y

    def _sparse(self, part, ranges):
        blocks, targets = zip(*(self.source.read(part, *span) for span in ranges))
        header = self.source.header
        X = ready(stack(blocks, header.n_features, header.dtype), self.objective)
        return X, self.objective.targets(np.concatenate(targets))

    def _help(self, shard, part, span, place):
        """Let the helper read rows of a file into a buffer from a row on."""
        buffer, at = place
        if self.helper is None:
            self.helper = start_helper()
        shape = (*buffer.shape, buffer.dtype.str)
        path = f"/proc/{os.getpid()}/fd/{buffer.handle}"
        request = path, shape, str(shard.path), shard.names, part, span, at
        print(json.dumps(request), file=self.helper.stdin, flush=True)
        answer = self.helper.stdout.readline()
        if not answer:
            raise DataError(f"{shard.path}: the process that reads it ended")
        if refusal := json.loads(answer):
            raise DataError(refusal)

    def close(self):
        """End the thread and the helper, and give the memory back."""
        self.thread.shutdown(cancel_futures=True)
        if self.helper:
            self.helper.stdin.close()
            self.helper.wait()
        for buffer in self.buffers:
            buffer.close()
        self.source.close()


def start_helper():
    """Start the process that decodes; it must not take itself for a rank."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI_"))}
    command = [sys.executable, "-m", "mpipgd.data.helper"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, text=True)


def _read_contiguous(path, start, first, X, scaling):
    """Read rows from `first` on of a matrix that begins at byte `start` of a file.

    They are standardised while they are still in the cache.
    """
    row = X.shape[1] * X.itemsize
    step = max(1, CHUNK_BYTES // row)
    raw = np.empty((step, X.shape[1]), X.dtype)
    with open(path, "rb", buffering=0) as file:
        for lo in range(0, len(X), step):
            some = raw[: len(X) - lo]
            found = os.preadv(file.fileno(), [some], start + (first + lo) * row)
            if found != some.nbytes:
                raise DataError(f"{path} ends at row {first + lo + found // row}")
            if scaling is None:
                X[lo : lo + step] = some
            else:
                np.subtract(some, scaling[0], out=some)
                np.divide(some, scaling[1], out=X[lo : lo + step])
