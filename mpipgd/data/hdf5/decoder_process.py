"""A process beside a rank: it lets HDF5 decode rows, into memory that both share.

Requests come by its standard input, a line of JSON each; the answer is null, or what
was wrong with the data.
"""

import json
import mmap
import os
import sys
from pathlib import Path

from ...errors import DataError
from .prefetch import matrix
from .shard import Shard


def serve(requests, answers):
    """Answer requests until there are no more."""
    shards, buffers = {}, {}
    for request in requests:
        path, shape, file, names, part, (a, b), at = json.loads(request)
        refusal = None
        try:
            if file not in shards:
                shards[file] = Shard(Path(file), names)
            if path not in buffers:
                handle = os.open(path, os.O_RDWR)
                buffers[path] = matrix(mmap.mmap(handle, 0), *shape)
                os.close(handle)
            shards[file].read_dense(part, a, b, buffers[path][at : at + b - a])
        except DataError as error:
            refusal = str(error)
        print(json.dumps(refusal), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
