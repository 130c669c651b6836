"""Local SGD: a replica of the weights for each worker, averaged when it is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import check_finite
from ..transforms.base import flatten
from .base import Store

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray
    from ..comm.base import Allreduce
    from ..plan.base import Plan
    from ..transforms.base import Transform

SyncSchedule = Callable[[float], float]  # step -> step of the next synchronization


class LocalSgd(Store):
    """A replica for each worker; averages weighted by the rows since the last one.

    m = Σ_k n_k w_k / Σ_k n_k, when `sync_schedule` says so. Source: McDonald et al.
    2010, §3 (iterative parameter mixing); averaged once, at the end, it is Zinkevich et
    al. 2010, algorithm 3.

    With an `outer` optimizer the next common model is its step from the last one, a,
    with the gradient a - m; without it, it is m. With momentum this is SlowMo (Wang et
    al. 2020, algorithm 1) and block momentum (Chen & Huo 2016), with Nesterov's DiLoCo
    (Douillard et al. 2023, algorithm 1). It is used after step `outer_from`.

    keep_pre_average: keep the replicas from before each average for `replicas`.
    """

    per_worker = independent = True

    def __init__(
        self,
        weights: FloatArray,
        allreduce: Allreduce,
        plan: Plan,
        sync_schedule: SyncSchedule,
        *,
        outer: Transform | None = None,
        outer_from: int = 0,
        keep_pre_average: bool = False,
    ) -> None:
        n_local_workers = allreduce.grid.n_local_workers
        self.weights = np.repeat(weights[None], n_local_workers, axis=0)
        self.allreduce, self.plan, self.sync_schedule = allreduce, plan, sync_schedule
        self.last_sync = 0  # step of the last average
        self.pre_average = self.weights.copy() if keep_pre_average else None
        self.outer, self.outer_from = outer, outer_from
        if outer:
            self.anchor = weights[None].copy()  # the last common model
            self.outer_state = outer.init(self.anchor)

    def pull(self) -> FloatArray:
        return self.weights

    def push(self, update: FloatArray) -> None:
        self.weights += update

    def next_sync(self, step: float) -> float:
        return self.sync_schedule(step)

    def synchronize(self, step: int) -> bool:
        if self.next_sync(self.last_sync) != step:
            return False
        if self.pre_average is not None:
            self.pre_average[...] = self.weights
        self.average(step)
        self.last_sync = step
        return True

    def average(self, step: int) -> None:
        """Replace every replica by the next common model; collective."""
        model = self.mean(step)
        if self.outer:
            if step > self.outer_from:
                update, _ = self.outer.update(
                    self.anchor - model, self.outer_state, self.anchor
                )
                model = (self.anchor + update)[0]
            self.anchor[...] = model
        self.weights[...] = model

    def mean(self, step: int) -> FloatArray:
        """Return the weighted mean (size,) of the replicas; collective."""
        grid = self.allreduce.grid
        rows = self.plan.rows_consumed(self.last_sync, step)
        rows //= max(1, np.gcd.reduce(rows))  # equal workers: a plain mean, exactly
        local_rows = rows[grid.first : grid.last, None].astype(self.weights.dtype)
        mean = self.allreduce(self.weights * local_rows)
        mean = mean / self.weights.dtype.type(rows.sum())
        norm = self.allreduce.squared_norm(mean)
        check_finite(norm, step - 1, self.plan.steps, "model")
        return mean

    def consensus(self, step: int) -> FloatArray:
        return self.weights[0].copy() if step == self.last_sync else self.mean(step)

    def replicas(self, step: int) -> FloatArray:
        if step == self.last_sync and self.pre_average is not None:
            return self.pre_average
        return self.weights

    def finalize(self, step: int) -> None:
        self.weights[...] = self.consensus(step)
        self.last_sync = step

    def worker_arrays(self) -> dict[str, Array]:
        return {"weights": self.weights}

    def replicated_arrays(self) -> dict[str, Array]:
        if not self.outer:
            return {}
        state = flatten(self.outer_state)
        return {f"outer/{key}": array for key, array in state.items()} | {
            "anchor": self.anchor
        }

    def restore(self, step: int) -> None:
        self.last_sync = 0
        while (next_sync := self.next_sync(self.last_sync)) <= step:
            self.last_sync = int(next_sync)


class ElasticAveraging(LocalSgd):
    """Replicas and a center that are pulled towards each other when it is due.

    c <- (1-β) c + β m,  w_k <- (1-α) w_k + α c,  with m the mean as in `LocalSgd`, α =
    `pull` and β = min(1, W α). The center moves first, and it is the model of the run;
    with α = 1 this is plain averaging. Source: EASGD, Zhang, Choromanska & LeCun 2015,
    §3, where the replicas are pulled towards the center from before its move.
    """

    def __init__(
        self,
        weights: FloatArray,
        allreduce: Allreduce,
        plan: Plan,
        sync_schedule: SyncSchedule,
        *,
        pull: float,
        keep_pre_average: bool = False,
    ) -> None:
        super().__init__(
            weights,
            allreduce,
            plan,
            sync_schedule,
            keep_pre_average=keep_pre_average,
        )
        self.center = weights[None].copy()
        self.replica_pull = weights.dtype.type(pull)
        self.center_pull = weights.dtype.type(min(1.0, plan.workers * pull))

    def average(self, step: int) -> None:
        self.center[...] = self._moved_center(step)
        a = self.replica_pull
        self.weights *= 1 - a
        self.weights += a * self.center

    def _moved_center(self, step: int) -> FloatArray:
        b = self.center_pull
        moved: FloatArray = (1 - b) * self.center[0] + b * self.mean(step)
        return moved

    def consensus(self, step: int) -> FloatArray:
        if step == self.last_sync:
            return self.center[0].copy()
        return self._moved_center(step)

    def finalize(self, step: int) -> None:
        self.center[...] = self.consensus(step)
        self.weights[...] = self.center
        self.last_sync = step

    def replicated_arrays(self) -> dict[str, Array]:
        return {"centre": self.center}  # the name in checkpoints
