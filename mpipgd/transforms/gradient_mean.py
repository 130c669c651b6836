"""Transforms from the gradient sums of workers to mean gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import check_finite
from .base import State, Transform

if TYPE_CHECKING:
    from ..array_types import FloatArray, IntArray
    from ..comm.base import Allreduce
    from ..comm.reduce_scatter import PostedNorms


def allreduce_mean(allreduce: Allreduce, batch_sizes: IntArray) -> Transform:
    """Gradient sums of all workers -> the mean over the rows of the global batch.

    g = Σ_k g_k / Σ_k n_k, with batch_sizes (steps an epoch,) the rows of all workers at
    each step. Takes (n_local_workers, size), gives (1, size), the same on all ranks.
    Raises DivergenceError on all ranks when it is not finite. Collective.
    """
    steps_per_epoch = len(batch_sizes)

    def mean(gradient: FloatArray, n: float, t: int) -> FloatArray:
        g = allreduce(gradient)
        g /= n
        check_finite(allreduce.squared_norm(g), t, steps_per_epoch)
        return g[None]

    return _by_batch_size(batch_sizes, mean)


def reduce_scatter_mean(
    allreduce: Allreduce, batch_sizes: IntArray, norms: PostedNorms
) -> Transform:
    """As `allreduce_mean`, for this rank's slice of a sharded sum: gives (1, slice).

    The squared norm of the slice is posted in `norms`; `stores.sharded` checks their
    sum after the barrier that follows the update.
    """

    def mean(gradient: FloatArray, n: float, t: int) -> FloatArray:
        g = allreduce.reduce_scatter(gradient)
        g /= n
        norms.post(g.dot(g))
        return g[None]

    return _by_batch_size(batch_sizes, mean)


def _by_batch_size(
    batch_sizes: IntArray, mean: Callable[[FloatArray, float, int], FloatArray]
) -> Transform:
    """Return the transform mean(gradient, rows of the step, step)."""
    sizes: list[float] = []  # a list is faster to index where steps come one by one

    def init(weights: FloatArray) -> State:
        return {"t": np.zeros((), np.int64)}

    def update(
        gradient: FloatArray, state: State, weights: FloatArray
    ) -> tuple[FloatArray, State]:
        assert isinstance(state, dict)
        if not sizes:
            sizes.extend(np.asarray(batch_sizes, np.float64).tolist())
        t = int(state["t"])
        state["t"][...] = t + 1
        return mean(gradient, sizes[t % len(sizes)], t), state

    return Transform(init, update)


def local_mean(counts: IntArray) -> Transform:
    """Gradient sums of this rank's workers -> each worker's mean over its own rows.

    counts (steps an epoch, n_local_workers): the rows of each worker at each step; a
    worker without rows at a step has a gradient of zero. No communication.
    """
    rows = np.maximum(counts, 1)[:, :, None].astype(np.float64)
    steps_per_epoch = len(rows)

    def init(weights: FloatArray) -> State:
        return {"t": np.zeros((), np.int64)}

    def update(
        gradient: FloatArray, state: State, weights: FloatArray
    ) -> tuple[FloatArray, State]:
        assert isinstance(state, dict)
        t = int(state["t"])
        state["t"][...] = t + 1
        gradient /= rows[t % steps_per_epoch]
        return gradient, state

    return Transform(init, update)
