"""Make data files: scikit-learn's bundled sets, and synthetic ones by all ranks."""

import itertools
from functools import partial

import numpy as np

from ...comm import mpi
from ...errors import UsageError
from ...reporting.progress import Progress
from ..hdf5.writer import create
from ..matrix import Csr, slice_rows
from .bundled import BUNDLED, load_bundled
from .external_shuffle import permuted_reader
from .split import ShardLayout, output_files, write_files
from .synthetic import SYNTHETIC, SyntheticSpec

NAMES = (*BUNDLED, *SYNTHETIC)


def make(
    comm, name, out, *, test_size=0.2, seed=0, shards=1, overwrite=False, **recipe
):
    """Write a bundled or synthetic data set to OUT; collective.

    OUT is a file, or with several shards a folder. Synthetic sets take the fields of
    `Recipe` (rows, features, classes, noise, informative, density, skew, dtype); row i
    is the same for every number of ranks and of files. Raises UsageError and DataError.
    """
    common = {"test_size": test_size, "shards": shards, "overwrite": overwrite}
    with mpi.raise_collectively(comm):
        if name not in NAMES:
            raise UsageError(f"unknown data set {name!r}; known: {', '.join(NAMES)}")
        if name in BUNDLED and recipe:
            raise UsageError(f"{name} is a finished set: it has no --{min(recipe)}")
        drawn = None if name in BUNDLED else SyntheticSpec(name, seed=seed, **recipe)
    if drawn:
        _make_synthetic(comm, drawn, out, **common)
    else:
        mpi.on_root(comm, partial(make_bundled, name, out, seed=seed, **common))


def make_bundled(name, out, *, test_size=0.2, seed=0, shards=1, overwrite=False):
    """Write a bundled data set, its rows shuffled by the seed; serial."""
    header, X, y = load_bundled(name)
    split = ShardLayout(len(y), test_size, shards)
    files = output_files(out, shards, overwrite=overwrite)
    order = np.random.default_rng(seed).permutation(len(y))
    read = permuted_reader(X, y, split.places(order), header)
    write_files(files, header, split, read, Progress(len(y), name, stream=None))


def _make_synthetic(comm, recipe, out, *, test_size, shards, overwrite):
    """Rank s mod P writes shard s; with fewer shards than ranks all ranks draw rows.

    All ranks walk through the pieces in one order, so that a send always meets its
    receive. A rank that cannot write takes what still comes for it, then refuses.
    """
    with mpi.raise_collectively(comm):
        split = ShardLayout(recipe.rows, test_size, shards)
    files = mpi.on_root(comm, partial(output_files, out, shards, overwrite=overwrite))
    progress = mpi.root_else(comm, Progress(recipe.rows, recipe.name), None)
    pieces = _arrivals(comm, recipe, split, progress)
    with mpi.raise_collectively(comm):
        try:
            for shard, group in itertools.groupby(pieces, key=lambda piece: piece[0]):
                sizes = split.sizes(shard)
                with create(files[shard], recipe.header(), rows=sizes) as writer:
                    for _, part, at, X, y in group:
                        writer.write(part, at, X, y)
        finally:
            for _ in pieces:
                pass


def _arrivals(comm, recipe, split, progress):
    """Yield (shard, part, at, X, y) for this rank to write; draw and send others."""
    truth, drawn = recipe.truth(), (None, None)
    for shard, part, at, number, rows in _pieces(recipe, split):
        writer = shard % comm.size
        drawer = number % comm.size if split.shards < comm.size else writer
        if comm.rank == drawer and drawn[0] != number:
            drawn = number, recipe.block(number, truth)
        if comm.rank == drawer:
            X, y = slice_rows(drawn[1][0], *rows), drawn[1][1][slice(*rows)]
            if drawer != writer:
                _send(comm, X, y, writer)
        elif comm.rank == writer:
            X, y = _receive(comm, recipe, drawer)
        if comm.rank == writer:
            yield shard, part, at, X, y
        if progress:
            progress.update(number * recipe.block_rows + rows[1])


def _pieces(recipe, split):
    """Yield (shard, part, at, block, its rows), as test rows follow the train rows."""
    size = recipe.block_rows
    for shard, part, first, count in split.segments():
        start = first + (split.rows["train"] if part == "test" else 0)
        for number in range(start // size, -(-(start + count) // size)):
            lo = max(start, number * size)
            hi = min(start + count, (number + 1) * size)
            rows = lo - number * size, hi - number * size
            yield shard, part, lo - start, number, rows


def _send(comm, X, y, to):
    arrays = (X.data, X.indices, X.indptr, y) if isinstance(X, Csr) else (X, y)
    comm.Send(np.array([each.size for each in arrays]), to)
    for each in arrays:
        comm.Send(np.ascontiguousarray(each), to)


def _receive(comm, recipe, source):
    header = recipe.header()
    dtypes = [header.dtype, header.y_dtype]
    if header.sparse:
        dtypes[1:1] = [np.int32, np.int64]
    sizes = np.empty(len(dtypes), np.int64)
    comm.Recv(sizes, source)
    arrays = [np.empty(n, dtype) for n, dtype in zip(sizes, dtypes, strict=True)]
    for each in arrays:
        comm.Recv(each, source)
    *values, y = arrays
    if header.sparse:
        return Csr(*values, recipe.features), y
    return values[0].reshape(len(y), recipe.features), y
