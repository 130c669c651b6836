"""Where the weights live, and when the workers meet."""

import math

import numpy as np

from .exchange import finite


class One:
    """One replica for all workers: every rank holds the same (1, size) weights."""

    replicated = False  # a replica of its own for every worker?

    def __init__(self, weights, *, alone=False):
        self.weights = weights[None].copy()
        self.alone = alone  # does nobody else push between two meetings?

    def pull(self):
        """Return the weights to read, (replicas, size); they change in place."""
        return self.weights

    def push(self, update):
        """Add an update of the same shape."""
        self.weights += update

    def next(self, step):
        """Return the step at which the workers meet next: never, as they never part."""
        return math.inf

    def settle(self, step):
        """Meet the others if it is time; return whether they met."""
        return False

    def consensus(self, step):
        """Return the one model (size,) there is after `step` updates; collective."""
        return self.weights[0]

    def finish(self, step):
        """Leave every replica at the consensus; collective."""

    def restore(self, step):
        """Go on after `step` updates with weights that were filled in."""


class Replicas(One):
    """A replica a worker, averaged when due, weighted by the rows since the last time.

    w = Σ_k n_k w_k / Σ_k n_k. `due(step)` names the next averaging after a step.
    Source: McDonald et al. 2010, §3 (iterative parameter mixing); averaged once, at
    the end, it is Zinkevich et al. 2010, algorithm 3.
    """

    replicated = alone = True

    def __init__(self, weights, total, plan, due):
        self.weights = np.repeat(weights[None], total.grid.hosted, axis=0)
        self.total, self.plan, self.next = total, plan, due
        self.met = 0  # the step of the last averaging

    def settle(self, step):
        if self.next(self.met) != step:
            return False
        self.weights[...] = self.consensus(step)
        self.met = step
        return True

    def consensus(self, step):
        if step == self.met:
            return self.weights[0].copy()
        grid = self.total.grid
        rows = self.plan.read(self.met, step)
        rows //= max(1, np.gcd.reduce(rows))  # equal workers: a plain mean, exactly
        mine = rows[grid.first : grid.last, None].astype(self.weights.dtype)
        mean = self.total(self.weights * mine) / self.weights.dtype.type(rows.sum())
        finite(mean.dot(mean), step - 1, self.plan.steps)
        return mean

    def finish(self, step):
        self.weights[...] = self.consensus(step)
        self.met = step

    def restore(self, step):
        self.met = self.last(step)

    def last(self, step):
        """Return the step of the last averaging at or before `step`."""
        met = 0
        while (due := self.next(met)) <= step:
            met = due
        return met
