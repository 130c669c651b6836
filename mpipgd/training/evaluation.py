"""Loss and score of the model, over all rows; early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..comm.reduction_tree import tree_allreduce_objects
from ..data.matrix import slice_rows
from ..data.standardize import merge, merge_all, moments
from ..data.weighted import split_weights
from ..errors import UsageError, check_finite
from ..objectives.sweep import LinearSweep
from ..reporting.timing import min_mean_max

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..array_types import FloatArray
    from ..comm.topology import Grid
    from ..data.base import Split
    from ..data.matrix import Matrix
    from ..data.weighted import Targets
    from ..objectives.base import Objective
    from ..transforms.base import State
    from .callbacks import RunContext

EVALUATION_ROWS = 4096  # evaluated at once
SWITCH_TO_LBFGS = "stalled"  # the reason to go on with --then
ROUNDING = 1e-9  # relative; a loss that is higher by less has not climbed
MIN_RELATIVE_GAIN = 0.05  # of the loss in an epoch; SGD that gains less has stalled


class Best(NamedTuple):
    """What early stopping remembers; in checkpoints, each with the prefix "best_".

    The monitored loss is that of the validation rows if there are any, else that of the
    training rows; never that of the test rows.

    loss, step: the lowest monitored loss, and its step; stale: evaluations since it
    fell; last: the training loss of the last evaluation; start: that of the first
    weights, inf where it is unknown.
    """

    loss: float = math.inf
    step: int = -1
    stale: int = 0
    last: float = math.inf
    start: float = math.inf


class Evaluator:
    """The callback that evaluates the consensus at the end of epochs, and may stop.

    best, last_record: those of the run so far, where it goes on.
    """

    def __init__(
        self,
        context: RunContext,
        *,
        best: Best | None = None,
        last_record: dict[str, Any] | None = None,
    ) -> None:
        self.context, self.last_record = context, last_record
        self.best = best or Best()
        self.interval = context.options.eval_every * context.plan.steps
        self.scored: Split = context.data.test or context.data.train
        # by the id of a split, for each target (m,)
        self._squares: dict[int, FloatArray] = {}
        if context.data.header.task == "regression":
            for rows in (self.scored, context.data.validation):
                if rows is not None:
                    squares = _total_sum_of_squares(context.grid, rows)
                    self._squares[id(rows)] = squares
        # L-BFGS, after a strategy whose workers have models, has one model
        self.scores_workers = (
            context.options.worker_scores and not context.components.stepper.full_batch
        )
        no_replicas = context.components.store.replicas(0) is None
        if self.scores_workers and no_replicas:
            strategy = context.options.strategy
            raise UsageError(
                f"--worker-scores: the workers of {strategy} have no models of their "
                "own, as those of average, oneshot, elastic and gossip have",
                agreed=True,
            )

    def next(self, step: int) -> float:
        next_evaluation = (step // self.interval + 1) * self.interval
        return min(next_evaluation, self.context.components.steps)

    def start(self) -> None:
        """Evaluate the first weights, and log that as epoch 0; collective."""
        record = self.record(0)
        self.context.run_folder.metric(record)
        self.best = self.best._replace(start=float(record["loss"]))

    def __call__(self, step: int, state: State) -> str | None:
        record = self.record(step)
        self.context.run_folder.metric(record)
        self.context.console.epoch(record)
        self.last_record = record
        check_finite(record["loss"], step - 1, self.context.plan.steps, "loss")
        return self._reason_to_stop(record)

    def final_record(self, step: int) -> dict[str, Any]:
        """Return the record of the last step, and log it unless that was done."""
        if self.last_record and self.last_record["step"] == step:
            return self.last_record
        record = self.record(step)
        if self.next(step - 1) != step:  # else it was logged before the run was resumed
            self.context.run_folder.metric(record)
        self.context.console.epoch(record)
        return record

    def climbed(self, record: dict[str, Any]) -> bool:
        """Whether a training loss is above that of the first weights."""
        return above_start(record["loss"], self.best.start)

    def record(self, step: int) -> dict[str, Any]:
        """Return the metrics after `step` updates; collective.

        loss: the training objective, with its penalty; data_loss: without it. Losses
        are in units of the data's target, whatever the objective was given.
        """
        context, objective = self.context, self.context.objective
        components, data, unit = context.components, context.data, objective.loss_unit
        with context.clock.paused("evaluate"):
            w = components.store.consensus(step)
            penalty = objective.penalty(w) * unit
            evaluation = evaluate(context.grid, objective, data.train, w)
            data_loss = evaluation.loss * unit
            record = {
                "loss": data_loss + penalty,
                "data_loss": data_loss,
                "test_loss": None,
            }
            if data.validation:
                validation = evaluate(context.grid, objective, data.validation, w)
                record["validation_loss"] = validation.loss * unit + penalty
                record["validation_score"] = self._score(validation, data.validation)
            if data.test:
                evaluation = evaluate(context.grid, objective, data.test, w)
                record["test_loss"] = evaluation.loss * unit + penalty
            record["score"] = self._score(evaluation, self.scored)
            if isinstance(objective, LinearSweep):
                record = select_best(record, objective.configs, self.best.start)
            if self.scores_workers:
                record["worker_scores"] = self._worker_scores(step)
            record["lr"] = components.learning_rate(max(0, step - 1))
        breakdowns = context.grid.comm.allgather(context.clock.breakdown())
        exchange = {
            "bytes": context.clock.bytes_sent,
            "time": min_mean_max(breakdowns),
        }
        return context.record("epoch", step) | record | exchange

    def _worker_scores(self, step: int) -> list[float]:
        """Return the score of each worker's own model, in order; collective."""
        context, scores = self.context, []
        local_models = context.components.store.replicas(step)
        for rank in range(context.grid.comm.size):
            for w in context.grid.comm.bcast(local_models, rank):
                evaluation = evaluate(context.grid, context.objective, self.scored, w)
                scores.append(self._score(evaluation, self.scored))
        return scores

    def _score(self, evaluation: Evaluation, rows: Split) -> Any:
        """Return the accuracy, or R² = 1 - Σ(y-p)² / Σ(y-ȳ)²; of a sweep, arrays.

        Of several targets, the mean of their R².
        """
        if not self._squares:
            return evaluation.hits / evaluation.rows
        squares = self._squares[id(rows)]
        if np.any(squares == 0):
            shape = np.shape(evaluation.hits) if len(squares) == 1 else ()
            return np.full(shape, math.nan)[()]
        if len(squares) == 1:
            return 1 - evaluation.hits / squares[0]
        return float(np.mean(1 - evaluation.hits / squares))

    def _reason_to_stop(self, record: dict[str, Any]) -> str | None:
        """Update the best, and return why to stop, the same on all ranks."""
        options, best = self.context.options, self.best
        loss = record["loss"]
        monitored = record.get("validation_loss", loss)
        gain = best.last - loss
        improved = monitored < best.loss - (options.tol or 0)
        best = best._replace(stale=0 if improved else best.stale + 1, last=loss)
        if monitored < best.loss:
            best = best._replace(loss=monitored, step=record["step"])
        self.best = best
        stepper = self.context.components.stepper
        if stepper.converged:
            return "converged"
        if options.then and not stepper.full_batch:
            least = options.tol
            if least is None:
                least = MIN_RELATIVE_GAIN * abs(loss)
            return SWITCH_TO_LBFGS if gain < least else None
        score = record.get("validation_score", record["score"])
        if options.target is not None and score >= options.target:
            return "target"
        if options.tol is not None and best.stale >= options.patience:
            return "plateau"
        return None


