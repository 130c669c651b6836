"""Start the runs of a study that are missing, and read what runs have left."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ...cluster import launcher, slurm
from ...config import toml
from ...config.option import flag
from ...config.options import TrainConfig
from ...errors import DataError, DivergenceError, UsageError
from ...reporting.base import Record
from ...reporting.run_folder import read_epochs
from ...reporting.timing import TIME_KINDS
from .study import Point, Study

Run: TypeAlias = dict[str, Any]  # a line of runs.jsonl

SUMMARY_KEYS = (
    "loss",
    "score",
    "epochs",
    "steps",
    "workers",
    "samples_per_second",
    "weights_sha256",
)


def run_missing(
    study: Study,
    folder: Path,
    say: Callable[[str], None],
    *,
    ranks: Container[int] | None = None,
    before: Callable[[int], None] = lambda repeat: None,
) -> None:
    """Run what is missing, on all or on some numbers of ranks; say how each went.

    A run that was interrupted, or failed for another reason than divergence, begins
    again. `before(repeat)` is called before each.
    """
    points = [
        point for point in study.points() if ranks is None or point.ranks in ranks
    ]
    for number, point in enumerate(points, 1):
        before(point.repeat)
        run = read_run(folder, point)
        if run is None or run["exit"] not in (0, DivergenceError.code):
            _start(study, folder, point)
            run = read_run(folder, point)
            assert run is not None, "a run that was started has ended"
        status = run["status"]
        if status == "ok":
            status = f"{run['epoch_seconds']:.4g} s an epoch"
        name = f"{point.mode} {point.label}, {point.ranks} ranks"
        say(f"{number}/{len(points)}  {name}: {status}")


def _start(study: Study, folder: Path, point: Point) -> None:
    """Run a point under mpirun, and wait for its end."""
    run = folder / "runs" / point.name
    shutil.rmtree(run, ignore_errors=True)  # what an interrupted run has left
    run.mkdir(parents=True)
    settings = run / "settings.toml"
    settings.write_text(toml.to_text(study.options(point, folder)))
    words = launcher.launch_command(point.ranks)
    command = [*words, *launcher.mpipgd_command("train", "--config", settings)]
    with open(run / "output.txt", "wb") as output:
        process = launcher.RankProcess(
            command,
            env=launcher.launch_environment(point.ranks),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        code = process.wait()
    if process.stopped:
        raise UsageError(f"interrupted; go on with: mpipgd scale --out {folder}")
    (run / "exit.json").write_text(json.dumps({"exit": code}))


def read_runs(study: Study, folder: Path) -> list[Run]:
    """Return all runs of a study that have ended."""
    runs = (read_run(folder, point) for point in study.points())
    return [run for run in runs if run is not None]


def read_run(folder: Path, point: Point) -> Run | None:
    """Return what a run has left; None where it has not ended.

    epoch_seconds: mean seconds of training an epoch, without the first one.
    """
    run = Path(folder) / "runs" / point.name
    if not (run / "exit.json").exists():
        return None
    code = json.loads((run / "exit.json").read_text())["exit"]
    common = vars(point) | {"exit": code, "folder": str(run)}
    if code:
        reason = _reason((run / "output.txt").read_text(errors="replace"))
        return common | {"status": f"exit {code}: {reason}"}
    summary = json.loads((run / "summary.json").read_text())
    machine = json.loads((run / "env.json").read_text())
    epochs = read_epochs(run)
    return {
        **common,
        **{kind: summary["time"][kind]["mean"] for kind in TIME_KINDS},
        **{key: summary[key] for key in SUMMARY_KEYS},
        "status": "ok",
        "epoch_seconds": _epoch_seconds(epochs),
        "seconds": summary["seconds"],
        "curve": [(e["epoch"], e["seconds"], e["loss"]) for e in epochs],
        "crowded": max(machine["hosts"].values()) > machine["cores"],
        "nodes": len(machine["hosts"]),
        "library": machine["mpi"],
        "cores": machine["cores"],
        "platform": machine["platform"],
    }


def _epoch_seconds(epochs: Sequence[Record]) -> float:
    first, last = epochs[0], epochs[-1]
    if first is last:
        return last["seconds"] / max(1, last["epoch"])
    return (last["seconds"] - first["seconds"]) / (last["epoch"] - first["epoch"])


def submit_jobs(
    study: Study, folder: Path, options: Sequence[str], say: Callable[[str], None]
) -> None:
    """Submit a SLURM job for each number of ranks; each job writes the page anew."""
    for ranks in study.ranks:
        words = ["scale", "--out", str(folder), "--only", str(ranks)]
        sbatch_options = [f"--ntasks={ranks}", "--job-name=mpipgd-scale", *options]
        path = folder / f"job-{ranks:04d}.sbatch"
        path.write_text(slurm.job_script(words, sbatch_options, folder))
        say(f"job {slurm.submit(path)}: {ranks} ranks, {path}")
    say(f"when they have ended, look at {folder}/index.html; at any time:")
    say(f"    mpipgd scale --out {folder} --collect")


def with_data_file(options: TrainConfig, folder: Path, ranks: int) -> TrainConfig:
    """Return options whose data is HDF5, under an absolute path.

    The study may be continued from elsewhere. A bundled set is written into the folder;
    a table is imported into it, by so many ranks. Raises DataError.
    """
    from ...data.create.bundled import path_of
    from ...data.create.ingest import is_source
    from ...training.training_data import DEFAULTS, import_flags

    path = folder / "data.h5"
    if not is_source(options.data):
        data_file = Path(path_of(options.data, folder))
        data = str(data_file.absolute()) if data_file.exists() else options.data
        return dataclasses.replace(options, data=data)
    given = import_flags(options)
    words = ["data", "import", options.data, str(path)]
    for name, value in given.items():
        if isinstance(value, bool):
            words.append("--stratify" if value else "--no-header")
            continue
        for text in value if isinstance(value, tuple) else (value,):
            words += [flag(name), str(text)]
    if not path.exists():
        done = subprocess.run(
            launcher.launch_command(ranks) + launcher.mpipgd_command(*words),
            env=launcher.launch_environment(ranks),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise DataError(_reason(done.stderr))
    used_up = {name: DEFAULTS[name] for name in given if name != "stratify"}
    return dataclasses.replace(options, data=str(path), **used_up)


def _reason(output: str) -> str:
    """Return our message in the output of a command that failed, or its last line."""
    lines = output.splitlines()
    errors = [line for line in lines if line.startswith("mpipgd: ")]
    return (errors or lines[-1:] or [""])[0].removeprefix("mpipgd: ")
