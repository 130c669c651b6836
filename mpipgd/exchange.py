"""Gradients of the workers -> the mean gradient, together."""

import numpy as np

from .errors import Diverged
from .transforms import Transform
from .tree import fold, merges


def merged(grid, items, merge):
    """Merge one item a hosted worker over all workers, in the order of the tree.

    For the few numbers of an evaluation and the like: items are any picklable values.
    Collective; returns the same value on all ranks.
    """
    items, nodes = list(items), grid.nodes_of[grid.comm.rank]
    firsts = [start - grid.first for start, _ in nodes]
    mine = [fold(items[a : a + length], merge) for a, (_, length) in zip(firsts, nodes)]
    partials = [each for rank in grid.comm.allgather(mine) for each in rank]
    pairs, _ = merges([n for nodes in grid.nodes_of for n in nodes], grid.workers)
    for i, j in pairs:
        partials[i] = merge(partials[i], partials[j])
    return partials[0]


def mean(total, counts):
    """Gradient sums of the workers -> the mean over the rows of the global batch.

    g = Σ_k g_k / Σ_k n_k, with `counts` the rows of all workers at each step of an
    epoch. Takes (hosted, size), gives (1, size), the same on all ranks. Raises
    Diverged on all ranks when it is not finite.
    """

    def mean_of(gradient, n, t, epoch):
        g = total(gradient)
        g /= n
        finite(total.squares(g), t, epoch)
        return g[None]

    return _by_step(counts, mean_of)


def mean_slice(total, counts):
    """Do what `mean` does, for this rank's slice of the sum; see `stores.sliced`.

    The gradients are in `total.rows` already. Whether all slices are finite is seen
    when the update is pushed.
    """

    def mean_of(gradient, n, t, epoch):
        g = total.of_slice()
        g /= n
        total.mark(g.dot(g))
        return g[None]

    return _by_step(counts, mean_of)


def _by_step(counts, mean_of):
    """Return mean_of(gradient, rows at the step, step, steps an epoch)."""
    epoch, listed = len(counts), []  # quicker to look into, where steps come singly

    def init(weights):
        return {"t": np.zeros((), np.int64)}

    def update(gradient, state, weights):
        if not listed:
            listed.extend(np.asarray(counts, np.float64).tolist())
        t = int(state["t"])
        state["t"][...] = t + 1
        return mean_of(gradient, listed[t % epoch], t, epoch), state

    return Transform(init, update)


def each_mean(counts):
    """Gradient sums of the hosted workers -> each one's mean over its own rows.

    `counts` (steps, hosted): rows of each worker at each step of an epoch; a worker
    without rows at a step has a gradient of zero.
    """
    rows = np.maximum(counts, 1)[:, :, None].astype(np.float64)
    epoch = len(rows)

    def init(weights):
        return {"t": np.zeros((), np.int64)}

    def update(gradient, state, weights):
        t = int(state["t"])
        state["t"][...] = t + 1
        gradient /= rows[t % epoch]
        return gradient, state

    return Transform(init, update)


def finite(value, step, steps_per_epoch, what="gradient"):
    """Raise Diverged, known to all ranks, when a number they agree on is not finite."""
    if value - value != 0:
        epoch, within = divmod(step, steps_per_epoch)
        raise Diverged(
            f"diverged: the {what} is not finite at epoch {epoch + 1}, step "
            f"{within + 1}; a smaller --lr or --clip-norm may help",
            agreed=True,
        )
