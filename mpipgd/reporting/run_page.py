"""report.html: what a run did, from the files of its folder alone.

Pages of several runs, on common axes, are made here as well.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import toml
from ..config.options import SWEEP_KEYS
from ..errors import CheckpointError, UsageError
from . import html
from .charts import SQUARE, Axis, Series, bar_chart, line_chart
from .plots import AXES, PART_STYLES, VALIDATION, axis_of
from .run_folder import read_epochs
from .tables import (
    METRIC_NAMES,
    format_bytes,
    format_digits,
    format_number,
    format_score,
)

if TYPE_CHECKING:
    from .base import Record

PAGE = "report.html"
LARGEST = 20  # coefficients on the page
FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MOST_OUTPUTS = 12  # columns of coefficients that fit on paper
HEADER = ("task", "n_features", "classes", "feature_names", "target", "targets")
MOST_RANKS = 48  # bars of ranks
MOST_SETTINGS = 50  # rows of settings of a sweep
CLASS_METRICS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
}
MODELS = {"linear": "A linear model", "mlp": "A multilayer perceptron"}
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
            if self.summary and not self.finished:  # what is there is of an earlier end
                self.evaluation, self.model = {}, {}
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
    def finished(self) -> bool:
        """Whether the run has ended, and not by an error."""
        return "steps" in self.summary

    @property
    def score(self) -> str:
        """The name of the score: R² or accuracy."""
        return SCORES.get(self.model.get("task", ""), "score (R² or accuracy)")

    @property
    def part(self) -> str:
        """The part of the data that the score is of: test, or else training."""
        return "training" if self.records[-1]["test_loss"] is None else "test"

    @property
    def has_unseen_rows(self) -> bool:
        """Whether there are test or validation rows."""
        last = self.records[-1]
        return any(
            last.get(key) is not None for key in ("test_loss", "validation_loss")
        )


def _read_model(path: Path) -> dict[str, Any]:
    """Return task, names and coefficients of model.h5; nothing if it is not there."""
    import h5py

    if not path.exists():
        return {}
    with h5py.File(path, "r") as file:
        model = {name: _header_value(file, name) for name in HEADER}
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
    if run.summary and not run.finished:
        reason = str(run.summary.get("reason", ""))
        yield html.paragraph(f"{reason[:1].upper()}{reason[1:]}.", notice=True)
    if run.summary.get("climbed"):
        start = format_digits(run.summary.get("start_loss"))
        yield html.paragraph(
            f"The run diverged: its training objective was {start} before the first "
            "step, and is higher now. Try a smaller learning rate.",
            notice=True,
        )
    yield html.definition_list(_facts(run))
    yield html.figure(
        _loss_chart(run), "Losses", "An objective is the mean loss a row + penalty."
    )
    yield _score_figure(run)
    yield from _sweep_section(run)
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
    model = MODELS.get(options["model"], f"A model {options['model']}")
    rate = f", learning rate {options['lr']:g}"
    if options["optimizer"] == "lbfgs" or options.get("many"):
        rate = ""
    yield (
        f"{model} with {penalised} was trained on {Path(options['data']).name}"
        f"{columns} by {options['optimizer']} with the strategy "
        f"{options['strategy']}: {_count(workers, 'worker')}{ranks}{rate}."
    )
    if not run.finished:
        state = "It has not ended"
        if summary:
            state = (
                "It was stopped" if summary["exit"] == 75 else "It ended by an error"
            )
        yield f"{state}: the last evaluation was after epoch {last['epoch']}."
    else:
        reason = "" if summary["reason"] == "epochs" else f": {summary['reason']}"
        yield (
            f"It took {_steps(summary)} in {_count(summary['epochs'], 'epoch')} and "
            f"{_duration(summary['seconds'])} of training, and "
            f"ended{reason or ' after the epochs it was given'}."
        )
    yield (
        f"The {run.part} {run.score} is {format_score(last['score'])}, the "
        f"training objective {format_digits(last['loss'])}."
    )


def _steps(summary: Mapping[str, Any]) -> str:
    """Return how many steps, and iterations of L-BFGS, a run has taken."""
    steps, iterations = summary["steps"], summary.get("iterations")
    if not iterations:
        return _count(steps, "step")
    of_lbfgs = f"{_count(iterations, 'iteration')} of L-BFGS"
    of_sgd = steps - iterations * (steps // max(1, summary["epochs"]))
    return f"{_count(of_sgd, 'step')} and {of_lbfgs}" if of_sgd > 0 else of_lbfgs


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _count(number: float, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _facts(run: RunFiles) -> dict[str, Any]:
    environment, summary = run.environment, run.summary
    facts: dict[str, Any] = {"data": run.options["data"]}
    targets = run.model.get("targets") or [run.model.get("target")]
    if targets[0]:
        ellipsis = ", …" if len(targets) > MOST_OUTPUTS else ""
        facts["target"] = ", ".join(map(str, targets[:MOST_OUTPUTS])) + ellipsis
    facts["seed"] = run.options["seed"]
    if environment:
        hosts = environment["hosts"]
        facts["machine"] = f"{_count(len(hosts), 'node')}, {environment['platform']}"
        facts["MPI"] = environment["mpi"].strip("\x00\n ")
    if run.finished:
        facts["rows a second"] = f"{summary['samples_per_second']:,.0f}"
        facts["sent per rank"] = format_bytes(summary["bytes"])
        facts["weights (SHA-256)"] = summary["weights_sha256"]
    return facts


def _loss_chart(run: RunFiles) -> str:
    names = {
        "loss": "training objective",
        "validation_loss": "validation objective",
        "test_loss": "test objective",
    }
    series = _series(run.records, names)
    finite = [value for one in series for value in one.y if value is not None]
    log = bool(finite) and 0 < 10 * min(finite) < max(finite)
    axis = Axis("objective", log=log)
    return line_chart(
        series, Axis("epochs", whole=True), axis, title="Objectives by epochs"
    )


def _series(records: Sequence[Record], names: Mapping[str, str]) -> list[Series]:
    """Return the series of those keys that the records have."""
    x = [record["epoch"] for record in records]
    there = [key for key in names if any(r.get(key) is not None for r in records)]
    return [
        Series(
            names[key],
            x,
            [record.get(key) for record in records],
            PART_STYLES[names[key].partition(" ")[0]],
        )
        for key in there
    ]


def _score_figure(run: RunFiles) -> str:
    names = {
        "validation_score": f"validation {run.score}",
        "score": f"{run.part} {run.score}",
    }
    of_model = _series(run.records, names)
    label = of_model[0].name if len(of_model) == 1 else run.score
    series = [*_workers(run.records), *of_model]
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


def _sweep_section(run: RunFiles) -> Iterator[str]:
    """Yield the settings of --many, the chosen one first."""
    settings = run.summary.get("many")
    if not settings:
        return
    best = settings[run.summary["best"]]
    chosen_by = "validation_score" if "validation_score" in best else "score"
    keys = [key for key in SWEEP_KEYS if key in best]
    others = sorted(
        (setting for setting in settings if setting is not best),
        key=lambda setting: (
            setting[chosen_by] is None,
            -(setting[chosen_by] or 0.0),
            setting["loss"] or 0.0,
        ),
    )
    rows = []
    for setting in [best, *others][:MOST_SETTINGS]:
        state = "diverged" if setting["diverged"] else ""
        score = format_score(setting[chosen_by])
        loss = format_digits(setting["loss"])
        state = "chosen" if setting is best else state
        rows.append((*(f"{setting[key]:g}" for key in keys), loss, score, state))
    yield html.heading(f"The {len(settings)} settings of --many")
    split = "validation" if chosen_by == "validation_score" else run.part
    text = f"Trained in one pass, and chosen by the {split} {run.score}"
    if len(settings) > len(rows):
        text += f"; the best {MOST_SETTINGS} are shown"
    yield html.paragraph(
        f"{text}. The curves are of the best at each evaluation, all that "
        "follows is of the chosen one."
    )
    headings = (*keys, "training objective", f"{split} {run.score}", "")
    yield html.table(headings, rows, [row[-1] == "diverged" for row in rows])


def _evaluation_sections(run: RunFiles) -> Iterator[str]:
    """Yield scores, confusion matrices, ROC curves and predictions."""
    if run.finished and run.has_unseen_rows and not run.evaluation:
        yield html.heading("Scores")
        yield html.paragraph(
            "The final model was not evaluated for this page, as with --no-picture: "
            "mpipgd evaluate, as below, prints its scores."
        )
    if run.finished and not run.has_unseen_rows:
        yield html.heading("Scores")
        yield html.paragraph(
            "The data has no test rows, and none were held out for validation, so that "
            "there are no scores on rows that the model has not seen: --validation 0.2 "
            "holds out a fifth of the training rows."
        )
    for part, measured in run.evaluation.items():
        yield from _metrics_section(part, measured)
        if measured.get("confusion"):
            yield html.heading(f"Confusion matrix ({part} rows)")
            yield html.confusion_table(
                list(map(str, measured["classes"])), measured["confusion"]
            )
        if measured.get("confused"):
            yield html.heading(f"Most frequent mistakes ({part} rows)")
            yield _confused_table(measured["confused"])
        if measured.get("by_class"):
            yield html.heading(f"Scores by class ({part} rows)")
            yield _class_table(measured["by_class"], bool(measured.get("weighted")))
        if measured.get("by_target"):
            yield html.heading(f"Scores by target ({part} rows)")
            yield _target_table(measured["by_target"])
        if measured.get("roc"):
            yield _roc_figure(part, measured)
        for of_target in measured.get("predicted_true") or ():
            yield _prediction_figure(part, measured, of_target)


def _metrics_section(part: str, measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scores of a part; notes say why some are not defined."""
    metrics = measured.get("metrics") or {}
    rows = [
        (METRIC_NAMES[name], format_digits(value))
        for name, value in metrics.items()
        if name in METRIC_NAMES and value is not None
    ]
    if not rows and not measured.get("notes"):
        return
    yield html.heading(f"Scores on the {part} rows")
    if "rows" in measured:
        weights = ", which count by their weights" if measured.get("weighted") else ""
        yield html.paragraph(
            f"Of the final model, on all {measured['rows']:,} {part} rows{weights}."
        )
    if rows:
        yield html.table(("score", ""), rows)
    for note in measured.get("notes") or ():
        yield html.paragraph(f"{note[:1].upper()}{note[1:]}.")


