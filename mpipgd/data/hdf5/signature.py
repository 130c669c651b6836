"""A signature of data: what says that a run goes on with the data it began with."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ...comm import mpi
from ...comm.even_partition import even_partition
from .chunk_layout import CHECKSUM_BYTES

if TYPE_CHECKING:
    from ...array_types import IntArray
    from ...comm.mpi import Comm
    from .shard import Shard
    from .source import Source

SAMPLED_ROWS = 1024  # of an X without checksums
BLOCK_ROWS = 1 << 20  # of y, read at once


def signature(comm: Comm, source: Source) -> str:
    """Return the signature of all files of a source, as hexadecimal digits; collective.

    A function of the header, shapes, dtypes and values, not of paths: files may be
    moved or copied. Where HDF5 keeps a checksum with every chunk, of these checksums,
    read by their position; else of all y and of evenly spaced rows of X. Every rank
    does a part of the files. Raises DataError.
    """
    files = range(*even_partition(len(source.files), comm.size, comm.rank))
    with mpi.raise_collectively(comm):
        digests = [_digest(source.open(file)) for file in files]
        source.close()
    result = hashlib.sha256(_described(source).encode())
    for of_rank in comm.allgather(digests):
        for digest in of_rank:
            result.update(digest)
    return result.hexdigest()


def _described(source: Source) -> str:
    """Return the header as text, without where the rows are from."""
    header = source.header
    facts = (header.task, header.n_features, header.dtype, header.sparse)
    return repr((*facts, header.classes, header.feature_names, header.target))


def _digest(shard: Shard) -> bytes:
    """Return the sha256 of a file's datasets."""
    result = hashlib.sha256()
    for split, (X, y) in sorted(shard.datasets.items()):
        datasets = {} if y is None else {"y": y}
        if split in shard.weights:
            datasets["weight"] = shard.weights[split]
        if isinstance(X, h5py.Group):
            datasets |= {name: X[name] for name in ("data", "indices", "indptr")}
        else:
            datasets["X"] = X
        for name, dataset in sorted(datasets.items()):
            description = split, name, dataset.shape, dataset.dtype.str
            result.update(repr(description).encode())
            checksums = _stored_checksums(dataset)
            if checksums is not None:
                result.update(checksums)
            elif name != "X":
                for lo in range(0, len(dataset), BLOCK_ROWS):
                    result.update(dataset[lo : lo + BLOCK_ROWS].tobytes())
            else:
                for row in np.unique(_evenly_spaced(len(dataset))):
                    result.update(dataset[row].tobytes())
    return result.digest()


def _evenly_spaced(n: int) -> IntArray:
    return np.linspace(0, n - 1, min(n, SAMPLED_ROWS)).astype(np.int64)


def _stored_checksums(dataset: h5py.Dataset) -> bytes | None:
    """Return the checksum of each chunk, in order; None where a chunk has none."""
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if not codes or codes[-1] != h5py.h5z.FILTER_FLETCHER32 or dataset.chunks is None:
        return None
    chunks: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(chunks.append)
    if any(chunk.filter_mask for chunk in chunks):
        return None
    chunks.sort(key=lambda chunk: chunk.chunk_offset)
    start = dataset.file.userblock_size
    descriptor = os.open(dataset.file.filename, os.O_RDONLY)
    try:
        return b"".join(
            repr((chunk.chunk_offset, chunk.size)).encode()
            + os.pread(
                descriptor,
                CHECKSUM_BYTES,
                start + chunk.byte_offset + chunk.size - CHECKSUM_BYTES,
            )
            for chunk in chunks
        )
    finally:
        os.close(descriptor)
