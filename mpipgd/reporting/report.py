"""What a run did, in words and in pictures, from its records and its folder."""

import contextlib
import json
from pathlib import Path

from ..atomic_file import translate_os_errors
from ..config import toml
from ..config.options import SWEEP_KEYS
from ..errors import CheckpointError, UsageError
from . import plots, tables
from .timing import TIME_KINDS


def header_lines(scene, ranks, step):
    """Yield the lines that say what a run is about to do."""
    options, plan, header = scene.options, scene.plan, scene.data.header
    w, sizes = plan.workers, sorted({int(n) for n in plan.sizes})
    rows = " to ".join(f"{n:,}" for n in dict.fromkeys((sizes[0], sizes[-1])))
    classes = f", {header.n_classes} classes" if header.classes else ""
    layout = "sparse" if header.sparse else "dense"
    yield (
        f"data      {Path(options.data).name}: {plan.rows:,} training rows × "
        f"{header.n_features:,} features ({layout}{classes})"
    )
    yield (
        f"model     {options.model}, {scene.objective.loss} loss, "
        f"{scene.objective.size:,} weights ({scene.objective.dtype})"
    )
    yield (
        f"strategy  {options.strategy}, {options.optimizer}: {w} workers on "
        f"{min(w, ranks)} ranks, {rows} rows a worker{_how(options)}, "
        f"{plan.steps:,} steps an epoch"
    )
    yield (
        f"batch     {plan.batch_size} rows a worker × {w} workers = "
        f"{plan.batch_size * w:,} rows a step"
    )
    if ranks > w:
        yield f"notice    {ranks - w} of {ranks} ranks idle: there are {w} workers"
    if step:
        yield f"resume    after step {step:,} of {scene.components.steps:,}"
    yield ""


def _how(options):
    return "" if options.split == "disjoint" else f" ({options.split})"


def footer_lines(scene, summary, picture):
    """Yield the lines that say what a run did, and where to look next."""
    folder, time = scene.options.run, summary["time"]
    seconds = sum(time[part]["mean"] for part in TIME_KINDS[:3]) or 1.0
    counted = TIME_KINDS if scene.options.memory_limit else TIME_KINDS[:3]
    shares = ", ".join(f"{part} {time[part]['mean'] / seconds:.0%}" for part in counted)
    score = "R²" if scene.data.header.task == "regression" else "accuracy"
    part = "test" if scene.data.test else "training"
    yield ""
    loss = _short(summary["loss"])
    yield f"{part} {score} {_short(summary['score'])}; training loss {loss}"
    yield (
        f"{summary['epochs']} epochs, {summary['steps']:,} steps in "
        f"{summary['seconds']:.2f} s: {summary['samples_per_second']:,.0f} rows/s "
        f"({shares})"
    )
    if len(summary["times"]) > 1:
        yield summary["slowest"]["text"]
    if summary["compile_seconds"] > 1:
        seconds = summary["compile_seconds"]
        yield f"compiling took {seconds:.1f} s more, once: it is kept for other runs"
    if "many" in summary:
        yield from _settings(summary)
    if summary["reason"] != "epochs":
        yield f"ended early: {summary['reason']}"
    yield f"weights {summary['weights_sha256'][:16]}…, in {folder}/model.h5"
    look = f"{folder}/loss.png" if picture else f"{folder}/metrics.jsonl"
    yield f"look at {look}; try: mpipgd evaluate {folder} DATA"


def _settings(summary):
    """Yield a line for each of many settings, the one that is kept first."""
    kept, many = summary["many"][summary["best"]], summary["many"]
    for each in [kept, *(each for each in many if each is not kept)]:
        loss, score = _short(each["loss"]), _short(each["score"])
        point = " ".join(f"{key}={each[key]:g}" for key in SWEEP_KEYS if key in each)
        yield f"{point:<40} loss {loss} score {score}{' *' * (each is kept)}"


def _short(value):
    return "–" if value is None else f"{value:.4f}"


def epochs(folder):
    """Return the evaluations in a run's metrics, as dicts.

    A last line that is still being written is left out.
    """
    text = (Path(folder) / "metrics.jsonl").read_text()
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [each for each in map(json.loads, lines) if each["event"] == "epoch"]


def report(folders, output=None, drawn=None):
    """Draw the curves of runs on one axis; return lines that say how they ended.

    `output` is a path of a picture, `drawn` the keywords of `curves.runs`. Unfinished
    runs are drawn as far as they are. UsageError for what is no run folder.
    """
    drawn = {"against": "epoch", "show": "score"} | (drawn or {})
    series = {_name(folder, folders): _evaluated(folder) for folder in folders}
    rows = [HEADINGS, *map(_ended, folders, series)]
    lines = tables.format_table(rows)
    if not plots.has_matplotlib():
        return [*lines, "no picture: pip install matplotlib"]
    path = output or Path(folders[0] if len(folders) == 1 else ".") / "report.png"
    tested = all(r["test_loss"] is not None for s in series.values() for r in s)
    names = {"score": ("test " if tested else "") + "score (R² or accuracy)"}
    names |= {"loss": "training objective", "test_loss": "test objective"}
    with translate_os_errors(path, CheckpointError), _known_format(path):
        plots.runs(series, path, name=names[drawn["show"]], **drawn)
    return [*lines, f"look at {path}"]


HEADINGS = ("run", "strategy", "workers", "epochs", "loss", "score", "seconds", "ended")


def _name(folder, folders):
    """Return the folder's last name, or all of it where that is not enough."""
    name = Path(folder).resolve().name
    same = [each for each in folders if Path(each).resolve().name == name]
    return name if len(same) == 1 else str(folder)


def _evaluated(folder):
    try:
        found = epochs(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}: no run folder: {error!r}") from error
    if not found:
        raise UsageError(f"{folder}: nothing was evaluated yet")
    return found


def _ended(folder, name):
    """Return a row of the table of runs."""
    last, options = _evaluated(folder)[-1], toml.read(f"{folder}/config.toml")
    summary = Path(folder) / "summary.json"
    try:
        reason = "not yet"
        if summary.exists():
            reason = json.loads(summary.read_text())["reason"]
        workers, epoch = str(options["workers"]), str(last["epoch"])
        numbers = _short(last["loss"]), _short(last["score"]), f"{last['seconds']:.2f}"
        return name, options["strategy"], workers, epoch, *numbers, reason
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}: no whole run folder: {error!r}") from error


@contextlib.contextmanager
def _known_format(path):
    try:
        yield
    except ValueError as error:  # matplotlib's: it lists what it knows
        raise UsageError(f"{path}: {error}") from error
