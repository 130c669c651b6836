"""Synchronous steps of a rank with one worker, many in one compiled call."""

import numpy as np

from ..comm.allreduce import SharedMemoryAllreduce
from ..data.load import SplitRows
from ..errors import check_finite
from ..transforms.optimizers import Transform, flatten


def can_fuse_sync(options, batches, objective, vectors, train):
    """Can synchronous steps of this rank be taken in one compiled call?

    Whether others do so as well makes no difference: they meet in the same way.
    """
    fits = (
        isinstance(vectors, SharedMemoryAllreduce)
        and vectors.compiled
        and isinstance(train, SplitRows)
    )
    return bool(
        fits
        and (options.strategy, options.average_from) == ("sync", None)
        and len(batches.workers) == 1
        and batches.plan.steps > 1
        and not vectors.clock.trace
        and getattr(objective, "supports_fused_sync", lambda X: False)(train.X)
    )


class FusedSyncStepper:
    """The steps of one worker of `sync`, and the counters of its transform.

    The state of the transform is as if each of its steps had been taken, so that a run
    goes on from here step by step, on other ranks, after a checkpoint.
    """

    def __init__(self, batches, vectors, rate):
        self.batches, self.vectors, self.rate = batches, vectors, rate
        self.totals = batches.plan.global_batch_sizes()
        self.counters = []

    def counted(self, transform):
        """Return the transform, its counters known here."""

        def init(weights):
            state = transform.init(weights)
            known = flatten(state).items()
            self.counters = [a for key, a in known if key.split("/")[-1] == "t"]
            return state

        return Transform(init, transform.update)

    def warm_up(self):
        """Compile, or load, what is called."""
        objective, part = self.batches.objective, self.batches.part
        none = np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0)
        steps, w = (*none, self.totals[:0]), np.zeros(objective.size, objective.dtype)
        objective.fused_sync_steps(
            w, part.X, part.y, steps, self.vectors.next_round_args()
        )

    def __call__(self, weights, step, until):
        """Take the steps `step` … `until`-1; Diverged where a mean is not finite."""
        plan = self.batches.plan
        rates = np.asarray(self.rate(np.arange(step, until)), dtype=np.float64)
        first = step
        while step < until:
            s = step % plan.steps
            many = min(until - step, plan.steps - s)
            due = rates[step - first :][:many], self.totals[s : s + many]
            done, spent = self.batches.fused_sync_steps(
                weights, step, due, self.vectors.next_round_args()
            )
            self.vectors.skip_rounds(done, spent / 1e9)
            if done < many:
                check_finite(np.nan, step + done, plan.steps)
            step += many
        for counter in self.counters:
            counter[...] = until
