"""What an objective is: the loss of a model over rows, and its gradient.

Objectives know neither MPI nor optimizers. They do not average: losses and gradients
are sums over the rows, which callers add up over workers and divide by the number of
rows of the global batch. Penalties are apart, for they are added once, not once per
worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from ..array_types import FloatArray, IntArray
from ..data.matrix import Csr, MappedRows
from .kernel_arguments import NO_MEAN

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from ..array_types import Array
    from ..comm.base import SharedMemoryRound
    from ..data.weighted import Targets
    from .kernel_arguments import HogwildExchange, RunningMean, SyncSgdSteps

    Matrix: TypeAlias = FloatArray | Csr  # rows of features
    Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
    # called with lo as soon as out[lo:] holds the final gradient
    LayerCallback: TypeAlias = Callable[[int], object]


class Objective(Protocol):
    """The mean of a loss over rows plus a penalty, as a function of flat weights.

    Weights `w` and gradients are vectors (size,) of `dtype`, contiguous. X has n rows,
    (n, width), where width is `n_features`, plus 1 with `intercept`: its last column is
    then ones. y (n,) is what `targets` returned, or `WeightedTargets` of that, whose
    weights multiply the rows' losses and gradients. No method changes w, X or y, except
    where it says so, and every returned array is new.
    """

    @property
    def n_features(self) -> int:
        """The number of features, without the column of ones."""

    @property
    def n_outputs(self) -> int:
        """The number of raw outputs per row: classes, models of a sweep, or 1."""

    @property
    def loss(self) -> str:
        """The name of the loss, a key of `LOSSES`."""

    @property
    def activation(self) -> str | None:
        """The name of the hidden layers' activation; None without hidden layers."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of weights, gradients and features: float32 or float64."""

    @property
    def size(self) -> int:
        """The number of weights."""

    @property
    def shapes(self) -> Shapes:
        """The shape of each named array of weights, in their flat order."""

    @property
    def intercept(self) -> bool:
        """Whether X must have a last column of ones, whose weight has no penalty."""

    @property
    def l2_weights(self) -> FloatArray | None:
        """The l2 strength of each weight (size,), or None for no l2 penalty."""

    @property
    def l1_weights(self) -> FloatArray | None:
        """The l1 strength of each weight (size,), or None for no l1 penalty."""

    @property
    def penalised(self) -> FloatArray | None:
        """1 for each weight that penalties are for, 0 for others (size,); None: all."""

    @property
    def compiled(self) -> bool:
        """Whether it runs numba kernels and is a `CompiledObjective`."""

    @property
    def smooth(self) -> bool:
        """Whether it is continuously differentiable, so that L-BFGS can minimise it."""

    @property
    def n_models(self) -> int:
        """The number of models trained together: K for a sweep, else 1."""

    @property
    def layer_offsets(self) -> tuple[int, ...]:
        """The lo at which `gradient` calls `on_layer_ready`, from the last layer to the
        first; empty if the gradient is not computed layer by layer."""

    @property
    def supports_row_weights(self) -> bool:
        """Whether y may be `WeightedTargets`."""

    @property
    def supports_mapped_rows(self) -> bool:
        """Whether `gradient` takes `MappedRows`, with all rows, as X."""

    @property
    def supports_sparse_averaging(self) -> bool:
        """Whether `sgd_steps` can keep the mean over the steps on sparse rows."""

    @property
    def loss_unit(self) -> float:
        """What losses and penalties are multiplied by to be in units of the data: the
        target's deviation squared where it was standardised, else 1."""

    def with_standardized_target(self, mean: float, deviation: float) -> Objective:
        """Return the objective of the target (y - mean) / deviation, for raw y.

        Its `targets` take raw y; linear models have the minimum of the raw objective.
        Returns self where the loss has no such form.
        """

    def raw_weights(self, w: FloatArray) -> FloatArray:
        """Return the weights (size,) that predict the target in units of the data."""

    def init(self, rng: np.random.Generator) -> FloatArray:
        """Return initial weights (size,), drawn from `rng` where they are random."""

    def targets(self, y: Array) -> Array:
        """Return y (n,) as the loss takes it: real numbers or ±1 of `dtype`, or class
        indices (intp). DataError for a class that the model does not have."""

    def gradient(
        self,
        w: FloatArray,
        X: Matrix | MappedRows,
        y: Targets,
        rows: IntArray | None,
        out: FloatArray,
        on_layer_ready: LayerCallback | None = None,
    ) -> float:
        """Write the sum of the gradients over X[rows] into `out`; return the loss sum.

        `rows` are row numbers (int64), repeated ones counted as often, or None for all.
        `out` (size,) belongs to the caller and need not be zero. The penalty is not
        included. `on_layer_ready(lo)` is called once for each of `layer_offsets`, as
        soon as out[lo:] is final, so that its reduction over ranks can begin.
        """

    def evaluate(self, w: FloatArray, X: Matrix, y: Targets) -> FloatArray:
        """Return [loss sum, score sum] over all rows, float64; it adds up over blocks.

        The score sum is the number of rows predicted right, for regression Σ (p - y)²;
        a row counts by its weight. (2,), or (2, K) for a sweep; of several targets,
        Σ (p - y)² of each, (1 + targets,).
        """

    def output(self, w: FloatArray, X: Matrix) -> FloatArray:
        """Return predictions or decision values (n,), or probabilities (n, C)."""

    def predict(self, w: FloatArray, X: Matrix) -> Array:
        """Return predicted values, or class indices (intp), (n,)."""

    def penalty(self, w: FloatArray) -> Any:
        """Return ½ Σ l2 w² + Σ l1 |w|, a float; (K,) float64 for a sweep."""

    def warm_up(self, X: Matrix, y: Targets) -> None:
        """Compile the kernels that `gradient` and `evaluate` take for such X and y.

        Calls them on no rows. For `sgd_steps` the caller does so itself, since stores
        choose its arguments.
        """

    def supports_fused_sync(self, X: Matrix) -> bool:
        """Whether it can take `fused_sync_steps` over such rows."""

    def lr_factors(self, lr: float) -> FloatArray | None:
        """Return each weight's learning rate over `lr` (size,), or None if all are 1.

        None for all but sweeps.
        """

    def steps_per_call(self, X: Matrix, batch_size: int) -> int:
        """Return the number of steps of an epoch that one `sgd_steps` call must take.

        0 means any number: the result does not depend on it.
        """


