"""What a run leaves behind: its summary, its model, its picture."""

import dataclasses
import hashlib
import pathlib

from ..comm import mpi
from ..config import toml
from ..reporting import plots, report
from ..reporting.timing import slowest_rank
from . import inference


def summarize(course, record, ranks, reason):
    """Return the summary of a run; collective."""
    weights = course.parts.store.consensus(record["step"])
    parts = course.grid.comm.allgather(course.clock.breakdown())
    rank, line = slowest_rank(parts)
    seconds = max(record["seconds"], 1e-9)
    kept = {key: value for key, value in record.items() if key != "event"}
    return (
        kept
        | course.parts.store.summary()
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


def write_results(course, scene, summary):
    """Write model, summary and picture, and say what came out, on rank 0."""
    weights = course.parts.store.consensus(summary["steps"])
    with mpi.raise_collectively(course.grid.comm):
        folder = scene.journal.folder
        if folder:
            text, objective = scene.config_text, course.objective
            if course.options.many:
                text, objective, weights = _best_config(
                    course, summary["best"], weights
                )
            made = inference.Model(
                course.header, objective, weights, course.data.scaling
            )
            made.write(folder / "model.h5", text)
            scene.journal.json("summary.json", summary)
            drawn = course.options.picture and plots.has_matplotlib()
            picture = folder / "loss.png" if drawn else None
            if picture:
                plots.loss(report.epochs(folder), picture)
            scene.console.close()
            for line in report.footer_lines(scene, summary, picture):
                scene.console.say(line)


def _best_config(course, k, weights):
    """Return configuration, objective and weights of the k-th of many settings."""
    point = course.objective.configs[k] | {"many": None}
    if "alpha" in point:
        point["alpha"] = (point["alpha"],)
    text = toml.to_text(
        with_absolute_paths(dataclasses.replace(course.options, **point))
    )
    return text, *course.objective.extract(k, weights)


def with_absolute_paths(options):
    """Return the options with paths that hold from any folder."""
    data = pathlib.Path(options.data)
    known = data.exists() or any(each in options.data for each in "*?[")
    changes = {"data": str(data.absolute())} if known else {}
    return dataclasses.replace(
        options, run=str(pathlib.Path(options.run).absolute()), **changes
    )
