"""A run of a job that SLURM starts again: it goes on, as long as it gets somewhere.

`starts.jsonl` in the run folder has a line a start: job, restart, the step it began at.
"""

import json
import os
import subprocess
import time
from pathlib import Path

from ..errors import CheckpointError
from ..training import checkpoint

MAX_STALLED_STARTS = (
    3  # starts in a row from the same step, after which a job is given up
)


def record_start(run, limit):
    """Note a start of this job's run; return whether it goes on from a checkpoint.

    CheckpointError where the job was started more than `limit` times over, or time and
    again from the same step. What a start without a checkpoint left is cleared away.
    """
    job, restart = os.environ["SLURM_JOB_ID"], restarts()
    earlier = [each for each in starts(run) if each["job"] == job]
    step = newest_step(run)
    if restart > limit:
        raise CheckpointError(f"{run}: restarted {restart} times, expected {limit}")
    steps = [each["step"] for each in earlier[-MAX_STALLED_STARTS:]]
    if restart and steps == [step] * MAX_STALLED_STARTS:
        raise CheckpointError(
            f"{run}: at step {step:,} at the last {MAX_STALLED_STARTS} starts, and now: given up"
        )
    if restart and step == 0:
        Path(run, "metrics.jsonl").unlink(missing_ok=True)
    Path(run).mkdir(parents=True, exist_ok=True)
    record = {"job": job, "restart": restart, "step": step, "time": time.time()}
    with open(Path(run, "starts.jsonl"), "a") as file:
        file.write(json.dumps(record) + "\n")
    return bool(restart and step)


def requeue(run, limit):
    """Put this job back into the queue if its step advanced; return a line on it."""
    step, began = newest_step(run), starts(run)[-1]["step"]
    if step <= began:
        return f"not requeued: still at step {began:,}"
    if restarts() >= limit:
        return f"not requeued: that was restart {limit} of {limit}"
    job = os.environ["SLURM_JOB_ID"]
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        return f"not requeued: {done.stderr.strip()}"
    return f"requeued after step {step:,}"


def restarts():
    """Return how often SLURM has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def starts(run):
    """Return the records of a run's starts, the oldest first."""
    path = Path(run, "starts.jsonl")
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def newest_step(run):
    """Return the step of the newest checkpoint that verifies; 0 without one."""
    try:
        return checkpoint.newest(run)[1].attributes["step"]
    except CheckpointError:
        return 0
