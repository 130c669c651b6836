"""One vector whose mean over the steps is the model: averaged SGD."""

import numpy as np

from ..objectives.kernel_arguments import RunningMean
from .base import SharedWeights


class AveragedSgd(SharedWeights):
    """The model is the mean of the weights after each step from step `first` on.

    With the updates Δ₀ … Δ_{n-1} since then it is m = w - u / n, u = Σ k Δ_k: what an
    update does not touch need not be touched in u. Source: Polyak & Juditsky 1992; u
    after Daumé 2012, A Course in Machine Learning, §4.6, algorithm 7.
    """

    def __init__(self, weights, first, *, alone=False):
        super().__init__(weights, alone=alone)
        self.first, self.step = first, 0
        self.turned = np.zeros_like(self.weights)

    def push(self, update):
        if self.step > self.first:
            self.turned += (self.step - self.first) * update
        self.step += 1
        super().push(update)

    def descent(self, objective):
        pass_over = super().descent(objective)

        def descend(w, X, y, order, cuts, rates):
            mean = RunningMean(self.turned[0], self.step - self.first)
            pass_over(w, X, y, order, cuts, rates, mean=mean)
            self.step += len(rates)

        return pass_over and descend

    def consensus(self, step):
        if step <= self.first:
            return self.weights[0]
        return self.weights[0] - self.turned[0] / (step - self.first)

    def replicated_arrays(self):
        return super().replicated_arrays() | {"turned": self.turned}

    def restore(self, step):
        self.step = step
