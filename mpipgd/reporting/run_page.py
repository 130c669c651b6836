"""report.html: what a run did, from the files of its folder alone.

Pages of several runs, on common axes, are made here as well.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import toml
from ..errors import CheckpointError, UsageError
from . import html
from .charts import Axis, Series, bar_chart, line_chart
from .plots import AXES
from .run_folder import read_epochs
from .tables import format_bytes, format_number

if TYPE_CHECKING:
    from .base import Record

PAGE = "report.html"
LARGEST = 20  # coefficients on the page
LEAST_CLASSES, MOST_CLASSES = 2, 40  # of confusion matrices that are shown
MOST_OUTPUTS = 12  # columns of coefficients that fit on paper
MOST_RANKS = 48  # bars of ranks
SCORES = {"regression": "R²", "binary": "accuracy", "multiclass": "accuracy"}
TIMES = ("compute", "exchange", "read")  # of `times` in summary.json, by rank


class RunFiles:
    """What a run folder holds: options, evaluations, summary, model, evaluation.

    What is not there yet is empty. Raises UsageError for what is no run folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.options = toml.read(f"{folder}/config.toml")
            self.records: list[Record] = read_epochs(folder)
            self.environment = self._json("env.json")
            self.summary = self._json("summary.json")
            self.evaluation = self._json("evaluation.json")
            self.model = _read_model(self.folder / "model.h5")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{folder}: no run folder: {error!r}") from error
        if not self.records:
            raise UsageError(f"{folder}: nothing was evaluated yet")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        value = json.loads(path.read_text()) if path.exists() else {}
        if not isinstance(value, dict):
            raise ValueError(f"{name} holds no object")
        return value

    @property
    def score(self) -> str:
        """The name of the score: R² or accuracy."""
        return SCORES.get(self.model.get("task", ""), "score (R² or accuracy)")

    @property
    def part(self) -> str:
        """The part of the data that the score is of: test, or else training."""
        return "training" if self.records[-1]["test_loss"] is None else "test"


def _read_model(path: Path) -> dict[str, Any]:
    """Return task, names and coefficients of model.h5; nothing if it is not there."""
    import h5py

    if not path.exists():
        return {}
    with h5py.File(path, "r") as file:
        model = {
            name: _header_value(file, name)
            for name in ("task", "n_features", "classes", "feature_names", "target")
        }
        coef = file.get("weights/coef")
        model["coef"] = coef[...] if isinstance(coef, h5py.Dataset) else None
        model["scaled"] = "scaling" in file
    return model


def _header_value(file: Any, name: str) -> Any:
    """Return a value of the header: an attribute, or a dataset where it is long."""
    value = file.attrs.get(name)
    if value is None and name in file:
        value = file[name][...]
    return _decoded(value.tolist() if hasattr(value, "tolist") else value)


def _decoded(value: Any) -> Any:
    """Return texts, which HDF5 hands over as bytes, as str; also in lists."""
    if isinstance(value, (list, tuple)):
        return [_decoded(element) for element in value]
    return value.decode() if isinstance(value, bytes) else value


def write_run_page(folder: str | os.PathLike[str]) -> Path:
    """Write report.html into a run folder, from its files; return its path.

    Raises UsageError for what is no run folder.
    """
    run = RunFiles(folder)
    path = run.folder / PAGE
    try:
        sections = list(_sections(run))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"{folder}: no complete run folder: {error!r}") from error
    html.write_page(path, f"Run {run.folder.resolve().name}", sections)
    return path


def _sections(run: RunFiles) -> Iterator[str]:
    yield html.paragraph(" ".join(_sentences(run)))
    yield html.definition_list(_facts(run))
    yield html.figure(
        _loss_chart(run),
        "Losses",
        "The objective includes the penalty, if there is one.",
    )
    yield _score_figure(run)
    yield from _evaluation_sections(run)
    yield from _coefficient_sections(run)
    yield from _time_sections(run)
    yield html.heading("Go on from here")
    yield html.commands(_next_commands(run))


