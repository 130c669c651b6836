"""A sweep: linear models with different hyper-parameters, trained in one pass.

The weights of the K models are the columns of a matrix, so that one read of the rows,
one matrix product and one exchange serve all of them. Column k becomes, to rounding,
what a run of its own with configuration k gives.
"""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..config.options import SWEEP_KEYS
from ..data import matrix
from ..data.matrix import Csr, MappedRows
from ..data.weighted import Targets, split_weights
from ..errors import UsageError, nearest
from .linear import weighted
from .losses import LOSS_IDS, LOSSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from ..array_types import Array, FloatArray, IntArray
    from .base import LayerCallback, Matrix
    from .linear import Linear

BLOCK_BYTES = 1 << 18  # of X: it is read twice, the second time from the cache


def parse_sweep(text: str) -> list[dict[str, float]]:
    """Return the configurations of "lr=0.1,0.01 alpha=1e-3,1e-4": all combinations.

    A comma in place of the space is the same.

    Raises UsageError for an unknown key, or a value that is no number.
    """
    axes: dict[str, list[float]] = {}
    for word in text.replace(" ", ",").split(","):
        key, equals, value = word.rpartition("=")
        key = key.replace("-", "_") if equals else next(reversed(axes), "")
        if key not in SWEEP_KEYS:
            hint = nearest(key, SWEEP_KEYS)
            expected = f"expected {', '.join(SWEEP_KEYS)}"
            raise UsageError(
                f"--many {text}: unknown {key or word!r}, {expected}{hint}"
            )
        try:
            axes.setdefault(key, []).append(float(value))
        except ValueError:
            raise UsageError(f"--many {text}: {value!r} is no number") from None
    return [dict(zip(axes, values)) for values in itertools.product(*axes.values())]


