"""Penalties on sparse rows, taken when a weight is next looked at: w = s v.

A step shrinks every weight by 1 - rate alpha and moves it towards 0 by rate beta, but
its rows touch few of them. So shrinking is one number s (Bottou 2010, §5.1), and all
|v| owe U = Σ rate beta / s, of which column j has paid `paid[j]` already (Langford et
al. 2009; Tsuruoka et al. 2009). To rounding it is what taking all at once gives.

`V` is (columns, outputs); where there is an intercept it is the last column, without
penalty, and the last entry of every row. The state is `numbers` [s, U] and `paid`
(penalised columns,), which is None without an l1 penalty.
"""

import numpy as np

from .kernels import compiled, soft

LEAST = 1e-8  # of s: below, v would grow too large


@compiled
def strength(strengths):
    """Return the one strength there is on all penalised weights, and on how many."""
    if strengths is None:
        return 0.0, 0
    return float(strengths[0]), np.count_nonzero(strengths)


@compiled
def debts(beta, columns):
    """Return what the columns have paid, nothing, or None where nobody owes."""
    if beta is None:
        return None
    return np.zeros(columns)


@compiled
def begin(V, alpha, beta):
    """Return (alpha, beta) as numbers, the columns not penalised (0 or 1), the state.

    Without any penalty s stays 1, and all columns count as penalised.
    """
    (a, many), (b, more) = strength(alpha), strength(beta)
    columns = max(many, more) // V.shape[1]
    if columns == 0:
        columns = V.shape[0]
    numbers = np.array([1.0, 0.0])
    return (a, b), V.shape[0] - columns, numbers, debts(beta, columns)


@compiled
def pay(V, c, numbers, paid):
    """Bring column c up to date with the l1 penalty."""
    if paid is not None:
        if c < paid.size and paid[c] < numbers[1]:
            owed = numbers[1] - paid[c]
            for output in range(V.shape[1]):
                V[c, output] = soft(V[c, output], owed)
            paid[c] = numbers[1]


@compiled
def settle(V, free, numbers, paid):
    """Bring all weights up to date: V <- s v, and the state to its beginning."""
    columns = V.shape[0] - free
    if paid is not None:
        for c in range(columns):
            pay(V, c, numbers, paid)
        paid[:] = 0
    if numbers[0] != 1.0:
        for c in range(columns):
            for output in range(V.shape[1]):
                V[c, output] *= numbers[0]
    numbers[:] = 1.0, 0.0


@compiled
def shrink(V, penalty, free, numbers, paid, rate):
    """Let a step's penalties pass over all weights."""
    a, b = penalty
    factor = 1.0 - rate * a
    numbers[0] *= factor
    if factor < 0.5 or numbers[0] < LEAST:
        _shrink_now(V, factor, free, numbers, paid)
    numbers[1] += rate * b / numbers[0]


@compiled
def _shrink_now(V, factor, free, numbers, paid):
    """Do not let s become too small, 0 or negative: v <- factor s v."""
    scale = numbers[0]
    numbers[0] = 1.0
    settle(V, free, numbers, paid)
    for c in range(V.shape[0] - free):
        for output in range(V.shape[1]):
            V[c, output] *= scale
