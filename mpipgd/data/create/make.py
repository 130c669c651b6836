"""Make data files: scikit-learn's bundled sets, and synthetic ones by all ranks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...comm import mpi
from ...errors import UsageError
from ...reporting.progress import Progress
from ..hdf5.writer import create
from ..matrix import Csr, slice_rows
from .bundled import BUNDLED, make_bundled
from .split import ShardLayout, output_files
from .synthetic import SYNTHETIC, SyntheticSpec

if TYPE_CHECKING:
    from ...array_types import Array
    from ...comm.mpi import Comm
    from ..matrix import Matrix

NAMES = (*BUNDLED, *SYNTHETIC)


def make(
    comm: Comm,
    name: str,
    out: str,
    *,
    test_size: float = 0.2,
    seed: int = 0,
    shards: int = 1,
    overwrite: bool = False,
    **options: Any,
) -> None:
    """Write a bundled or synthetic data set to OUT; collective.

    OUT is a file, or with several shards a folder. Synthetic sets take the fields of
    `SyntheticSpec` (rows, features, classes, noise, informative, density, skew, dtype);
    row i is the same for every number of ranks and of files. Raises UsageError and
    DataError.
    """
    with mpi.raise_collectively(comm):
        if name not in NAMES:
            raise UsageError(
                f"unknown data set {name!r}; known: {', '.join(NAMES)}, houses"
            )
        if name in BUNDLED and options:
            raise UsageError(f"{name} is a finished set: it has no --{min(options)}")
        spec = None if name in BUNDLED else SyntheticSpec(name, seed=seed, **options)
    if spec:
        _make_synthetic(
            comm, spec, out, test_size=test_size, shards=shards, overwrite=overwrite
        )
    else:
        write = partial(
            make_bundled,
            name,
            out,
            test_size=test_size,
            seed=seed,
            shards=shards,
            overwrite=overwrite,
        )
        mpi.on_root(comm, write)


def _make_synthetic(
    comm: Comm,
    spec: SyntheticSpec,
    out: str,
    *,
    test_size: float,
    shards: int,
    overwrite: bool,
) -> None:
    """Write a synthetic set: rank s mod P writes shard s.

    With fewer shards than ranks all ranks draw rows and send them to the writers. All
    ranks go through the pieces in the same order, so that every send has its receive; a
    rank that cannot write receives what is sent to it before it raises.
    """
    with mpi.raise_collectively(comm):
        split = ShardLayout(spec.rows, test_size, shards)
    files = mpi.on_root(comm, partial(output_files, out, shards, overwrite=overwrite))
    progress = mpi.root_else(comm, Progress(spec.rows, spec.name), None)
    pieces = _pieces_to_write(comm, spec, split, progress)
    with mpi.raise_collectively(comm):
        try:
            for shard, group in itertools.groupby(
                pieces, key=lambda piece: piece.shard
            ):
                sizes = split.sizes(shard)
                with create(files[shard], spec.header(), rows=sizes) as writer:
                    for piece in group:
                        writer.write(piece.split, piece.first, piece.X, piece.y)
        finally:
            for _ in pieces:
                pass


class _Piece(NamedTuple):
    """Rows of one block, as they are written into one split of one shard.

    `first` is their first row in the split of that shard.
    """

    shard: int
    split: str
    first: int
    X: Matrix
    y: Array


def _pieces_to_write(
    comm: Comm, spec: SyntheticSpec, layout: ShardLayout, progress: Progress | None
) -> Iterator[_Piece]:
    """Yield the pieces that this rank writes; draw and send those of other writers."""
    parameters = spec.true_parameters()
    current = -1  # the number of the last block drawn
    X: Matrix
    y: Array
    for piece in _pieces(spec, layout):
        writer = piece.shard % comm.size
        drawer = piece.block % comm.size if layout.shards < comm.size else writer
        if comm.rank == drawer:
            if piece.block != current:
                current, (X, y) = piece.block, spec.block(piece.block, parameters)
            X_piece = slice_rows(X, piece.lo, piece.hi)
            y_piece = y[piece.lo : piece.hi]
            if drawer != writer:
                _send(comm, X_piece, y_piece, writer)
        elif comm.rank == writer:
            X_piece, y_piece = _receive(comm, spec, drawer)
        if comm.rank == writer:
            yield _Piece(piece.shard, piece.split, piece.first, X_piece, y_piece)
        if progress:
            progress.update(piece.block * spec.block_rows + piece.hi)


class _BlockPiece(NamedTuple):
    """The rows lo … hi-1 of a block, which go to one split of one shard."""

    shard: int
    split: str
    first: int
    block: int
    lo: int
    hi: int


def _pieces(spec: SyntheticSpec, layout: ShardLayout) -> Iterator[_BlockPiece]:
    """Yield all pieces, shard by shard; test rows are drawn after all train rows."""
    size = spec.block_rows
    for shard, split, first, count in layout.segments():
        start = first + (layout.rows["train"] if split == "test" else 0)
        for block in range(start // size, -(-(start + count) // size)):
            lo = max(start, block * size)
            hi = min(start + count, (block + 1) * size)
            yield _BlockPiece(
                shard, split, lo - start, block, lo - block * size, hi - block * size
            )


def _send(comm: Comm, X: Matrix, y: Array, to: int) -> None:
    """Send the sizes of the arrays that rows consist of, and then the arrays."""
    arrays = (X.data, X.indices, X.indptr, y) if isinstance(X, Csr) else (X, y)
    comm.Send(np.array([array.size for array in arrays]), to)
    for array in arrays:
        comm.Send(np.ascontiguousarray(array), to)


def _receive(comm: Comm, spec: SyntheticSpec, source: int) -> tuple[Matrix, Array]:
    """Receive the rows that `_send` sends."""
    header = spec.header()
    dtypes: list[Any] = [header.dtype, header.y_dtype]
    if header.sparse:
        dtypes[1:1] = [np.int32, np.int64]
    sizes = np.empty(len(dtypes), np.int64)
    comm.Recv(sizes, source)
    arrays = [np.empty(n, dtype) for n, dtype in zip(sizes, dtypes, strict=True)]
    for array in arrays:
        comm.Recv(array, source)
    *values, y = arrays
    if header.sparse:
        return Csr(values[0], values[1], values[2], spec.features), y
    return values[0].reshape(len(y), spec.features), y
