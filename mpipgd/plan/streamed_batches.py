"""Rows that stay on the disk: piles of them in memory, the next read ahead.

A rank has two buffers a worker for the piles of its descent, and two more for passes
in order: scores, moments, whole gradients.
"""

from bisect import bisect_right
from time import perf_counter

import numpy as np

from ..data.out_of_core import row_bytes
from .block_shuffle import BlockShuffle


class StreamedBatches:
    """The gradients of the hosted workers, as `stream.Batches`, from piles of rows."""

    steps_per_call = 0

    def __init__(self, objective, plan, part, workers, *, clock, sums=None):
        self.objective, self.plan, self.reader = objective, plan, part.reader
        self.workers, self.clock = list(workers), clock
        self.sums = sums
        if sums is None:
            self.sums = np.empty((len(self.workers), objective.size), objective.dtype)
        header, rows = part.reader.source.header, part.buffer_rows
        self.piles = BlockShuffle(plan, rows, row_bytes(header, objective))
        self.of = [self.piles.of(worker) for worker in self.workers]
        self.ends = [[pile.until for pile in piles] for piles in self.of]
        self.cuts = [plan.step_offsets(worker) for worker in self.workers]
        self.buffers = [
            [self.reader.buffer(rows) for _ in range(2)] for _ in self.workers
        ]
        self.here = [None] * len(self.workers)  # (epoch, number), X, y, order
        self.coming = [None] * len(self.workers)  # (epoch, number), future
        self.extra = np.empty(objective.size, objective.dtype)

    @property
    def interruptible(self):
        """Can a compiled pass take the steps? Not where one needs several piles."""
        return not self.piles.split

    def whole(self, step):
        """Return the first step from this one on at which a compiled pass may end."""
        return step

    def _ask(self, i, place, turn):
        (epoch, number), worker = place, self.workers[i]
        ranges = self.piles.ranges(epoch, worker, self.of[i][number])
        buffer, alone = self.buffers[i][turn], self._alone(i, number)
        return place, self.reader.prefetch("train", ranges, buffer, mapped=alone), turn

    def _alone(self, i, number):
        """Are all rows of a pile for one step that no compiled pass takes?"""
        pile = self.of[i][number]
        return self.piles.split and pile.first >= self.cuts[i][pile.until - 1]

    def _pile(self, i, epoch, number):
        """Return X, y and order (None: all) of a worker's pile; let the next come."""
        place = epoch, number
        if self.here[i] and self.here[i][0] == place:
            return self.here[i][1:]
        began, coming = perf_counter(), self.coming[i]
        if coming is None or coming[0] != place:
            if coming:
                coming[1].result()
            coming = self._ask(i, place, 0)
        _, future, turn = coming
        X, y = future.result()
        self.clock.count_read_wait(began)
        after = (epoch, number + 1) if number + 1 < len(self.of[i]) else (epoch + 1, 0)
        self.coming[i] = self._ask(i, after, 1 - turn)
        order, pile = None, self.of[i][number]
        if not self._alone(i, number):
            order = self.piles.order(epoch, self.workers[i], number, pile)
        self.here[i] = place, X, y, order
        return X, y, order

    def _numbers(self, i, s):
        """Return the numbers of the piles that hold the rows of a step: one, or all."""
        ends = self.ends[i]
        first = bisect_right(ends, s)
        return range(first, bisect_right(ends, ends[first]))

    def __call__(self, weights, step):
        epoch, s = divmod(step, self.plan.steps)
        for i, out in enumerate(self.sums):
            w = weights[0] if len(weights) == 1 else weights[i]
            out[...] = 0
            for number in self._numbers(i, s):
                X, y, order = self._pile(i, epoch, number)
                if order is not None:
                    first = self.of[i][number].first
                    lo, hi = self.cuts[i][s : s + 2] - first
                    order = order[lo:hi]
                self.objective.gradient(w, X, y, order, self.extra)
                out += self.extra
        return self.sums

    def descend(self, weights, step, until, rates, taken):
        """Take the plain-SGD steps `step` … `until`-1 in place, compiled."""
        while step < until:
            epoch, s = divmod(step, self.plan.steps)
            many = min(until - step, self.plan.steps - s)
            for i, w in enumerate(weights):
                self._through(i, w, (epoch, s, s + many), rates, taken)
            step, rates = step + many, rates[many:]

    def _through(self, i, w, span, rates, taken):
        epoch, s, end = span
        begin = s
        while s < end:
            (number,) = self._numbers(i, s)
            X, y, order = self._pile(i, epoch, number)
            pile = self.of[i][number]
            t = min(end, pile.until)
            cuts = self.cuts[i][s : t + 1] - pile.first
            taken(w, X, y, order, cuts, rates[s - begin : t - begin])
            s = t
