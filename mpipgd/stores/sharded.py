"""One vector a node, in shared memory: each rank updates its slice of it."""

from time import perf_counter

import numpy as np

from ..comm import mpi
from ..errors import check_finite
from ..transforms.optimizers import Transform
from .base import SharedWeights


class ShardedWeights(SharedWeights):
    """One replica for all workers, in memory that the ranks of a node share.

    A rank has a slice of every gradient sum, keeps that slice of the optimizer's state
    up to date, and changes that slice of the weights (as ZeRO does between ranks,
    Rajbhandari et al. 2020, §5). Every number is computed as it would be in a whole
    vector, so that the bits are those of `One`.
    """

    def __init__(self, weights, total, steps_per_epoch):
        self.total, self.epoch, self.step = total, steps_per_epoch, 0
        self.windows = []
        self.weights = self._shared(weights[None])

    def _shared(self, array):
        """Return the array, the same on all ranks, in memory that a node shares."""
        window = mpi.SharedArray(self.total.grid.node, array.shape, array.dtype)
        window.array[...] = array
        window.barrier()
        self.windows.append(window)
        return window.array

    def push(self, update):
        self.weights[:, self.total.slice] += update
        began = perf_counter()
        self.windows[0].barrier()
        self.total.clock.count_exchange(began)
        check_finite(self.total.sum_norms(), self.step, self.epoch)
        self.step += 1

    def sliced(self, transform):
        """Return a transform of slices: its state is shared, and each keeps its own."""
        views = {}

        def shared(state, whole):
            if isinstance(state, tuple):
                return tuple(shared(each, whole) for each in state)
            return {
                key: self._shared(array) if array.shape == whole.shape else array
                for key, array in state.items()
            }

        def cut(state):
            if isinstance(state, tuple):
                return tuple(map(cut, state))
            return {
                k: a[:, self.total.slice] if a.ndim else a for k, a in state.items()
            }

        def init(weights):
            state = shared(transform.init(weights), weights)
            views["state"] = cut(state)
            return state

        def update(gradient, state, weights):
            part = weights[:, self.total.slice]
            return transform.update(gradient, views["state"], part)[0], state

        return Transform(init, update)

    def restore(self, step):
        self.step = step
        self.windows[0].barrier()

    def free(self):
        self.weights = np.array(self.weights)
        for window in self.windows:
            window.free()
