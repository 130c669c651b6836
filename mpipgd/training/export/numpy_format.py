"""Named arrays in an NPZ file, and a text that says what to do with them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Exporter

if TYPE_CHECKING:
    from ...array_types import FloatArray
    from .base import FeedForward

README = """\
A model of mpipgd. Read it with numpy.load(FILE): nothing in it is pickled.

X (n, d) are raw features, in the order of `feature_names` if there are names.

  h = X                          or (X - mean) / deviation, where `mean` is there
  h = activation(h @ W1 + b1)    for each layer but the last: W1, W2, …
  z = h @ WL + bL                the last layer

`activation` is relu (max(h, 0)), tanh, or sigmoid (1 / (1 + exp(-h))). `head` is

  value      z[:, 0] is the prediction
  decision   classes[1] where z[:, 0] > 0, else classes[0]
  logistic   the same; the probability of classes[1] is 1 / (1 + exp(-z[:, 0]))
  softmax    classes[z.argmax(axis=1)]; exp(z) / exp(z).sum(axis=1) are probabilities
  scores     classes[z.argmax(axis=1)]
"""
ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "relu": lambda h: np.maximum(h, 0),
    "tanh": np.tanh,
    "sigmoid": lambda h: (1 + np.tanh(h / 2)) / 2,
}


class NumpyExporter(Exporter):
    """NPZ: W1, b1, …, mean, deviation, classes, feature_names, head, README."""

    def to_bytes(self, network: FeedForward) -> bytes:
        """Return the content of the file."""
        arrays: dict[str, Any] = {
            "README": README,
            "head": network.head,
            "loss": network.loss,
            "activation": network.activation or "",
        }
        for layer, (W, b) in enumerate(network.layers, 1):
            arrays |= {f"W{layer}": W, f"b{layer}": b}
        for name in ("mean", "deviation", "classes", "feature_names"):
            value = getattr(network, name)
            if value is not None:
                arrays[name] = np.array(value)
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    def outputs(self, path: str, X: FloatArray, head: str) -> FloatArray:
        """Return the outputs of the model in a file on X, as its README says."""
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        h = X
        if "mean" in arrays:
            h = (X - arrays["mean"]) / arrays["deviation"]
        n_layers = sum(name[0] == "W" for name in arrays)
        for layer in range(1, n_layers + 1):
            h = h @ arrays[f"W{layer}"] + arrays[f"b{layer}"]
            if layer < n_layers:
                h = ACTIVATIONS[str(arrays["activation"])](h)
        if head in ("value", "decision"):
            return h[:, 0]
        if head == "logistic":
            p = np.exp(-np.logaddexp(0, -h[:, 0]))
            return np.stack([1 - p, p], axis=1)
        if head == "softmax":
            e = np.exp(h - h.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)
        return h

    def how_to_load(self, path: str, name: str) -> str:
        """Return a line that says how the file is loaded."""
        return f'{name}: arrays = numpy.load("{name}"); print(arrays["README"])'
