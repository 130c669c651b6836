"""The multilayer perceptron: h_l = activation(h_{l-1} W_l + b_l), a linear output."""

from itertools import pairwise

import numpy as np

from ..data.matrix import Csr
from ..errors import UsageError
from .linear import penalty
from .losses import LOSSES, class_indices, probabilities
from .weights import size, views

BLOCK = 2048


def sigmoid(z):
    """Turn z into 1 / (1 + exp(-z)) in place, by tanh, which cannot overflow."""
    z *= 0.5
    np.tanh(z, out=z)
    z += 1
    z *= 0.5


def sigmoid_back(delta, h):
    """delta <- delta h (1 - h); h is used up."""
    delta *= h
    np.subtract(1, h, out=h)
    delta *= h


def tanh_back(delta, h):
    """delta <- delta (1 - h²); h is used up."""
    np.square(h, out=h)
    np.subtract(1, h, out=h)
    delta *= h


def relu_back(delta, h):
    """delta <- delta where h > 0, else 0."""
    delta *= h > 0


ACTIVATIONS = {
    "sigmoid": (sigmoid, sigmoid_back),
    "tanh": (lambda z: np.tanh(z, out=z), tanh_back),
    "relu": (lambda z: np.maximum(z, 0, out=z), relu_back),
}


class MLP:
    """Mean loss(output, y) + ½ Σ_l alpha_l ‖W_l‖²; biases are not penalised.

    One output is regression; more are classes. The loss is softmax, or squared:
    ½ Σ (output - y)² per row, classes one-hot. `alpha` holds one strength, or one per
    layer. Weights start as scikit-learn's (Glorot & Bengio 2010, uniform), or as
    N(0, sw²) with biases N(0, sb²) where `init_std` is (sw, sb).
    """

    compiled = False
    supports_mapped_rows = False
    intercept = False
    l1_weights = None

    def __init__(
        self,
        n_features,
        hidden,
        n_outputs=1,
        *,
        activation="sigmoid",
        loss="softmax",
        alpha=(0.0,),
        dtype=np.float32,
        init_std=None,
    ):
        self.widths = (n_features, *hidden, n_outputs)
        self.n_features, self.n_outputs = n_features, n_outputs
        self.activation, self.loss = activation, loss
        self.dtype = np.dtype(dtype)
        self.init_std = init_std
        self.shapes = {}
        for layer, (n, m) in enumerate(pairwise(self.widths), 1):
            self.shapes |= {f"W{layer}": (n, m), f"b{layer}": (m,)}
        self.size = size(self.shapes)
        ends = np.cumsum([n * m + m for n, m in pairwise(self.widths)]).tolist()
        self.layer_offsets = [0, *ends[:-1]]  # of the layers
        self.l2_weights = self._strengths(alpha)
        self._activate, self._back = ACTIVATIONS[activation]
        self._buffers = {}

    def _strengths(self, alpha):
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
        for weights, strength in zip(W, alpha * (layers // len(alpha)), strict=True):
            weights[:] = strength
        return strengths

    def _layers(self, w):
        parts = list(views(w, self.shapes).values())
        return parts[::2], parts[1::2]

    def init(self, rng):
        """Return the first weights (size,), drawn layer by layer from `rng`."""
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

    def targets(self, y):
        """Return y as floats for regression, as class indices otherwise."""
        if self.n_outputs == 1:
            return np.ascontiguousarray(y, dtype=self.dtype)
        return class_indices(y, self.n_outputs)

    def gradient(self, w, X, y, rows, out, arrived=None):
        """Write the gradient sum over X[rows] into `out`; return the loss sum.

        `rows` are row numbers (int64), or None for all; the penalty is not in it.
        After each layer, the last one first, arrived(lo) is told that out[lo:] is done.
        """
        h = [self._gather(X, rows)]
        W, b = self._layers(w)
        z = self._forward(W, b, h)
        total, delta = self._residual(z, y if rows is None else y[rows])
        dW, db = self._layers(out)
        for layer in reversed(range(len(W))):
            np.matmul(h[layer].T, delta, out=dW[layer])
            np.add.reduce(delta, axis=0, out=db[layer])
            if arrived:
                arrived(self.layer_offsets[layer])
            if layer > 0:
                back = self._buffer(("back", layer), delta.shape[0], W[layer].shape[0])
                delta = np.matmul(delta, W[layer].T, out=back)
                self._back(delta, h[layer])
        return total

    def _forward(self, W, b, h):
        """Append the hidden outputs to `h` = [X] and return the last layer's, raw."""
        for layer in range(len(W)):
            n, m = h[-1].shape[0], W[layer].shape[1]
            z = np.matmul(h[-1], W[layer], out=self._buffer(("out", layer), n, m))
            z += b[layer]
            if layer + 1 < len(W):
                self._activate(z)
                h.append(z)
        return z

    def _residual(self, z, y):
        """Return the loss sum and its derivative in z (n, n_outputs)."""
        if self.loss == "softmax":
            loss = LOSSES["softmax"]
            return float(loss.value(z, y).sum(dtype=np.float64)), loss.slope(z, y)
        if self.n_outputs == 1:
            z[:, 0] -= y
        else:
            z[np.arange(y.size), y] -= 1
        return 0.5 * float(np.square(z).sum(dtype=np.float64)), z

    def _gather(self, X, rows):
        if isinstance(X, Csr):
            raise UsageError("--model mlp takes dense features; the data is sparse")
        if rows is None:
            return np.asarray(X, dtype=self.dtype)
        if X.dtype != self.dtype:
            return X[rows].astype(self.dtype)
        # "clip" because the default mode gathers into a copy of `out` first
        batch = self._buffer("X", rows.size, X.shape[1])
        return np.take(X, rows, axis=0, out=batch, mode="clip")

    def _buffer(self, name, n, m):
        """Return work memory (n, m) that the next call of that name uses again."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape[0] < n:
            buffer = self._buffers[name] = np.empty((n, m), dtype=self.dtype)
        return buffer[:n]

    def evaluate(self, w, X, y):
        """Return [loss sum, hits] over all rows; for regression Σ (p - y)² as hits."""
        totals = np.zeros(2)
        for lo in range(0, len(y), BLOCK):
            z, known = self._raw(w, X[lo : lo + BLOCK]), y[lo : lo + BLOCK]
            hits = np.count_nonzero(z.argmax(axis=1) == known)
            if self.n_outputs == 1:
                hits = np.square(z[:, 0] - known).sum(dtype=np.float64)
            totals += self._residual(z, known)[0], hits
        return totals

    def output(self, w, X):
        """Return predictions (n,), raw outputs or softmax's probabilities (n, C)."""
        z = [self._raw(w, X[lo : lo + BLOCK]).copy() for lo in range(0, len(X), BLOCK)]
        z = np.concatenate([np.empty((0, self.n_outputs), self.dtype), *z])
        if self.n_outputs == 1:
            return z[:, 0]
        return probabilities(z) if self.loss == "softmax" else z

    def predict(self, w, X):
        """Return predicted values, or class indices, (n,)."""
        z = self.output(w, X)
        return z if self.n_outputs == 1 else z.argmax(axis=1)

    def _raw(self, w, X):
        return self._forward(*self._layers(w), [self._gather(X, None)])

    def penalty(self, w):
        """Return ½ Σ alpha w²."""
        return penalty(w, self.l2_weights, None)

    def warm_up(self, X, y):
        """Do nothing: there is nothing to compile."""
