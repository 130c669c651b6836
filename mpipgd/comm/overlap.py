"""Large sums between nodes, piece by piece while the gradient is still computed.

A network's last layers have their gradients first. What a node has of them is summed
and on its way to the other nodes while the layers before are worked on. Nobody waits
before the end: a rank looks, after each layer, how far a piece is, and takes it on.
"""

import numpy as np

from . import mpi

MIN_BUCKET_BYTES = 1 << 18  # bytes that are worth a message of their own


class OverlappedReduction:
    """The pieces of one sum (see `slices.Windowed`) that are under way.

    Every rank begins the same pieces in the same order. A piece is written by all
    ranks of the node; summed over them, each doing a part; sent by the first of them.
    Each stage has a communicator of its own, so that ranks may be at different ones.
    """

    def __init__(self, total):
        self.total, node = total, total.grid.node
        self.comms = [node.Dup(), node.Dup()]
        self.leaders = total.grid.leaders
        self.least = MIN_BUCKET_BYTES // total.partial.itemsize
        self.begin()

    def begin(self):
        """Expect the gradients of a step, from the end of the vector to its begin."""
        self.upto, self.under_way = self.total.partial.shape[1], []

    def on_gradient_ready(self, lo):
        """Know that this rank's rows are final from `lo` on; take pieces further."""
        if lo == 0 or self.upto - lo >= self.least:
            steps = self._steps(slice(lo, self.upto))
            self.under_way.append([next(steps), steps])
            self.upto = lo
        self._further(lambda request: request.Test())

    def finish(self):
        """Wait for all pieces; return whether there were any."""
        some = bool(self.under_way)
        self._further(lambda request: request.Wait())
        self.begin()
        return some

    def _further(self, done):
        for piece in self.under_way:
            while piece[0] is not None and done(piece[0]):
                piece[0] = next(piece[1], None)
            if piece[0] is not None:
                return  # they keep their order

    def _steps(self, span):
        """Yield the requests that a piece waits for, one after the other."""
        total = self.total
        yield self.comms[0].Ibarrier()
        total.window.sync()
        node, width = total.grid.node, span.stop - span.start
        cut = [span.start + width * k // node.size for k in range(node.size + 1)]
        total.reduce_within_node(slice(*cut[node.rank : node.rank + 2]))
        total.window.sync()
        yield self.comms[1].Ibarrier()
        if self.leaders == mpi.COMM_NULL:
            return
        total.window.sync()
        mine = total.unmerged_subtrees(span)
        whole = np.empty((sum(total.shares), width), mine.dtype)
        yield mpi.gather_rows(self.leaders, mine, whole, total.shares, wait=False)
        total.partial[: len(whole), span] = whole

    def free(self):
        """Free the communicators; collective over the node."""
        for comm in self.comms:
            comm.Free()
