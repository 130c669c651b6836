"""What a run leaves behind: its summary, its model, its picture."""

import hashlib
import pathlib

from . import config, curves, model, mpi, report
from .clock import slowest


def summed_up(course, record, ranks, reason):
    """Return the summary of a run; collective."""
    weights = course.parts.store.consensus(record["step"])
    parts = course.grid.comm.allgather(course.clock.parts())
    rank, line = slowest(parts)
    seconds = max(record["seconds"], 1e-9)
    kept = {key: value for key, value in record.items() if key != "event"}
    return (
        kept
        | course.parts.store.facts()
        | {
            "ranks": ranks,
            "times": [dict(zip(("compute", "exchange", "read"), p)) for p in parts],
            "slowest": {"rank": rank, "text": line},
            "compile_seconds": course.compiled,
            "workers": course.grid.workers,
            "epochs": kept.pop("epoch"),
            "steps": kept.pop("step"),
            "samples_per_second": record["samples"] / seconds,
            "reason": reason or "epochs",
            "exit": 0,
            "weights_sha256": hashlib.sha256(
                weights.astype("<f8").tobytes()
            ).hexdigest(),
        }
    )


def leave(course, scene, summary):
    """Write model, summary and picture, and say what came out, on rank 0."""
    weights = course.parts.store.consensus(summary["steps"])
    with mpi.together(course.grid.comm):
        folder = scene.journal.folder
        if folder:
            text, objective = scene.config_text, course.objective
            if course.options.many:
                text, objective, weights = _chosen(course, summary["best"], weights)
            made = model.Model(course.header, objective, weights, course.data.scaling)
            made.write(folder / "model.h5", text)
            scene.journal.json("summary.json", summary)
            drawn = course.options.picture and curves.drawable()
            picture = folder / "loss.png" if drawn else None
            if picture:
                curves.loss(report.epochs(folder), picture)
            scene.console.close()
            for line in report.closing(scene, summary, picture):
                scene.console.say(line)


def _chosen(course, k, weights):
    """Return configuration, objective and weights of the k-th of many settings."""
    point = course.objective.points[k] | {"many": None}
    if "alpha" in point:
        point["alpha"] = (point["alpha"],)
    text = config.to_text(absolute(config.replace(course.options, **point)))
    return text, *course.objective.one(k, weights)


def absolute(options):
    """Return the options with paths that hold from any folder."""
    data = pathlib.Path(options.data)
    known = data.exists() or any(each in options.data for each in "*?[")
    changes = {"data": str(data.absolute())} if known else {}
    return config.replace(
        options, run=str(pathlib.Path(options.run).absolute()), **changes
    )
