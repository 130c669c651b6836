"""Fitted estimators of scikit-learn in a pipeline with their scaler, saved by skops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from .base import Exporter

if TYPE_CHECKING:
    from ...array_types import FloatArray
    from .base import FeedForward

ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}
METHODS = {  # head -> what gives the outputs
    "value": "predict",
    "decision": "decision_function",
    "logistic": "predict_proba",
    "softmax": "predict_proba",
}


class SklearnExporter(Exporter):
    """A `Pipeline`: StandardScaler where features are standardised, an estimator."""

    def __init__(self) -> None:
        try:
            import skops.io as skops_io
        except ImportError as error:
            raise UsageError(
                "--to sklearn needs skops: pip install 'mpipgd[sklearn-export]'"
            ) from error
        self._io: Any = skops_io

    def to_bytes(self, network: FeedForward) -> bytes:
        """Return the content of the file."""
        return self._io.dumps(to_pipeline(network))

    def outputs(self, path: str, X: FloatArray, head: str) -> FloatArray:
        """Return the outputs of the model in a file on X."""
        pipeline = self._io.load(path, trusted=self._types(path))
        return getattr(pipeline, METHODS[head])(X)

    def _types(self, path: str) -> list[str]:
        """Return the types that skops does not trust by itself."""
        return self._io.get_untrusted_types(file=path)

    def how_to_load(self, path: str, name: str) -> str:
        """Return a line that says how the file is loaded, and what it has to trust."""
        return f'{name}: skops.io.load("{name}", trusted={self._types(path)})'


def to_pipeline(network: FeedForward) -> Any:
    """Return a fitted pipeline that predicts as the network.

    UsageError for networks whose outputs scikit-learn has no estimator for.
    """
    from sklearn.pipeline import Pipeline

    steps = [("scaler", _scaler(network))] if network.mean is not None else []
    build = _linear if network.activation is None else _network
    estimator = build(network)
    n = network.n_features
    _fit(estimator, n_features_in_=n, n_iter_=1)
    if network.classes is not None:
        _fit(estimator, classes_=np.array(network.classes))
    return Pipeline([*steps, ("model", estimator)])


def _fit(estimator: Any, **attributes: Any) -> Any:
    """Set the attributes that `fit` would have set; return the estimator."""
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


def _scaler(network: FeedForward) -> Any:
    from sklearn.preprocessing import StandardScaler

    assert network.mean is not None and network.deviation is not None
    return _fit(
        StandardScaler(),
        mean_=network.mean.astype(np.float64),
        scale_=network.deviation.astype(np.float64),
        var_=network.deviation.astype(np.float64) ** 2,
        n_features_in_=network.n_features,
        n_samples_seen_=1,
    )


def _linear(network: FeedForward) -> Any:
    from sklearn.linear_model import HuberRegressor, LogisticRegression, Ridge
    from sklearn.svm import LinearSVC

    W, b = _as_two_classes(network, *network.layers[0])
    if network.head == "value":
        estimator = HuberRegressor() if network.loss == "huber" else Ridge()
        return _fit(estimator, coef_=W[:, 0].copy(), intercept_=float(b[0]))
    if network.head == "decision":
        estimator = LinearSVC(loss=network.loss)
    else:
        estimator = LogisticRegression()
    return _fit(estimator, coef_=np.ascontiguousarray(W.T), intercept_=b.copy())


def _network(network: FeedForward) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import LabelBinarizer

    if network.head == "scores":
        raise UsageError(
            "--to sklearn: MLPClassifier has the loss softmax only; this network has "
            f"the loss {network.loss} for classes"
        )
    *hidden, last = network.layers
    layers = [*hidden, _as_two_classes(network, *last)]
    widths = tuple(len(b) for _, b in hidden)
    kind = MLPRegressor if network.head == "value" else MLPClassifier
    estimator = kind(widths, activation=ACTIVATIONS[network.activation or ""])
    _fit(
        estimator,
        coefs_=[np.array(W) for W, _ in layers],
        intercepts_=[np.array(b) for _, b in layers],
        n_layers_=len(layers) + 1,
        n_outputs_=len(layers[-1][1]),
        out_activation_="identity",
    )
    if network.classes is not None:
        two = len(network.classes) == 2
        estimator.out_activation_ = "logistic" if two else "softmax"
        estimator._label_binarizer = LabelBinarizer().fit(np.array(network.classes))
    return estimator


def _as_two_classes(
    network: FeedForward, W: FloatArray, b: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return softmax's layer of two classes as one output: softmax = σ(z_1 - z_0)."""
    if network.head == "softmax" and len(b) == 2:
        return W[:, 1:] - W[:, :1], b[1:] - b[:1]
    return W, b
