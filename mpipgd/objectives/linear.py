"""Linear models: one raw output p = x · w per row, or C of them for softmax."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..data import matrix
from ..data.matrix import Csr, MappedRows
from ..data.weighted import Targets, split_weights
from .kernel_arguments import (
    NO_MEAN,
    HogwildExchange,
    RunningMean,
    SyncSgdSteps,
)
from .losses import LOSS_IDS, LOSSES, class_indices, probabilities, standardized

if TYPE_CHECKING:
    from types import ModuleType

    from ..array_types import Array, BoolArray, FloatArray, IntArray
    from ..comm.base import SharedMemoryRound
    from .base import LayerCallback, Matrix

FLOAT64 = np.dtype(np.float64)
ROWS_PER_CALL = 1024  # sparse rows, at least, that a compiled call takes
MAX_KERNEL_WEIGHTS = 1 << 17  # for more, a BLAS makes better use of the caches


@dataclass(frozen=True)
class Linear:
    """Mean loss(x · w, y) + l2 ½‖w‖² + l1 ‖w‖₁; a `CompiledObjective` if `compiled`.

    With `intercept` the last column of X is ones, and its weight is not penalised.
    `n_outputs` is the number of classes for softmax, else 1; `epsilon` is huber's.
    Without `compiled`, numpy is used instead of numba's kernels. The target is
    (y - target_mean) / target_deviation.
    """

    n_features: int
    n_outputs: int = 1
    loss: str = "squared"
    l2: float = 0.0
    l1: float = 0.0
    intercept: bool = True
    epsilon: float = 0.1
    dtype: np.dtype[Any] = FLOAT64
    compiled: bool = False
    target_mean: float = 0.0
    target_deviation: float = 1.0

    activation: ClassVar[str | None] = None
    n_models: ClassVar[int] = 1
    layer_offsets: ClassVar[tuple[int, ...]] = ()
    supports_row_weights: ClassVar[bool] = True

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the weights, in flat order."""
        columns = (self.n_outputs,) if self.loss == "softmax" else ()
        shapes: dict[str, tuple[int, ...]] = {"coef": (self.n_features, *columns)}
        if self.intercept:
            shapes["intercept"] = columns or (1,)
        return shapes

    @cached_property
    def size(self) -> int:
        """The number of weights."""
        return (self.n_features + self.intercept) * self.n_outputs

    @cached_property
    def l2_weights(self) -> FloatArray | None:
        """The l2 strength of each weight (size,), or None."""
        return self._strengths(self.l2)

    @cached_property
    def l1_weights(self) -> FloatArray | None:
        """The l1 strength of each weight (size,), or None."""
        return self._strengths(self.l1)

    @cached_property
    def penalised(self) -> FloatArray | None:
        """1 for each weight that penalties are for, 0 for intercepts (size,)."""
        return self._strengths(1.0)

    def _strengths(self, strength: float) -> FloatArray | None:
        if strength == 0:
            return None
        strengths = np.full(self.size, strength, dtype=self.dtype)
        strengths[self.n_features * self.n_outputs :] = 0
        return strengths

    @property
    def smooth(self) -> bool:
        """Whether the loss is smooth and there is no l1 penalty."""
        return LOSSES[self.loss].smooth and self.l1_weights is None

    @property
    def supports_mapped_rows(self) -> bool:
        """Whether `gradient` takes `MappedRows`: the kernel of one output does."""
        return self.compiled and self.loss != "softmax"

    @property
    def supports_sparse_averaging(self) -> bool:
        """Whether `sgd_steps` can keep the mean over the steps on sparse rows."""
        return self.l1_weights is None and self.loss != "softmax"

    @property
    def loss_unit(self) -> float:
        """The deviation of the raw target squared, see `with_standardized_target`."""
        return self.target_deviation**2

    def with_standardized_target(self, mean: float, deviation: float) -> Linear:
        """Return the objective for (y - mean) / s of raw y, with the same minimum.

        With s the deviation, loss(s p, s y, s epsilon) = s² loss(p, y, epsilon), and
        l1 ‖s w‖₁ = s² (l1/s) ‖w‖₁: epsilon and l1 become epsilon/s and l1/s, l2 stays,
        and raw values are s² times these. Returns self for other losses.
        """
        if not LOSSES[self.loss].quadratic:
            return self
        return replace(
            self,
            l1=self.l1 / deviation,
            epsilon=self.epsilon / deviation,
            target_mean=mean,
            target_deviation=deviation,
        )

    def raw_weights(self, w: FloatArray) -> FloatArray:
        """Return s w, and s b + mean for an intercept b."""
        if self.target_deviation == 1 and self.target_mean == 0:
            return w
        raw = w.astype(np.float64) * self.target_deviation
        if self.intercept:
            raw[self.n_features :] += self.target_mean
        return raw.astype(self.dtype)

    def init(self, rng: np.random.Generator | None) -> FloatArray:
        """Return zeros (size,): every loss here is convex."""
        return np.zeros(self.size, dtype=self.dtype)

    def targets(self, y: Array) -> Array:
        """Return y as the loss takes it: floats, ±1, or class indices."""
        task = LOSSES[self.loss].task
        if task == "regression":
            return standardized(y, self.target_mean, self.target_deviation, self.dtype)
        classes = class_indices(y, 2 if task == "binary" else self.n_outputs)
        return (2 * classes - 1).astype(self.dtype) if task == "binary" else classes

    def gradient(
        self,
        w: FloatArray,
        X: Matrix | MappedRows,
        y: Targets,
        rows: IntArray | None,
        out: FloatArray,
        on_layer_ready: LayerCallback | None = None,
    ) -> float:
        """Write the gradient sum over X[rows] into `out`; return the loss sum.

        `rows` are row numbers (int64), or None for all; the penalty is not included.
        `on_layer_ready` is not called: there are no layers.
        """
        if isinstance(X, MappedRows):
            return self._mapped_gradient(w, X, y, out)
        if not self.compiled or not self._has_kernel(X):
            return self._numpy_gradient(w, X, y, rows, out)
        kernel, arrays = self._kernel_for(X)
        y, u = split_weights(y)
        if self.loss == "softmax":
            W, G = self._as_matrix(w), self._as_matrix(out)
            return kernel.outputs_gradient(W, arrays, y, u, rows, G, self._loss_params)
        return kernel.gradient(w, arrays, y, u, rows, out, self._loss_params)

    def _has_kernel(self, X: Matrix) -> bool:
        """Return whether there is a kernel for such rows that is faster than numpy."""
        if isinstance(X, Csr) or self.loss != "softmax":
            return True
        return X.flags.c_contiguous and self.size <= MAX_KERNEL_WEIGHTS

    def _kernel_for(self, X: Matrix) -> tuple[Any, Any]:
        """Return the module with the kernels for such rows, and X as they take it."""
        if isinstance(X, Csr):
            return self._kernels.sparse, X[:3]
        softmax = self.loss == "softmax"
        return self._kernels.matmul if softmax else self._kernels.dense, X

    def _mapped_gradient(
        self, w: FloatArray, X: MappedRows, targets: Targets, out: FloatArray
    ) -> float:
        out[...] = 0
        total, lo = 0.0, 0
        for data, spans in X.segments:
            hi = lo + int(spans[:, 1].sum())
            y, u = split_weights(targets[lo:hi])
            total += self._kernels.dense.mapped_gradient(
                w, data, spans, y, u, X.scaling, out, self._loss_params
            )
            lo = hi
        return total

    def _numpy_gradient(
        self,
        w: FloatArray,
        X: Matrix,
        targets: Targets,
        rows: IntArray | None,
        out: FloatArray,
    ) -> float:
        if rows is not None:
            X, targets = matrix.take_rows(X, rows), targets[rows]
        loss, (y, u) = LOSSES[self.loss], split_weights(targets)
        p = matrix.product(X, self._as_matrix(w))
        r = weighted(loss.slope(p, y, self.epsilon), u)
        matrix.transposed_product(X, r, self._as_matrix(out))
        values = weighted(loss.value(p, y, self.epsilon), u)
        return float(values.sum(dtype=np.float64))

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
        """Take plain SGD steps on `w` in place, in one compiled call.

        Step s reads the rows order[offsets[s]:offsets[s + 1]]; with their mean gradient
        g, w <- soft_threshold(w - rates[s] (g + l2 w), rates[s] l1). `order` and
        `offsets` (steps + 1,) are int64, `rates` (steps,) float64. The bits do not
        depend on how steps are divided into calls, see `steps_per_call`.

        With `exchange`, w is exchanged with a vector in shared memory after every chunk
        of steps, see `kernels.hogwild`. With `mean`, u <- u + max(0, k + s) Δ for the
        change Δ of w in step s, see `RunningMean`.
        """
        steps = order, offsets, rates  # `SgdSteps`
        penalty, loss = self._penalty_weights, self._loss_params
        kernel, arrays = self._kernel_for(X)
        y, u = split_weights(y)
        softmax = self.loss == "softmax"
        if exchange is not None:
            n_outputs = self.n_outputs if softmax else None
            self._kernels.hogwild.hogwild_sgd_steps(
                w, arrays, y, u, steps, penalty, loss, n_outputs, exchange
            )
        elif softmax:
            W = self._as_matrix(w)
            kernel.softmax_sgd_steps(W, arrays, y, u, steps, penalty, loss, tuple(mean))
        else:
            kernel.sgd_steps(w, arrays, y, u, steps, penalty, loss, tuple(mean))

    def supports_fused_sync(self, X: Matrix) -> bool:
        """Whether `fused_sync_steps` takes such rows: dense, without an l1 penalty."""
        dense = self.compiled and not isinstance(X, Csr)
        return dense and self._has_kernel(X) and self.l1_weights is None

    def fused_sync_steps(
        self,
        w: FloatArray,
        X: Matrix,
        y: Targets,
        steps: SyncSgdSteps,
        round_args: SharedMemoryRound,
    ) -> tuple[int, int]:
        """Take steps of synchronous SGD with all ranks, in one compiled call.

        See `CompiledObjective` and `kernels.fused_sync`.
        """
        y, u = split_weights(y)
        return self._kernels.fused_sync.sync_sgd_steps(
            w,
            X,
            y,
            u,
            tuple(steps),  # plain tuples, see `kernel_arguments`
            self.l2_weights,
            self._loss_params,
            self.n_outputs if self.loss == "softmax" else None,
            tuple(round_args),
        )

    def lr_factors(self, lr: float) -> None:
        """Return None: all weights have the learning rate `lr`."""

    def steps_per_call(self, X: Matrix, batch_size: int) -> int:
        """Return how many steps of an epoch one call of `sgd_steps` must take; 0: any.

        On sparse rows penalties are postponed to the end of a call at the latest, so
        that the bits depend on where calls end. Each end costs as much as some hundred
        rows.
        """
        if not isinstance(X, Csr) or (
            self.l2_weights is None and self.l1_weights is None
        ):
            return 0
        return max(1, max(ROWS_PER_CALL, X.width // 8) // batch_size)

    def evaluate(self, w: FloatArray, X: Matrix, y: Targets) -> FloatArray:
        """Return [loss sum, rows predicted right] over all rows, float64.

        For regression the second is Σ (p - y)². A row counts by its weight.
        """
        loss, p = LOSSES[self.loss], self._raw_output(w, X)
        y, u = split_weights(y)
        total = weighted(loss.value(p, y, self.epsilon), u).sum(dtype=np.float64)
        if loss.task == "regression":
            score = weighted(np.square(p - y), u).sum(dtype=np.float64)
        else:
            expected = y > 0 if loss.task == "binary" else y
            score = weighted_count(self._predict_from_outputs(p) == expected, u)
        return np.array([total, score], dtype=np.float64)

    def output(self, w: FloatArray, X: Matrix) -> FloatArray:
        """Return predictions or decision values (n,), or probabilities (n, C)."""
        p = self._raw_output(w, X)
        return probabilities(p) if self.loss == "softmax" else p

    def predict(self, w: FloatArray, X: Matrix) -> Array:
        """Return predicted values, or class indices, (n,)."""
        return self._predict_from_outputs(self._raw_output(w, X))

    def penalty(self, w: FloatArray) -> float:
        """Return ½ Σ l2 w² + Σ l1 |w|."""
        return penalty(w, self.l2_weights, self.l1_weights)

    def warm_up(self, X: Matrix, y: Targets) -> None:
        """Compile the kernels of `gradient` and `evaluate` by calls on no rows."""
        if not self.compiled:
            return
        w = np.zeros(self.size, dtype=self.dtype)
        no_rows, out = np.empty(0, dtype=np.int64), np.empty_like(w)
        self.gradient(w, X, y, no_rows, out)
        self.gradient(w, matrix.slice_rows(X, 0, 0), y[:0], None, out)
        self.evaluate(w, matrix.slice_rows(X, 0, 0), y[:0])

    def _predict_from_outputs(self, p: FloatArray) -> Array:
        task = LOSSES[self.loss].task
        if task == "regression":
            return p
        return (p > 0).astype(np.intp) if task == "binary" else p.argmax(axis=1)

    def _raw_output(self, w: FloatArray, X: Matrix) -> FloatArray:
        W = self._as_matrix(w)
        if not (self.compiled and isinstance(X, Csr)):
            return matrix.product(X, W)
        p = np.empty((matrix.n_rows(X), *W.shape[1:]), dtype=w.dtype)
        columns = (-1, self.n_outputs)
        self._kernels.sparse.product(X[:3], W.reshape(columns), p.reshape(columns))
        return p

    def _as_matrix(self, w: FloatArray) -> FloatArray:
        """Return w as (width, n_outputs) for softmax, else as it is."""
        return w.reshape(-1, self.n_outputs) if self.loss == "softmax" else w

    @cached_property
    def _loss_params(self) -> tuple[int, float]:
        return LOSS_IDS[self.loss], float(self.epsilon)  # `LossParams`

    @cached_property
    def _penalty_weights(self) -> tuple[FloatArray | None, FloatArray | None]:
        return self.l2_weights, self.l1_weights  # `PenaltyWeights`

    @cached_property
    def _kernels(self) -> ModuleType:
        from . import kernels  # imports numba

        return kernels


def weighted(values: FloatArray, u: FloatArray | None) -> FloatArray:
    """Return values (n, …) of rows times the rows' weights (n,), in their dtype."""
    if u is None:
        return values
    u = u.astype(values.dtype, copy=False)
    return values * u.reshape(-1, *[1] * (values.ndim - 1))


def weighted_count(hits: BoolArray, u: FloatArray | None) -> float:
    """Return the sum of the weights (n,) of the rows where `hits` (n,) is true."""
    if u is None:
        return float(np.count_nonzero(hits))
    return float(u[hits].sum(dtype=np.float64))


def penalty(
    w: FloatArray, l2_weights: FloatArray | None, l1_weights: FloatArray | None
) -> float:
    """Return ½ Σ l2 w² + Σ l1 |w| in float64; None is no penalty."""
    w = w.astype(np.float64)
    l2 = 0.0 if l2_weights is None else 0.5 * float(np.sum(l2_weights * w * w))
    return l2 if l1_weights is None else l2 + float(np.sum(l1_weights * np.abs(w)))
