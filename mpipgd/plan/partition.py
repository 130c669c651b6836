"""How the training rows are divided among the workers (`--split`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .base import Plan

if TYPE_CHECKING:
    from ..array_types import IntArray
    from ..config.options import TrainConfig


class Disjoint(Plan):
    """Each worker owns an even, contiguous part of the rows: its share."""

    def __init__(
        self,
        rows: int,
        workers: int,
        batch_size: int,
        *,
        seed: int = 0,
        where: str = "train/X",
    ) -> None:
        if rows < workers:
            raise DataError(
                f"{where} holds {rows} rows; {workers} workers need at least {workers}"
            )
        offsets = rows * np.arange(workers + 1) // workers
        super().__init__(rows, workers, batch_size, sizes=np.diff(offsets), seed=seed)

    def row_range(self, first: int, last: int) -> tuple[int, int]:
        return self.share(first)[0], self.share(last)[0]

    def worker_rows(self, worker: int, indices: IntArray) -> IntArray:
        return self.share(worker)[0] + indices


class Sample(Plan):
    """Each worker owns a random sample of the rows; samples of workers overlap.

    round(fraction × rows) rows, drawn without replacement by a stream keyed by (seed,
    worker). A fraction of 1 gives every worker all rows. Source: Zinkevich et al. 2010,
    algorithm 3, draws the workers' rows at random.
    """

    def __init__(
        self,
        rows: int,
        workers: int,
        batch_size: int,
        *,
        fraction: float,
        seed: int = 0,
    ) -> None:
        self.fraction = fraction
        sizes = np.full(workers, max(1, round(fraction * rows)))
        super().__init__(rows, workers, batch_size, sizes=sizes, seed=seed)
        self._sample_of = lru_cache(maxsize=None)(self._draw)

    def _draw(self, worker: int) -> IntArray:
        # four words, the last not 0: no (seed, epoch, worker) gives the same stream
        stream = np.random.default_rng([self.seed, 0, worker, 1])
        rows = stream.permutation(self.rows)[: self.sizes[worker]]
        return np.sort(rows)

    def worker_rows(self, worker: int, indices: IntArray) -> IntArray:
        rows: IntArray = self._sample_of(worker)[indices]
        return rows


def _disjoint(options: TrainConfig, rows: int, workers: int) -> Plan:
    return Disjoint(rows, workers, options.batch_size, seed=options.seed)


def _replicate(options: TrainConfig, rows: int, workers: int) -> Plan:
    return Sample(rows, workers, options.batch_size, fraction=1.0, seed=options.seed)


def _sample(options: TrainConfig, rows: int, workers: int) -> Plan:
    fraction = options.fraction
    return Sample(
        rows, workers, options.batch_size, fraction=fraction, seed=options.seed
    )


PLANS: dict[str, Callable[[TrainConfig, int, int], Plan]] = {
    "disjoint": _disjoint,
    "replicate": _replicate,
    "sample": _sample,
}


def build_plan(options: TrainConfig, rows: int) -> Plan:
    """Return the plan for `rows` training rows; DataError where they are too few."""
    assert options.workers is not None  # set by `run.train`
    return PLANS[options.split](options, rows, options.workers)
