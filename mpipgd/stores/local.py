"""A replica a worker: averaged when due, or pulled to a centre."""

import numpy as np

from ..errors import check_finite
from ..transforms.optimizers import flatten
from .base import SharedWeights


class LocalSgd(SharedWeights):
    """A replica a worker, averaged when due, weighted by the rows since the last time.

    m = Σ_k n_k w_k / Σ_k n_k. `due(step)` names the next averaging after a step.
    Source: McDonald et al. 2010, §3 (iterative parameter mixing); averaged once, at
    the end, it is Zinkevich et al. 2010, algorithm 3.

    `outer` is an optimizer whose step from the last common model a, with the gradient
    a - m, gives the next one; without it that is m. With momentum it is SlowMo (Wang
    et al. 2020, algorithm 1) and block momentum (Chen & Huo 2016), with Nesterov's
    DiLoCo (Douillard et al. 2023, algorithm 1). It starts after step `since`.
    """

    per_worker = independent = True

    def __init__(self, weights, total, plan, due, *, outer=None, since=0, kept=False):
        self.weights = np.repeat(weights[None], total.grid.n_local_workers, axis=0)
        self.total, self.plan, self.next = total, plan, due
        self.met = 0  # the step of the last averaging
        self.parted = self.weights.copy() if kept else None  # as they were before it
        self.outer, self.since = outer, since
        if outer:
            self.anchor = weights[None].copy()
            self.state = outer.init(self.anchor)

    def synchronize(self, step):
        if self.next(self.met) != step:
            return False
        if self.parted is not None:
            self.parted[...] = self.weights
        self.meet(step)
        self.met = step
        return True

    def meet(self, step):
        """Replace every replica by the next common model; collective."""
        mean = self.mean(step)
        if self.outer:
            if step > self.since:
                update, _ = self.outer.update(
                    self.anchor - mean, self.state, self.anchor
                )
                mean = (self.anchor + update)[0]
            self.anchor[...] = mean
        self.weights[...] = mean

    def mean(self, step):
        """Return the weighted mean (size,) of the replicas; collective."""
        grid = self.total.grid
        rows = self.plan.rows_consumed(self.met, step)
        rows //= max(1, np.gcd.reduce(rows))  # equal workers: a plain mean, exactly
        mine = rows[grid.first : grid.last, None].astype(self.weights.dtype)
        mean = self.total(self.weights * mine) / self.weights.dtype.type(rows.sum())
        check_finite(self.total.squared_norm(mean), step - 1, self.plan.steps, "model")
        return mean

    def consensus(self, step):
        return self.weights[0].copy() if step == self.met else self.mean(step)

    def replicas(self, step):
        before = step == self.met and self.parted is not None
        return self.parted if before else self.weights

    def finalize(self, step):
        self.weights[...] = self.consensus(step)
        self.met = step

    def worker_arrays(self):
        return {"weights": self.weights}

    def replicated_arrays(self):
        if not self.outer:
            return {}
        return {f"outer/{k}": array for k, array in flatten(self.state).items()} | {
            "anchor": self.anchor
        }

    def restore(self, step):
        self.met = 0
        while (due := self.next(self.met)) <= step:
            self.met = due


class ElasticAveraging(LocalSgd):
    """Replicas and a centre that pull at each other when due.

    c <- (1-β) c + β m,  w_k <- (1-α) w_k + α c,  with m the mean as in `Replicas` and
    β = min(1, W α). The centre moves first, and it is the model of the run; with α = 1
    this is plain averaging. Source: EASGD, Zhang, Choromanska & LeCun 2015, §3, whose
    replicas are pulled by the centre from before the move.
    """

    def __init__(self, weights, total, plan, due, *, pull, kept=False):
        super().__init__(weights, total, plan, due, kept=kept)
        self.centre = weights[None].copy()
        self.pull_of_one = weights.dtype.type(pull)
        self.pull_of_all = weights.dtype.type(min(1.0, plan.workers * pull))

    def meet(self, step):
        self.centre[...] = self._moved(step)
        a = self.pull_of_one
        self.weights *= 1 - a
        self.weights += a * self.centre

    def _moved(self, step):
        b = self.pull_of_all
        return (1 - b) * self.centre[0] + b * self.mean(step)

    def consensus(self, step):
        return self.centre[0].copy() if step == self.met else self._moved(step)

    def finalize(self, step):
        self.centre[...] = self.consensus(step)
        self.weights[...] = self.centre
        self.met = step

    def replicated_arrays(self):
        return {"centre": self.centre}
