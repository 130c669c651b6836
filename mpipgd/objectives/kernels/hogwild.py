"""A compiled descent that folds what it did into a shared vector, again and again.

It takes its steps on a replica `w` of its own. After every chunk of steps it adds to
the shared vector s what that has not yet, s <- s + (w - base), and goes on from there,
w <- base <- s. Other ranks do the same at the same time without a lock.
"""

from numba import types
from numba.extending import overload

from ...jit import compiled
from . import dense, matmul, sparse


@compiled
def exchange_slice(w, share, lo, hi):
    """Fold the weights lo … hi-1 into the shared vector, and take others' updates."""
    base, shared = share[:2]
    for j in range(lo, hi):
        s = shared[j] + (w[j] - base[j])
        shared[j] = s
        base[j] = s
        w[j] = s


@compiled
def exchange_next_slice(w, share):
    """Fold the hot weights, and the slice of all whose turn it is."""
    base, shared, hot, turns, _ = share
    for k in range(hot.size):
        exchange_slice(w, share, hot[k], hot[k] + 1)
    turn, slices = turns
    exchange_slice(w, share, turn * w.size // slices, (turn + 1) * w.size // slices)
    turns[0] = (turn + 1) % slices


def _descend(w, X, y, steps, strengths, loss):
    """Stand for the descent that fits the types of rows and loss."""


@overload(_descend)
def _fitting(w, X, y, steps, strengths, loss):
    if isinstance(loss, types.Integer):  # the number of classes
        rows = sparse if isinstance(X, types.BaseTuple) else matmul
        softmax = rows.softmax_descend
        return lambda w, X, y, steps, strengths, loss: softmax(
            w.reshape(-1, loss), X, y, steps, strengths, (None, 0)
        )
    if isinstance(X, types.BaseTuple):
        return lambda w, X, y, steps, strengths, loss: sparse.descend(
            w, X, y, steps, strengths, loss, (None, 0)
        )
    return lambda w, X, y, steps, strengths, loss: dense.descend(
        w, X, y, steps, strengths, loss, (None, 0)
    )


@compiled
def descend(w, X, y, steps, strengths, loss, share):
    """Take plain SGD steps as `kernels.descend` or its kin, and fold after each chunk.

    share: (base, shared, hot, turns, chunk). base and shared (size,); `hot` (k,) are
    the weights folded after every chunk; beside them all are folded in turn, one of
    turns[1] slices a chunk, turns[0] the next; `chunk` are the steps of a chunk.
    `loss` is the number of classes for softmax, else (code, epsilon).
    """
    (order, cuts, rates), chunk = steps, share[4]
    for s in range(0, rates.size, chunk):
        t = min(s + chunk, rates.size)
        few = order, cuts[s : t + 1], rates[s:t]
        _descend(w, X, y, few, strengths, loss)
        exchange_next_slice(w, share)
