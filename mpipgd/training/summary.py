"""What a run leaves behind: its summary, model, page and plot."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..comm import mpi
from ..config import toml
from ..errors import DivergenceError, MpipgdError
from ..objectives import build_objective
from ..objectives.sweep import LinearSweep
from ..reporting import plots, report, run_page
from ..reporting.run_folder import read_epochs
from ..reporting.timing import slowest_rank
from . import inference
from .final_evaluation import evaluate_final

if TYPE_CHECKING:
    from ..config.options import TrainConfig
    from ..reporting.base import Evaluation
    from .callbacks import RunContext


def summarize(
    context: RunContext,
    record: dict[str, Any],
    ranks: int,
    reason: str | None,
    compile_seconds: float,
    *,
    start_loss: float,
    climbed: bool,
) -> dict[str, Any]:
    """Return the content of summary.json, from the last record; collective.

    start_loss: the training loss of the first weights; climbed: the last one is above.
    """
    store, grid = context.components.store, context.grid
    weights = context.objective.raw_weights(store.consensus(record["step"]))
    breakdowns = grid.comm.allgather(context.clock.breakdown())
    rank, line = slowest_rank(breakdowns)
    seconds = max(record["seconds"], 1e-9)
    last = {key: value for key, value in record.items() if key != "event"}
    return (
        last
        | store.summary()
        | {
            "ranks": ranks,
            "times": [
                dict(zip(("compute", "exchange", "read"), b)) for b in breakdowns
            ],
            "slowest": {"rank": rank, "text": line},
            "compile_seconds": compile_seconds,
            "workers": grid.workers,
            "epochs": last.pop("epoch"),
            "steps": last.pop("step"),
            "samples_per_second": record["samples"] / seconds,
            "reason": reason or "epochs",
            "start_loss": start_loss if math.isfinite(start_loss) else None,
            "climbed": climbed,
            "state": "diverged" if climbed else "done",
            "exit": 0,
            "weights_sha256": hashlib.sha256(
                weights.astype("<f8").tobytes()
            ).hexdigest(),
        }
    )


def write_results(context: RunContext, summary: dict[str, Any]) -> None:
    """Write model, summary, evaluation, page and plot, print the results; collective.

    The model is evaluated for the page alone, and after it is on the disk: where that
    fails, the page says so.
    """
    comm, folder = context.grid.comm, context.run_folder.folder
    model, text = _final_model(context, summary)
    with mpi.raise_collectively(comm):
        if folder:
            model.write(folder / "model.h5", text, context.data_signature)
            context.run_folder.json("summary.json", summary)
    evaluation: Evaluation = {}
    failure: MpipgdError | None = None
    if context.options.picture:
        try:
            evaluation = evaluate_final(model, context.source, comm=comm)
        except MpipgdError as error:  # as where the data was removed meanwhile
            failure = error
            evaluation = {"test": {"notes": [f"not evaluated: {error}"]}}
    with mpi.raise_collectively(comm):
        if folder:
            page = None
            if context.options.picture:
                context.run_folder.json("evaluation.json", evaluation)
                page = run_page.write_run_page(folder)
                if plots.has_matplotlib():
                    plots.plot_loss(read_epochs(folder), folder / "loss.png")
            context.console.close()
            for line in report.footer_lines(context, summary, page):
                context.console.say(line)
            if failure is not None:
                context.console.say(f"warning: no scores on the page: {failure}")


def write_failure(context: RunContext, error: MpipgdError, ranks: int) -> None:
    """Write summary and page of a run that an error ends, on rank 0."""
    ends = {"ranks": ranks, "exit": error.code, "reason": str(error)}
    if isinstance(error, DivergenceError):
        ends["state"] = "diverged"
    context.run_folder.json("summary.json", ends)
    if context.run_folder.folder and context.options.picture:
        run_page.write_run_page(context.run_folder.folder)


def _final_model(
    context: RunContext, summary: Mapping[str, Any]
) -> tuple[inference.Model, str]:
    """Return the model of a run, of a sweep the best, and its options; collective."""
    options, objective = context.options, context.objective
    consensus = context.components.store.consensus(summary["steps"])
    weights, text = objective.raw_weights(consensus), context.config_text
    if isinstance(objective, LinearSweep):
        k = summary["best"]
        _, weights = objective.extract(k, weights)
        options = _config_of(options, objective.configs[k])
        text = toml.to_text(options)
    header = context.data.header
    # that of raw targets, as the weights are
    raw_objective = build_objective(options, header)
    model = inference.Model(header, raw_objective, weights, context.data.scaling)
    return model, text


def _config_of(options: TrainConfig, setting: Mapping[str, float]) -> TrainConfig:
    """Return the options that train one setting of a sweep by itself."""
    changes: dict[str, Any] = dict(setting) | {"many": None}
    if "alpha" in changes:
        changes["alpha"] = (changes["alpha"],)
    return with_absolute_paths(dataclasses.replace(options, **changes))


def with_absolute_paths(options: TrainConfig) -> TrainConfig:
    """Return the options with paths that are valid from any working directory."""
    assert options.run is not None  # set by `run.train`
    data = pathlib.Path(options.data)
    is_path = data.exists() or any(char in options.data for char in "*?[")
    return dataclasses.replace(
        options,
        run=str(pathlib.Path(options.run).absolute()),
        data=str(data.absolute()) if is_path else options.data,
    )
