"""Linear models: one raw output p = x · w per row, or C of them for softmax."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..data import matrix
from ..data.matrix import Csr, MappedRows
from .losses import LOSS_IDS, LOSSES, class_indices, probabilities

ROWS_PER_CALL = 1024  # rows
MAX_KERNEL_WEIGHTS = (
    1 << 17
)  # weights; of more, a library's blocks make better use of caches


@dataclass(frozen=True)
class Linear:
    """Mean loss(x · w, y) + l2 ½‖w‖² + l1 ‖w‖₁.

    With `intercept` the last column of X is ones, and its weight is not penalised.
    `n_outputs` is the number of classes for softmax, else 1; `epsilon` is huber's.
    `compiled` takes the numba kernels and offers `descend`; without it, numpy.
    """

    n_features: int
    n_outputs: int = 1
    loss: str = "squared"
    l2: float = 0.0
    l1: float = 0.0
    intercept: bool = True
    epsilon: float = 0.1
    dtype: np.dtype = np.dtype(np.float64)
    compiled: bool = False

    n_models = 1
    layer_offsets = ()
    activation = None
    configs = ()

    @property
    def smooth(self):
        return self.loss in ("squared", "huber", "log", "squared_hinge", "softmax") and self.l1_weights is None

    def lr_factors(self, lr):
        return None

    @cached_property
    def shapes(self):
        """Name -> shape of the weights, in flat order."""
        columns = (self.n_outputs,) if self.loss == "softmax" else ()
        shapes = {"coef": (self.n_features, *columns)}
        if self.intercept:
            shapes["intercept"] = columns or (1,)
        return shapes

    @cached_property
    def size(self):
        """The number of weights."""
        return (self.n_features + self.intercept) * self.n_outputs

    @cached_property
    def l2_weights(self):
        """The l2 strength of each weight (size,), or None."""
        return self._strengths(self.l2)

    @cached_property
    def l1_weights(self):
        """The l1 strength of each weight (size,), or None."""
        return self._strengths(self.l1)

    def _strengths(self, strength):
        if strength == 0:
            return None
        strengths = np.full(self.size, strength, dtype=self.dtype)
        strengths[self.n_features * self.n_outputs :] = 0
        return strengths

    def init(self, rng):
        """Return zeros (size,): every loss here is convex."""
        return np.zeros(self.size, dtype=self.dtype)

    def targets(self, y):
        """Return y as the loss wants it: floats, ±1, or class indices."""
        task = LOSSES[self.loss].task
        if task == "regression":
            return np.ascontiguousarray(y, dtype=self.dtype)
        classes = class_indices(y, 2 if task == "binary" else self.n_outputs)
        return (2 * classes - 1).astype(self.dtype) if task == "binary" else classes

    def gradient(self, w, X, y, rows, out):
        """Write the gradient sum over X[rows] into `out`; return the loss sum.

        `rows` are row numbers (int64), or None for all; the penalty is not in it.
        """
        if isinstance(X, MappedRows):
            return self._stored_gradient(w, X, y, out)
        if not self.compiled or not self._fits(X):
            return self._plain_gradient(w, X, y, rows, out)
        passes, entries = self._fitting(X)
        if self.loss == "softmax":
            W, G = self._matrix(w), self._matrix(out)
            return passes.outputs_gradient(W, entries, y, rows, G, self._code)
        return passes.gradient(w, entries, y, rows, out, self._code)

    def _fits(self, X):
        """Are there compiled passes over such rows that numpy does not outdo?"""
        if isinstance(X, Csr) or self.loss != "softmax":
            return True
        return X.flags.c_contiguous and self.size <= MAX_KERNEL_WEIGHTS

    def _fitting(self, X):
        """Return the module of compiled passes over such rows, and what it takes."""
        if isinstance(X, Csr):
            return self._kernels.sparse, X[:3]
        softmax = self.loss == "softmax"
        return self._kernels.matmul if softmax else self._kernels.dense, X

    @property
    def supports_mapped_rows(self):
        """Can `gradient` read rows as they are stored?"""
        return self.compiled and self.loss != "softmax"

    def _stored_gradient(self, w, X, y, out):
        out[...] = total = at = 0
        for data, spans in X.segments:
            end = at + int(spans[:, 1].sum())
            segment = (data, spans), y[at:end], X.scaling
            total += self._kernels.dense.stored_gradient(w, *segment, out, self._code)
            at = end
        return total

    def _plain_gradient(self, w, X, y, rows, out):
        if rows is not None:
            X, y = matrix.take_rows(X, rows), y[rows]
        loss = LOSSES[self.loss]
        p = matrix.product(X, self._matrix(w))
        r = loss.slope(p, y, self.epsilon)
        matrix.transposed_product(X, r, self._matrix(out))
        return float(loss.value(p, y, self.epsilon).sum(dtype=np.float64))

    def sgd_steps(self, w, X, y, order, cuts, rates, share=None, mean=(None, 0)):
        """Take many plain SGD steps on `w` in place; needs `compiled`.

        Step s reads the rows order[cuts[s]:cuts[s + 1]]; with their mean gradient g,
        w <- w - rates[s] (g + alpha w), then soft-thresholded at rates[s] beta. The
        bits do not depend on how a run of steps is cut into calls, see `grain`.
        `order` and `cuts` (steps + 1,) are int64, `rates` (steps,) float64. With
        `share` the steps are folded into a shared vector: see `folds.descend`. With
        `mean`, (u, k), u <- u + max(0, k + s) Δ for the change Δ of w in step s.
        """
        (passes, entries), softmax = self._fitting(X), self.loss == "softmax"
        steps, strengths = (order, cuts, rates), (self.l2_weights, self.l1_weights)
        if share:
            loss = self.n_outputs if softmax else self._code
            self._kernels.hogwild.descend(w, entries, y, steps, strengths, loss, share)
        elif softmax:
            passes.softmax_descend(self._matrix(w), entries, y, steps, strengths, mean)
        else:
            passes.descend(w, entries, y, steps, strengths, self._code, mean)

    def supports_fused_sync(self, X):
        """Can `march` take the steps over such rows?"""
        dense = self.compiled and not isinstance(X, Csr)
        return dense and self._fits(X) and self.l1_weights is None

    def fused_sync_steps(self, w, X, y, steps, meeting):
        """Take many steps of synchronous SGD with all ranks: see `together.descend`."""
        outputs = self.n_outputs if self.loss == "softmax" else None
        known = self.l2_weights, self._code, outputs
        return self._kernels.fused_sync.descend(w, X, y, steps, *known, meeting)

    @property
    def supports_sparse_averaging(self):
        """Can `descend` keep the mean over steps on sparse rows?"""
        return self.l1_weights is None and self.loss != "softmax"

    def steps_per_call(self, X, batch_size):
        """Return how many steps of an epoch one call of `descend` must take at once.

        Sparse rows leave penalties for later, to the end of a call at the latest: where
        calls end, the bits tell. Each end costs as much as some hundred rows. 0: any.
        """
        if not isinstance(X, Csr) or (
            self.l2_weights is None and self.l1_weights is None
        ):
            return 0
        return max(1, max(ROWS_PER_CALL, X.width // 8) // batch_size)

    def evaluate(self, w, X, y):
        """Return [loss sum, hits] over all rows; for regression Σ (p - y)² as hits."""
        loss, p = LOSSES[self.loss], self._raw(w, X)
        total = loss.value(p, y, self.epsilon).sum(dtype=np.float64)
        if loss.task == "regression":
            hits = np.square(p - y).sum(dtype=np.float64)
        else:
            known = y > 0 if loss.task == "binary" else y
            hits = np.count_nonzero(self._decide(p) == known)
        return np.array([total, hits], dtype=np.float64)

    def output(self, w, X):
        """Return predictions or decision values (n,), or probabilities (n, C)."""
        p = self._raw(w, X)
        return probabilities(p) if self.loss == "softmax" else p

    def predict(self, w, X):
        """Return predicted values, or class indices, (n,)."""
        return self._decide(self._raw(w, X))

    def penalty(self, w):
        """Return ½ Σ alpha w² + Σ beta |w|."""
        return penalty(w, self.l2_weights, self.l1_weights)

    def warm_up(self, X, y):
        """Compile what any run over such X and y calls, by calling it on no rows."""
        if not self.compiled:
            return
        w = np.zeros(self.size, dtype=self.dtype)
        none, out = np.empty(0, dtype=np.int64), np.empty_like(w)
        self.gradient(w, X, y, none, out)
        self.gradient(w, matrix.slice_rows(X, 0, 0), y[:0], None, out)
        self.evaluate(w, matrix.slice_rows(X, 0, 0), y[:0])

    def _decide(self, p):
        task = LOSSES[self.loss].task
        if task == "regression":
            return p
        return (p > 0).astype(np.intp) if task == "binary" else p.argmax(axis=1)

    def _raw(self, w, X):
        W = self._matrix(w)
        if not (self.compiled and isinstance(X, Csr)):
            return matrix.product(X, W)
        p = np.empty((matrix.n_rows(X), *W.shape[1:]), dtype=w.dtype)
        columns = (-1, self.n_outputs)
        self._kernels.sparse.product(X[:3], W.reshape(columns), p.reshape(columns))
        return p

    def _matrix(self, w):
        return w.reshape(-1, self.n_outputs) if self.loss == "softmax" else w

    @cached_property
    def _code(self):
        return LOSS_IDS[self.loss], float(self.epsilon)

    @cached_property
    def _kernels(self):
        from . import kernels

        return kernels


def penalty(w, alpha, beta):
    """Return ½ Σ alpha w² + Σ beta |w| in float64; None is no penalty."""
    w = w.astype(np.float64)
    ridge = 0.0 if alpha is None else 0.5 * float(np.sum(alpha * w * w))
    return ridge if beta is None else ridge + float(np.sum(beta * np.abs(w)))