def _confused_table(confused: Sequence[Mapping[str, Any]]) -> str:
    return html.table(
        ("true class", "predicted class", "rows"),
        [(str(c["true"]), str(c["predicted"]), f"{c['rows']:,.6g}") for c in confused],
    )


def _class_table(classes: Sequence[Mapping[str, Any]], weighted: bool) -> str:
    keys = [key for key in CLASS_METRICS if any(key in row for row in classes)]
    rows = [
        (
            str(row["label"]),
            f"{row['rows']:,.6g}",
            *(format_number(row.get(key), ".4f") for key in keys),
        )
        for row in classes
    ]
    rows_name = "weight of rows" if weighted else "rows"
    return html.table(("class", rows_name, *(CLASS_METRICS[key] for key in keys)), rows)


def _target_table(targets: Sequence[Mapping[str, Any]]) -> str:
    keys = [key for key in METRIC_NAMES if any(key in row for row in targets)]
    rows = [
        (str(row["target"]), *(format_digits(row.get(key)) for key in keys))
        for row in targets
    ]
    return html.table(("target", *(METRIC_NAMES[key] for key in keys)), rows)


def _roc_figure(part: str, measured: Mapping[str, Any]) -> str:
    curves = measured["roc"]
    binary = len(measured.get("classes") or ()) == 2
    series = [Series("guessing", (0, 1), (0, 1), 6, "guide")]
    for number, roc in enumerate(curves):
        name = f"{roc['label']}, area {roc['auc']:.4f}"
        series.append(Series(name, roc["fpr"], roc["tpr"], number, "curve"))
    chart = line_chart(
        series,
        Axis("false positive rate", low=-0.02, high=1.02, ticks=FIFTHS),
        Axis("true positive rate", low=-0.02, high=1.02, ticks=FIFTHS),
        title=f"ROC curve of the {part} rows",
        shape=SQUARE,
    )
    text = "Each class against the rest."
    if binary:
        (roc,) = curves
        text = f"Positive class: {roc['label']}. Area under the curve: "
        text += f"{roc['auc']:.4f}."
    title = "ROC curve" if len(curves) == 1 else "ROC curves"
    return html.figure(chart, f"{title} ({part} rows)", text)


