"""Synchronous SGD in one compiled pass: gradient, sum over all ranks, and update.

Bit for bit what the loop does step by step, without the interpreter in between. Nothing
here is reassociated or contracted, as numpy does neither.
"""

import numpy as np
from numba import njit

from ...comm.base import SharedMemoryRound
from ...comm.shared_memory import clock_ns, tree_sum
from . import dense, matmul

compiled = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def descend(w, X, y, steps, alpha, loss, outputs, round_args):
    """Take steps w <- w - rate (Σ_k g_k / n + alpha w), in place.

    steps: (order, cuts, rates, counts); step s reads this rank's rows order[cuts[s]:
    cuts[s + 1]] of the counts[s] rows of all. `alpha` is None or one per weight;
    `outputs` is None, or the number of softmax's classes; `meeting` is what
    `shared.total` wants but its first argument. Returns the steps taken until a mean
    gradient was not finite, and the nanoseconds in exchanges.
    """
    (order, cuts, rates, counts), (shared, position, round, pairs, out) = steps, round_args
    g, spent = np.empty((1, w.size), w.dtype), 0
    for s in range(rates.size):
        rows = order[cuts[s] : cuts[s + 1]]
        if outputs is None:
            dense.gradient(w, X, y, rows, g[0], loss)
        else:
            W, G = w.reshape(-1, outputs), g.reshape(-1, outputs)
            matmul.outputs_gradient(W, X, y, rows, G, loss)
        began = clock_ns()
        tree_sum(g, SharedMemoryRound(shared, position, round + s, pairs, out))
        spent += clock_ns() - began
        squares = mean(out[0], counts[s])
        if squares - squares != 0:
            return s, spent
        update(w, out[0], alpha, rates[s])
    return rates.size, spent


@compiled
def mean(g, n):
    """g <- g / n; return Σ g²."""
    divisor, squares = g.dtype.type(n), g.dtype.type(0)
    for j in range(g.size):
        g[j] /= divisor
        squares += g[j] * g[j]
    return squares


@compiled
def update(w, g, alpha, rate):
    """w <- w - rate (g + alpha w), rounded as `transforms.sgd` behind `decay`."""
    step = -w.dtype.type(rate)
    for j in range(w.size):
        d = g[j]
        if alpha is not None:
            d += alpha[j] * w[j]
        w[j] += d * step
