"""How far runs have come, from their folders alone."""

import json
import time
from pathlib import Path

from ..config import toml
from ..errors import UsageError
from .tables import format_duration, format_table

HEADINGS = ("run", "state", "epoch", "loss", "rows/s", "left")
STALE_SECONDS = (
    60.0  # seconds without a sign of life, after which a run is called silent
)
STOPS = {75: "stopped", 4: "diverged"}


def status(folders):
    """Return lines of a table of runs; UsageError for what is no run folder."""
    return format_table([HEADINGS, *map(_row, folders)])


def _row(folder):
    folder = Path(folder)
    known = (folder / "config.toml").exists() or (folder / "job.sbatch").exists()
    if not known:
        raise UsageError(f"{folder}: no run folder: it has no config.toml")
    try:
        return folder.name, *_facts(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}: no whole run folder: {error!r}") from error


def _facts(folder):
    """Return state, epoch, loss, rate and time left of a run, as texts."""
    last, now = last_epoch(folder), _progress(folder)
    state, ended = _state(folder)
    if not (folder / "config.toml").exists():
        return state, "", "", "", ""
    epochs = toml.read(folder / "config.toml")["epochs"]
    seen = now or last
    done = seen["epoch"] if seen else 0
    loss = "–" if last is None or last["loss"] is None else f"{last['loss']:.4g}"
    rate, left = "–", "–"
    if seen and seen["seconds"] > 0:
        rate = f"{seen['samples'] / seen['seconds']:,.0f}"
    if now and now["step"] and not ended:
        left = format_duration(
            now["seconds"] / now["step"] * (now["steps"] - now["step"])
        )
    return state, f"{done:,} of {epochs:,}", loss, rate, left


def last_epoch(folder):
    """Return the last evaluation in a run's metrics, or None; it may be under way."""
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    found = text[: text.rfind("\n") + 1].splitlines()
    return next((r for r in map(json.loads, reversed(found)) if "loss" in r), None)


def _progress(folder):
    path = folder / "progress.json"
    return json.loads(path.read_text()) if path.exists() else None


def _state(folder):
    """Return the state of a run in a word or two, and whether it has ended."""
    began, summary = folder / "env.json", folder / "summary.json"
    if not began.exists():
        return "queued", False
    if summary.exists() and _changed(summary) >= _changed(began):
        ends = json.loads(summary.read_text())
        if ends["exit"] == 0:
            early = "" if ends["reason"] == "epochs" else f": {ends['reason']}"
            return f"done{early}", True
        return STOPS.get(ends["exit"], f"failed: exit {ends['exit']}"), True
    signs = (began, folder / "metrics.jsonl", folder / "progress.json")
    silent = time.time() - max(_changed(each) for each in signs if each.exists())
    if silent > STALE_SECONDS:
        return f"silent for {format_duration(silent)}", False
    return "running", False


def _changed(path):
    return path.stat().st_mtime
