"""What metrics are computed from: sums over blocks of rows, merged in a fixed tree.

Blocks of `BLOCK_ROWS` rows are numbered by their first row, whichever rank reads them,
and are the leaves of the tree of `comm.reduction_tree`: metrics are functions of the
rows, never of the number of ranks. Row weights (n,) default to ones; a metric is that
of rows repeated as often as their weights say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from ...array_types import FloatArray

BLOCK_ROWS = 2048

S = TypeVar("S", bound="Sums")


class Sums(Protocol):
    """Sums over rows, from which metrics follow."""

    def merge(self: S, other: S) -> S:
        """Return the sums over the rows of both, `other` being the later rows."""

    def metrics(self) -> dict[str, Any]:
        """Return name -> metric; None for what these rows do not define.

        `notes`, a list of sentences, says why a metric is None.
        """


def weights_or_ones(weights: FloatArray | None, n: int) -> FloatArray:
    """Return the weights of n rows as float64, ones where there are none."""
    if weights is None:
        return np.ones(n)
    return np.asarray(weights, dtype=np.float64)


def ratio(numerator: float, denominator: float) -> float | None:
    """Return a quotient, or None where the denominator is zero."""
    return float(numerator / denominator) if denominator else None