def _prediction_figure(
    part: str, measured: Mapping[str, Any], of_target: Mapping[str, Any]
) -> str:
    """Return the chart of a target, both axes with the same limits.

    They are not wider than three times the true values: predictions beyond them are at
    the edge.
    """
    pairs = [pair for pair in of_target["pairs"] if None not in pair]
    predicted, true = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    least, most = min(true, default=0.0), max(true, default=1.0)
    width = (most - least) or abs(most) or 1.0
    low = max(min([least, *predicted]), least - width) - 0.04 * width
    high = min(max([most, *predicted]), most + width) + 0.04 * width
    beyond = sum(not low <= value <= high for value in predicted)
    name = of_target.get("target") or "target"
    series = [
        Series("prediction = true value", (low, high), (low, high), 6, "guide"),
        Series("rows", true, predicted, 0, "points"),
    ]
    chart = line_chart(
        series,
        Axis(f"true {name}", low=low, high=high),
        Axis(f"predicted {name}", low=low, high=high),
        title=f"Predicted against true {name}",
        shape=SQUARE,
        interactive=False,
    )
    rows = measured.get("rows", len(pairs))
    shown = f"All {rows:,} {part} rows."
    if len(of_target["pairs"]) < rows:
        shown = f"A random sample of {len(pairs):,} of the {rows:,} {part} rows."
    if beyond:
        shown += f" {_count(beyond, 'prediction')} beyond the axis at its edge."
    return html.figure(chart, f"Predicted against true {name} ({part} rows)", shown)


