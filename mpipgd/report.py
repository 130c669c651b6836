"""What a run did, in words and in pictures, from its records and its folder."""

import json
from pathlib import Path

from .clock import PARTS

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#555555"  # Okabe & Ito (2008)


def opening(scene, ranks, step):
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
        f"{min(w, ranks)} ranks, {rows} rows a worker, {plan.steps:,} steps an epoch"
    )
    yield (
        f"batch     {plan.batch_size} rows a worker × {w} workers = "
        f"{plan.batch_size * w:,} rows a step"
    )
    if ranks > w:
        yield f"notice    {ranks - w} of {ranks} ranks idle: there are {w} workers"
    if step:
        yield f"resume    after step {step:,} of {scene.parts.steps:,}"
    yield ""


def closing(scene, summary, picture):
    """Yield the lines that say what a run did, and where to look next."""
    folder, time = scene.options.run, summary["time"]
    seconds = sum(time[part]["mean"] for part in PARTS[:3]) or 1.0
    shares = ", ".join(
        f"{part} {time[part]['mean'] / seconds:.0%}" for part in PARTS[:3]
    )
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
    if summary["reason"] != "epochs":
        yield f"ended early: {summary['reason']}"
    yield f"weights {summary['weights_sha256'][:16]}…, in {folder}/model.h5"
    look = f"{folder}/loss.png" if picture else f"{folder}/metrics.jsonl"
    yield f"look at {look}; try: mpipgd evaluate {folder} DATA"


def _short(value):
    return "–" if value is None else f"{value:.4f}"


def epochs(folder):
    """Return the evaluations in a run's metrics, as dicts."""
    with open(Path(folder) / "metrics.jsonl") as file:
        records = [json.loads(line) for line in file]
    return [each for each in records if each["event"] == "epoch"]


def plot(folder):
    """Draw loss.png, training and test loss and the score; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    records = epochs(folder)
    x = [each["epoch"] for each in records]
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    left = figure.add_subplot()
    left.plot(x, [each["loss"] for each in records], color=BLUE, label="training loss")
    if any(each["test_loss"] is not None for each in records):
        losses = [each["test_loss"] for each in records]
        left.plot(x, losses, color=VERMILION, linestyle="--", label="test loss")
    right = left.twinx()
    scores = [each["score"] for each in records]
    right.plot(x, scores, color=GREY, linestyle=":", label="score")
    right.set_ylabel("score (R² or accuracy)")
    left.set(xlabel="epoch", ylabel="mean loss a row, with penalty")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    path = Path(folder) / "loss.png"
    figure.savefig(path, dpi=120)
    return path
