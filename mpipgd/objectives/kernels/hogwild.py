"""SGD steps on a replica that is exchanged with a vector in shared memory.

The steps change a rank's own replica w. After every chunk of steps, what the replica
gained is added to the shared vector s, s <- s + (w - base), and its sum with the other
ranks' updates is read back, w <- base <- s. No rank takes a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import types
from numba.extending import overload

from ...jit import compiled
from . import dense, matmul, sparse

if TYPE_CHECKING:
    from ...array_types import FloatArray
    from ..kernel_arguments import (
        HogwildExchange,
        LossParams,
        PenaltyWeights,
        SgdSteps,
    )
    from .sparse import CsrArrays


@compiled
def exchange_slice(w: FloatArray, exchange: HogwildExchange, lo: int, hi: int) -> None:
    """Exchange the weights lo … hi-1 with the shared vector."""
    base, shared = exchange.base, exchange.shared
    for j in range(lo, hi):
        s = shared[j] + (w[j] - base[j])
        shared[j] = s
        base[j] = s
        w[j] = s


@compiled
def exchange_next_slice(w: FloatArray, exchange: HogwildExchange) -> None:
    """Exchange the hot weights, and the next slice of all weights."""
    hot, n = exchange.hot_weights, exchange.n_slices
    for k in range(hot.size):
        exchange_slice(w, exchange, hot[k], hot[k] + 1)
    k = exchange.next_slice[0]
    exchange_slice(w, exchange, k * w.size // n, (k + 1) * w.size // n)
    exchange.next_slice[0] = (k + 1) % n


def _sgd_steps(w, X, y, row_weights, steps, penalty, loss, n_outputs):
    """Take SGD steps with the kernel for these types of rows and outputs."""


@overload(_sgd_steps)
def _choose_sgd_steps(w, X, y, row_weights, steps, penalty, loss, n_outputs):
    rows = sparse if isinstance(X, types.BaseTuple) else None
    if isinstance(n_outputs, types.Integer):
        softmax_sgd_steps = (rows or matmul).softmax_sgd_steps
        return lambda w, X, y, row_weights, steps, penalty, loss, n_outputs: (
            softmax_sgd_steps(
                w.reshape(-1, n_outputs),
                X,
                y,
                row_weights,
                steps,
                penalty,
                loss,
                (None, 0),
            )
        )
    one_output_steps = (rows or dense).sgd_steps
    return lambda w, X, y, row_weights, steps, penalty, loss, n_outputs: (
        one_output_steps(w, X, y, row_weights, steps, penalty, loss, (None, 0))
    )


@compiled
def hogwild_sgd_steps(
    w: FloatArray,
    X: FloatArray | CsrArrays,
    y: FloatArray,
    row_weights: FloatArray | None,
    steps: SgdSteps,
    penalty: PenaltyWeights,
    loss: LossParams,
    n_outputs: int | None,
    exchange: HogwildExchange,
) -> None:
    """Take plain SGD steps, see `Linear.sgd_steps`, with an exchange after each chunk.

    `n_outputs` is None, or the number of classes of softmax.
    """
    order, offsets, rates = steps
    chunk = exchange.chunk
    for s in range(0, rates.size, chunk):
        t = min(s + chunk, rates.size)
        chunk_steps = order, offsets[s : t + 1], rates[s:t]
        _sgd_steps(w, X, y, row_weights, chunk_steps, penalty, loss, n_outputs)
        exchange_next_slice(w, exchange)
