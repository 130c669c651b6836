"""Linear regression of several targets at once: one raw output per target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import matrix
from ..data.matrix import MappedRows
from ..data.weighted import Targets, split_weights
from .base import NumpyObjective
from .linear import penalty, weighted
from .losses import LOSSES

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..array_types import Array, FloatArray, IntArray
    from .base import LayerCallback, Matrix


class MultiOutputLinear(NumpyObjective):
    """Mean over rows of Σ_k loss(x · w_k, y_k), plus l2 ½‖W‖² + l1 Σ|W|.

    With `intercept` the last column of X is ones, and its weights are not penalised.
    `loss` is squared or huber, y (n, n_outputs); the minimum is that of each target
    alone.
    """

    supports_row_weights = True

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        *,
        loss: str = "squared",
        l2: float = 0.0,
        l1: float = 0.0,
        intercept: bool = True,
        epsilon: float = 0.1,
        dtype: DTypeLike = np.float64,
    ) -> None:
        self.n_features, self.n_outputs = n_features, n_outputs
        self.loss, self.epsilon, self.intercept = loss, epsilon, intercept
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shapes: dict[str, tuple[int, ...]] = {"coef": (n_features, n_outputs)}
        if intercept:
            self.shapes |= {"intercept": (n_outputs,)}
        self.size = (n_features + intercept) * n_outputs
        self.penalised: FloatArray = np.ones(self.size, self.dtype)
        self.penalised[n_features * n_outputs :] = 0
        self.l2_weights = l2 * self.penalised if l2 else None
        self.l1_weights = l1 * self.penalised if l1 else None
        self.smooth = LOSSES[loss].smooth and not l1

    def init(self, rng: np.random.Generator | None) -> FloatArray:
        """Return zeros (size,)."""
        return np.zeros(self.size, self.dtype)

    def targets(self, y: Array) -> Array:
        """Return y (n, n_outputs) as floats."""
        return np.ascontiguousarray(y, dtype=self.dtype)

    def gradient(
        self,
        w: FloatArray,
        X: Matrix | MappedRows,
        y: Targets,
        rows: IntArray | None,
        out: FloatArray,
        on_layer_ready: LayerCallback | None = None,
    ) -> float:
        """Write the gradient sum over X[rows] into `out`; return the loss sum."""
        assert not isinstance(X, MappedRows)  # supports_mapped_rows is False
        if rows is not None:
            X, y = matrix.take_rows(X, rows), y[rows]
        loss, (y, u) = LOSSES[self.loss], split_weights(y)
        p = self.output(w, X)
        slopes = weighted(loss.slope(p, y, self.epsilon), u)
        matrix.transposed_product(X, slopes, self._as_matrix(out))
        values = weighted(loss.value(p, y, self.epsilon), u)
        return float(values.sum(dtype=np.float64))

    def evaluate(self, w: FloatArray, X: Matrix, y: Targets) -> FloatArray:
        """Return [loss sum, Σ (p - y)² of each output], (1 + n_outputs,) float64.

        A row counts by its weight.
        """
        loss, (y, u) = LOSSES[self.loss], split_weights(y)
        p = self.output(w, X)
        total = weighted(loss.value(p, y, self.epsilon), u).sum(dtype=np.float64)
        squares = weighted(np.square(p - y), u).sum(axis=0, dtype=np.float64)
        return np.array([total, *squares])

    def output(self, w: FloatArray, X: Matrix) -> FloatArray:
        """Return predictions (n, n_outputs)."""
        return matrix.product(X, self._as_matrix(w))

    def predict(self, w: FloatArray, X: Matrix) -> Array:
        """Return predictions (n, n_outputs)."""
        return self.output(w, X)

    def penalty(self, w: FloatArray) -> float:
        """Return ½ Σ l2 w² + Σ l1 |w|."""
        return penalty(w, self.l2_weights, self.l1_weights)

    def _as_matrix(self, w: FloatArray) -> FloatArray:
        return w.reshape(-1, self.n_outputs)
