"""Large sums between nodes, in buckets, while the gradient is still being computed.

Backpropagation finishes a network's last layers first. Their gradients are summed
within the node and sent to the other nodes while earlier layers are computed (as
PyTorch's DDP does with its buckets; Li et al. 2020, §3.2). No rank waits before the
end of the gradient: after each layer it tests which requests are done, and starts
their next stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from . import mpi
from .even_partition import even_slices

if TYPE_CHECKING:
    from .mpi import Request
    from .reduce_scatter import SharedWindowReduce

MIN_BUCKET_BYTES = 1 << 18  # less is not worth a message of its own


class _Bucket:
    """A range of columns on its way: the request it waits for, and what comes next."""

    def __init__(self, stages: Iterator[Request]) -> None:
        self._stages = stages
        self.request: Request | None = next(stages)

    def progress(self, done: Callable[[Request], object]) -> bool:
        """Go through the stages that are done; return whether all of them are."""
        while self.request is not None and done(self.request):
            self.request = next(self._stages, None)
        return self.request is None


class OverlappedReduction:
    """The pending buckets of one sum (see `reduce_scatter.SharedWindowReduce`).

    Every rank starts the same buckets in the same order. The stages of a bucket: all
    ranks of the node have written it (a barrier); each adds up a part of it (a
    barrier); the node's first rank exchanges it with the other nodes. Each barrier has
    a communicator of its own, so that ranks may be at different stages.
    """

    def __init__(self, allreduce: SharedWindowReduce) -> None:
        node = allreduce.grid.node
        self.allreduce = allreduce
        self.written, self.summed = node.Dup(), node.Dup()
        self.min_columns = MIN_BUCKET_BYTES // allreduce.partial_sums.itemsize
        self._expect_gradient()

    def _expect_gradient(self) -> None:
        """Begin a sum: gradients become final from the vector's end to its start."""
        self.next_offset = self.allreduce.partial_sums.shape[1]
        self.pending: list[_Bucket] = []

    def on_gradient_ready(self, lo: int) -> None:
        """Take note that this rank's rows are final from column `lo` on."""
        if lo == 0 or self.next_offset - lo >= self.min_columns:
            self.pending.append(_Bucket(self._stages(slice(lo, self.next_offset))))
            self.next_offset = lo
        self._progress(lambda request: request.Test())

    def wait(self) -> bool:
        """Wait for all buckets; return whether there were any."""
        overlapped = bool(self.pending)
        self._progress(lambda request: request.Wait())
        self._expect_gradient()
        return overlapped

    def _progress(self, done: Callable[[Request], object]) -> None:
        for bucket in self.pending:
            if not bucket.progress(done):
                return  # buckets are exchanged in order

    def _stages(self, columns: slice) -> Iterator[Request]:
        """Yield the requests that a bucket waits for, one after the other."""
        allreduce, node = self.allreduce, self.allreduce.grid.node
        yield self.written.Ibarrier()
        allreduce.window.sync()
        width = columns.stop - columns.start
        share = even_slices(width, node.size)[node.rank]
        allreduce.reduce_within_node(
            slice(columns.start + share.start, columns.start + share.stop)
        )
        allreduce.window.sync()
        yield self.summed.Ibarrier()
        leaders = allreduce.grid.leaders
        if leaders == mpi.COMM_NULL:
            return
        allreduce.window.sync()
        local = allreduce.unmerged_subtrees(columns)
        gathered = np.empty((allreduce.internode_rows, width), local.dtype)
        counts = allreduce.unmerged_counts
        request = mpi.gather_rows(leaders, local, gathered, counts, blocking=False)
        assert request is not None  # it is not blocking
        yield request
        allreduce.partial_sums[: len(gathered), columns] = gathered

    def free(self) -> None:
        """Free the communicators; collective over the node."""
        self.written.Free()
        self.summed.Free()