def _sentences(run: RunFiles) -> Iterator[str]:
    """Yield in words what ran, and how it ended."""
    options, summary, last = run.options, run.summary, run.records[-1]
    workers = summary.get("workers", options["workers"])
    penalty = options.get("penalty", "none")
    penalised = "no penalty" if penalty == "none" else f"{penalty} penalty"
    ranks = f" on {_count(summary['ranks'], 'rank')}" if "ranks" in summary else ""
    features = run.model.get("n_features")
    columns = f" with {features:,} features" if features else ""
    yield (
        f"A {options['model']} model with {penalised} was trained on "
        f"{Path(options['data']).name}{columns} by {options['optimizer']} with the "
        f"strategy {options['strategy']}: {_count(workers, 'worker')}{ranks}, learning "
        f"rate {options['lr']:g}."
    )
    if not summary:
        yield f"It has not ended: the last evaluation was after epoch {last['epoch']}."
    else:
        reason = "" if summary["reason"] == "epochs" else f": {summary['reason']}"
        yield (
            f"It took {_count(summary['steps'], 'step')} in "
            f"{_count(summary['epochs'], 'epoch')} and {summary['seconds']:.3g} s of "
            f"training, and ended{reason or ' after the epochs it was given'}."
        )
    yield (
        f"The {run.part} {run.score} is {format_number(last['score'], '.4f')}, the "
        f"training objective {format_number(last['loss'], '.4g')}."
    )


