"""Training in a SLURM job that is requeued: it resumes for as long as it advances.

`starts.jsonl` in the run folder has one line for each start of the job: the job, how
often SLURM had restarted it, and the step that training began at.
"""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TypedDict

from ..errors import CheckpointError
from ..training import checkpoint

MAX_STALLED_STARTS = 3  # from the same step in a row, before a job is given up

StrPath = str | os.PathLike[str]


class Start(TypedDict):
    """One line of starts.jsonl."""

    job: str
    restart: int
    step: int
    time: float


def record_start(run: StrPath, max_requeues: int) -> bool:
    """Record a start of this job; return whether it resumes from a checkpoint.

    The metrics of an earlier start that made no checkpoint are deleted. Raises
    CheckpointError where the job was restarted more than `max_requeues` times, or
    MAX_STALLED_STARTS times from the same step.
    """
    job, restart = os.environ["SLURM_JOB_ID"], restart_count()
    earlier = [start for start in read_starts(run) if start["job"] == job]
    step = newest_step(run)
    if restart > max_requeues:
        raise CheckpointError(
            f"{run}: restarted {restart} times, expected {max_requeues}"
        )
    steps = [start["step"] for start in earlier[-MAX_STALLED_STARTS:]]
    if restart and steps == [step] * MAX_STALLED_STARTS:
        raise CheckpointError(
            f"{run}: at step {step:,} at the last {MAX_STALLED_STARTS} starts, and "
            "now: given up"
        )
    if restart and step == 0:
        Path(run, "metrics.jsonl").unlink(missing_ok=True)
    Path(run).mkdir(parents=True, exist_ok=True)
    start = Start(job=job, restart=restart, step=step, time=time.time())
    with open(Path(run, "starts.jsonl"), "a") as file:
        file.write(json.dumps(start) + "\n")
    return bool(restart and step)


def requeue(run: StrPath, max_requeues: int) -> str:
    """Requeue this job if its training advanced; return a message about it.

    A job that ends already, cancelled or out of time, is left alone: `scontrol requeue`
    would bring it back.
    """
    step, first_step = newest_step(run), read_starts(run)[-1]["step"]
    if step <= first_step:
        return f"not requeued: still at step {first_step:,}"
    if restart_count() >= max_requeues:
        return f"not requeued: that was restart {max_requeues} of {max_requeues}"
    job = _job_number()
    state = _job_state(job)
    if state != "RUNNING":
        return f"not requeued: the job is {state or 'unknown to SLURM'}"
    command = ["scontrol", "requeue", job]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        return f"not requeued: {result.stderr.strip()}"
    return f"requeued after step {step:,}"


def _job_number() -> str:
    """Return the number by which commands of SLURM take this job.

    A task of an array is ARRAY_TASK: the bare number of one of them is the array's.
    """
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        task = os.environ["SLURM_ARRAY_TASK_ID"]
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}"
    return os.environ["SLURM_JOB_ID"]


def _job_state(job: str) -> str:
    """Return SLURM's name for the state of a job, as RUNNING; "" if it tells none."""
    command = ["squeue", "--noheader", f"--job={job}", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def restart_count() -> int:
    """Return how often SLURM has restarted this job."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def read_starts(run: StrPath) -> list[Start]:
    """Return the recorded starts of a run, the oldest first."""
    path = Path(run, "starts.jsonl")
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def newest_step(run: StrPath) -> int:
    """Return the step of the newest checkpoint that verifies; 0 without one."""
    try:
        return checkpoint.newest(run)[1].attributes["step"]
    except CheckpointError:
        return 0
