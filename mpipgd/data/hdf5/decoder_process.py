"""A helper process in which HDF5 decodes rows, into memory shared with its rank.

HDF5 holds the interpreter's lock while it decompresses, which would stop the
computation in the rank's own process. Requests come by the standard input, one
`DecodeRequest` a line as a JSON array; the answer is null, or the message of an error.
"""

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import DTypeLike

from ...array_types import FloatArray
from ...errors import DataError
from .shard import Shard
from .validate import DatasetNames


class DecodeRequest(NamedTuple):
    """Decode rows first … end-1 of a split of `file` into a shared matrix.

    `memory` is the path of that, `shape` (rows, width) and `dtype` what it holds; the
    rows go to `position` and after. `names` are those of `Shard`.
    """

    memory: str
    shape: tuple[int, int]
    dtype: str
    file: str
    names: dict[str, DatasetNames]
    split: str
    first: int
    end: int
    position: int


class DecoderProcess:
    """The rank's side: a process, started with the first request, that decodes rows."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def decode(self, request: DecodeRequest) -> None:
        """Wait until the rows are decoded; DataError where they cannot be."""
        if self._process is None:
            self._process = _start()
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise DataError(f"{request.file}: the process that reads it ended")
        if message := json.loads(answer):
            raise DataError(message)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()


def as_matrix(
    memory: mmap.mmap, shape: tuple[int, int], dtype: DTypeLike
) -> FloatArray:
    """Return the matrix (rows, width) at the beginning of some memory."""
    rows, width = shape
    return np.frombuffer(memory, dtype, rows * width).reshape(rows, width)


def serve(requests: Iterable[str], answers: TextIO) -> None:
    """Answer requests until there are no more."""
    shards: dict[str, Shard] = {}
    matrices: dict[str, FloatArray] = {}
    for line in requests:
        request = DecodeRequest(*json.loads(line))
        message = None
        try:
            if request.file not in shards:
                names = {s: DatasetNames(*pair) for s, pair in request.names.items()}
                shards[request.file] = Shard(Path(request.file), names)
            if request.memory not in matrices:
                descriptor = os.open(request.memory, os.O_RDWR)
                memory = mmap.mmap(descriptor, 0)
                matrix = as_matrix(memory, request.shape, request.dtype)
                matrices[request.memory] = matrix
                os.close(descriptor)
            rows = request.end - request.first
            out = matrices[request.memory][request.position :][:rows]
            shard = shards[request.file]
            shard.read_dense(request.split, request.first, request.end, out)
        except DataError as error:
            message = str(error)
        print(json.dumps(message), file=answers, flush=True)


def _start() -> "subprocess.Popen[str]":
    """Start the process, without the variables that would make it a rank of MPI."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI_"))}
    command = [sys.executable, "-m", "mpipgd.data.hdf5.decoder_process"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, text=True)


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
