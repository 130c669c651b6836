"""Exact ROC and precision-recall curves over all ranks, by a sort in buckets.

Scores are divided into buckets by splitters that are a function of the rows alone, and
a bucket is sorted by one rank: rows with the same score meet there, and no rank holds
more than its share. Buckets are numbered from the highest scores to the lowest; a rank
hosts a contiguous range of them, and their sums are added up in the fixed tree.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...comm.even_partition import even_partition
from ...comm.reduction_tree import sum_rows
from .base import ratio, weights_or_ones

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...array_types import Array, FloatArray, IntArray
    from ...comm.mpi import Comm

ROWS_PER_BUCKET = 4096
MAX_BUCKETS = 1024
SAMPLE_STRIDE = 256  # of the scores of a block, those that choose the splitters


class ScoreCounts(NamedTuple):
    """Distinct scores (m,) of one block of rows, rising, of one class against the rest.

    positive, negative: the weights of the rows of the class and of the others.
    """

    score: FloatArray
    positive: FloatArray
    negative: FloatArray


class Curve(NamedTuple):
    """A curve over all rows, its points divided among the ranks in their order.

    auc: area under the ROC curve; average_precision: Σ ΔR P. None where a side, the
    class or the rest, has no rows. positives, negatives: their weights.
    threshold, true_positives, false_positives (m,): this rank's points; the counts
    are of rows with at least this score, and thresholds fall.
    """

    auc: float | None
    average_precision: float | None
    positives: float
    negatives: float
    threshold: FloatArray
    true_positives: FloatArray
    false_positives: FloatArray


def count_scores(
    score: FloatArray, positive: Array, weights: FloatArray | None = None
) -> ScoreCounts:
    """Return the counts of a block's scores (n,); rows of weight zero do not count."""
    w = weights_or_ones(weights, len(score))
    kept = w > 0
    distinct, index = np.unique(score[kept].astype(np.float64), return_inverse=True)
    w, positive, m = w[kept], positive[kept], len(distinct)
    counts = (np.bincount(index, w * side, m) for side in (positive, ~positive))
    return ScoreCounts(distinct, *counts)


def curve(comm: Comm, blocks: Sequence[tuple[int, ScoreCounts]], n_rows: int) -> Curve:
    """Return the curve of all ranks' blocks, given as (number, counts); collective.

    n_rows: those of all ranks.
    """
    splitters = _splitters(comm, blocks, n_rows)
    n_buckets = len(splitters) + 1
    score, counts = _exchange(comm, blocks, splitters)
    hosted = range(*even_partition(n_buckets, comm.size, comm.rank))
    ends = _bucket_ends(score, splitters, hosted)
    cumulated = [counts[lo:hi].cumsum(axis=0) for lo, hi in pairwise(ends)]
    local_totals = [c[-1] if len(c) else np.zeros(2) for c in cumulated]
    totals = [total for part in comm.allgather(local_totals) for total in part]
    before = np.cumsum([np.zeros(2), *totals], axis=0)
    cumulated = [c + before[bucket] for bucket, c in zip(hosted, cumulated)]
    local_areas = [
        _areas(counts[lo:hi], c) for (lo, hi), c in zip(pairwise(ends), cumulated)
    ]
    areas = np.array([a for part in comm.allgather(local_areas) for a in part])
    area, precision_sum = map(float, sum_rows(areas))
    positives, negatives = map(float, before[-1])
    points = np.concatenate([np.zeros((0, 2)), *cumulated])
    defined = positives > 0 and negatives > 0
    return Curve(
        ratio(area, positives * negatives) if defined else None,
        ratio(precision_sum, positives) if defined else None,
        positives,
        negatives,
        score,
        points[:, 0],
        points[:, 1],
    )


def _splitters(
    comm: Comm, blocks: Sequence[tuple[int, ScoreCounts]], n_rows: int
) -> FloatArray:
    """Return the rising, distinct scores at which buckets begin, but the first one."""
    n_buckets = min(MAX_BUCKETS, -(-n_rows // ROWS_PER_BUCKET))
    if n_buckets < 2:
        return np.empty(0)
    start = SAMPLE_STRIDE // 2
    local = [counts.score[start::SAMPLE_STRIDE] for _, counts in blocks]
    gathered = comm.allgather(np.concatenate([np.empty(0), *local]))
    sample = np.sort(np.concatenate(gathered))
    if not len(sample):
        return np.empty(0)
    return np.unique(sample[np.arange(1, n_buckets) * len(sample) // n_buckets])


def _exchange(
    comm: Comm, blocks: Sequence[tuple[int, ScoreCounts]], splitters: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the falling scores (m,) of this rank's buckets, and their counts (m, 2).

    Counts of the same score are added up in the order of the blocks.
    """
    number = np.repeat(
        np.array([block for block, _ in blocks], dtype=np.int64),
        [len(counts.score) for _, counts in blocks],
    )
    no_rows = ScoreCounts(*[np.empty(0)] * 3)
    columns = [np.concatenate(parts) for parts in zip(no_rows, *(c for _, c in blocks))]
    n_buckets = len(splitters) + 1
    bucket = _bucket_of(columns[0], splitters)
    owner = ((bucket + 1) * comm.size - 1) // n_buckets
    order = np.argsort(owner, kind="stable")
    cuts = np.searchsorted(owner[order], np.arange(1, comm.size))
    parts = zip(*(np.split(array[order], cuts) for array in (*columns, number)))
    received = comm.alltoall(list(parts))
    score, positive, negative, number = map(np.concatenate, zip(*received))
    order = np.lexsort((number, -score))
    score, both = score[order], np.stack([positive[order], negative[order]], axis=1)
    first = np.flatnonzero(np.diff(score, prepend=np.inf))
    tie = np.repeat(np.arange(len(first)), np.diff([*first, len(score)]))
    sums = [np.bincount(tie, side, len(first)) for side in both.T]
    return score[first], np.stack(sums, axis=1)


def _bucket_of(score: FloatArray, splitters: FloatArray) -> IntArray:
    """Return the bucket of each score; bucket 0 holds the highest ones."""
    return len(splitters) - np.searchsorted(splitters, score, side="right")


def _bucket_ends(score: FloatArray, splitters: FloatArray, hosted: range) -> list[int]:
    """Return where the hosted buckets begin in the falling scores, and the last end."""
    bucket = _bucket_of(score, splitters)
    return np.searchsorted(bucket, [*hosted, hosted.stop]).tolist()


def _areas(counts: FloatArray, cumulated: FloatArray) -> FloatArray:
    """Return a bucket's part of the area under the ROC curve and of Σ Δtp precision.

    counts, cumulated (m, 2): positives and negatives, at and from a threshold on.
    """
    positive, negative = counts.T
    tp = cumulated[:, 0]
    precision = tp / cumulated.sum(axis=1)
    area = (negative * (tp - positive / 2)).sum()
    return np.array([area, (positive * precision).sum()])
