"""One vector in shared memory of a node: each rank updates its slice of it."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from ..comm import mpi
from ..errors import check_finite
from ..transforms.base import State, Transform
from .base import Store

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray
    from ..comm.base import Allreduce
    from ..comm.reduce_scatter import PostedNorms


class ShardedWeights(Store):
    """One replica for all workers, in memory that the ranks of a node share.

    A rank has its slice of every gradient sum, updates that slice of the optimizer's
    state, and that slice of the weights (as ZeRO does between ranks, Rajbhandari et al.
    2020, §5). Every number is computed as it would be in the whole vector, so that the
    bits are those of `ReplicatedWeights`.

    norms: the squared norms of the gradient's slices, see `reduce_scatter_mean`.
    """

    def __init__(
        self,
        weights: FloatArray,
        allreduce: Allreduce,
        norms: PostedNorms,
        steps_per_epoch: int,
    ) -> None:
        self.allreduce, self.norms = allreduce, norms
        self.steps_per_epoch, self.step = steps_per_epoch, 0
        self.windows: list[mpi.SharedArray] = []
        self.weights = self._shared(weights[None])

    def _shared(self, array: Array) -> Array:
        """Return a copy of an array, the same on all ranks, in the node's memory."""
        window = mpi.SharedArray(self.allreduce.grid.node, array.shape, array.dtype)
        window.array[...] = array
        window.barrier()
        self.windows.append(window)
        return window.array

    def pull(self) -> FloatArray:
        return self.weights

    def push(self, update: FloatArray) -> None:
        """Add an update (1, slice) to this rank's slice."""
        self.weights[:, self.allreduce.slice] += update
        began = perf_counter()
        self.windows[0].barrier()
        self.allreduce.clock.count_exchange(began)
        check_finite(self.norms.total(), self.step, self.steps_per_epoch)
        self.step += 1

    def consensus(self, step: int) -> FloatArray:
        weights: FloatArray = self.weights[0]
        return weights

    def replicated_arrays(self) -> dict[str, Array]:
        return {"weights": self.weights}

    def sharded(self, transform: Transform) -> Transform:
        """Return a transform whose state is shared, each rank updating its slice.

        Takes and gives slices (1, slice); 0-d arrays of the state stay each rank's own.
        """

        def share(state: State, weights: FloatArray) -> State:
            if isinstance(state, tuple):
                return tuple(share(link, weights) for link in state)
            return {
                key: self._shared(array) if array.shape == weights.shape else array
                for key, array in state.items()
            }

        def slice_of(state: State) -> State:
            if isinstance(state, tuple):
                return tuple(slice_of(link) for link in state)
            return {
                key: array[:, self.allreduce.slice] if array.ndim else array
                for key, array in state.items()
            }

        def init(weights: FloatArray) -> State:
            return share(transform.init(weights), weights)

        cached: tuple[State, State] | None = None  # the last state, and its slice

        def update(
            gradient: FloatArray, state: State, weights: FloatArray
        ) -> tuple[FloatArray, State]:
            nonlocal cached
            if cached is None or cached[0] is not state:
                cached = state, slice_of(state)
            local_weights = weights[:, self.allreduce.slice]
            return transform.update(gradient, cached[1], local_weights)[0], state

        return Transform(init, update)

    def restore(self, step: int) -> None:
        self.step = step
        self.windows[0].barrier()

    def free(self) -> None:
        self.weights = np.array(self.weights)  # readable after the windows are gone
        for window in self.windows:
            window.free()
