"""Products of rows and matrices of few columns: weights of classes, or many settings.

A library's matrix product is made for large matrices; of 16 columns it makes half the
speed. Here four rows, or four columns of X, are kept in registers at a time.
"""

import math

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...jit import compiled
from ..losses import LOSS_IDS
from .dense import loss_derivative, loss_value, proximal_step
from .prefetch import prefetch
from .simd import INT64, VectorLoopEmitter

SOFTMAX = LOSS_IDS["softmax"]
TILE_ROWS = 4  # rows, or columns of X, whose sums are in registers
LANES = 64  # bytes of such a sum: more would not fit, and fewer not keep it busy
BLOCK = 32  # rows that are read twice, the second time from the nearest cache
AHEAD = 8  # rows


def _matrix(context, builder, kind, value):
    found = context.make_array(kind)(context, builder, value)
    rows, width = cgutils.unpack_tuple(builder, found.shape)
    return found.data, rows, width


def _tile_sums(builder, code, lanes, count, starts, load):
    """Return the sums over t < count of (number at starts[k] + t step) × load(t).

    starts: [(pointer, step)] of the numbers; load gives the vector that they scale.
    """
    zero = code.vector(lanes)([0.0] * lanes)
    sums = [cgutils.alloca_once(builder, code.vector(lanes)) for _ in starts]
    for each in sums:
        builder.store(zero, each)
    with cgutils.for_range(builder, count) as loop:
        vector = load(loop.index)
        for total, (start, step) in zip(sums, starts):
            place = builder.gep(start, [builder.mul(loop.index, step)])
            number = code.spread(builder.load(place), lanes)
            builder.store(code.fused(number, vector, builder.load(total)), total)
    return [builder.load(each) for each in sums]


def _outputs(few):
    @intrinsic
    def outputs(typingctx, X, i, W, P):
        """Write rows i … i+few-1 of X (·, d) times W (d, K) into those of P."""

        def generate(context, builder, signature, args):
            x, _, d = _matrix(context, builder, X, args[0])
            w, _, K = _matrix(context, builder, W, args[2])
            p, _, _ = _matrix(context, builder, P, args[3])
            rows = [builder.add(args[1], INT64(k)) for k in range(few)]
            starts = [(builder.gep(x, [builder.mul(row, d)]), INT64(1)) for row in rows]
            code = VectorLoopEmitter(context, builder, W.dtype, K, LANES)

            def body(lanes, at):
                def load(j):
                    place = builder.add(builder.mul(j, K), at)
                    return code.load(w, place, lanes)

                sums = _tile_sums(builder, code, lanes, d, starts, load)
                for row, total in zip(rows, sums):
                    place = builder.add(builder.mul(row, K), at)
                    builder.store(total, code.at(p, place, lanes), align=1)

            code.each(body)
            return context.get_dummy_value()

        return types.void(X, types.int64, W, P), generate

    return outputs


def _adds(few):
    @intrinsic
    def adds(typingctx, X, j, n, R, G):
        """Add columns j … j+few-1 of X[:n] (·, d), transposed, times R to rows of G."""

        def generate(context, builder, signature, args):
            x, _, d = _matrix(context, builder, X, args[0])
            r, _, K = _matrix(context, builder, R, args[3])
            g, _, _ = _matrix(context, builder, G, args[4])
            columns = [builder.add(args[1], INT64(k)) for k in range(few)]
            starts = [(builder.gep(x, [column]), d) for column in columns]
            code = VectorLoopEmitter(context, builder, R.dtype, K, LANES)

            def body(lanes, at):
                def load(i):
                    place = builder.add(builder.mul(i, K), at)
                    return code.load(r, place, lanes)

                sums = _tile_sums(builder, code, lanes, args[2], starts, load)
                for column, total in zip(columns, sums):
                    place = builder.add(builder.mul(column, K), at)
                    known = code.load(g, place, lanes)
                    place = code.at(g, place, lanes)
                    builder.store(builder.fadd(known, total), place, align=1)

            code.each(body)
            return context.get_dummy_value()

        return types.void(X, types.int64, types.int64, R, G), generate

    return adds


_few_outputs, _one_output = _outputs(TILE_ROWS), _outputs(1)
_few_adds, _one_add = _adds(TILE_ROWS), _adds(1)


@compiled
def matmul_narrow(X, n, W, P):
    """P[:n] <- X[:n] W, for X (·, d), W (d, K) and P (·, K) in one piece each."""
    for i in range(0, n - TILE_ROWS + 1, TILE_ROWS):
        prefetch(X, i + AHEAD, i + AHEAD + TILE_ROWS)
        _few_outputs(X, i, W, P)
    for i in range(n - n % TILE_ROWS, n):
        _one_output(X, i, W, P)


@compiled
def add_transposed(X, n, R, G):
    """G <- G + X[:n]ᵀ R[:n], for X (·, d), R (·, K) and G (d, K) in one piece each."""
    d = X.shape[1]
    for j in range(0, d - TILE_ROWS + 1, TILE_ROWS):
        _few_adds(X, j, n, R, G)
    for j in range(d - d % TILE_ROWS, d):
        _one_add(X, j, n, R, G)


@compiled
def softmax_slope_in_place(z, y):
    """Turn scores `z` (C,) into probabilities less one at `y`; return the loss."""
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
def slopes_in_place(z, y, loss):
    """Turn the raw outputs `z` (K,) of a row into slopes; return the sum of losses.

    They are those of softmax, or each has the loss of its own.
    """
    if loss[0] == SOFTMAX:
        return softmax_slope_in_place(z, int(y))
    total = 0.0
    for k in range(z.size):
        total += loss_value(loss, z[k], y)
        z[k] = loss_derivative(loss, z[k], y)
    return total


@compiled
def outputs_gradient(W, X, y, rows, G, loss):
    """Write Σ x slopesᵀ over the rows (None: all) into G (d, K); return the loss sum.

    X (n, d), W (d, K) and G in one piece each, but for X with `rows`.
    """
    n, K, total = X.shape[0] if rows is None else rows.size, W.shape[1], 0.0
    most = min(n, BLOCK)
    P, gathered = np.empty((most, K), W.dtype), np.empty((most, X.shape[1]), W.dtype)
    G[:] = 0
    for lo in range(0, n, BLOCK):
        m = min(BLOCK, n - lo)
        if rows is None:
            some = X[lo : lo + m]
        else:
            some = gathered
            for i in range(m):  # a row at once would take seconds to compile
                for j in range(X.shape[1]):
                    some[i, j] = X[rows[lo + i], j]
        matmul_narrow(some, m, W, P)
        for i in range(m):
            known = y[lo + i] if rows is None else y[rows[lo + i]]
            total += slopes_in_place(P[i], known, loss)
        add_transposed(some, m, P, G)
    return total


@compiled
def softmax_descend(W, X, y, steps, strengths, mean):
    """Take plain SGD steps of softmax regression, as `kernels.descend`."""
    (order, cuts, rates), (u, before), loss = steps, mean, (SOFTMAX, 0.0)
    G = np.empty_like(W)
    w, g = W.reshape(-1), G.reshape(-1)
    for s in range(rates.size):
        lo, hi = cuts[s], cuts[s + 1]
        outputs_gradient(W, X, y, order[lo:hi], G, loss)
        scale = 1.0 / max(1, hi - lo)
        proximal_step(w, g, scale, rates[s], strengths, (u, max(0, before + s)))
