"""Gradients of the workers -> the mean gradient, together."""

import numpy as np

from ..errors import check_finite
from .optimizers import Transform


def allreduce_mean(total, counts):
    """Gradient sums of the workers -> the mean over the rows of the global batch.

    g = Σ_k g_k / Σ_k n_k, with `counts` the rows of all workers at each step of an
    epoch. Takes (hosted, size), gives (1, size), the same on all ranks. Raises
    Diverged on all ranks when it is not finite.
    """

    def mean_of(gradient, n, t, epoch):
        g = total(gradient)
        g /= n
        check_finite(total.squared_norm(g), t, epoch)
        return g[None]

    return _by_step(counts, mean_of)


def reduce_scatter_mean(total, counts):
    """Do what `mean` does, for this rank's slice of the sum; see `stores.sliced`.

    The gradients are in `total.rows` already. Whether all slices are finite is seen
    when the update is pushed.
    """

    def mean_of(gradient, n, t, epoch):
        g = total.reduce_scatter()
        g /= n
        total.post_norm(g.dot(g))
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


def local_mean(counts):
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
