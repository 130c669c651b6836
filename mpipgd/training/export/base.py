"""What exporters write: a feed-forward network, of which a linear model is a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...data.matrix import append_intercept
from ...data.standardize import standardize
from ...errors import UsageError
from ...objectives.linear import Linear
from ...objectives.weights import views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...array_types import FloatArray
    from ..inference import Model


@dataclass(frozen=True)
class FeedForward:
    """z = (x - mean) / deviation, h_l = activation(h_{l-1} W_l + b_l), an output layer.

    layers: (W (n, m), b (m,)) of each layer; activation: of the hidden layers, or None;
    mean, deviation (n_features,): of standardised features, or None.

    head: what the last layer's outputs are: `value` (of a regression), `decision` (of
    two classes: the second above zero), `logistic` (the same, and the second class has
    the probability 1 / (1 + exp(-z))), `softmax`, or `scores` (the largest one wins).
    """

    layers: Sequence[tuple[FloatArray, FloatArray]]
    activation: str | None
    head: str
    loss: str
    mean: FloatArray | None
    deviation: FloatArray | None
    classes: tuple[Any, ...] | None
    feature_names: tuple[str, ...] | None
    dtype: np.dtype[Any]

    @property
    def n_features(self) -> int:
        """The number of features."""
        return int(self.layers[0][0].shape[0])

    @classmethod
    def of_model(cls, model: Model) -> FeedForward:
        """Return a run's model as a network."""
        objective, header, dtype = model.objective, model.header, model.objective.dtype
        arrays = list(views(model.weights, objective.shapes).values())
        if isinstance(objective, Linear):
            W = arrays[0].reshape(header.n_features, -1)
            b = arrays[1] if objective.intercept else np.zeros(W.shape[1], dtype)
            arrays = [W, b]
        heads = {"log": "logistic", "softmax": "softmax"}
        other = "scores" if arrays[-1].size > 1 else "decision"
        if header.classes is None and arrays[-1].size > 1:
            raise UsageError(
                f"export takes models of one target; this one has {arrays[-1].size}"
            )
        head = "value" if header.classes is None else heads.get(objective.loss, other)
        mean, deviation = None, None
        if model.scaling:
            mean, deviation = (a.astype(dtype) for a in model.scaling)
        return cls(
            layers=list(zip(arrays[::2], arrays[1::2])),
            activation=objective.activation,
            head=head,
            loss=objective.loss,
            mean=mean,
            deviation=deviation,
            classes=header.classes,
            feature_names=header.feature_names,
            dtype=dtype,
        )


def outputs_of(model: Model, X: FloatArray) -> FloatArray:
    """Return what exported models have to return of raw, dense X (n, n_features).

    Probabilities (n, C) where the loss gives them, else values or decision values (n,),
    or scores (n, C).
    """
    X = X.astype(model.objective.dtype)
    if model.scaling:
        standardize(X, *model.scaling)
    if model.objective.intercept:
        X = append_intercept(X)
    output = model.objective.output(model.weights, X)
    probability = model.probability(output)
    return output if probability is None else probability


class Exporter(Protocol):
    """A format. The constructor raises UsageError where its library is missing."""

    def to_bytes(self, network: FeedForward) -> bytes:
        """Return the content of the file."""

    def outputs(self, path: str, X: FloatArray, head: str) -> FloatArray:
        """Return the outputs of the model in a file on X, as `outputs_of`.

        head: that of its `FeedForward`.
        """

    def how_to_load(self, path: str, name: str) -> str:
        """Return a line that says how the file, now at `path`, is loaded as `name`."""
