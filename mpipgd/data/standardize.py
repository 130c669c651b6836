"""Means and variances of the features, in parallel and in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import DTypeLike

from ..array_types import Array, FloatArray
from ..comm.reduction_tree import tree_allreduce_objects
from ..errors import DataError
from .weighted import split_weights

if TYPE_CHECKING:
    from ..comm.topology import Grid
    from .base import Split
    from .hdf5.header import Header

BLOCK_ROWS = 4096


# numbers whose squares overflow are refused by `scaling_of`, in words
QUIETLY = np.errstate(over="ignore", invalid="ignore")


class Moments(NamedTuple):
    """Rows, and per column (d,) float64 the mean and Σ (x - mean)².

    Where rows have weights w, n is Σ w, and both sums are weighted.
    """

    n: float
    mean: FloatArray | float
    squares: FloatArray | float


NO_ROWS = Moments(0, 0.0, 0.0)


class Scaling(NamedTuple):
    """Mean and standard deviation of the features, (n_features,) each."""

    mean: FloatArray
    deviation: FloatArray


class TargetScaling(NamedTuple):
    """Mean and standard deviation of the target."""

    mean: float
    deviation: float


@QUIETLY
def moments(X: Array, weights: FloatArray | None = None) -> Moments:
    """Return the moments of the columns of X (n, d), of rows with weights (n,) or 1."""
    if weights is not None:
        return _weighted_moments(X, weights.astype(np.float64))
    mean = X.mean(axis=0, dtype=np.float64) if len(X) else np.zeros(X.shape[1])
    return Moments(len(X), mean, np.square(X - mean).sum(axis=0))


def _weighted_moments(X: Array, weights: FloatArray) -> Moments:
    n = float(weights.sum())
    if n == 0:
        return NO_ROWS
    mean = weights @ X / n
    return Moments(n, mean, weights @ np.square(X - mean))


@QUIETLY
def merge(a: Moments, b: Moments) -> Moments:
    """Merge two sets of moments: Chan, Golub & LeVeque (1983), eq. 2.1.

    M = M_a + M_b + (m_b - m_a)² n_a n_b / n
    """
    (n_a, m_a, s_a), (n_b, m_b, s_b) = a, b
    if not n_a or not n_b:
        return a if n_a else b
    n, delta = n_a + n_b, m_b - m_a
    return Moments(n, m_a + delta * (n_b / n), s_a + s_b + delta**2 * (n_a * n_b / n))


def merge_all(items: Iterable[Moments]) -> Moments:
    """Merge any number of moments, in their order."""
    return reduce(merge, items, NO_ROWS)


def worker_moments(split: Split, i: int, width: int) -> Moments:
    """Return the moments of the i-th local worker's rows; X is dense."""
    return merge_all(
        _moments_by_block(cast(FloatArray, X)[:, :width], split_weights(y)[1])
        for X, y in split.blocks(i)
    )


def scaling_of(
    grid: Grid, items: list[Moments], dtype: DTypeLike, header: Header
) -> Scaling:
    """Return the scaling over all ranks' rows; collective.

    items: the moments of each local worker. A column that does not vary, but for
    rounding in `dtype`, gets that rounding as its deviation, one at least. DataError
    where squares overflow.
    """
    n, mean, squares = tree_allreduce_objects(grid, items, merge)
    deviation = np.sqrt(squares / n)
    if not np.isfinite(deviation).all():
        number = int(np.isfinite(deviation).argmin())
        names = header.feature_names
        name = f"feature {number}" if names is None else names[number]
        raise DataError(
            f"{header.source}: {name} holds numbers too large to be squared, of some "
            "1e150 and more",
            agreed=True,
        )
    rounding = 10 * np.finfo(dtype).eps * np.abs(mean)
    constant = deviation <= rounding
    deviation[constant] = np.maximum(1, rounding)[constant]
    return Scaling(cast(FloatArray, mean), deviation)


def _moments_by_block(X: FloatArray, weights: FloatArray | None) -> Moments:
    """Return the moments of X, merged from blocks that fit a cache."""
    return merge_all(
        moments(
            X[i : i + BLOCK_ROWS],
            None if weights is None else weights[i : i + BLOCK_ROWS],
        )
        for i in range(0, len(X), BLOCK_ROWS)
    )


def standardize(X: FloatArray, mean: FloatArray, deviation: FloatArray) -> None:
    """Standardise the first columns of X in place: (X - mean) / deviation."""
    mean, deviation = mean.astype(X.dtype), deviation.astype(X.dtype)
    for i in range(0, len(X), BLOCK_ROWS):
        block = X[i : i + BLOCK_ROWS, : len(mean)]
        block -= mean
        block /= deviation
