"""Sums over all workers with the same bits on any number of ranks.

Every rank sums its workers' rows into subtrees of the fixed reduction tree. Small sums
are gathered: every rank gets the partial sums of all ranks and finishes the tree by
itself, through MPI or, on one node, through shared memory. Large sums are finished in
shared memory, by each rank for its own slice of the vector (see `reduce_scatter`).
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from . import mpi
from .backoff import backoff, spin_limit
from .base import Allreduce, ExchangeClock, SharedMemoryRound
from .environment import oversubscribed
from .reduce_scatter import SharedWindowReduce
from .reduction_tree import merge_schedule, sum_rows

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..array_types import FloatArray, IntArray
    from .topology import Grid

# Below this, gathering all partial sums is faster than a sum in slices, which takes two
# barriers; measured by scripts/bench exchange.
SMALL_BYTES = 32 * 1024
CACHE_LINE = 8  # int64 numbers: each rank's flag has a cache line of its own


class LocalReduce(Allreduce):
    """The sum on one rank: no communication."""

    def __call__(self, rows: FloatArray) -> FloatArray:
        return sum_rows(rows)


class AllgatherReduce(Allreduce):
    """Every rank gets all partial sums by one MPI call, and finishes the tree."""

    def __init__(
        self,
        grid: Grid,
        clock: ExchangeClock,
        size: int,
        dtype: DTypeLike,
        *,
        n_models: int = 1,
    ) -> None:
        super().__init__(grid, clock, n_models=n_models)
        first = sum(self.counts[: grid.comm.rank])
        self.partial_sums = np.empty((sum(self.counts), size), dtype)
        self.local_sums = self.partial_sums[first : first + len(self.subtrees)]
        subtrees = [subtree for of_rank in grid.subtrees_of for subtree in of_rank]
        pairs = merge_schedule(subtrees, grid.workers).pairs
        self.pairs = [(self.partial_sums[i], self.partial_sums[j]) for i, j in pairs]
        row_bytes = size * self.partial_sums.itemsize
        counts = [count * row_bytes for count in self.counts]
        self.receive_buffer = [self.partial_sums, counts, mpi.BYTE]

    def __call__(self, rows: FloatArray) -> FloatArray:
        for row, subtree_sum in zip(self.local_sums, self.subtree_sums(rows)):
            row[...] = subtree_sum
        began = perf_counter()
        self.grid.comm.Allgatherv(mpi.IN_PLACE, self.receive_buffer)
        self.clock.count_exchange(began, self.local_sums.nbytes)
        for left, right in self.pairs:
            left += right
        result: FloatArray = self.partial_sums[0]
        return result


class SharedMemoryAllreduce(Allreduce):
    """Partial sums gathered through shared memory of the one node, without MPI calls.

    Each rank has a flag there that counts its rounds, and waits for the flags of all
    others. Two sets of slots are used in turn: a rank that writes for round t+2 knows
    that all ranks have read those of round t. With `compiled` a sum is one call of a
    numba kernel, else the same in numpy.
    """

    def __init__(
        self,
        grid: Grid,
        clock: ExchangeClock,
        size: int,
        dtype: DTypeLike,
        *,
        compiled: bool,
        n_models: int = 1,
    ) -> None:
        super().__init__(grid, clock, n_models=n_models)
        subtrees = [subtree for of_rank in grid.subtrees_of for subtree in of_rank]
        pairs = merge_schedule(subtrees, grid.workers).pairs
        self.pairs = np.array(pairs, np.int64).reshape(-1, 2)
        self.local_sums = np.empty((len(self.subtrees), size), dtype)
        self.out = np.empty((len(subtrees), size), dtype)
        self.slots = mpi.SharedArray(grid.node, (2, *self.out.shape), dtype)
        self.flags = mpi.SharedArray(grid.node, (grid.comm.size, CACHE_LINE), np.int64)
        self.flags.fill(0)
        self.first_slot = sum(self.counts[: grid.comm.rank])
        # polling without sleep pays only while every rank has a core to itself
        self.spin_limit = spin_limit()
        self.round = 0
        self.compiled = compiled
        self._tree_sum: Callable[..., None] = self._numpy_tree_sum
        if compiled:
            self._tree_sum = self._compiled_tree_sum()

    def _compiled_tree_sum(self) -> Callable[..., None]:
        """Return the kernel, after a call of it on private memory has compiled it."""
        from . import shared_memory

        slots = np.zeros_like(self.slots.array)
        flags = np.zeros_like(self.flags.array[:1])
        mpi.node_leader_first(
            self.grid.node,
            lambda: shared_memory.tree_sum(
                self.local_sums, slots, flags, 0, 0, 0, 1, self.pairs, self.out
            ),
        )
        kernel: Callable[..., None] = shared_memory.tree_sum
        return kernel

    def _numpy_tree_sum(
        self,
        local_sums: FloatArray,
        slots: FloatArray,
        flags: IntArray,
        rank: int,
        first_slot: int,
        spin_limit: int,
        round: int,
        pairs: IntArray,
        out: FloatArray,
    ) -> None:
        """Do what `shared_memory.tree_sum` does."""
        slots[round % 2, first_slot : first_slot + len(local_sums)] = local_sums
        self.flags.sync()
        flags[rank, 0] = round
        polls, rounds = 0, flags[:, 0]
        while rounds.min() < round:
            polls += 1
            backoff(polls, spin_limit)
        self.flags.sync()
        out[...] = slots[round % 2]
        for i, j in pairs:
            out[i] += out[j]

    def __call__(self, rows: FloatArray) -> FloatArray:
        local_sums = rows
        if len(rows) > 1:
            local_sums = self.local_sums
            sums = self.subtree_sums(rows)
            for row, subtree_sum in zip(local_sums, sums, strict=True):
                row[...] = subtree_sum
        began = perf_counter()
        self.round += 1
        self._tree_sum(
            local_sums,
            self.slots.array,
            self.flags.array,
            self.grid.comm.rank,
            self.first_slot,
            self.spin_limit,
            self.round,
            self.pairs,
            self.out,
        )
        self.clock.count_exchange(began, self.local_sums.nbytes)
        result: FloatArray = self.out[0]
        return result

    def next_round_args(self) -> SharedMemoryRound:
        """Return what `shared_memory.tree_sum` needs for the next round."""
        return SharedMemoryRound(
            slots=self.slots.array,
            flags=self.flags.array,
            rank=self.grid.comm.rank,
            first_slot=self.first_slot,
            spin_limit=self.spin_limit,
            round=self.round + 1,
            pairs=self.pairs,
            out=self.out,
        )

    def skip_rounds(self, rounds: int, seconds: float) -> None:
        """Count rounds that a compiled kernel has taken itself, and their seconds."""
        self.round += rounds
        self.clock.count_exchanges(seconds, rounds * self.local_sums.nbytes)

    def free(self) -> None:
        self.slots.free()
        self.flags.free()


class MpiAllreduce(Allreduce):
    """MPI's own Allreduce, in whatever order the library chooses: for comparison."""

    def __init__(
        self,
        grid: Grid,
        clock: ExchangeClock,
        size: int,
        dtype: DTypeLike,
        *,
        n_models: int = 1,
    ) -> None:
        super().__init__(grid, clock, n_models=n_models)
        self.vector = np.empty(size, dtype)

    def __call__(self, rows: FloatArray) -> FloatArray:
        np.sum(rows, axis=0, out=self.vector)
        began = perf_counter()
        self.grid.comm.Allreduce(mpi.IN_PLACE, self.vector)
        self.clock.count_exchange(began, self.vector.nbytes)
        return self.vector


