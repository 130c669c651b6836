"""How far runs have come, from their folders only."""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from ..config import toml
from ..errors import UsageError
from .base import Record
from .run_folder import read_last_epoch
from .tables import format_duration, format_number, format_table

HEADINGS = ("run", "state", "epoch", "loss", "rows/s", "left")
STALE_SECONDS = 60.0  # without a heartbeat, after which a run is called silent
STOPS = {75: "stopped", 4: "diverged"}  # exit code -> state


def status(folders: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the lines of a table of runs; UsageError for what is no run folder."""
    return format_table([HEADINGS, *map(_row, folders)])


def _row(path: str | os.PathLike[str]) -> tuple[str, ...]:
    folder = Path(path)
    if not any((folder / name).exists() for name in ("config.toml", "job.sbatch")):
        raise UsageError(f"{folder}: no run folder: it has no config.toml")
    try:
        return folder.name, *_columns(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}: no whole run folder: {error!r}") from error


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
    heartbeats = (started, folder / "metrics.jsonl", folder / "progress.json")
    newest = max(_modified(path) for path in heartbeats if path.exists())
    silent = time.time() - newest
    if silent > STALE_SECONDS:
        return f"silent for {format_duration(silent)}", False
    return "running", False


def _modified(path: Path) -> float:
    return path.stat().st_mtime
