"""Synchronous steps of a rank with one worker, many in one compiled call."""

import numpy as np

from .data.load import Part
from .exchange import finite
from .sums import Flagged
from .transforms import Transform, flatten


def marching(options, batches, objective, vectors, train):
    """Can synchronous steps of this rank be taken in one compiled call?

    Whether others do so as well makes no difference: they meet in the same way.
    """
    fits = isinstance(vectors, Flagged) and vectors.compiled and isinstance(train, Part)
    return bool(
        fits
        and (options.strategy, options.average_from) == ("sync", None)
        and len(batches.workers) == 1
        and batches.plan.steps > 1
        and not vectors.clock.trace
        and getattr(objective, "marches", lambda X: False)(train.X)
    )


class March:
    """The steps of one worker of `sync`, and the counters of its transform.

    The state of the transform is as if each of its steps had been taken, so that a run
    goes on from here step by step, on other ranks, after a checkpoint.
    """

    def __init__(self, batches, vectors, rate):
        self.batches, self.vectors, self.rate = batches, vectors, rate
        self.totals = batches.plan.totals()
        self.counters = []

    def counted(self, transform):
        """Return the transform, its counters known here."""

        def init(weights):
            state = transform.init(weights)
            known = flatten(state).items()
            self.counters = [a for key, a in known if key.split("/")[-1] == "t"]
            return state

        return Transform(init, transform.update)

    def warm(self):
        """Compile, or load, what is called."""
        objective, part = self.batches.objective, self.batches.part
        none = np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0)
        steps, w = (*none, self.totals[:0]), np.zeros(objective.size, objective.dtype)
        objective.march(w, part.X, part.y, steps, self.vectors.meeting())

    def __call__(self, weights, step, until):
        """Take the steps `step` … `until`-1; Diverged where a mean is not finite."""
        plan = self.batches.plan
        rates = np.asarray(self.rate(np.arange(step, until)), dtype=np.float64)
        first = step
        while step < until:
            s = step % plan.steps
            many = min(until - step, plan.steps - s)
            due = rates[step - first :][:many], self.totals[s : s + many]
            done, spent = self.batches.march(weights, step, due, self.vectors.meeting())
            self.vectors.met(done, spent / 1e9)
            if done < many:
                finite(np.nan, step + done, plan.steps)
            step += many
        for counter in self.counters:
            counter[...] = until
