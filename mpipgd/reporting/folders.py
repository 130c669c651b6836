"""Folders with names of their own, for what a command leaves behind."""

import time
from pathlib import Path

from ..errors import CheckpointError, UsageError


def create_folder(given, data, kind, *, inside):
    """Make the folder `given`, or runs/TIME-DATA-KIND, and one `inside` it."""
    stem = Path(data).name.removesuffix(".h5") or "data"
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{stem}-{kind}"
    folder, tries = Path(given or f"runs/{name}"), 1
    while given is None and folder.exists():
        tries += 1
        folder = folder.with_name(f"{name}-{tries}")
    try:
        (folder / inside).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return folder


def create_run_folder(given, data, strategy):
    """Make a run folder; UsageError where it holds a run."""
    if given and Path(given, "metrics.jsonl").exists():
        raise UsageError(f"--run {given} holds a run: --resume it, or name another")
    return create_folder(given, data, strategy, inside="checkpoints")
