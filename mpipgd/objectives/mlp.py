"""The multilayer perceptron: h_l = activation(h_{l-1} W_l + b_l), a linear output."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data.matrix import Csr, MappedRows, n_rows, slice_rows
from ..data.weighted import Targets, split_weights
from ..errors import UsageError
from .base import NumpyObjective
from .linear import penalty, weighted, weighted_count
from .losses import LOSSES, class_indices, probabilities, standardized
from .weights import size, views

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike

    from ..array_types import Array, FloatArray, IntArray
    from .base import LayerCallback, Matrix

BLOCK_ROWS = 2048  # rows that are evaluated at a time


class Activation(NamedTuple):
    """An activation function and its backward pass, both in place.

    forward(z): z <- h = activation(z). backward(delta, h): delta <- delta h', for the
    derivative h' in z, written in h; the contents of h are lost.
    """

    forward: Callable[[FloatArray], object]
    backward: Callable[[FloatArray, FloatArray], None]


def sigmoid(z: FloatArray) -> None:
    """z <- 1 / (1 + exp(-z)) in place, computed by tanh, which cannot overflow."""
    z *= 0.5
    np.tanh(z, out=z)
    z += 1
    z *= 0.5


def sigmoid_back(delta: FloatArray, h: FloatArray) -> None:
    """delta <- delta h (1 - h); h is overwritten."""
    delta *= h
    np.subtract(1, h, out=h)
    delta *= h


def tanh_back(delta: FloatArray, h: FloatArray) -> None:
    """delta <- delta (1 - h²); h is overwritten."""
    np.square(h, out=h)
    np.subtract(1, h, out=h)
    delta *= h


def relu_back(delta: FloatArray, h: FloatArray) -> None:
    """delta <- delta where h > 0, else 0."""
    delta *= h > 0


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, sigmoid_back),
    "tanh": Activation(lambda z: np.tanh(z, out=z), tanh_back),
    "relu": Activation(lambda z: np.maximum(z, 0, out=z), relu_back),
}


class MLP(NumpyObjective):
    """Mean loss(output, y) + ½ Σ_l alpha_l ‖W_l‖²; biases are not penalised.

    With one output, or `regression`, y holds numbers, (n,) or (n, n_outputs), else
    classes. The loss is softmax, or squared: ½ Σ (output - y)² per row, classes
    one-hot. `hidden` are the widths of the
    hidden layers; `alpha` holds one strength, or one per layer. Weights are initialised
    as scikit-learn's (Glorot & Bengio 2010, uniform), or as N(0, sw²) with biases
    N(0, sb²) where `init_std` is (sw, sb).
    """

    supports_row_weights = True

    def __init__(
        self,
        n_features: int,
        hidden: Sequence[int],
        n_outputs: int = 1,
        *,
        regression: bool = False,
        activation: str = "sigmoid",
        loss: str = "softmax",
        alpha: Sequence[float] = (0.0,),
        dtype: DTypeLike = np.float32,
        init_std: tuple[float, ...] | None = None,
        target_mean: float = 0.0,
        target_deviation: float = 1.0,
    ) -> None:
        self.target_mean, self.target_deviation = target_mean, target_deviation
        self.widths = (n_features, *hidden, n_outputs)
        self.n_features, self.n_outputs = n_features, n_outputs
        self.regression = regression or n_outputs == 1
        self.activation: str = activation
        self.loss = loss
        self.smooth = LOSSES[loss].smooth and activation != "relu"
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.init_std = init_std
        self.shapes: dict[str, tuple[int, ...]] = {}
        for layer, (n, m) in enumerate(pairwise(self.widths), 1):
            self.shapes |= {f"W{layer}": (n, m), f"b{layer}": (m,)}
        self.size = size(self.shapes)
        ends = np.cumsum([n * m + m for n, m in pairwise(self.widths)]).tolist()
        self.layer_offsets = tuple(reversed([0, *ends[:-1]]))
        self.alpha = tuple(alpha)
        self.l2_weights = self._strengths(alpha)
        self.penalised = self._strengths((1.0,))
        self._activation = ACTIVATIONS[activation]
        self._buffers: dict[Any, FloatArray] = {}

    def _strengths(self, alpha: Sequence[float]) -> FloatArray | None:
        layers = len(self.widths) - 1
        if len(alpha) not in (1, layers):
            raise UsageError(
                f"--alpha holds {len(alpha)} values; a network of {layers} layers "
                f"takes 1 or {layers}"
            )
        if not any(alpha):
            return None
        strengths = np.zeros(self.size, dtype=self.dtype)
        W, _ = self._layers(strengths)
        per_layer = [*alpha] * (layers // len(alpha))
        for weights, strength in zip(W, per_layer, strict=True):
            weights[:] = strength
        return strengths

    def _layers(self, w: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return views of the matrices W_l and the biases b_l in `w`."""
        arrays = list(views(w, self.shapes).values())
        return arrays[::2], arrays[1::2]

    @property
    def loss_unit(self) -> float:
        """The deviation of the raw target squared, see `with_standardized_target`."""
        return self.target_deviation**2

    def with_standardized_target(self, mean: float, deviation: float) -> MLP:
        """Return the network for (y - mean) / deviation of raw y; of classes, self.

        The strength of the penalty is that of the scaled network.
        """
        if not self.regression or self.n_outputs > 1:
            return self
        return MLP(
            self.n_features,
            self.widths[1:-1],
            activation=self.activation,
            loss=self.loss,
            alpha=self.alpha,
            dtype=self.dtype,
            init_std=self.init_std,
            target_mean=mean,
            target_deviation=deviation,
        )

    def raw_weights(self, w: FloatArray) -> FloatArray:
        """Return the weights with the scaling of the target in the last layer."""
        raw = w.copy()
        W, b = self._layers(raw)
        W[-1][...] = W[-1].astype(np.float64) * self.target_deviation
        b[-1][...] = b[-1].astype(np.float64) * self.target_deviation + self.target_mean
        return raw

    def init(self, rng: np.random.Generator) -> FloatArray:
        """Return the initial weights (size,), drawn layer by layer from `rng`."""
        w = np.empty(self.size, dtype=self.dtype)
        gain = 2 if self.activation == "sigmoid" else 6
        for W, b in zip(*self._layers(w), strict=True):
            if self.init_std is None:
                bound = np.sqrt(gain / sum(W.shape))
                W[:] = rng.uniform(-bound, bound, W.shape)
                b[:] = rng.uniform(-bound, bound, b.shape)
            else:
                W[:] = rng.normal(0, self.init_std[0], W.shape)
                b[:] = rng.normal(0, self.init_std[1], b.shape)
        return w

    def targets(self, y: Array) -> Array:
        """Return y as floats for regression, as class indices otherwise."""
        if self.regression:
            return standardized(y, self.target_mean, self.target_deviation, self.dtype)
        return class_indices(y, self.n_outputs)

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
        After each layer, the last one first, on_layer_ready(lo) says that out[lo:] is
        final: see `layer_offsets`.
        """
        h = [self._gather(X, rows)]
        W, b = self._layers(w)
        z = self._forward(W, b, h)
        total, delta = self._residual(z, y if rows is None else y[rows])
        dW, db = self._layers(out)
        for layer, offset in zip(reversed(range(len(W))), self.layer_offsets):
            np.matmul(h[layer].T, delta, out=dW[layer])
            np.add.reduce(delta, axis=0, out=db[layer])
            if on_layer_ready:
                on_layer_ready(offset)
            if layer > 0:
                back = self._buffer(("back", layer), delta.shape[0], W[layer].shape[0])
                delta = np.matmul(delta, W[layer].T, out=back)
                self._activation.backward(delta, h[layer])
        return total

    def _forward(
        self, W: list[FloatArray], b: list[FloatArray], h: list[FloatArray]
    ) -> FloatArray:
        """Append the hidden outputs to `h` = [X] and return the last layer's, raw."""
        for layer in range(len(W)):
            n, m = h[-1].shape[0], W[layer].shape[1]
            z = np.matmul(h[-1], W[layer], out=self._buffer(("out", layer), n, m))
            z += b[layer]
            if layer + 1 < len(W):
                self._activation.forward(z)
                h.append(z)
        return z

    def _residual(self, z: FloatArray, y: Targets) -> tuple[float, FloatArray]:
        """Return the loss sum and its derivative in z (n, n_outputs); z may be it."""
        y, u = split_weights(y)
        if self.loss == "softmax":
            loss = LOSSES["softmax"]
            total = weighted(loss.value(z, y), u).sum(dtype=np.float64)
            return float(total), weighted(loss.slope(z, y), u)
        if self.regression:
            z -= y.reshape(z.shape)
        else:
            z[np.arange(y.size), y] -= 1
        total = 0.5 * float(weighted(np.square(z), u).sum(dtype=np.float64))
        return total, weighted(z, u)

    def _gather(self, X: Matrix | MappedRows, rows: IntArray | None) -> FloatArray:
        """Return X[rows] in `dtype`, in a buffer that the next call overwrites."""
        assert not isinstance(X, MappedRows)  # supports_mapped_rows is False
        if isinstance(X, Csr):
            raise UsageError("--model mlp takes dense features; the data is sparse")
        if rows is None:
            return np.asarray(X, dtype=self.dtype)
        if X.dtype != self.dtype:
            return X[rows].astype(self.dtype)
        # "clip" because the default mode gathers into a copy of `out` first
        batch = self._buffer("X", rows.size, X.shape[1])
        return np.take(X, rows, axis=0, out=batch, mode="clip")

    def _buffer(self, name: Any, n: int, m: int) -> FloatArray:
        """Return memory (n, m) that the next call with this name overwrites."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape[0] < n:
            buffer = self._buffers[name] = np.empty((n, m), dtype=self.dtype)
        return buffer[:n]

    def evaluate(self, w: FloatArray, X: Matrix, y: Targets) -> FloatArray:
        """Return [loss sum, rows predicted right] over all rows, float64.

        For regression Σ (p - y)² of each output follow. A row counts by its weight.
        """
        totals = np.zeros(1 + (self.n_outputs if self.regression else 1))
        for lo in range(0, len(y), BLOCK_ROWS):
            hi = min(lo + BLOCK_ROWS, len(y))
            z, block = self._raw_output(w, slice_rows(X, lo, hi)), y[lo:hi]
            block_y, u = split_weights(block)
            scores: Any
            if self.regression:
                squares = weighted(np.square(z - block_y.reshape(z.shape)), u)
                scores = squares.sum(axis=0, dtype=np.float64)
            else:
                scores = [weighted_count(z.argmax(axis=1) == block_y, u)]
            totals += np.array([self._residual(z, block)[0], *scores])
        return totals

    def output(self, w: FloatArray, X: Matrix) -> FloatArray:
        """Return predictions (n,), raw outputs or softmax's probabilities (n, C)."""
        n = n_rows(X)
        z = np.empty((n, self.n_outputs), self.dtype)
        for lo in range(0, n, BLOCK_ROWS):
            hi = min(lo + BLOCK_ROWS, n)
            z[lo:hi] = self._raw_output(w, slice_rows(X, lo, hi))
        if self.n_outputs == 1:
            return z[:, 0]
        return probabilities(z) if self.loss == "softmax" else z

    def predict(self, w: FloatArray, X: Matrix) -> Array:
        """Return predicted values, or class indices, (n,)."""
        z = self.output(w, X)
        return z if self.regression else z.argmax(axis=1)

    def _raw_output(self, w: FloatArray, X: Matrix) -> FloatArray:
        """Return the raw outputs (n, n_outputs), which the next call overwrites."""
        return self._forward(*self._layers(w), [self._gather(X, None)])

    def penalty(self, w: FloatArray) -> float:
        """Return ½ Σ l2 w²."""
        return penalty(w, self.l2_weights, None)