class Evaluation(NamedTuple):
    """Sums over rows: of losses and of hits; for regression, hits is Σ(y-p)².

    Of a sweep, arrays (K,); of several targets, hits (targets,).
    """

    rows: int
    loss_sum: Any
    hits: Any

    @property
    def loss(self) -> Any:
        """The mean loss, without penalty."""
        return self.loss_sum / self.rows


def evaluate(
    grid: Grid, objective: Objective, rows: Split, w: FloatArray
) -> Evaluation:
    """Evaluate the model over a split of the data; collective."""

    def of_worker(
        blocks: Iterable[tuple[Matrix, Targets]],
    ) -> tuple[int, Any]:
        n: int = 0
        sums: Any = 0.0
        for X, y in blocks:
            n += len(y)
            for lo in range(0, len(y), EVALUATION_ROWS):
                hi = min(lo + EVALUATION_ROWS, len(y))
                sums = sums + objective.evaluate(w, slice_rows(X, lo, hi), y[lo:hi])
        return n, sums

    n, sums = tree_allreduce_objects(
        grid,
        [of_worker(rows.blocks(i)) for i in range(grid.n_local_workers)],
        lambda a, b: (a[0] + b[0], a[1] + b[1]),
    )
    return Evaluation(n, sums[0], sums[1] if len(sums) == 2 else sums[1:])


def above_start(loss: float, start: float) -> bool:
    """Whether a loss is above that of the first weights, by more than rounding."""
    return not loss <= start + ROUNDING * abs(start)


def select_best(
    record: dict[str, Any],
    configs: Sequence[Mapping[str, float]],
    start: float = math.inf,
) -> dict[str, Any]:
    """Return the record of the best configuration of a sweep, with all in "many".

    Values of `record` are arrays (K,). The best has the highest validation score, or
    score where there are no validation rows; of several, the lowest loss. Only the best
    has test values. One whose loss is not finite, or above `start`, has "diverged", and
    no score.
    """
    columns = {key: value for key, value in record.items() if value is not None}
    chosen_by = "validation_score" if "validation_score" in columns else "score"
    tests = {"test_loss", "score"} - {chosen_by}
    results: list[dict[str, Any]] = []
    for k, config in enumerate(configs):
        values = {key: float(columns[key][k]) for key in columns.keys() - tests}
        diverged = above_start(values["loss"], start)
        results.append(dict(config) | values | {"diverged": diverged})

    def order(k: int) -> tuple[bool, bool, float, float]:
        loss, score = results[k]["loss"], results[k][chosen_by]
        score = score if math.isfinite(score) else -math.inf
        return not math.isfinite(loss), results[k]["diverged"], -score, loss

    best = min(range(len(results)), key=order)
    best_values = {key: float(column[best]) for key, column in columns.items()}
    for result in results:
        if result["diverged"]:
            result[chosen_by] = None
    return record | best_values | {"many": results, "best": best}


def _total_sum_of_squares(grid: Grid, rows: Split) -> FloatArray:
    """Return Σ(y-ȳ)² of each target (m,) over the rows of all workers; collective."""
    local = [
        merge_all(
            moments(y.reshape(len(y), -1), u)
            for y, u in (split_weights(targets) for _, targets in rows.blocks(i))
        )
        for i in range(grid.n_local_workers)
    ]
    squares = tree_allreduce_objects(grid, local, merge).squares
    return np.atleast_1d(squares)
