"""Objective and score of the model there is, on all rows; early stopping."""

import math
from functools import reduce

from ..comm.reduction_tree import tree_allreduce_objects
from ..data.matrix import slice_rows
from ..data.standardize import merge, moments
from ..errors import UsageError, check_finite
from ..reporting.timing import min_mean_max

EVALUATION_ROWS = 4096  # evaluated at once
SWITCH_TO_LBFGS = "stalled"  # the reason to go on in another way (--then)
MIN_RELATIVE_GAIN = (
    0.05  # of the objective: an epoch that brings less is the last before --then
)


class Evaluator:
    """Objective and score of the consensus at the end of epochs; early stopping."""

    def __init__(self, scene):
        self.scene = scene
        self.every = scene.options.eval_every * scene.plan.steps
        self.best = {"loss": math.inf, "score": -math.inf, "step": -1, "stale": 0}
        self.best["last"] = math.inf  # the loss at the last evaluation
        self.total_sum_of_squares = None
        if scene.data.header.task == "regression":
            self.total_sum_of_squares = _variation(
                scene.grid, scene.data.test or scene.data.train
            )
        self.last = None  # the newest record
        if scene.options.worker_scores and scene.parts.store.replicas(0) is None:
            found = scene.options.strategy
            raise UsageError(
                f"--worker-scores: the workers of {found} have no models of their own, "
                "as those of average, oneshot, elastic and gossip have",
                agreed=True,
            )

    def next(self, step):
        """Return the end of the next epoch to evaluate, or of the run."""
        return min((step // self.every + 1) * self.every, self.scene.parts.steps)

    def __call__(self, step, state):
        record = self.record(step)
        self.scene.journal.metric(record)
        self.scene.console.epoch(record)
        self.last = record
        check_finite(record["loss"], step - 1, self.scene.plan.steps, "loss")
        return self._stop(record)

    def final_record(self, step):
        """Return the record of the last step, and log it unless that was done."""
        if self.last and self.last["step"] == step:
            return self.last
        record = self.record(step)
        if self.next(step - 1) != step:  # where it is, it was logged before a resume
            self.scene.journal.metric(record)
        self.scene.console.epoch(record)
        return record

    def record(self, step):
        """Return the metrics after `step` updates; collective."""
        scene = self.scene
        with scene.clock.paused("evaluate"):
            w = scene.parts.store.consensus(step)
            penalty = scene.objective.penalty(w)
            rows, loss, hits = _tally(scene, scene.data.train, w)
            record = {"loss": loss / rows + penalty, "test_loss": None}
            if scene.data.test:
                rows, loss, hits = _tally(scene, scene.data.test, w)
                record["test_loss"] = loss / rows + penalty
            record["score"] = self._score(rows, hits)
            if scene.options.many:
                record = select_best(record, scene.objective.configs)
            if scene.options.worker_scores:
                record["worker_scores"] = self._of_workers(step)
            record["lr"] = float(scene.parts.rate(max(0, step - 1)))
        parts = scene.grid.comm.allgather(scene.clock.breakdown())
        ends = {"bytes": scene.clock.bytes_sent, "time": min_mean_max(parts)}
        return scene.position("epoch", step) | record | ends

    def _of_workers(self, step):
        """Return the score of each worker's own model, in order; collective."""
        scene, scores = self.scene, []
        part = scene.data.test or scene.data.train
        own = scene.parts.store.replicas(step)
        for rank in range(scene.grid.comm.size):
            for w in scene.grid.comm.bcast(own, rank):
                rows, _, hits = _tally(scene, part, w)
                scores.append(self._score(rows, hits))
        return scores

    def _score(self, rows, hits):
        """Return the accuracy, or R² = 1 - Σ(y-p)² / Σ(y-ȳ)²."""
        if self.total_sum_of_squares is None:
            return hits / rows
        return (
            1 - hits / self.total_sum_of_squares
            if self.total_sum_of_squares
            else math.nan
        )

    def _stop(self, record):
        """Remember the best, and say why to stop, alike on all ranks."""
        best, options = self.best, self.scene.options
        if record["score"] > best["score"]:
            best["score"], best["step"] = record["score"], record["step"]
        better = record["loss"] < best["loss"] - (options.tol or 0)
        best["stale"] = 0 if better else best["stale"] + 1
        best["loss"] = min(best["loss"], record["loss"])
        gain, best["last"] = best["last"] - record["loss"], record["loss"]
        method = self.scene.parts.solver
        if method and method.converged:
            return "converged"
        if options.then and not method:
            least = (
                MIN_RELATIVE_GAIN * abs(record["loss"])
                if options.tol is None
                else options.tol
            )
            return SWITCH_TO_LBFGS if gain < least else None
        if options.target is not None and record["score"] >= options.target:
            return "target"
        if options.tol is not None and best["stale"] >= options.patience:
            return "plateau"


def _tally(scene, part, w):
    """Return rows, loss sum and hits of the model over a part; collective."""

    def of_worker(pieces):
        rows, total = 0, 0.0
        for X, y in pieces:
            rows += len(y)
            for i in range(0, len(y), EVALUATION_ROWS):
                block = (
                    slice_rows(X, i, min(i + EVALUATION_ROWS, len(y))),
                    y[i : i + EVALUATION_ROWS],
                )
                total = total + scene.objective.evaluate(w, *block)
        return rows, total

    items = [of_worker(part.blocks(i)) for i in range(scene.grid.n_local_workers)]
    add = lambda a, b: (a[0] + b[0], a[1] + b[1])  # noqa: E731
    rows, (loss, hits) = tree_allreduce_objects(scene.grid, items, add)
    return rows, loss, hits


def select_best(record, points):
    """Return the record of the best of many settings, with that of each in "many".

    The best has the highest score; of several, the lowest loss.
    """
    kinds = {key: value for key, value in record.items() if value is not None}
    each = [
        points[k] | {key: float(column[k]) for key, column in kinds.items()}
        for k in range(len(points))
    ]
    rank = [(not math.isfinite(e["loss"]), -e["score"], e["loss"]) for e in each]
    best = min(range(len(each)), key=rank.__getitem__)
    chosen = {key: each[best][key] for key in kinds}
    return record | chosen | {"many": each, "best": best}


def _variation(grid, part):
    """Return Σ(y-ȳ)² over the rows of all workers; collective."""
    items = [
        reduce(merge, [moments(y[:, None]) for _, y in part.blocks(i)], (0, 0.0, 0.0))
        for i in range(grid.n_local_workers)
    ]
    return float(tree_allreduce_objects(grid, items, merge)[2][0])
