"""A process beside a rank: it lets HDF5 decode rows, into memory that both share.

Requests come by its standard input, and go back when they are done.
"""

import mmap
import os
import pickle
import sys

from ..errors import Refusal
from .reader import arrays
from .shard import Shard


def serve(requests, answers):
    """Answer requests until there are no more."""
    shards, buffers = {}, {}
    while True:
        try:
            path, shape, file, names, part, span, at = pickle.load(requests)
        except EOFError:
            return
        refusal = None
        try:
            if file not in shards:
                shards[file] = Shard(_path(file), names)
            if path not in buffers:
                handle = os.open(path, os.O_RDWR)
                buffers[path] = arrays(mmap.mmap(handle, 0), *shape)
                os.close(handle)
            X, (a, b) = buffers[path][0], span
            shards[file].read_dense(part, a, b, X[at : at + b - a])
        except Refusal as error:
            refusal = error
        pickle.dump(refusal, answers)
        answers.flush()


def _path(file):
    from pathlib import Path

    return Path(file)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
