"""Penalties on sparse rows, applied to a weight when it is next read: w = s v.

A step shrinks every weight by the factor 1 - rate l2 and moves it towards 0 by
rate l1, but its rows have entries in few columns. So the shrinking is kept in one
number s (Bottou 2010, §5.1), and the l1 penalties of all steps are added up in another,
U = Σ rate l1 / s, in units of v. Of U, `applied_l1[j]` has been applied to column j
(Langford et al. 2009; Tsuruoka et al. 2009). The result equals that of penalties
applied to all weights at every step, to rounding.

`V` is (columns, outputs). An intercept is the last column, without penalty, and the
last entry of every row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...jit import compiled, compiled_without_refcounts
from .dense import soft_threshold

if TYPE_CHECKING:
    from ...array_types import FloatArray, IntArray
    from ..kernel_arguments import PenaltyWeights

MIN_SCALE = 1e-8  # of s: below it v would grow too large
MIN_FACTOR = 0.5  # of the factor by which one step shrinks the weights


class LazyPenalty(NamedTuple):
    """The strengths, equal on all penalised weights, and what has been applied.

    `n_unpenalised` is 1 with an intercept, else 0. `applied_l1` (penalised columns,) is
    changed in place; it is empty without an l1 penalty.
    """

    l2: float
    l1: float
    n_unpenalised: int
    applied_l1: FloatArray


@compiled
def common_strength(strengths: FloatArray | None) -> tuple[float, int]:
    """Return the strength of the penalised weights, and how many these are."""
    if strengths is None:
        return 0.0, 0
    n_penalised: int = np.count_nonzero(strengths)  # type: ignore[assignment]  # numba's
    return float(strengths[0]), n_penalised


@compiled
def init_state(V: FloatArray, penalty: PenaltyWeights) -> LazyPenalty:
    """Return the state of a call's first step, where nothing is owed.

    Without any penalty s stays 1, and all columns count as penalised.
    """
    l2_weights, l1_weights = penalty
    l2, n_l2 = common_strength(l2_weights)
    l1, n_l1 = common_strength(l1_weights)
    columns = max(n_l2, n_l1) // V.shape[1]
    if columns == 0:
        columns = V.shape[0]
    applied_l1 = np.zeros(columns if l1 else 0)
    return LazyPenalty(l2, l1, V.shape[0] - columns, applied_l1)


@compiled_without_refcounts
def apply_owed_l1_to_column(
    V: FloatArray, c: int, cumulative_l1: float, applied_l1: FloatArray
) -> None:
    """Apply to column c the l1 penalties that it has not had yet."""
    owed = cumulative_l1 - applied_l1[c]
    if owed > 0:
        for output in range(V.shape[1]):
            V[c, output] = soft_threshold(V[c, output], owed)
        applied_l1[c] = cumulative_l1


@compiled_without_refcounts
def apply_owed_l1(
    V: FloatArray, columns: IntArray, cumulative_l1: float, applied_l1: FloatArray
) -> None:
    """Apply to these columns the l1 penalties that they have not had yet."""
    if applied_l1.size:
        for k in range(columns.size):
            apply_owed_l1_to_column(V, columns[k], cumulative_l1, applied_l1)


@compiled_without_refcounts
def materialize(
    V: FloatArray,
    n_unpenalised: int,
    scale: float,
    cumulative_l1: float,
    applied_l1: FloatArray,
) -> None:
    """V <- s v with all penalties applied; afterwards s = 1 and U = 0."""
    for c in range(applied_l1.size):
        apply_owed_l1_to_column(V, c, cumulative_l1, applied_l1)
        applied_l1[c] = 0
    if scale != 1.0:
        for c in range(V.shape[0] - n_unpenalised):
            for output in range(V.shape[1]):
                V[c, output] *= scale


@compiled_without_refcounts
def rebase(
    V: FloatArray,
    U: FloatArray | None,
    n_unpenalised: int,
    scale_sum: float,
    scale: float,
    n: int,
) -> None:
    """Change u so that the sum of iterates, scale_sum v - u, reads n w - u.

    w = scale v. To be called before `materialize`; see `sparse._sgd_steps`.
    """
    if U is not None:
        for c in range(V.shape[0] - n_unpenalised):
            for output in range(V.shape[1]):
                U[c, output] += (n * scale - scale_sum) * V[c, output]


@compiled
def next_scale(
    penalty: LazyPenalty, scale: float, cumulative_l1: float, rate: float
) -> tuple[bool, float, float]:
    """Return whether a step must apply its penalties now, and s and U after it.

    It must where s would become too small, 0 or negative.
    """
    factor = 1.0 - rate * penalty.l2
    now = factor < MIN_FACTOR or scale < MIN_SCALE
    scale = 1.0 if now else scale * factor
    cumulative_l1 = (0.0 if now else cumulative_l1) + rate * penalty.l1 / scale
    return now, scale, cumulative_l1


@compiled_without_refcounts
def rescale_now(
    V: FloatArray,
    U: FloatArray | None,
    penalty: LazyPenalty,
    rate: float,
    scale: float,
    cumulative_l1: float,
    scale_sum: float,
    n: int,
) -> None:
    """`materialize`, then V <- (1 - rate l2) V; `rebase` U for that as well."""
    n_unpenalised, applied_l1 = penalty.n_unpenalised, penalty.applied_l1
    factor = 1.0 - rate * penalty.l2
    rebase(V, U, n_unpenalised, scale_sum, scale * factor, n)
    materialize(V, n_unpenalised, scale, cumulative_l1, applied_l1)
    materialize(V, n_unpenalised, factor, 0.0, applied_l1[:0])
