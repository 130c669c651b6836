"""Ways to take steps: one by one for any transform, many at once for plain SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..data.base import Split
    from ..objectives.base import Objective
    from ..plan.base import GradientBatches, SgdKernel
    from ..stores.base import Store
    from ..transforms.base import Transform
    from ..transforms.schedules import Schedule


class GenericStepper:
    """One step at a time, for all of this rank's workers at once.

        g = batches(w, t);  u, state = transform.update(g, state, w);  store.push(u)

    `state` is the transform's, made here; with a sharded store that is collective.
    """

    full_batch = False
    converged = False

    def __init__(
        self,
        batches: GradientBatches,
        transform: Transform,
        store: Store,
        objective: Objective,
        rows: Split,
    ) -> None:
        self.batches, self.transform, self.store = batches, transform, store
        self.objective, self.rows = objective, rows
        self.state = transform.init(store.pull())

    def advance(self, weights: FloatArray, step: int, until: int) -> None:
        batches, update, push = self.batches, self.transform.update, self.store.push
        for t in range(step, until):
            u, self.state = update(batches(weights, t), self.state, weights)
            push(u)

    def next_boundary(self, step: int) -> int:
        return self.batches.next_boundary(step)

    def warm_up(self) -> None:
        warm_up_gradients(self.objective, self.rows)


class FusedLocalStepper(GenericStepper):
    """Many plain-SGD steps of each worker in one compiled call.

    For stores whose workers exchange nothing between synchronizations. Fused and
    generic steps agree to rounding. The transform's state is not updated: plain SGD
    keeps only the number of steps, which the loop knows.
    """

    def __init__(
        self,
        batches: GradientBatches,
        transform: Transform,
        store: Store,
        objective: Objective,
        rows: Split,
        *,
        schedule: Schedule,
        kernel: SgdKernel,
    ) -> None:
        super().__init__(batches, transform, store, objective, rows)
        self.schedule, self.kernel = schedule, kernel

    def advance(self, weights: FloatArray, step: int, until: int) -> None:
        rates = np.asarray(self.schedule(np.arange(step, until)), dtype=np.float64)
        self.batches.sgd_steps(weights, step, until, rates, self.kernel)

    def warm_up(self) -> None:
        super().warm_up()
        w, no_rows = np.zeros(self.objective.size, self.objective.dtype), _NO_ROWS
        offsets, rates = np.zeros(1, np.int64), np.empty(0)
        self.kernel(w, self.rows.X, self.rows.y, no_rows, offsets, rates)


_NO_ROWS = np.empty(0, np.int64)


def warm_up_gradients(objective: Objective, rows: Split) -> None:
    """Compile, or load, the kernels of gradients and scores, by calls on no rows."""
    objective.warm_up(rows.X, rows.y)
    if rows.mapped_example is not None:
        w = np.zeros(objective.size, objective.dtype)
        objective.gradient(w, rows.mapped_example, rows.y, None, np.empty_like(w))
