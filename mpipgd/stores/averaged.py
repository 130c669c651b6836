"""Averaged SGD: the model is the mean of the weights over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..objectives.kernel_arguments import RunningMean
from .base import ReplicatedWeights

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray, IntArray
    from ..data.matrix import Matrix
    from ..data.weighted import Targets
    from ..objectives.base import CompiledObjective
    from ..plan.base import SgdKernel


class AveragedSgd(ReplicatedWeights):
    """The model is the mean of the weights after each step from step `first` on.

    With the updates Δ₀ … Δ_{n-1} since then it is m = w - u / n, u = Σ k Δ_k: an update
    of some weights changes u at these alone. Source: Polyak & Juditsky 1992; u after
    Daumé 2012, A Course in Machine Learning, §4.6, algorithm 7.
    """

    def __init__(
        self, weights: FloatArray, first: int, *, independent: bool = False
    ) -> None:
        super().__init__(weights, independent=independent)
        self.first, self.step = first, 0
        self.weighted_update_sum = np.zeros_like(self.weights)  # u

    def push(self, update: FloatArray) -> None:
        if self.step > self.first:
            self.weighted_update_sum += (self.step - self.first) * update
        self.step += 1
        super().push(update)

    def sgd_kernel(self, objective: CompiledObjective) -> SgdKernel | None:
        if not self.independent:
            return None

        def steps(
            w: FloatArray,
            X: Matrix,
            y: Targets,
            order: IntArray,
            offsets: IntArray,
            rates: FloatArray,
        ) -> None:
            n_updates = self.step - self.first
            mean = RunningMean(self.weighted_update_sum[0], n_updates)
            objective.sgd_steps(w, X, y, order, offsets, rates, mean=mean)
            self.step += len(rates)

        return steps

    def consensus(self, step: int) -> FloatArray:
        weights: FloatArray = self.weights[0]
        if step <= self.first:
            return weights
        return weights - self.weighted_update_sum[0] / (step - self.first)

    def replicated_arrays(self) -> dict[str, Array]:
        # "turned": the name in checkpoints
        return super().replicated_arrays() | {"turned": self.weighted_update_sum}

    def restore(self, step: int) -> None:
        self.step = step