class NumpyObjective:
    """What an objective without numba kernels, of one model, answers to `Objective`.

    A base class for such objectives; they override what they can do.
    """

    compiled = False
    n_models = 1
    activation: str | None = None
    smooth = True
    intercept = False
    l2_weights: FloatArray | None = None
    l1_weights: FloatArray | None = None
    penalised: FloatArray | None = None
    layer_offsets: tuple[int, ...] = ()
    supports_row_weights = False
    supports_mapped_rows = False
    supports_sparse_averaging = False

    @property
    def loss_unit(self) -> float:
        """1: losses are in units of the data."""
        return 1.0

    def with_standardized_target(self, mean: float, deviation: float) -> Objective:
        """Return self: the target stays as it is."""
        return cast("Objective", self)

    def raw_weights(self, w: FloatArray) -> FloatArray:
        """Return w: the target is that of the data."""
        return w

    def warm_up(self, X: Matrix, y: Targets) -> None:
        """Do nothing: there is nothing to compile."""

    def supports_fused_sync(self, X: Matrix) -> bool:
        """Return False: there are no compiled steps."""
        return False

    def lr_factors(self, lr: float) -> FloatArray | None:
        """Return None: all weights have the learning rate `lr`."""
        return None

    def steps_per_call(self, X: Matrix, batch_size: int) -> int:
        """Return 0: there are no compiled steps that a call must take together."""
        return 0


class CompiledObjective(Objective, Protocol):
    """An objective with numba kernels that take many plain SGD steps in one call."""

    def sgd_steps(
        self,
        w: FloatArray,
        X: Matrix,
        y: Targets,
        order: IntArray,
        offsets: IntArray,
        rates: FloatArray,
        *,
        exchange: HogwildExchange | None = None,
        mean: RunningMean = NO_MEAN,
    ) -> None:
        """Take plain SGD steps on `w`, in place.

        Step s reads the rows order[offsets[s]:offsets[s + 1]]. With their mean gradient
        g: w <- soft_threshold(w - rates[s] (g + l2 w), rates[s] l1). The bits do not
        depend on how steps are divided into calls, if calls end at multiples of
        `steps_per_call`. `order` and `offsets` (steps + 1,) are int64, `rates` (steps,)
        is float64. `exchange` and `mean`, of which at most one is given, are described
        at their classes.
        """

    def fused_sync_steps(
        self,
        w: FloatArray,
        X: Matrix,
        y: Targets,
        steps: SyncSgdSteps,
        round_args: SharedMemoryRound,
    ) -> tuple[int, int]:
        """Take steps of synchronous SGD together with all other ranks, in place.

        `round_args` is what the allreduce's `next_round_args` returned. Returns the
        number of steps taken until a mean gradient was not finite, and the nanoseconds
        spent in sums over ranks.
        """
