"""Penalties on sparse rows, taken when a weight is next looked at: w = s v.

A step shrinks every weight by 1 - rate alpha and moves it towards 0 by rate beta, but
its rows touch few of them. So shrinking is one number s (Bottou 2010, §5.1), and all
|v| owe U = Σ rate beta / s, of which column j has paid `paid[j]` already (Langford et
al. 2009; Tsuruoka et al. 2009). To rounding it is what taking all at once gives.

`V` is (columns, outputs); where there is an intercept it is the last column, without
penalty, and the last entry of every row: `free` is 1, else 0. The state is s, U and
`paid` (penalised columns,), which is empty without an l1 penalty.
"""

import numpy as np

from ...jit import compiled, compiled_without_refcounts
from .dense import soft_threshold

LEAST, LOW = 1e-8, 0.5  # of s, lest v grows too large, and of a step's factor


@compiled
def strength(strengths):
    """Return the one strength there is on all penalised weights, and on how many."""
    if strengths is None:
        return 0.0, 0
    return float(strengths[0]), np.count_nonzero(strengths)


@compiled
def init_state(V, alpha, beta):
    """Return (alpha, beta) as numbers, `free`, and `paid`.

    Without any penalty s stays 1, and all columns count as penalised.
    """
    (a, many), (b, more) = strength(alpha), strength(beta)
    columns = max(many, more) // V.shape[1]
    if columns == 0:
        columns = V.shape[0]
    return (a, b), V.shape[0] - columns, np.zeros(columns if b else 0)


@compiled_without_refcounts
def apply_owed_l1_to_column(V, c, owed, paid):
    """Bring column c up to date with the l1 penalty."""
    rest = owed - paid[c]
    if rest > 0:
        for output in range(V.shape[1]):
            V[c, output] = soft_threshold(V[c, output], rest)
        paid[c] = owed


@compiled_without_refcounts
def apply_owed_l1(V, columns, owed, paid):
    """Bring some columns up to date with the l1 penalty."""
    if paid.size:
        for k in range(columns.size):
            apply_owed_l1_to_column(V, columns[k], owed, paid)


@compiled_without_refcounts
def materialize(V, free, scale, owed, paid):
    """Bring all weights up to date: V <- s v, as if from now on s = 1 and U = 0."""
    for c in range(paid.size):
        apply_owed_l1_to_column(V, c, owed, paid)
        paid[c] = 0
    if scale != 1.0:
        for c in range(V.shape[0] - free):
            for output in range(V.shape[1]):
                V[c, output] *= scale


@compiled_without_refcounts
def rebase(V, U, free, area, sums):
    """Let the sum of iterates that is area v - u be n w - u, w = scale v; see `sparse`.

    sums: (scale, n). Before the weights are settled.
    """
    if U is not None:
        scale, n = sums
        for c in range(V.shape[0] - free):
            for output in range(V.shape[1]):
                U[c, output] += (n * scale - area) * V[c, output]


@compiled
def next_scale(penalty, scale, owed, rate):
    """Return whether a step's penalties must be taken now, and s and U after it.

    They must where s would become too small for v, or 0, or negative.
    """
    factor = 1.0 - rate * penalty[0]
    now = factor < LOW or scale < LEAST
    scale = 1.0 if now else scale * factor
    return now, (scale, (0.0 if now else owed) + rate * penalty[1] / scale)


@compiled_without_refcounts
def rescale_now(V, U, step, free, state):
    """Settle, and then V <- (1 - rate alpha) V; with U, `rebase` for that too."""
    ((alpha, _), rate), (scale, owed, paid, area, n) = step, state
    factor = 1.0 - rate * alpha
    rebase(V, U, free, area, (scale * factor, n))
    materialize(V, free, scale, owed, paid)
    materialize(V, free, factor, 0.0, paid[:0])
