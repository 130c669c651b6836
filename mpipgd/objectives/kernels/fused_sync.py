"""Synchronous SGD in one compiled call: gradient, sum over all ranks, and update.

The results are those of the step-by-step loop, bit for bit. Therefore nothing in this
module is reassociated or contracted, for numpy does neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from ...comm.base import SharedMemoryRound
from ...comm.shared_memory import clock_ns, tree_sum
from ...jit import JIT_OPTIONS
from . import dense, matmul

if TYPE_CHECKING:
    from ...array_types import FloatArray
    from ..kernel_arguments import LossParams, SyncSgdSteps

compiled = njit(**JIT_OPTIONS)


@compiled
def sync_sgd_steps(
    w: FloatArray,
    X: FloatArray,
    y: FloatArray,
    row_weights: FloatArray | None,
    steps: SyncSgdSteps,
    l2: FloatArray | None,
    loss: LossParams,
    n_outputs: int | None,
    round_args: SharedMemoryRound,
) -> tuple[int, int]:
    """Take steps w <- w - rate (Σ_ranks g / n + l2 w), in place.

    `l2` is None or one strength per weight; `n_outputs` is None or the number of
    classes of softmax; `row_weights` (n,) multiply the rows' losses, None is 1;
    `round_args` is that of the first sum. Returns the number of steps taken until a
    mean gradient was not finite, and the nanoseconds spent in the sums over ranks.
    """
    order, offsets, rates, batch_sizes = steps
    slots, flags, rank, first_slot, spin_limit, round, pairs, out = round_args
    g, exchange_ns = np.empty((1, w.size), w.dtype), 0
    for s in range(rates.size):
        rows = order[offsets[s] : offsets[s + 1]]
        if n_outputs is None:
            dense.gradient(w, X, y, row_weights, rows, g[0], loss)
        else:
            W, G = w.reshape(-1, n_outputs), g.reshape(-1, n_outputs)
            matmul.outputs_gradient(W, X, y, row_weights, rows, G, loss)
        start: int = clock_ns()
        tree_sum(g, slots, flags, rank, first_slot, spin_limit, round + s, pairs, out)
        exchange_ns += clock_ns() - start
        squared_norm = divide(out[0], batch_sizes[s])
        if squared_norm - squared_norm != 0:  # infinite or NaN
            return s, exchange_ns
        update(w, out[0], l2, rates[s])
    return rates.size, exchange_ns


@compiled
def divide(g: FloatArray, n: int) -> float:
    """g <- g / n; return Σ g²."""
    divisor, squares = g.dtype.type(n), g.dtype.type(0)
    for j in range(g.size):
        g[j] /= divisor
        squares += g[j] * g[j]
    return squares


@compiled
def update(w: FloatArray, g: FloatArray, l2: FloatArray | None, rate: float) -> None:
    """w <- w - rate (g + l2 w), rounded as the transforms `decay`, then `sgd`."""
    step = -w.dtype.type(rate)
    for j in range(w.size):
        d = g[j]
        if l2 is not None:
            d += l2[j] * w[j]
        w[j] += d * step
