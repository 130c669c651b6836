"""A real SLURM on this machine, which scripts/cluster starts for the tests."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path("/tmp/mpipgd-cluster-test")
needs_slurm = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("slurmctld") or not shutil.which("tc"),
        reason="needs root, and what `scripts/cluster install` installs",
    ),
]
END_STATES = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


@pytest.fixture(scope="module")
def slurm():
    """Start a cluster of two nodes, and stop it in the end."""
    os.environ["MPIPGD_CLUSTER"] = str(FOLDER)
    os.environ["SLURM_CONF"] = str(FOLDER / "slurm.conf")
    script = ROOT / "scripts" / "cluster"
    # no pipe for the output: the daemons inherit it, so that it would never end
    subprocess.run([script, "start", "2"], check=True, timeout=60)
    yield
    subprocess.run([script, "stop"], check=True, timeout=60)


@pytest.fixture
def site(tmp_path):
    """Return a folder to submit from, with the project's slurm folder in it."""
    (tmp_path / "slurm").symlink_to(ROOT / "slurm")
    return tmp_path


def run_command(*words, folder=".", check=True, **env):
    """Run a command in a folder; return what it printed."""
    result = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=os.environ | {"VENV": sys.prefix} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    text = result.stdout + result.stderr
    assert result.returncode == 0 or not check, text
    return text


def sbatch(folder, *words, **env):
    """Submit a job from a folder; return its number."""
    return run_command("sbatch", "--parsable", *words, folder=folder, **env).strip()


def job_state(job):
    """Return the state of a job, and how often it was restarted."""
    text = run_command("scontrol", "show", "job", job)
    fields = dict(word.split("=", 1) for word in text.split() if "=" in word)
    return fields["JobState"], int(fields["Restarts"])


def wait_until(condition, seconds, description):
    """Wait until a condition holds, at most so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not {description} within {seconds} s"
        time.sleep(0.1)


def wait_for_restart(job, count):
    """Wait until a job has been restarted so many times."""
    wait_until(lambda: job_state(job)[1] == count, 60, f"restarted {count} times")


def wait_for_end(job, seconds=90):
    """Wait until a job has ended; return its state and how often it was restarted."""
    wait_until(lambda: job_state(job)[0] in END_STATES, seconds, "ended")
    return job_state(job)


def request_stop(job, run, steps=1):
    """Ask a job to stop with a checkpoint, once its run has made some more steps."""
    step = last_step(run) + steps
    wait_until(lambda: last_step(run) >= step, 60, f"{steps} steps further")
    run_command("scancel", "--batch", "--signal=USR1", job)


def read_metrics(run):
    """Return the complete lines of a run's metrics."""
    path = Path(run) / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    complete = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in complete.splitlines()]


def last_step(run):
    """Return the last step in a run's metrics."""
    return max((record["step"] for record in read_metrics(run)), default=0)


def read_summary(run):
    """Return a run's summary."""
    return json.loads((Path(run) / "summary.json").read_text())
