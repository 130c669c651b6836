"""Jobs of a real SLURM on this machine, which scripts/cluster starts for the tests."""

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
wanted = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("slurmctld") or not shutil.which("tc"),
        reason="wants root, and what `scripts/cluster install` installs",
    ),
]
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


@pytest.fixture(scope="module")
def slurm():
    """A cluster of two nodes, stopped in the end."""
    os.environ["MPIPGD_CLUSTER"] = str(FOLDER)
    os.environ["SLURM_CONF"] = str(FOLDER / "slurm.conf")
    script = ROOT / "scripts" / "cluster"
    # daemons keep what they print to: no pipe, which would never end
    subprocess.run([script, "start", "2"], check=True, timeout=60)
    yield
    subprocess.run([script, "stop"], check=True, timeout=60)


@pytest.fixture
def site(tmp_path):
    """A folder to submit from, with the project's slurm folder in it."""
    (tmp_path / "slurm").symlink_to(ROOT / "slurm")
    return tmp_path


def call(*words, folder=".", check=True, **env):
    """Run a command from a folder; return what it printed."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=os.environ | {"VENV": sys.prefix} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout + done.stderr


def sbatch(folder, *words, **env):
    """Submit from a folder; return the job's number."""
    return call("sbatch", "--parsable", *words, folder=folder, **env).strip()


def state(job):
    """Return a job's state, and the number of its restarts."""
    text = call("scontrol", "show", "job", job)
    known = dict(word.split("=", 1) for word in text.split() if "=" in word)
    return known["JobState"], int(known["Restarts"])


def until(condition, seconds, what):
    """Wait until a condition holds."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not {what} within {seconds} s"
        time.sleep(0.1)


def ended(job, seconds=90):
    """Wait until a job has ended; return its last state and its restarts."""
    until(lambda: state(job)[0] in ENDED, seconds, "ended")
    return state(job)


def stop(job, run, steps=1):
    """Ask a job for a stop with a checkpoint, once its run has made some steps more."""
    at = last_step(run)
    until(lambda: last_step(run) >= at + steps, 60, f"{steps} steps further")
    call("scancel", "--batch", "--signal=USR1", job)


def metrics(run):
    """Return the lines of a run's metrics."""
    path = Path(run) / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(each) for each in text[: text.rfind("\n") + 1].splitlines()]


def last_step(run):
    """Return the last step that a run's metrics tell of."""
    return max((each["step"] for each in metrics(run)), default=0)


def summary(run):
    """Return a run's summary."""
    return json.loads((Path(run) / "summary.json").read_text())
