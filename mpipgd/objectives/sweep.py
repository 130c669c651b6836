"""Many settings of a linear model at once: their weights are the columns of a matrix.

One read of the rows, one matrix product and one exchange serve all K of them; column k
becomes, to rounding, what a run of its own with setting k gives.
"""

import dataclasses
import itertools
from functools import cached_property

import numpy as np

from ..config.options import SWEEP_KEYS
from ..data import matrix
from ..data.matrix import Csr
from ..errors import UsageError, expect, nearest
from .losses import LOSSES

BLOCK_BYTES = 1 << 18  # of X: it is read twice, and the second time from the cache


def parse_sweep(text):
    """Return the settings of "lr=0.1,0.01,alpha=1e-3,1e-4": dicts, all combinations."""
    axes = {}
    for word in text.split(","):
        key, found, value = word.rpartition("=")
        key = key.replace("-", "_") if found else next(reversed(axes), "")
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
    return [dict(zip(axes, point)) for point in itertools.product(*axes.values())]


class LinearSweep:
    """The losses of K linear models, each with its own penalty: `models` are those.

    Weights are (width, K), flat; `points` are the settings, dicts.
    """

    compiled = False
    supports_mapped_rows = False

    def __init__(self, models, points):
        self.models, self.configs, one = models, points, models[0]
        self.n_features, self.n_outputs = one.n_features, len(models)
        self.loss, self.dtype, self.epsilon = one.loss, one.dtype, one.epsilon
        self.intercept = one.intercept
        self.size = one.size * len(models)
        self.shapes = {"coef": (self.n_features, len(models))}
        if self.intercept:
            self.shapes["intercept"] = (len(models),)

    @cached_property
    def l2_weights(self):
        """The l2 strength of each weight (size,), or None."""
        return self._strengths("l2_weights")

    @cached_property
    def l1_weights(self):
        """The l1 strength of each weight (size,), or None."""
        return self._strengths("l1_weights")

    def _strengths(self, name):
        columns = [getattr(each, name) for each in self.models]
        if all(column is None for column in columns):
            return None
        zero = np.zeros(self.models[0].size, self.dtype)
        columns = [zero if column is None else column for column in columns]
        return np.stack(columns, axis=1).reshape(-1)

    def lr_factors(self, lr):
        """Return by how much each weight's learning rate differs from `lr`, or None."""
        rates = np.array([point.get("lr", lr) for point in self.configs])
        if np.all(rates == lr):
            return None
        return np.tile(rates / lr, self.models[0].size)

    def init(self, rng):
        """Return zeros (size,)."""
        return np.zeros(self.size, self.dtype)

    def targets(self, y):
        """Return y as the loss wants it."""
        return self.models[0].targets(y)

    def gradient(self, w, X, y, rows, out):
        """Write the gradient sums over X[rows] into `out`; return the sum of losses."""
        W, G = self._matrix(w), self._matrix(out)
        if isinstance(X, Csr):
            passes = self._kernels.sparse
            return passes.outputs_gradient(W, X[:3], y, rows, G, self._code)
        if self.models[0].compiled and X.flags.c_contiguous:
            passes = self._kernels.matmul
            return passes.outputs_gradient(W, X, y, rows, G, self._code)
        n, total = len(y) if rows is None else len(rows), 0.0
        block = max(16, BLOCK_BYTES // max(1, X.itemsize * X.shape[1]))
        G[...] = 0
        for lo in range(0, n, block):
            some = (
                slice(lo, lo + block) if rows is None else _view(rows[lo : lo + block])
            )
            Xb, yb = X[some], y[some, None]
            p = Xb @ W
            total += LOSSES[self.loss].value(p, yb, self.epsilon).sum(dtype=np.float64)
            G += Xb.T @ LOSSES[self.loss].slope(p, yb, self.epsilon)
        return float(total)

    def evaluate(self, w, X, y):
        """Return [loss sums, hits] (2, K) over all rows, as `Linear.tally`."""
        loss, p, known = LOSSES[self.loss], self._raw(w, X), y[:, None]
        totals = loss.value(p, known, self.epsilon).sum(axis=0, dtype=np.float64)
        if loss.task == "regression":
            hits = np.square(p - known).sum(axis=0, dtype=np.float64)
        else:
            hits = np.count_nonzero((p > 0) == (known > 0), axis=0)
        return np.array([totals, hits], dtype=np.float64)

    def _raw(self, w, X):
        if not isinstance(X, Csr):
            return X @ self._matrix(w)
        p = np.empty((matrix.n_rows(X), self.n_outputs), self.dtype)
        self._kernels.sparse.product(X[:3], self._matrix(w), p)
        return p

    def penalty(self, w):
        """Return the penalties (K,)."""
        columns = zip(self.models, self._matrix(w).T)
        return np.array([model.penalty(column) for model, column in columns])

    def extract(self, k, w):
        """Return the k-th model, and its weights."""
        return self.models[k], self._matrix(w)[:, k].copy()

    def warm_up(self, X, y):
        """Compile what a run over such X and y calls, by calling it on no rows."""
        w, out = self.init(None), self.init(None)
        self.gradient(w, X, y, np.empty(0, np.int64), out)
        self.gradient(w, matrix.slice_rows(X, 0, 0), y[:0], None, out)
        self.evaluate(w, matrix.slice_rows(X, 0, 0), y[:0])

    def _matrix(self, w):
        return w.reshape(-1, self.n_outputs)

    @cached_property
    def _code(self):
        return self.models[0]._code

    @cached_property
    def _kernels(self):
        from . import kernels

        return kernels


def _view(rows):
    """Return row numbers as a slice where they are neighbours, to copy nothing."""
    if rows[-1] - rows[0] == len(rows) - 1 and np.all(rows[1:] > rows[:-1]):
        return slice(rows[0], rows[-1] + 1)
    return rows


def build_sweep(options, header, build_linear):
    """Return the objective of all settings in `options.many`."""
    expect("--model", options.model, ("linear",))
    points = parse_sweep(options.many)
    if any("alpha" in point for point in points) and options.schedule == "optimal":
        raise UsageError("--many alpha: the schedule optimal depends on --alpha")
    models = []
    for point in points:
        alone = {k: v for k, v in point.items() if k != "lr"}
        if "alpha" in alone:
            alone["alpha"] = (alone["alpha"],)
        models.append(build_linear(dataclasses.replace(options, **alone), header))
    if models[0].loss == "softmax":
        raise UsageError("--many takes losses of one output, found softmax")
    return LinearSweep(models, points)
