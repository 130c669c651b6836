"""Small problems that several tests of models share."""

import numpy as np
from scipy.sparse import csr_array

from mpipgd.data.matrix import Csr
from mpipgd.objectives.linear import Linear
from mpipgd.objectives.losses import LOSSES

STRENGTHS = {
    "none": {},
    "l2": {"l2": 0.02},
    "l1": {"l1": 0.02},
    "elasticnet": {"l2": 0.014, "l1": 0.006},
}


def sparse(X):
    """Return X (n, d) as a Csr of its entries that are not zero."""
    rows = csr_array(X)
    return Csr(rows.data, rows.indices, rows.indptr, X.shape[1])


def linear(loss, penalty="none", *, dtype=np.float64, compiled=False, n_features=5):
    """Return a linear objective over `n_features` and an intercept."""
    outputs = 3 if loss == "softmax" else 1
    strengths = STRENGTHS[penalty]
    options = {"epsilon": 0.3, "dtype": np.dtype(dtype), "compiled": compiled}
    return Linear(n_features, outputs, loss=loss, **strengths, **options)


def problem(loss, *, n=40, d=5, dtype=np.float64, seed=0):
    """Return dense X (n, d + 1), half of it zeros, the last column ones, and y (n,).

    The targets are noisy, so that no unpenalised loss has its minimum at infinity.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d + 1)) * (rng.random((n, d + 1)) < 0.5)
    X[3, :d], X[:, d] = 0, 1
    signal = X @ rng.normal(size=(d + 1, 3)) + rng.normal(size=(n, 3))
    task = LOSSES[loss].task
    y = {
        "regression": signal[:, 0],
        "binary": signal[:, 0] > 0,
        "multiclass": signal.argmax(axis=1),
    }[task]
    return X.astype(dtype), linear(loss, dtype=dtype).targets(y)
