"""Rows read ahead into memory that is used again, by a thread beside the computation.

Dense rows that are not compressed are used, or copied, where the file is mapped. All
others HDF5 must decode, which in this process would hold everybody up: a helper process
does it, in shared memory.
"""

import json
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from ...errors import DataError
from ..matrix import MappedRows, stack, to_objective_format
from ..standardize import standardize
from . import validate


class ReadBuffer:
    """Memory for (rows, width) features, once it is needed.

    Or a turn to hold rows as they are stored: they are let go of at the next turn.
    """

    def __init__(self, rows, width, dtype):
        self.shape, self.dtype = (rows, width), np.dtype(dtype)
        self.handle, self.held = None, []

    @cached_property
    def X(self):
        """The features (rows, width)."""
        return np.empty(self.shape, self.dtype)

    def share(self):
        """Let a helper write there, by the path that is returned."""
        if self.handle is None:
            size = max(1, self.shape[0] * self.shape[1] * self.dtype.itemsize)
            self.handle = os.memfd_create("mpipgd")
            os.ftruncate(self.handle, size)
            memory = mmap.mmap(self.handle, size)
            self.X = matrix(memory, *self.shape, self.dtype)
        return f"/proc/{os.getpid()}/fd/{self.handle}"

    def release(self):
        """Let go of the rows it held."""
        for direct, a, b in self.held:
            direct.release(a, b)
        self.held = []

    def close(self):
        """Give the memory back."""
        self.release()
        if self.handle is not None:
            os.close(self.handle)


def matrix(memory, rows, width, dtype):
    """Return the matrix (rows, width) that lies in some memory."""
    return np.frombuffer(memory, dtype, rows * width).reshape(rows, width)


class PrefetchReader:
    """Reads rows of a `Source`, and makes them what the objective wants."""

    def __init__(self, source, objective):
        self.source, self.objective = source, objective
        self.scaling = None
        self.thread = ThreadPoolExecutor(1)
        self.helper, self.buffers = None, []
        self.directs = {}  # (file, part) -> what maps it, or None
        self.seen = set()  # the parts of which every row is known to be finite

    def buffer(self, rows):
        """Return a `Buffer` for so many rows."""
        width = self.source.header.n_features + self.objective.intercept
        self.buffers.append(ReadBuffer(rows, width, self.objective.dtype))
        return self.buffers[-1]

    def prefetch(self, part, ranges, buffer, *, mapped=False):
        """Return the future (X, y) of the rows in some ranges, in that order.

        With `mapped`, X is `Stored` where files and objective allow that.
        """
        return self.thread.submit(self._read, part, ranges, buffer, mapped)

    def _read(self, part, ranges, buffer, stored):
        buffer.release()
        if self.source.header.sparse:
            return self._sparse(part, ranges)
        spans = [
            span[:3] for each in ranges for span in self.source.overlaps(part, *each)
        ]
        able = stored and getattr(self.objective, "supports_mapped_rows", False)
        able = able and all(self._direct(file, part) for file, _, _ in spans)
        read = self._stored if able else self._dense
        X, targets = read(part, spans, buffer)
        none = np.empty(0, self.source.header.y_dtype)
        return X, self.objective.targets(np.concatenate([none, *targets]))

    def _direct(self, file, part):
        """Return the `Direct` that maps a file, or None where only HDF5 can read it."""
        if (file, part) not in self.directs:
            found = self.source.open(file).direct(part)
            same = found and found.layout.dtype == self.objective.dtype
            self.directs[file, part] = found if same else None
        return self.directs[file, part]

    def _stored(self, part, spans, buffer):
        """Return rows where they lie, and their y file by file."""
        segments, targets = [], []
        for file, a, b in spans:
            direct = self._direct(file, part)
            buffer.held.append((direct, a, b))
            segments.append(direct.take(a, b))
            targets.append(self._targets(file, part, a, b))
        return MappedRows(segments, self.scaling or self._no_scaling()), targets

    def _no_scaling(self):
        d, dtype = self.source.header.n_features, self.objective.dtype
        return np.zeros(d, dtype), np.ones(d, dtype)

    def nothing_stored(self):
        """Return no rows as they would be stored, or None where they never are."""
        if not getattr(self.objective, "supports_mapped_rows", False):
            return None
        segment = np.frombuffer(b"", np.uint8), np.empty((0, 2), np.int64)
        return MappedRows([segment], self._no_scaling())

    def _dense(self, part, spans, buffer):
        """Return rows that are brought into the buffer, and their y file by file."""
        at, targets, width = 0, [], self.source.header.n_features
        if not all(self._direct(file, part) for file, _, _ in spans):
            buffer.share()
        for file, a, b in spans:
            X, direct = buffer.X[at : at + b - a], self._direct(file, part)
            if direct:
                direct.read(a, b, X, self.scaling)
            else:
                self._help(file, part, (a, b), (buffer, at))
                self._verify(file, part, 0, X[:, :width], a)
                if self.scaling:
                    standardize(X, *self.scaling)
            targets.append(self._targets(file, part, a, b))
            at += b - a
        return buffer.X[:at, : width + self.objective.intercept], targets

    def _targets(self, file, part, a, b):
        y = self.source.targets(self.source.open(file), part, a, b)
        self._verify(file, part, 1, y, a)
        return y

    def _verify(self, file, part, which, values, first):
        """Raise DataError where X (0) or y (1) holds what is no number."""
        if part not in self.seen:
            shard = self.source.open(file)
            name = f"{shard.path}: {shard.names[part][which]}"
            validate.verify_finite(values, first, name)

    def _sparse(self, part, ranges):
        blocks, targets = zip(*(self.source.read(part, *span) for span in ranges))
        header = self.source.header
        X = to_objective_format(
            stack(blocks, header.n_features, header.dtype), self.objective
        )
        return X, self.objective.targets(np.concatenate(targets))

    def _help(self, file, part, span, place):
        """Let the helper read rows of a file into a buffer from a row on."""
        buffer, at = place
        shard = self.source.open(file)
        if self.helper is None:
            self.helper = start_helper()
        shape = (*buffer.shape, buffer.dtype.str)
        request = buffer.share(), shape, str(shard.path), shard.names, part, span, at
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
    command = [sys.executable, "-m", "mpipgd.data.hdf5.decoder_process"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, text=True)
