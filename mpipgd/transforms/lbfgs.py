"""Limited-memory BFGS over the gradient of all rows, with the same steps on all ranks.

w <- w - t H g, with H from the last `MEMORY` changes of weights and gradient by the
two-loop recursion, and t from a line search for the strong Wolfe conditions. Every rank
gets the same bits of value and gradient, so that all take the same steps. Source: Liu &
Nocedal 1989; Nocedal & Wright 2006, algorithms 3.5, 3.6 and 7.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from ..comm.reduction_tree import tree_allreduce_objects
from ..errors import check_finite

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray
    from ..comm.base import Allreduce
    from ..data.base import Split
    from ..data.matrix import MappedRows, Matrix
    from ..data.weighted import Targets
    from ..objectives.base import Objective

MEMORY = 10
DECREASE, CURVATURE = 1e-4, 0.9  # c1 and c2 of the Wolfe conditions
MAX_EVALUATIONS = 30  # in one line search
ROUNDING = 1e-15  # relative change of the value that is taken for none

Function: TypeAlias = "Callable[[FloatArray], tuple[float, FloatArray]]"


def full_objective(
    objective: Objective, rows: Split, n: int, allreduce: Allreduce
) -> Function:
    """Return w -> (objective, its gradient) over all n rows of all ranks.

    The function is collective. The l1 penalty is in the value only.
    """
    grid = allreduce.grid
    sums = np.empty((grid.n_local_workers, objective.size), objective.dtype)

    def function(w: FloatArray) -> tuple[float, FloatArray]:
        losses = [
            _gradient_sum(objective, w, rows.blocks(i, mapped=True), out)
            for i, out in enumerate(sums)
        ]
        loss = tree_allreduce_objects(grid, losses, lambda a, b: a + b)
        gradient = allreduce(sums) / n
        if objective.l2_weights is not None:
            gradient += objective.l2_weights * w
        return loss / n + objective.penalty(w), gradient

    return function


def _gradient_sum(
    objective: Objective,
    w: FloatArray,
    blocks: Iterable[tuple[Matrix | MappedRows, Targets]],
    out: FloatArray,
) -> float:
    """Write the gradient sum over blocks of rows into `out`; return the loss sum."""
    loss, block_gradient = 0.0, None
    for X, y in blocks:
        if block_gradient is None:
            loss = objective.gradient(w, X, y, None, out)
            block_gradient = np.empty_like(out)
        else:
            loss += objective.gradient(w, X, y, None, block_gradient)
            out += block_gradient
    return loss


class Lbfgs:
    """Minimise a function w -> (value, gradient) by L-BFGS.

    `state` is a dict of arrays that are kept up to date in place, for checkpoints:
    steps, changes (MEMORY, size): the last changes of weights and of gradients; kept:
    how many there have been; gradient (size,) and value at the weights, value nan
    before the first iteration.
    """

    def __init__(self, function: Function, size: int) -> None:
        self.function = function
        self.iterations = 0
        self.converged = False
        self.state: dict[str, Array] = {
            "steps": np.zeros((MEMORY, size)),
            "changes": np.zeros((MEMORY, size)),
            "kept": np.zeros((), np.int64),
            "gradient": np.zeros(size),
            "value": np.full((), math.nan),
        }

    def iterate(self, w: FloatArray, step: int = 0, steps_per_epoch: int = 1) -> None:
        """Move `w` (size,) by one iteration, in place; collective.

        Raises DivergenceError on all ranks where the value is not finite.
        """
        state, w_before = self.state, w.astype(np.float64)
        if math.isnan(state["value"]):
            state["value"][...], state["gradient"][...] = self._evaluate(w_before)
            check_finite(float(state["value"]), step, steps_per_epoch, "loss")
        g = state["gradient"].copy()
        direction = self._direction(g)
        slope = g.dot(direction)
        if not slope < 0:  # rounding errors dominate the memory: start it anew
            state["kept"][...], direction, slope = 0, -g, -g.dot(g)
        first = 1.0 if state["kept"] else min(1.0, 1 / max(1e-300, np.abs(g).sum()))
        point = None
        if slope < 0:
            search = WolfeLineSearch(
                self._evaluate, w_before, direction, float(state["value"]), slope
            )
            point = search.search(first)
        self.iterations += 1
        if point is None:
            self.converged = True
            return
        w_after, value, state["gradient"][...] = point
        self.converged = bool(state["value"] - value <= ROUNDING * abs(value))
        state["value"][...] = value
        self._remember(w_after - w_before, state["gradient"] - g)
        w[...] = w_after

    def _evaluate(self, w: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = self.function(w)
        return value, gradient.astype(np.float64)

    def _remember(self, s: FloatArray, y: FloatArray) -> None:
        """Keep a change of the weights, and of the gradient."""
        state = self.state
        if s.dot(y) > 1e-300:
            slot = state["kept"] % MEMORY
            state["steps"][slot], state["changes"][slot] = s, y
            state["kept"] += 1

    def _direction(self, g: FloatArray) -> FloatArray:
        """Return -H g by the two-loop recursion."""
        S, Y = self.state["steps"], self.state["changes"]
        pairs = int(self.state["kept"])
        newest_first = [(pairs - k) % MEMORY for k in range(1, 1 + min(pairs, MEMORY))]
        q, alphas = -g, []
        for k in newest_first:
            alphas.append(S[k].dot(q) / S[k].dot(Y[k]))
            q -= alphas[-1] * Y[k]
        if newest_first:
            k = newest_first[0]
            q *= S[k].dot(Y[k]) / Y[k].dot(Y[k])
        for k, alpha in zip(reversed(newest_first), reversed(alphas)):
            q += (alpha - Y[k].dot(q) / S[k].dot(Y[k])) * S[k]
        return q


class Solution(NamedTuple):
    """What a line search has found: weights, and value and gradient there."""

    weights: FloatArray
    value: float
    gradient: FloatArray


class LinePoint(NamedTuple):
    """A point of a line search: t, and value and slope there.

    `solution` is None at the start, and where the value is not finite.
    """

    t: float
    value: float
    slope: float
    solution: Solution | None


class WolfeLineSearch:
    """A search along w + t d for a t that meets the strong Wolfe conditions.

    value, slope: those at t = 0; the slope must be negative.
    """

    def __init__(
        self,
        function: Function,
        w: FloatArray,
        d: FloatArray,
        value: float,
        slope: float,
    ) -> None:
        self.function, self.w, self.d = function, w, d
        self.value, self.slope = value, slope
        self.evaluations = 0

    def _evaluate(self, t: float) -> LinePoint:
        self.evaluations += 1
        w = self.w + t * self.d
        value, gradient = self.function(w)
        if not math.isfinite(value):
            return LinePoint(t, math.inf, math.inf, None)
        slope = gradient.dot(self.d)
        return LinePoint(t, value, slope, Solution(w, value, gradient))

    def _sufficient_decrease(
        self, point: LinePoint, below: LinePoint | None = None
    ) -> bool:
        """Whether a point satisfies the Armijo condition, up to rounding.

        And, where `below` is given, has a value below that point's.
        """
        bound = self.value + DECREASE * point.t * self.slope
        bound += ROUNDING * abs(self.value)
        return point.value <= bound and (below is None or point.value < below.value)

    def _curvature_holds(self, point: LinePoint) -> bool:
        return abs(point.slope) <= -CURVATURE * self.slope

    def search(self, t: float) -> Solution | None:
        """Return a point that satisfies both conditions, starting at t, or None.

        Nocedal & Wright, algorithm 3.5. After MAX_EVALUATIONS, the best point so far.
        """
        before = LinePoint(0.0, self.value, self.slope, None)
        while self.evaluations < MAX_EVALUATIONS:
            point = self._evaluate(t)
            if not self._sufficient_decrease(point, before if before.t else None):
                return self._zoom(before, point)
            if self._curvature_holds(point):
                return point.solution
            if point.slope >= 0:
                return self._zoom(point, before)
            before, t = point, 2 * t
        return before.solution

    def _zoom(self, low: LinePoint, high: LinePoint) -> Solution | None:
        """Return what `search` does, from an interval that contains such a point.

        Nocedal & Wright, algorithm 3.6.
        """
        while self.evaluations < MAX_EVALUATIONS and low.t != high.t:
            point = self._evaluate(_cubic_minimizer(low, high))
            if not self._sufficient_decrease(point, low):
                high = point
            elif self._curvature_holds(point):
                return point.solution
            else:
                if point.slope * (high.t - low.t) >= 0:
                    high = low
                low = point
        return low.solution


def _cubic_minimizer(low: LinePoint, high: LinePoint) -> float:
    """Return the minimiser of the cubic through two points (Nocedal & Wright, 3.59).

    The midpoint where it is not well inside the interval; nearer to `low` where the
    value at `high` is not finite.
    """
    (a, fa, da, _), (b, fb, db, _) = low, high
    middle, width = (a + b) / 2, abs(b - a)
    if not math.isfinite(fb):
        return a + 0.1 * (b - a)
    c = da + db - 3 * (fa - fb) / (a - b)
    radicand = c * c - da * db
    if radicand <= 0:
        return middle
    root = math.copysign(math.sqrt(radicand), b - a)
    denominator = db - da + 2 * root
    t = b - (b - a) * (db + root - c) / denominator if denominator else middle
    inside = min(a, b) + 0.1 * width <= t <= max(a, b) - 0.1 * width
    return t if inside else middle
