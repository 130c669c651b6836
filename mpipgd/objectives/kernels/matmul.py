"""Products of rows with a matrix of few columns: weights of classes, or of a sweep.

The matrix product of a BLAS is made for large matrices and reaches half the speed with
16 columns. Here the sums of four rows, or of four columns of X, are kept in registers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...jit import compiled
from ..losses import LOSS_IDS
from .dense import loss_derivative, loss_value, proximal_step, weigh
from .prefetch import prefetch
from .simd import INT64, VectorLoopEmitter

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray, IntArray
    from ..kernel_arguments import LossParams, PenaltyWeights, RunningMean, SgdSteps

SOFTMAX = LOSS_IDS["softmax"]
TILE_ROWS = 4  # rows, or columns of X, whose sums are kept in registers
TILE_BYTES = 64  # of each such sum: more would not fit, less would leave units idle
BLOCK_ROWS = 32  # rows that are read twice, the second time from the nearest cache
ROWS_AHEAD = 8  # of the tile at work, the rows to prefetch


def _matrix(context, builder, kind, value):
    """Return the pointer to a matrix, and its numbers of rows and columns."""
    array = context.make_array(kind)(context, builder, value)
    rows, width = cgutils.unpack_tuple(builder, array.shape)
    return array.data, rows, width


def _tile_sums(builder, emitter, lanes, count, starts, load):
    """Return, for each k, Σ_t (number at starts[k] + t step) × load(t) over t < count.

    starts: [(pointer, step)] of the numbers; `load` emits the load of the vector that
    they scale.
    """
    zero = emitter.vector_type(lanes)([0.0] * lanes)
    totals = [cgutils.alloca_once(builder, emitter.vector_type(lanes)) for _ in starts]
    for total in totals:
        builder.store(zero, total)
    with cgutils.for_range(builder, count) as loop:
        vector = load(loop.index)
        for total, (start, step) in zip(totals, starts):
            pointer = builder.gep(start, [builder.mul(loop.index, step)])
            number = emitter.broadcast(builder.load(pointer), lanes)
            sums = emitter.fma(number, vector, builder.load(total))
            builder.store(sums, total)
    return [builder.load(total) for total in totals]


def _make_tile_product(n_rows):
    @intrinsic
    def tile_product(typingctx, X, i, W, P):
        """P[i : i + n_rows] <- X[i : i + n_rows] W for X (·, d), W (d, K), P (·, K)."""

        def generate(context, builder, signature, args):
            x, _, d = _matrix(context, builder, X, args[0])
            w, _, K = _matrix(context, builder, W, args[2])
            p, _, _ = _matrix(context, builder, P, args[3])
            rows = [builder.add(args[1], INT64(k)) for k in range(n_rows)]
            starts = [(builder.gep(x, [builder.mul(row, d)]), INT64(1)) for row in rows]
            emitter = VectorLoopEmitter(context, builder, W.dtype, K, TILE_BYTES)

            def body(lanes, column):
                def load(j):
                    index = builder.add(builder.mul(j, K), column)
                    return emitter.load(w, index, lanes)

                sums = _tile_sums(builder, emitter, lanes, d, starts, load)
                for row, total in zip(rows, sums):
                    index = builder.add(builder.mul(row, K), column)
                    emitter.store(total, p, index, lanes)

            emitter.emit_loop(body)
            return context.get_dummy_value()

        return types.void(X, types.int64, W, P), generate

    return tile_product


def _make_tile_transposed(n_columns):
    @intrinsic
    def tile_transposed(typingctx, X, j, n, R, G):
        """G[j : j + n_columns] += X[:n, j : j + n_columns]ᵀ R[:n]."""

        def generate(context, builder, signature, args):
            x, _, d = _matrix(context, builder, X, args[0])
            r, _, K = _matrix(context, builder, R, args[3])
            g, _, _ = _matrix(context, builder, G, args[4])
            rows = [builder.add(args[1], INT64(k)) for k in range(n_columns)]
            starts = [(builder.gep(x, [row]), d) for row in rows]
            emitter = VectorLoopEmitter(context, builder, R.dtype, K, TILE_BYTES)

            def body(lanes, column):
                def load(i):
                    index = builder.add(builder.mul(i, K), column)
                    return emitter.load(r, index, lanes)

                sums = _tile_sums(builder, emitter, lanes, args[2], starts, load)
                for row, total in zip(rows, sums):
                    index = builder.add(builder.mul(row, K), column)
                    before = emitter.load(g, index, lanes)
                    emitter.store(builder.fadd(before, total), g, index, lanes)

            emitter.emit_loop(body)
            return context.get_dummy_value()

        return types.void(X, types.int64, types.int64, R, G), generate

    return tile_transposed


_tile_product, _row_product = _make_tile_product(TILE_ROWS), _make_tile_product(1)
_tile_transposed = _make_tile_transposed(TILE_ROWS)
_column_transposed = _make_tile_transposed(1)


@compiled
def matmul_narrow(X: FloatArray, n: int, W: FloatArray, P: FloatArray) -> None:
    """P[:n] <- X[:n] W, for contiguous X (·, d), W (d, K) and P (·, K)."""
    for i in range(0, n - TILE_ROWS + 1, TILE_ROWS):
        prefetch(X, i + ROWS_AHEAD, i + ROWS_AHEAD + TILE_ROWS)
        _tile_product(X, i, W, P)
    for i in range(n - n % TILE_ROWS, n):
        _row_product(X, i, W, P)


@compiled
def add_transposed(X: FloatArray, n: int, R: FloatArray, G: FloatArray) -> None:
    """G <- G + X[:n]ᵀ R[:n], for contiguous X (·, d), R (·, K) and G (d, K)."""
    d = X.shape[1]
    for j in range(0, d - TILE_ROWS + 1, TILE_ROWS):
        _tile_transposed(X, j, n, R, G)
    for j in range(d - d % TILE_ROWS, d):
        _column_transposed(X, j, n, R, G)


@compiled
def softmax_slope_in_place(z: FloatArray, y: int) -> float:
    """z <- softmax(z) less one at `y`, for raw outputs `z` (C,); return the loss."""
    top = z[0]
    for c in range(1, z.size):
        top = max(top, z[c])
    picked, total = z[y] - top, 0.0
    for c in range(z.size):
        z[c] = math.exp(z[c] - top)
        total += z[c]
    for c in range(z.size):
        z[c] /= total
    z[y] -= 1
    return math.log(total) - picked


@compiled
def slopes_in_place(z: FloatArray, y: float, loss: LossParams) -> float:
    """Replace the raw outputs `z` (K,) of a row by slopes; return the sum of losses.

    The outputs are those of softmax, or each has a loss of its own.
    """
    loss_id, _ = loss
    if loss_id == SOFTMAX:
        return softmax_slope_in_place(z, int(y))
    total = 0.0
    for k in range(z.size):
        total += loss_value(loss, z[k], y)
        z[k] = loss_derivative(loss, z[k], y)
    return total


@compiled
def weighted_slopes_in_place(
    z: FloatArray, y: Array, row_weights: FloatArray | None, i: int, loss: LossParams
) -> float:
    """`slopes_in_place` for row i, slopes and losses times the row's weight."""
    value = slopes_in_place(z, y[i], loss)
    if row_weights is not None:
        for k in range(z.size):
            z[k] *= row_weights[i]
    return weigh(value, row_weights, i)