def fixed_order_allreduce(
    grid: Grid,
    clock: ExchangeClock,
    size: int,
    dtype: DTypeLike,
    *,
    compiled: bool,
    sharded: bool,
    n_models: int,
) -> Allreduce:
    """Return the sum in fixed order that is fastest for the grid and the size."""
    if size * np.dtype(dtype).itemsize > SMALL_BYTES:
        ranks_share_nodes = grid.n_nodes < grid.comm.size
        return SharedWindowReduce(
            grid,
            clock,
            size,
            dtype,
            sharded=sharded and ranks_share_nodes,
            n_models=n_models,
        )
    # where ranks share cores, polling in Python takes longer than MPI's gather
    slow_polling = oversubscribed() and not compiled
    if grid.node.size < grid.comm.size or slow_polling:
        return AllgatherReduce(grid, clock, size, dtype, n_models=n_models)
    return SharedMemoryAllreduce(
        grid, clock, size, dtype, compiled=compiled, n_models=n_models
    )


def library_allreduce(
    grid: Grid,
    clock: ExchangeClock,
    size: int,
    dtype: DTypeLike,
    *,
    compiled: bool,
    sharded: bool,
    n_models: int,
) -> Allreduce:
    """Return MPI's own sum, which is never sharded or compiled."""
    return MpiAllreduce(grid, clock, size, dtype, n_models=n_models)


REDUCTIONS: dict[str, Callable[..., Allreduce]] = {
    "fixed": fixed_order_allreduce,
    "mpi": library_allreduce,
}


def make_allreduce(
    grid: Grid,
    clock: ExchangeClock,
    size: int,
    dtype: DTypeLike,
    *,
    reduction: str = "fixed",
    compiled: bool = False,
    sharded: bool = False,
    n_models: int = 1,
) -> Allreduce:
    """Return the `Allreduce` for the grid and the size of the vector; free it.

    reduction  "fixed": bit-identical on any number of ranks; "mpi": the library's own
    compiled   numba is loaded anyway: small sums can be one compiled call
    sharded    the caller can work on its slice of a large sum alone
    n_models   see `Allreduce.squared_norm`

    Collective over the grid's ranks.
    """
    if grid.comm.size == 1:
        return LocalReduce(grid, clock, n_models=n_models)
    return REDUCTIONS[reduction](
        grid,
        clock,
        size,
        dtype,
        compiled=compiled,
        sharded=sharded,
        n_models=n_models,
    )
