"""Named groups of arguments of the compiled kernels.

numba passes a NamedTuple as it passes a tuple: its fields are separate values, and None
is a type of its own, so that a kernel compiled without a penalty does not test for one.

What Python passes in every step goes to a kernel as a plain tuple with these fields:
numba takes 0.6 µs longer to read a NamedTuple.

These classes load no numba, because stores build some of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..array_types import FloatArray, IntArray


class LossParams(NamedTuple):
    """Which loss: its number in `LOSS_IDS`, and huber's epsilon.

    The loss is a number, not a function, so that one compilation serves all losses.
    """

    loss_id: int
    epsilon: float


class SgdSteps(NamedTuple):
    """Consecutive steps: step s reads the rows order[offsets[s]:offsets[s + 1]].

    `order` are row numbers (int64), `offsets` (steps + 1,) int64, and `rates` (steps,)
    float64 the learning rates.
    """

    order: IntArray
    offsets: IntArray
    rates: FloatArray


class SyncSgdSteps(NamedTuple):
    """Steps of one rank, as `SgdSteps`, of batches spread over all ranks.

    `batch_sizes` (steps,) are the numbers of rows that all ranks together read.
    """

    order: IntArray
    offsets: IntArray
    rates: FloatArray
    batch_sizes: IntArray


class PenaltyWeights(NamedTuple):
    """The l2 and the l1 strength of each weight (size,); None is no such penalty."""

    l2: FloatArray | None
    l1: FloatArray | None


class RunningMean(NamedTuple):
    """What the mean of the weights over the steps is computed from, see `AveragedSgd`.

    u = `weighted_update_sum` (size,) is updated in place, u <- u + k Δ, for the change
    Δ of the weights in step k of those averaged. `n_updates` is k at the first step of
    a call, negative where averaging begins later: nothing is added until k > 0.
    """

    weighted_update_sum: FloatArray | None
    n_updates: int


NO_MEAN = RunningMean(None, 0)


class HogwildExchange(NamedTuple):
    """A rank's exchange of updates with a vector in shared memory, without locks.

    `shared` (size,) is that vector, and `base` (size,) what it was when this rank last
    read it. The weights numbered `hot_weights` (k,) are exchanged after every `chunk`
    steps. All weights are cut into `n_slices` slices, of which one is exchanged after a
    chunk; `next_slice` (1,) is its number, advanced in place.
    """

    base: FloatArray
    shared: FloatArray
    hot_weights: IntArray
    next_slice: IntArray
    n_slices: int
    chunk: int
