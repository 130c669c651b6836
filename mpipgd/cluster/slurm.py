"""A job of SLURM for one command: its script, in a run folder, and its submission."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from ..errors import UsageError

SITE = Path("slurm/site.env")  # what differs between sites, if it is there
REQUEUES = 20
DEFAULTS = (  # those of slurm/train.sbatch: a test compares them
    "--job-name=mpipgd",
    "--time=01:00:00",
    "--signal=B:USR1@120",
    "--requeue",
    "--open-mode=append",
)


def training(words, options, folder, *, requeues=REQUEUES):
    """Return the text of a job that trains, and goes on after a stop so many times."""
    again = [f"--requeue={requeues}"] if requeues else []
    launch = ["launch", *again, "--", *words]
    return script(launch, [*DEFAULTS, *options], folder)


def script(words, options, folder):
    """Return the text of a job that runs a command of mpipgd from this folder.

    `options` are sbatch's, `folder` gets what it prints.
    """
    given = _lines([f"--output={folder}/slurm-%j.out", *options])
    command = [sys.executable, "-m", "mpipgd", *words]
    lines = ["#!/usr/bin/env bash", *(f"#SBATCH {each}" for each in given)]
    lines.append(f"cd {shlex.quote(os.getcwd())} || exit 2")
    if SITE.exists():
        lines.append(f"source {SITE}")
    return "\n".join([*lines, f"exec {shlex.join(command)}", ""])


def _lines(options):
    """Return options a line each, the values that follow them in the same line."""
    lines = []
    for word in options:
        if word.startswith("-") or not lines:
            lines.append(shlex.quote(word))
        else:
            lines[-1] += " " + shlex.quote(word)
    return lines


def submit(path):
    """Submit a script; return the job's number. UsageError with what sbatch said."""
    words = f"source {SITE}; " if SITE.exists() else ""
    command = ["bash", "-c", words + 'exec sbatch --parsable "$0"', str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise UsageError(f"sbatch {path}: {said}")
    return done.stdout.strip().split(";")[0]
