"""The validation rows of a run, and the scaling of its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..comm import mpi
from ..comm.reduction_tree import tree_allreduce_objects
from ..errors import DataError, UsageError
from .hdf5.held_out import (
    HeldOutSource,
    draw_grouped,
    draw_held_out,
    draw_stratified,
)
from .standardize import Moments, TargetScaling, merge, merge_all, moments

if TYPE_CHECKING:
    from ..array_types import BoolArray, IntArray
    from ..comm.mpi import Comm
    from ..comm.topology import Grid
    from ..config.options import TrainConfig
    from .base import WorkerShares
    from .hdf5.source import Source

BLOCK_ROWS = 1 << 16  # targets read at once


def hold_out(comm: Comm, source: Source, options: TrainConfig) -> Source:
    """Return the source with the validation rows of the options; collective.

    Rank 0 draws them. Raises DataError where the training rows are too few.
    """
    if not options.validation:
        return source
    held_out = mpi.on_root(comm, _draw, source, options)
    return HeldOutSource(source, held_out)


def _draw(source: Source, options: TrainConfig) -> BoolArray:
    n, fraction, seed = source.rows["train"], options.validation, options.seed
    if n < 2:
        raise DataError(f"--validation takes at least 2 training rows, found {n}")
    try:
        groups = source.read_groups("train", 0, n)
        if groups is not None:
            return _draw_groups(groups, options)
        if not options.stratify:
            return draw_held_out(n, fraction, seed)
        if source.header.classes is None:
            raise UsageError("--stratify takes classes; the task is regression")
        return draw_stratified(source.read_targets("train", 0, n), fraction, seed)
    finally:
        source.close()


def _draw_groups(groups: IntArray, options: TrainConfig) -> BoolArray:
    """Return the validation rows of groups (n,): all rows of a group or none."""
    if options.stratify:
        raise UsageError("--stratify: the data has groups, which are held out whole")
    distinct, numbers = np.unique(groups, return_inverse=True)
    if len(distinct) < 2:
        raise DataError("--validation holds out whole groups: training rows have one")
    return draw_grouped(numbers, options.validation, options.seed)


def target_scaling(
    grid: Grid, source: Source, plan: WorkerShares, *, centered: bool
) -> TargetScaling:
    """Return mean and deviation of the target over all training rows; collective.

    One pass over y (n,), each worker's rows on its own rank, merged in tree order; rows
    count by their weights. Without `centered` the mean is 0, and the deviation is the
    root mean square.
    """

    def block_moments(lo: int, hi: int) -> Moments:
        y = source.read_targets("train", lo, hi)[:, None]
        return moments(y, source.read_weights("train", lo, hi))

    items = []
    with mpi.raise_collectively(grid.comm):
        for worker in range(grid.first, grid.last):
            first, end = plan.share(worker)
            items.append(
                merge_all(
                    block_moments(lo, min(lo + BLOCK_ROWS, end))
                    for lo in range(first, end, BLOCK_ROWS)
                )
            )
        source.close()
    n, mean, squares = tree_allreduce_objects(grid, items, merge)
    if n == 0:
        raise DataError("the row weights of all training rows are 0", agreed=True)
    m, variance = float(np.ravel(mean)[0]), float(np.ravel(squares)[0]) / n
    eps = float(np.finfo(np.float64).eps)
    if not centered:
        m, variance = 0.0, variance + m * m
    deviation = float(np.sqrt(variance))
    return TargetScaling(m, deviation if deviation > 10 * eps * abs(m) else 1.0)