def _count(number: float, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _facts(run: RunFiles) -> dict[str, Any]:
    environment, summary = run.environment, run.summary
    facts: dict[str, Any] = {"data": run.options["data"]}
    if run.model.get("target"):
        facts["target"] = run.model["target"]
    facts["seed"] = run.options["seed"]
    if environment:
        hosts = environment["hosts"]
        facts["machine"] = f"{_count(len(hosts), 'node')}, {environment['platform']}"
        facts["MPI"] = environment["mpi"].strip("\x00\n ")
    if summary:
        facts["rows a second"] = f"{summary['samples_per_second']:,.0f}"
        facts["sent per rank"] = format_bytes(summary["bytes"])
        facts["weights (SHA-256)"] = summary["weights_sha256"]
    return facts


def _loss_chart(run: RunFiles) -> str:
    names = {
        "loss": "training objective (loss + penalty)",
        "validation_loss": "validation loss",
        "test_loss": "test loss",
    }
    series = _series(run.records, names)
    finite = [value for one in series for value in one.y if value is not None]
    log = bool(finite) and 0 < 10 * min(finite) < max(finite)
    axis = Axis("mean loss a row", log=log)
    return line_chart(
        series, Axis("epochs", whole=True), axis, title="Losses by epochs"
    )


def _series(records: Sequence[Record], names: Mapping[str, str]) -> list[Series]:
    """Return the series of those keys that the records have."""
    x = [record["epoch"] for record in records]
    there = [key for key in names if any(r.get(key) is not None for r in records)]
    return [
        Series(names[key], x, [record.get(key) for record in records], number)
        for number, key in enumerate(there)
    ]


def _score_figure(run: RunFiles) -> str:
    label = f"{run.part} {run.score}"
    names = {"score": label, "validation_score": f"validation {run.score}"}
    series = [*_workers(run.records), *_series(run.records, names)]
    axis = Axis(label, low=_score_floor(series))
    chart = line_chart(
        series, Axis("epochs", whole=True), axis, title=f"{label} by epochs"
    )
    thin = any(one.kind == "thin" for one in series)
    caption = "Thin lines are the workers' own models." if thin else ""
    return html.figure(chart, f"{label[0].upper()}{label[1:]}", caption)


def _score_floor(series: Sequence[Series]) -> float | None:
    """Return the lower limit of scores: those far below guessing say nothing."""
    values = [value for one in series for value in one.y if value is not None]
    return -0.1 if values and min(values) < -0.1 < max(values) else None


def _workers(records: Sequence[Record]) -> list[Series]:
    """Return the scores of single workers' models, where they were recorded."""
    scores: list[Any] = [record.get("worker_scores") for record in records]
    if None in scores:
        return []
    x = [record["epoch"] for record in records]
    return [
        Series("workers' own models", x, list(of_worker), 5, "thin")
        for of_worker in zip(*scores)
    ]


def _evaluation_sections(run: RunFiles) -> Iterator[str]:
    """Yield confusion matrices, ROC curves and predictions of evaluation.json."""
    for part, measured in run.evaluation.items():
        if not isinstance(measured, dict):
            continue
        confusion = measured.get("confusion")
        if confusion and LEAST_CLASSES <= len(confusion) <= MOST_CLASSES:
            yield html.heading(f"Confusion matrix ({part})")
            yield html.confusion_table(list(map(str, measured["classes"])), confusion)
        if measured.get("roc"):
            yield _roc_figure(part, measured["roc"])
        if measured.get("predicted_true"):
            yield _prediction_figure(part, measured["predicted_true"])


def _roc_figure(part: str, roc: Mapping[str, Any]) -> str:
    series = [
        Series("guessing", (0, 1), (0, 1), 6, "guide"),
        Series(f"ROC, area {roc['auc']:.4f}", roc["fpr"], roc["tpr"], 0),
    ]
    chart = line_chart(
        series,
        Axis("false positive rate", low=0, high=1),
        Axis("true positive rate", low=0, high=1),
        title=f"ROC curve, area {roc['auc']:.4f}",
        interactive=False,
    )
    caption = f"Area under the curve: {roc['auc']:.4f}."
    return html.figure(chart, f"ROC curve ({part})", caption)


def _prediction_figure(part: str, pairs: Sequence[Sequence[float]]) -> str:
    true, predicted = [pair[1] for pair in pairs], [pair[0] for pair in pairs]
    ends = min(true), max(true)
    series = [
        Series("prediction = truth", ends, ends, 6, "guide"),
        Series("rows", true, predicted, 0, "points"),
    ]
    chart = line_chart(
        series, Axis("true value"), Axis("predicted value"),
        title="Predicted against true values", interactive=False,
    )  # fmt: skip
    caption = f"{len(pairs):,} rows of the {part} part, at most 2,000."
    return html.figure(chart, f"Predicted against true ({part})", caption)


def _coefficient_sections(run: RunFiles) -> Iterator[str]:
    """Yield the largest coefficients of a linear model, by name."""
    coef = run.model.get("coef")
    if coef is None:
        return
    names = run.model.get("feature_names")
    columns = coef.reshape(len(coef), -1)
    size = abs(columns).max(axis=1)
    order = [int(row) for row in (-size).argsort(kind="stable")[:LARGEST]]
    outputs = list(map(str, run.model.get("classes") or []))
    if len(outputs) != columns.shape[1]:
        outputs = [f"output {k}" for k in range(columns.shape[1])]
    if len(outputs) == 1:
        headings = ["coefficient"]
    elif len(outputs) <= MOST_OUTPUTS:
        headings = outputs
    else:
        headings = ["largest for", "coefficient"]
    rows = []
    for k in order:
        cells = [f"{value:.4g}" for value in columns[k]]
        if len(outputs) > MOST_OUTPUTS:
            best = int(abs(columns[k]).argmax())
            cells = [outputs[best], cells[best]]
        rows.append([str(names[k]) if names else f"feature {k}", *cells])
    yield html.heading("Largest coefficients")
    scale = "of standardised features" if run.model["scaled"] else "of raw features"
    yield html.paragraph(
        f"The {len(order)} features with the largest coefficients by absolute value, "
        f"of {len(columns):,}; {scale}."
    )
    yield html.table(["feature", *headings], rows)


def _time_sections(run: RunFiles) -> Iterator[str]:
    """Yield where the time went, by rank."""
    times = run.summary.get("times")
    if not times:
        return
    slowest = sorted(range(len(times)), key=lambda k: -times[k]["compute"])
    ranks = sorted(slowest[:MOST_RANKS])
    parts = {kind: [times[rank][kind] for rank in ranks] for kind in TIMES}
    labels = [f"rank {number}" for number in ranks]
    chart = bar_chart(labels, parts, unit="seconds", title="Seconds of each rank")
    caption = (
        "Of training, without evaluation and saving; an exchange includes the wait for "
        "other ranks, reading that of the rows before the first step."
    )
    if len(times) > MOST_RANKS:
        caption = f"The {MOST_RANKS} ranks of {len(times)} with most work. {caption}"
    if len(times) > 1:
        caption = f"{run.summary['slowest']['text']}. {caption}"
    yield html.figure(chart, "Where the time went", caption)


def _next_commands(run: RunFiles) -> list[str]:
    """Return commands that work from any folder, in the run's environment."""
    folder = shlex.quote(str(run.folder.absolute()))
    bundled = run.folder / "data.h5"  # a bundled set is written into the run folder
    data = str(bundled.absolute()) if bundled.exists() else run.options["data"]
    mpipgd = f"mpirun -n {run.summary.get('ranks', 1)} python -m mpipgd"
    return [
        f"{mpipgd} train --resume {folder} --epochs {2 * run.options['epochs']}",
        f"{mpipgd} evaluate {folder} {shlex.quote(data)}",
        f"{mpipgd} predict {folder} {shlex.quote(data)} -o predictions.h5",
        f"python -m mpipgd report {folder} --html",
    ]


def write_runs_page(
    runs: Mapping[str, str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    against: str = "epoch",
    show: str = "score",
    rows: Sequence[Sequence[str]],
) -> None:
    """Write the page of several runs (name -> folder), their curves on one axis.

    `against` is a key of AXES, `show` a key of the records; `rows` are those of the
    table, its headings first.
    """
    files = {name: RunFiles(folder) for name, folder in runs.items()}
    parts = sorted({run.part for run in files.values()})
    scores = sorted({run.score for run in files.values()})
    names = {
        "score": f"{' and '.join(parts)} {' and '.join(scores)}",
        "loss": "training objective (loss + penalty)",
        "test_loss": "test loss",
    }
    chart = runs_chart(
        {name: run.records for name, run in files.items()},
        label=names[show], against=against, show=show,
    )  # fmt: skip
    title = f"{names[show]} by {AXES[against][0]}"
    headings, *cells = rows
    sections = [
        html.heading("How they ended"),
        html.table(headings, cells),
        html.figure(chart, f"{title[0].upper()}{title[1:]}", ""),
    ]
    try:
        html.write_page(path, _count(len(runs), "run"), sections)
    except OSError as error:
        raise CheckpointError(f"{path}: {error}") from error


def runs_chart(
    runs: Mapping[str, Sequence[Record]],
    *,
    label: str,
    against: str = "epoch",
    show: str = "score",
) -> str:
    """Return a chart of one value of several runs (name -> records)."""
    x_label, unit = AXES[against]
    series = []
    for number, (name, records) in enumerate(runs.items()):
        x = [record[against] / unit for record in records]
        scores: list[Any] = [record.get("worker_scores") for record in records]
        if show == "score" and None not in scores:
            series += [
                Series(name, x, list(values), number, "thin") for values in zip(*scores)
            ]
        series.append(Series(name, x, [record[show] for record in records], number))
    finite = [value for one in series for value in one.y if value is not None]
    log = show != "score" and bool(finite) and 0 < 10 * min(finite) < max(finite)
    low = _score_floor(series) if show == "score" else None
    axis = Axis(label, log=log, low=low)
    x_axis = Axis(x_label, whole=against == "epoch")
    return line_chart(series, x_axis, axis, title=f"{label} by {x_label}")
