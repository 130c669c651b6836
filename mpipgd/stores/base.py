"""The contract of a store: where the weights live, and when workers synchronize."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray
    from ..objectives.base import CompiledObjective
    from ..plan.base import SgdKernel


class Store(ABC):
    """Where the weights live, and when the workers exchange them.

    per_worker    updates, and arrays of the transform's state, have a row for each of
                  this rank's workers; else one row, (1, size)
    independent   no other rank changes the weights between synchronizations, so that a
                  compiled call may take many steps

    What a store keeps goes into checkpoints as arrays: `worker_arrays` have a row for
    each of this rank's workers, `replicated_arrays` are the same on all ranks.
    """

    per_worker = False
    independent = False

    @abstractmethod
    def pull(self) -> FloatArray:
        """Return the weights to compute gradients at, (1 or n_local_workers, size).

        They belong to the store, which changes them in place; compiled steps of an
        independent store change them in place, too.
        """

    @abstractmethod
    def push(self, update: FloatArray) -> None:
        """Add an update: (n_local_workers, size) with `per_worker`, else (1, size).

        The update is given away. Raises DivergenceError on all ranks where a sharded
        gradient was not finite.
        """

    def sgd_kernel(self, objective: CompiledObjective) -> SgdKernel | None:
        """Return the kernel that takes many steps on a row of `pull`, or None."""
        return objective.sgd_steps if self.independent else None

    def next_sync(self, step: float) -> float:
        """Return the step of the next synchronization after `step`; inf: never."""
        return math.inf

    def synchronize(self, step: int) -> bool:
        """Exchange weights with the others if it is due after `step` updates.

        Returns whether it was; collective then. Raises DivergenceError on all ranks
        where the common weights are not finite.
        """
        return False

    @abstractmethod
    def consensus(self, step: int) -> FloatArray:
        """Return the one model (size,) that there is after `step` updates.

        Collective; the same bits on all ranks. The caller must not change it.
        """

    def replicas(self, step: int) -> FloatArray | None:
        """Return the models (n_local_workers, size) of this rank's workers, or None.

        None where workers have no model of their own. After an average, the models from
        before it, if the store keeps them.
        """
        return None

    def finalize(self, step: int) -> None:
        """Set every replica to the consensus, at the end of training; collective."""

    def worker_arrays(self) -> dict[str, Array]:
        """Return name -> array (n_local_workers, …), for checkpoints."""
        return {}

    @abstractmethod
    def replicated_arrays(self) -> dict[str, Array]:
        """Return name -> array that is the same on all ranks; collective."""

    def restore(self, step: int) -> None:
        """Go on after `step` updates, all arrays having been filled in; collective."""

    def summary(self) -> dict[str, Any]:
        """Return what the store adds to summary.json; collective."""
        return {}

    def free(self) -> None:
        """Free what the ranks share; collective."""


class ReplicatedWeights(Store):
    """One vector for all workers: every rank holds the same weights (1, size).

    independent: whether there is only one worker, and so no exchange between steps.
    """

    def __init__(self, weights: FloatArray, *, independent: bool = False) -> None:
        self.weights = weights[None].copy()
        self.independent = independent

    def pull(self) -> FloatArray:
        return self.weights

    def push(self, update: FloatArray) -> None:
        self.weights += update

    def consensus(self, step: int) -> FloatArray:
        weights: FloatArray = self.weights[0]
        return weights

    def replicated_arrays(self) -> dict[str, Array]:
        return {"weights": self.weights}