@compiled
def outputs_gradient(
    W: FloatArray,
    X: FloatArray,
    y: Array,
    row_weights: FloatArray | None,
    rows: IntArray | None,
    G: FloatArray,
    loss: LossParams,
) -> float:
    """Write Σ x slopesᵀ over the rows (None: all) into G (d, K); return the loss sum.

    W (d, K) and G are contiguous, and so is X (n, d) if `rows` is None.
    """
    n, K, total = X.shape[0] if rows is None else rows.size, W.shape[1], 0.0
    block_rows = min(n, BLOCK_ROWS)
    P = np.empty((block_rows, K), W.dtype)
    gathered = np.empty((block_rows, X.shape[1]), W.dtype)
    G[:] = 0
    for lo in range(0, n, BLOCK_ROWS):
        m = min(BLOCK_ROWS, n - lo)
        if rows is None:
            block = X[lo : lo + m]
        else:
            block = gathered
            for i in range(m):  # the assignment of a row would take seconds to compile
                for j in range(X.shape[1]):
                    block[i, j] = X[rows[lo + i], j]
        matmul_narrow(block, m, W, P)
        for i in range(m):
            row = lo + i if rows is None else rows[lo + i]
            total += weighted_slopes_in_place(P[i], y, row_weights, row, loss)
        add_transposed(block, m, P, G)
    return total


@compiled
def softmax_sgd_steps(
    W: FloatArray,
    X: FloatArray,
    y: IntArray,
    row_weights: FloatArray | None,
    steps: SgdSteps,
    penalty: PenaltyWeights,
    loss: LossParams,
    mean: RunningMean,
) -> None:
    """Take plain SGD steps of softmax regression in place, see `Linear.sgd_steps`."""
    (order, offsets, rates), (l2, l1) = steps, penalty
    u, n_updates = mean
    G = np.empty_like(W)
    w, g = W.reshape(-1), G.reshape(-1)
    for s in range(rates.size):
        lo, hi = offsets[s], offsets[s + 1]
        outputs_gradient(W, X, y, row_weights, order[lo:hi], G, loss)
        scale, k = 1.0 / max(1, hi - lo), max(0, n_updates + s)
        proximal_step(w, g, scale, rates[s], l2, l1, u, k)
