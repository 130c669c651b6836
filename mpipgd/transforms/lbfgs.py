"""Limited-memory BFGS over the gradient of all rows, on all ranks alike.

w <- w - t H g, with H from the last `MEMORY` changes of weights and gradient by the
two-loop recursion, and t by a search for the strong Wolfe conditions. Every rank gets
the same bits of value and gradient, so that all take the same steps. Source: Liu &
Nocedal 1989; Nocedal & Wright 2006, algorithms 3.5, 3.6 and 7.4.
"""

import math

import numpy as np

from ..comm.reduction_tree import tree_allreduce_objects
from ..errors import check_finite

MEMORY = 10
DECREASE, CURVATURE = 1e-4, 0.9  # of the Wolfe conditions
MAX_EVALUATIONS = 30  # values in one search
ROUNDING = 1e-15  # of the value: what is less is no change


def full_objective(objective, part, n, total):
    """Return w -> (objective, gradient) over all n rows of all ranks; collective."""
    grid = total.grid
    sums = np.empty((grid.n_local_workers, objective.size), objective.dtype)
    hosted = range(grid.n_local_workers)

    def function(w):
        pieces = (part.blocks(i, mapped=True) for i in hosted)
        losses = [_gradient(objective, w, *each) for each in zip(pieces, sums)]
        loss = tree_allreduce_objects(
            grid, losses, lambda a, b: a + b
        ) / n + objective.penalty(w)
        gradient = total(sums) / n
        if objective.l2_weights is not None:
            gradient += objective.l2_weights * w
        return loss, gradient

    return function


def _gradient(objective, w, pieces, out):
    """Write the gradient sum over some pieces into `out`; return the loss sum."""
    loss, part = 0.0, None
    for X, y in pieces:
        if part is None:
            loss, part = objective.gradient(w, X, y, None, out), np.empty_like(out)
            continue
        loss += objective.gradient(w, X, y, None, part)
        out += part
    return loss


class Lbfgs:
    """The state of a descent by `function`, w -> (value, gradient), as plain arrays."""

    def __init__(self, function):
        self.function = function
        self.iterations = 0
        self.converged = False

    def init(self, w):
        """Return the state of a descent that begins: name -> array, kept up to date."""
        self.state = {
            "steps": np.zeros((MEMORY, w.size)),
            "changes": np.zeros((MEMORY, w.size)),
            "kept": np.zeros((), np.int64),
            "gradient": np.zeros(w.size),
            "value": np.full((), math.nan),
        }
        return self.state

    def iterate(self, w, step=0, steps_per_epoch=1):
        """Move `w` (size,) by one iteration, in place; collective.

        Raises Diverged on all ranks where the value is not finite.
        """
        state, before = self.state, w.astype(np.float64)
        if math.isnan(state["value"]):
            state["value"][...], state["gradient"][...] = self._at(before)
            check_finite(float(state["value"]), step, steps_per_epoch, "loss")
        g = state["gradient"].copy()
        direction = self._direction(g)
        slope = g.dot(direction)
        if not slope < 0:  # rounding has the better of the memory
            state["kept"][...], direction, slope = 0, -g, -g.dot(g)
        first = 1.0 if state["kept"] else min(1.0, 1 / max(1e-300, np.abs(g).sum()))
        line = WolfeLineSearch(
            self._at, before, direction, float(state["value"]), slope
        )
        found = line.search(first) if slope < 0 else None
        self.iterations += 1
        if found is None:
            self.converged = True
            return
        after, value, state["gradient"][...] = found
        self.converged = state["value"] - value <= ROUNDING * abs(value)
        state["value"][...] = value
        self._remember(after - before, state["gradient"] - g)
        w[...] = after

    def _at(self, w):
        value, gradient = self.function(w)
        return value, gradient.astype(np.float64)

    def _remember(self, s, y):
        state = self.state
        if s.dot(y) > 1e-300:
            slot = state["kept"] % MEMORY
            state["steps"][slot], state["changes"][slot] = s, y
            state["kept"] += 1

    def _direction(self, g):
        """Return -H g by the two-loop recursion."""
        S, Y, kept = (self.state[key] for key in ("steps", "changes", "kept"))
        newest_first = [(kept - k) % MEMORY for k in range(1, 1 + min(kept, MEMORY))]
        q, shares = -g, []
        for k in newest_first:
            shares.append(S[k].dot(q) / S[k].dot(Y[k]))
            q -= shares[-1] * Y[k]
        if newest_first:
            k = newest_first[0]
            q *= S[k].dot(Y[k]) / Y[k].dot(Y[k])
        for k, share in zip(reversed(newest_first), reversed(shares)):
            q += (share - Y[k].dot(q) / S[k].dot(Y[k])) * S[k]
        return q


class WolfeLineSearch:
    """The objective along w + t d: a search for a t that meets the Wolfe conditions."""

    def __init__(self, at, w, d, value, slope):
        self.at, self.w, self.d, self.value, self.slope = at, w, d, value, slope
        self.tries = 0

    def _look(self, t):
        """Return (t, value, slope, (weights, value, gradient)) at t."""
        self.tries += 1
        w = self.w + t * self.d
        value, gradient = self.at(w)
        if not math.isfinite(value):
            return t, math.inf, math.inf, None
        return t, value, gradient.dot(self.d), (w, value, gradient)

    def _low(self, point, than=None):
        """Say whether a point is low enough, and lower than another; up to rounding."""
        least = self.value + DECREASE * point[0] * self.slope
        least += ROUNDING * abs(self.value)
        return point[1] <= least and (than is None or point[1] < than[1])

    def _flat(self, point):
        return abs(point[2]) <= -CURVATURE * self.slope

    def search(self, t):
        """Return (weights, value, gradient) at a t that will do, or None."""
        before = 0.0, self.value, self.slope, None
        while self.tries < MAX_EVALUATIONS:
            point = self._look(t)
            if not self._low(point, before if before[0] else None):
                return self._between(before, point)
            if self._flat(point):
                return point[3]
            if point[2] >= 0:
                return self._between(point, before)
            before, t = point, 2 * t
        return before[3]

    def _between(self, low, high):
        """Return what `search` does, from within an interval that holds such a t."""
        while self.tries < MAX_EVALUATIONS and low[0] != high[0]:
            point = self._look(_cubic_minimizer(low, high))
            if not self._low(point, low):
                high = point
            elif self._flat(point):
                return point[3]
            else:
                if point[2] * (high[0] - low[0]) >= 0:
                    high = low
                low = point
        return low[3]


def _cubic_minimizer(low, high):
    """Return where the cubic through two points is lowest, well inside of them."""
    (a, fa, da, _), (b, fb, db, _) = low, high
    middle, width = (a + b) / 2, abs(b - a)
    if not math.isfinite(fb):
        return a + 0.1 * (b - a)
    c = da + db - 3 * (fa - fb) / (a - b)
    root = c * c - da * db
    if root <= 0:
        return middle
    root = math.copysign(math.sqrt(root), b - a)
    bottom = db - da + 2 * root
    t = b - (b - a) * (db + root - c) / bottom if bottom else middle
    inside = min(a, b) + 0.1 * width <= t <= max(a, b) - 0.1 * width
    return t if inside else middle