def _coefficient_sections(run: RunFiles) -> Iterator[str]:
    """Yield the largest coefficients of a linear model, by name."""
    coef = run.model.get("coef")
    if coef is None:
        return
    names = run.model.get("feature_names")
    columns = coef.reshape(len(coef), -1)
    size = abs(columns).max(axis=1)
    order = [int(row) for row in (-size).argsort(kind="stable")[:LARGEST]]
    labels = run.model.get("classes") or run.model.get("targets") or []
    outputs = list(map(str, labels))
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
        cells = [format_digits(value) for value in columns[k]]
        if len(outputs) > MOST_OUTPUTS:
            best = int(abs(columns[k]).argmax())
            cells = [outputs[best], cells[best]]
        rows.append([str(names[k]) if names else f"x{k}", *cells])
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
        text = run.summary["slowest"]["text"]
        caption = f"{text[:1].upper()}{text[1:]}. {caption}"
    yield html.figure(chart, "Where the time went", caption)


def _next_commands(run: RunFiles) -> list[str]:
    """Return commands that work from any folder, in the run's environment."""
    folder = str(run.folder.absolute())
    bundled = run.folder / "data.h5"  # a bundled set is written into the run folder
    data = [str(bundled.absolute()) if bundled.exists() else run.options["data"]]
    features = [*data, *(["--x", run.options["x"]] if run.options.get("x") else [])]
    labelled = [*features, *(["--y", run.options["y"]] if run.options.get("y") else [])]
    serial = "python -m mpipgd"
    hosts = run.environment.get("hosts") or {"": 1}
    parallel = f"mpirun -n {run.summary.get('ranks', sum(hosts.values()))} {serial}"
    epochs = ["--epochs", str(2 * run.options["epochs"])] if run.finished else []
    commands: list[tuple[str, ...]] = [(parallel, "train", "--resume", folder, *epochs)]
    if run.model:
        commands += [
            (parallel, "evaluate", folder, *labelled),
            (parallel, "predict", folder, *features, "-o", "predictions.csv"),
        ]
    if run.model.get("coef") is not None:
        commands.append((serial, "coef", folder))
    commands.append((serial, "report", folder, "--html"))
    return [f"{program} {shlex.join(words)}" for program, *words in commands]


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
    """Return a chart of one value of several runs (name -> records).

    That of validation rows is dotted, where there are any.
    """
    x_label, unit = axis_of(against, chain.from_iterable(runs.values()))
    series = []
    for number, (name, records) in enumerate(runs.items()):
        x = [record[against] / unit for record in records]
        scores: list[Any] = [record.get("worker_scores") for record in records]
        if show == "score" and None not in scores:
            series += [
                Series(name, x, list(values), number, "thin") for values in zip(*scores)
            ]
        series.append(Series(name, x, [record[show] for record in records], number))
        held_out = VALIDATION.get(show, "")
        y = [record.get(held_out) for record in records]
        if any(value is not None for value in y):
            series.append(Series(f"{name}, validation", x, y, number, "guide"))
    finite = [value for one in series for value in one.y if value is not None]
    log = show != "score" and bool(finite) and 0 < 10 * min(finite) < max(finite)
    low = _score_floor(series) if show == "score" else None
    axis = Axis(label, log=log, low=low)
    x_axis = Axis(x_label, whole=against == "epoch")
    return line_chart(series, x_axis, axis, title=f"{label} by {x_label}")
