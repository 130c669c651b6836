"""Batches of the hosted workers, and the gradients over them."""

from functools import partial

import numpy as np

from ..data.matrix import slice_rows


class Batches:
    """The gradients of the hosted workers over their batches of one step.

    Called with weights (replicas, size) and the number of the update, returns the
    gradient sums (hosted, size), a row a worker; one replica is read by all of them.
    """

    interruptible = True  # can a compiled pass take many steps?

    def __init__(self, objective, plan, part, workers, *, sums=None):
        self.objective, self.plan, self.part = objective, plan, part
        self.workers = list(workers)
        self.sums = sums  # to be written into, where they are to lie in one place
        if sums is None:
            self.sums = np.empty((len(self.workers), objective.size), objective.dtype)
        self.cuts = [plan.step_offsets(worker) for worker in self.workers]
        self.steps = [cuts.tolist() for cuts in self.cuts]  # quicker to look into
        self.steps_per_call = (
            0  # steps that a call of a compiled pass takes; 0: as it likes
        )
        self.epoch = None
        self.gradients = [objective.gradient] * len(self.workers)

    def tell(self, arrived):
        """Let the last gradient of a step call arrived(place) as it becomes final."""
        self.gradients[-1] = partial(
            self.objective.gradient, on_layer_ready=arrived
        )

    def _begin(self, epoch):
        self.epoch = epoch
        self.order = [self.plan.order(epoch, worker) for worker in self.workers]
        for order in self.order:
            order -= self.part.first
        self.blocks = [self._in_one_piece(order) for order in self.order]

    def _in_one_piece(self, order):
        """Return X and y of all rows of a worker where a step takes them in order."""
        first, end = (order[0], order[-1] + 1) if len(order) else (0, 0)
        if self.plan.steps > 1 or end - first != len(order):
            return None
        return slice_rows(self.part.X, first, end), self.part.y[first:end]

    def __call__(self, weights, step):
        epoch, s = divmod(step, self.plan.steps)
        if epoch != self.epoch:
            self._begin(epoch)
        X, y = self.part.X, self.part.y
        shared = len(weights) == 1
        for i, (order, cuts) in enumerate(zip(self.order, self.steps)):
            w, gradient = weights[0] if shared else weights[i], self.gradients[i]
            if self.blocks[i]:
                gradient(w, *self.blocks[i], None, self.sums[i])
            else:
                gradient(w, X, y, order[cuts[s] : cuts[s + 1]], self.sums[i])
        return self.sums

    def fused_sync_steps(self, weights, step, due, meeting):
        """Take the first worker's next steps with all others, compiled.

        `due`: rates and rows of all workers at each of them; see `Linear.march`.
        """
        epoch, s = divmod(step, self.plan.steps)
        if epoch != self.epoch:
            self._begin(epoch)
        cuts = self.cuts[0][s : s + len(due[0]) + 1]
        steps = self.order[0], cuts, *due
        return self.objective.fused_sync_steps(
            weights[0], self.part.X, self.part.y, steps, meeting
        )

    def whole(self, step):
        """Return the first step from this one on at which a compiled pass may end."""
        s, grain = step % self.plan.steps, self.steps_per_call or 1
        return step - s + min(-(-s // grain) * grain, self.plan.steps)

    def descend(self, weights, step, until, rates, taken):
        """Take the plain-SGD steps `step` … `until`-1 in place, compiled.

        Only for workers that need nobody between the steps; `rates` are theirs, and
        `taken` is the pass, called as `objective.sgd_steps`.
        """
        while step < until:
            epoch, s = divmod(step, self.plan.steps)
            if epoch != self.epoch:
                self._begin(epoch)
            many = min(until - step, self.plan.steps - s)
            if self.steps_per_call:
                many = min(many, self.whole(step + 1) - step)
            for w, order, cuts in zip(weights, self.order, self.cuts):
                steps = cuts[s : s + many + 1]
                taken(w, self.part.X, self.part.y, order, steps, rates[:many])
            step, rates = step + many, rates[many:]
