"""SLURM jobs that run one command of mpipgd: their scripts and their submission."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import UsageError

SITE = Path("slurm/site.env")  # sourced where it exists: what differs between sites
MAX_REQUEUES = 20
DEFAULTS = (  # those of slurm/train.sbatch; a test compares them
    "--job-name=mpipgd",
    "--time=01:00:00",
    "--signal=B:USR1@120",
    "--requeue",
    "--open-mode=append",
)


def training_script(
    words: Sequence[str],
    options: Iterable[str],
    folder: str | os.PathLike[str],
    *,
    max_requeues: int = MAX_REQUEUES,
) -> str:
    """Return the text of a job that trains, and goes back into the queue when stopped.

    words: a training command; options: those of sbatch; folder: gets the job's output;
    max_requeues: how often it goes back into the queue.
    """
    requeue = [f"--requeue={max_requeues}"] if max_requeues else []
    command = ["launch", *requeue, "--", *words]
    return job_script(command, [*DEFAULTS, *options], folder)


def job_script(
    words: Iterable[str], options: Iterable[str], folder: str | os.PathLike[str]
) -> str:
    """Return the text of a job that runs a command of mpipgd in the current folder.

    options: those of sbatch; folder: gets the job's output.
    """
    directives = _directives([f"--output={folder}/slurm-%j.out", *options])
    command = [sys.executable, "-m", "mpipgd", *words]
    lines = ["#!/usr/bin/env bash", *(f"#SBATCH {line}" for line in directives)]
    lines.append(f"cd {shlex.quote(os.getcwd())} || exit 2")
    if SITE.exists():
        lines.append(f"source {SITE}")
    return "\n".join([*lines, f"exec {shlex.join(command)}", ""])


def _directives(options: Iterable[str]) -> list[str]:
    """Return one line for each option, with the values that follow it."""
    lines: list[str] = []
    for word in options:
        if word.startswith("-") or not lines:
            lines.append(shlex.quote(word))
        else:
            lines[-1] += " " + shlex.quote(word)
    return lines


def submit(path: str | os.PathLike[str]) -> str:
    """Submit a script and return the job's number; UsageError with sbatch's message."""
    setup = f"source {SITE}; " if SITE.exists() else ""
    command = ["bash", "-c", setup + 'exec sbatch --parsable "$0"', str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        message = result.stderr.strip() or f"exit code {result.returncode}"
        raise UsageError(f"sbatch {path}: {message}")
    return result.stdout.strip().split(";")[0]