class LinearSweep:
    """The losses of K linear models with one output, each with its own penalty.

    `models` (K) differ in their strengths only, and `configs` (K) are their
    hyper-parameters, name -> value. The weights are (width, K), flat. The penalty is a
    vector (K,) and `evaluate` returns a matrix (2, K): one column per model.
    """

    compiled: ClassVar[bool] = False  # no `sgd_steps`, though `gradient` has a kernel
    activation: ClassVar[str | None] = None
    layer_offsets: ClassVar[tuple[int, ...]] = ()
    supports_row_weights: ClassVar[bool] = True
    supports_mapped_rows: ClassVar[bool] = False
    supports_sparse_averaging: ClassVar[bool] = False

    def __init__(
        self, models: Sequence[Linear], configs: Sequence[Mapping[str, float]]
    ) -> None:
        self.models, self.configs, first = models, configs, models[0]
        self.n_models = self.n_outputs = len(models)
        self.n_features, self.intercept = first.n_features, first.intercept
        self.loss, self.dtype, self.epsilon = first.loss, first.dtype, first.epsilon
        self.size = first.size * len(models)
        self.shapes: dict[str, tuple[int, ...]]
        self.shapes = {"coef": (self.n_features, len(models))}
        if self.intercept:
            self.shapes["intercept"] = (len(models),)

    @cached_property
    def l2_weights(self) -> FloatArray | None:
        """The l2 strength of each weight (size,), or None."""
        return self._interleave([model.l2_weights for model in self.models])

    @cached_property
    def l1_weights(self) -> FloatArray | None:
        """The l1 strength of each weight (size,), or None."""
        return self._interleave([model.l1_weights for model in self.models])

    @cached_property
    def penalised(self) -> FloatArray | None:
        """1 for each weight that penalties are for, 0 for intercepts (size,)."""
        return self._interleave([model.penalised for model in self.models])

    def _interleave(self, columns: list[FloatArray | None]) -> FloatArray | None:
        """Return the columns of a matrix (width, K), of which None is zeros, flat."""
        if all(column is None for column in columns):
            return None
        zero = np.zeros(self.models[0].size, self.dtype)
        return np.stack(
            [zero if column is None else column for column in columns], axis=1
        ).reshape(-1)

    @property
    def smooth(self) -> bool:
        """Whether the loss is smooth and no model has an l1 penalty."""
        return LOSSES[self.loss].smooth and self.l1_weights is None

    def lr_factors(self, lr: float) -> FloatArray | None:
        """Return each weight's learning rate over `lr` (size,), None if all are 1."""
        rates = np.array([config.get("lr", lr) for config in self.configs])
        if np.all(rates == lr):
            return None
        return np.tile(rates / lr, self.models[0].size)

    @property
    def loss_unit(self) -> float:
        """That of the models."""
        return self.models[0].loss_unit

    def with_standardized_target(self, mean: float, deviation: float) -> LinearSweep:
        """Return the sweep of the models for a standardised target."""
        models = [m.with_standardized_target(mean, deviation) for m in self.models]
        return LinearSweep(models, self.configs)

    def raw_weights(self, w: FloatArray) -> FloatArray:
        """Return the weights of all models in units of the data."""
        columns = zip(self.models, self._as_matrix(w).T)
        raw = [model.raw_weights(column) for model, column in columns]
        return np.stack(raw, axis=1).reshape(-1)

    def init(self, rng: np.random.Generator | None) -> FloatArray:
        """Return zeros (size,)."""
        return np.zeros(self.size, self.dtype)

    def targets(self, y: Array) -> Array:
        """Return y as the loss takes it."""
        return self.models[0].targets(y)

    def gradient(
        self,
        w: FloatArray,
        X: Matrix | MappedRows,
        y: Targets,
        rows: IntArray | None,
        out: FloatArray,
        on_layer_ready: LayerCallback | None = None,
    ) -> float:
        """Write the gradient sums over X[rows] into `out`; return the sum of losses.

        `on_layer_ready` is not called: there are no layers.
        """
        W, G = self._as_matrix(w), self._as_matrix(out)
        y, u = split_weights(y)
        if isinstance(X, Csr):
            sparse = self._kernels.sparse
            return sparse.outputs_gradient(W, X[:3], y, u, rows, G, self._loss_params)
        assert not isinstance(X, MappedRows)  # supports_mapped_rows is False
        if self.models[0].compiled and X.flags.c_contiguous:
            matmul = self._kernels.matmul
            return matmul.outputs_gradient(W, X, y, u, rows, G, self._loss_params)
        return self._numpy_gradient(W, X, y, u, rows, G)

    def _numpy_gradient(
        self,
        W: FloatArray,
        X: FloatArray,
        y: Array,
        u: FloatArray | None,
        rows: IntArray | None,
        G: FloatArray,
    ) -> float:
        loss = LOSSES[self.loss]
        n, total = len(y) if rows is None else len(rows), 0.0
        block = max(16, BLOCK_BYTES // max(1, X.itemsize * X.shape[1]))
        G[...] = 0
        for lo in range(0, n, block):
            index: slice | IntArray = slice(lo, lo + block)
            if rows is not None:
                index = _as_slice(rows[lo : lo + block])
            Xb, yb = X[index], y[index, None]
            p, ub = Xb @ W, None if u is None else u[index]
            values = weighted(loss.value(p, yb, self.epsilon), ub)
            total += values.sum(dtype=np.float64)
            G += Xb.T @ weighted(loss.slope(p, yb, self.epsilon), ub)
        return float(total)

    def evaluate(self, w: FloatArray, X: Matrix, y: Targets) -> FloatArray:
        """Return [loss sums, score sums] (2, K) over all rows, as `Linear.evaluate`."""
        loss, p, (y, u) = LOSSES[self.loss], self._raw_output(w, X), split_weights(y)
        column = y[:, None]
        values = weighted(loss.value(p, column, self.epsilon), u)
        totals = values.sum(axis=0, dtype=np.float64)
        if loss.task == "regression":
            scores = weighted(np.square(p - column), u)
        else:
            hits = (p > 0) == (column > 0)
            scores = hits if u is None else hits * u[:, None]
        scores = scores.sum(axis=0, dtype=np.float64)
        return np.array([totals, scores], dtype=np.float64)

    def output(self, w: FloatArray, X: Matrix) -> FloatArray:
        """Return the predictions or decision values of all models, (n, K)."""
        return self._raw_output(w, X)

    def predict(self, w: FloatArray, X: Matrix) -> Array:
        """Return the predicted values, or class indices, of all models, (n, K)."""
        p = self._raw_output(w, X)
        return p if LOSSES[self.loss].task == "regression" else (p > 0).astype(np.intp)

    def _raw_output(self, w: FloatArray, X: Matrix) -> FloatArray:
        if not isinstance(X, Csr):
            return X @ self._as_matrix(w)
        p = np.empty((matrix.n_rows(X), self.n_outputs), self.dtype)
        self._kernels.sparse.product(X[:3], self._as_matrix(w), p)
        return p

    def penalty(self, w: FloatArray) -> FloatArray:
        """Return the penalties (K,), float64."""
        columns = zip(self.models, self._as_matrix(w).T)
        return np.array([model.penalty(column) for model, column in columns])

    def extract(self, k: int, w: FloatArray) -> tuple[Linear, FloatArray]:
        """Return the k-th model, and its weights."""
        return self.models[k], self._as_matrix(w)[:, k].copy()

    def warm_up(self, X: Matrix, y: Targets) -> None:
        """Compile the kernels of `gradient` and `evaluate` by calls on no rows."""
        w, out = self.init(None), self.init(None)
        self.gradient(w, X, y, np.empty(0, np.int64), out)
        self.gradient(w, matrix.slice_rows(X, 0, 0), y[:0], None, out)
        self.evaluate(w, matrix.slice_rows(X, 0, 0), y[:0])

    def supports_fused_sync(self, X: Matrix) -> bool:
        """Return False: there are no compiled steps."""
        return False

    def steps_per_call(self, X: Matrix, batch_size: int) -> int:
        """Return 0: there are no compiled steps that a call must take together."""
        return 0

    def _as_matrix(self, w: FloatArray) -> FloatArray:
        return w.reshape(-1, self.n_outputs)

    @cached_property
    def _loss_params(self) -> tuple[int, float]:
        return LOSS_IDS[self.loss], float(self.epsilon)  # `LossParams`

    @cached_property
    def _kernels(self) -> ModuleType:
        from . import kernels  # imports numba

        return kernels


def _as_slice(rows: IntArray) -> slice | IntArray:
    """Return consecutive row numbers as a slice, which copies nothing, else `rows`."""
    if rows[-1] - rows[0] == len(rows) - 1 and np.all(rows[1:] > rows[:-1]):
        return slice(rows[0], rows[-1] + 1)
    return rows
