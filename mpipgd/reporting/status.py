"""How far runs have come, from their folders only."""

import json
import os
import platform
import time
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config import toml
from ..errors import MpipgdError, UsageError
from .base import Record
from .run_folder import read_last_epoch
from .tables import format_duration, format_number, format_table

HEADINGS = ("run", "state", "epoch", "loss", "rows/s", "left")
STALE_SECONDS = 60.0  # without a heartbeat, after which a run is called silent
STOPS = {75: "stopped", 130: "stopped", 4: "diverged"}  # exit code -> state


def status(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the lines of a table with a row for each path; what is no run says so.

    UsageError where none of the paths exists.
    """
    rows = [(Path(path), _row(Path(path))) for path in paths]
    if not any(path.exists() for path, _ in rows):
        names = ", ".join(str(path) for path, _ in rows)
        raise UsageError(f"{names}: there is no such run folder")
    return format_table([HEADINGS, *(row for _, row in rows)])


def _row(path: Path) -> tuple[str, ...]:
    name = path.name or str(path)
    kind = _no_run(path)
    if kind:
        return name, kind, "", "", "", ""
    try:
        return name, *_columns(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MpipgdError):
        return name, f"damaged: {_damaged_file(path)}", "", "", "", ""


def _no_run(path: Path) -> str | None:
    """Return what a path is in words, where it is no run; else None."""
    if not path.exists():
        return "does not exist"
    if not path.is_dir():
        return "no folder: a file"
    if (path / "config.toml").exists() or (path / "job.sbatch").exists():
        return None
    if (path / "study.json").exists():
        return "scaling study"
    if (path / "runs").is_dir():
        complete = (path / "index.html").exists()
        return "comparison" if complete else "comparison, not complete"
    if (path / "checkpoints").is_dir() or (path / "starts.jsonl").exists():
        return "failed to start"
    if any(path.glob("*.h5")):  # as the cache of imported tables
        return "data files"
    return "no run folder"


def _damaged_file(folder: Path) -> str:
    """Return the name of the first file of a run that cannot be read."""
    for name in ("config.toml", "env.json", "summary.json", "progress.json"):
        path = folder / name
        if not path.exists():
            continue
        try:
            text = path.read_text()
            values = (tomllib if name == "config.toml" else json).loads(text)
        except (OSError, ValueError):
            return name
        if not isinstance(values, dict) or not values:
            return name
    return "metrics.jsonl"


def _columns(folder: Path) -> tuple[str, str, str, str, str]:
    """Return state, epoch, loss, rate and time left of a run, as texts."""
    evaluation, progress = read_last_epoch(folder), _read_progress(folder)
    state, ended = _state(folder)
    if not (folder / "config.toml").exists():
        return state, "", "", "", ""
    epochs = toml.read(folder / "config.toml")["epochs"]
    newest = progress or evaluation
    done = newest["epoch"] if newest else 0
    loss = format_number(None if evaluation is None else evaluation["loss"], ".4g")
    rate, left = "–", "–"
    if newest and newest["seconds"] > 0:
        rate = f"{newest['samples'] / newest['seconds']:,.0f}"
    if progress and progress["step"] and not ended:
        seconds_per_step = progress["seconds"] / progress["step"]
        left = format_duration(
            seconds_per_step * (progress["steps"] - progress["step"])
        )
    return state, f"{done:,} of {epochs:,}", loss, rate, left


def _read_progress(folder: Path) -> Record | None:
    path = folder / "progress.json"
    return json.loads(path.read_text()) if path.exists() else None


def _state(folder: Path) -> tuple[str, bool]:
    """Return the state of a run in a word or two, and whether it has ended."""
    started, summary = folder / "env.json", folder / "summary.json"
    if not started.exists():
        return "queued", False
    if summary.exists() and _modified(summary) >= _modified(started):
        result = json.loads(summary.read_text())
        if result["exit"] == 0:
            early = "" if result["reason"] == "epochs" else f": {result['reason']}"
            return f"done{early}", True
        return STOPS.get(result["exit"], f"failed: exit {result['exit']}"), True
    if _has_died(json.loads(started.read_text())):
        return "stopped", True
    heartbeats = (started, folder / "metrics.jsonl", folder / "progress.json")
    newest = max(_modified(path) for path in heartbeats if path.exists())
    silent = time.time() - newest
    if silent > STALE_SECONDS:
        return f"silent for {format_duration(silent)}", False
    return "running", False


def _has_died(environment: Mapping[str, Any]) -> bool:
    """Return whether the process that wrote env.json ran on this host, and is gone."""
    process = environment.get("process")
    if not process or process["host"] != platform.node():
        return False
    try:
        text = Path(f"/proc/{process['id']}/stat").read_text()
    except OSError:
        return Path("/proc/self").exists()
    return text.rpartition(")")[2].split()[0] in "ZX"  # its end is not yet noticed


def _modified(path: Path) -> float:
    return path.stat().st_mtime
