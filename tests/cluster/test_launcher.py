"""`mpipgd launch`, `submit` and `status`, and training that is requeued."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mpipgd.cluster import launcher, requeue, slurm
from mpipgd.errors import CheckpointError
from mpipgd.training import checkpoint

from ..support import run as run_program
from ..support import start
from .test_doctor import VENDOR


@pytest.mark.launcher
def test_launch_starts_ranks_and_returns_their_code(tmp_path):
    words = "launch", "-n", 3, "--", "digits", "--epochs", 1
    code, out, err = run_program(None, *words, "--run", tmp_path / "run")
    assert code == 0 and "3 workers on 3 ranks" in out, out + err
    words = "launch", "-n", 2, "--", tmp_path / "none.h5", "--run", tmp_path / "none"
    code, out, err = run_program(None, *words)
    assert code == 3 and "none.h5" in err


def test_launch_refuses_before_it_starts_anything(mpipgd):
    code, out, err = mpipgd("launch", "-n", 2, "--", "digits", "--epochz", 3)
    assert code == 2 and "--epochs" in err and err.count("mpipgd:") == 1
    code, out, err = mpipgd("launch", "--requeue", 2, "--", "digits")
    assert code == 2 and "--run" in err


@pytest.mark.launcher
def test_commands_that_start_ranks_refuse_mpirun():
    code, out, err = run_program(2, "scale", "wine")
    assert code == 2 and "run it without mpirun" in err


@pytest.mark.launcher
@pytest.mark.parametrize("wait", [0.0, 3.0])
def test_a_signal_at_any_time_makes_a_checkpoint(tmp_path, wait):
    """It is forwarded once the ranks handle it, however early it comes."""
    run = tmp_path / "run"
    words = "digits", "--epochs", 10**6, "--eval-every", 10**5, "--run", run
    process = start(None, "launch", "-n", 2, "--", *words)
    deadline = time.monotonic() + 60
    while not _handles_usr1(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(wait)
    process.send_signal(signal.SIGUSR1)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and "stopped on request after step" in out + err
    assert requeue.newest_step(run) > 0


def _handles_usr1(pid):
    """Return whether a process handles SIGUSR1, by the kernel's mask of signals."""
    lines = open(f"/proc/{pid}/status").read().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return int(mask, 16) >> (signal.SIGUSR1 - 1) & 1


@pytest.mark.launcher
def test_a_terminated_launch_leaves_no_ranks(tmp_path):
    words = "digits", "--epochs", 10**6, "--run", tmp_path / "run"
    process = start(None, "launch", "-n", 2, "--", *words)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) != 0
    time.sleep(0.5)
    ranks = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True)
    assert ranks.stdout == b""


@pytest.mark.launcher  # it starts nothing, but the MPI decides
def test_in_a_job_srun_or_mpirun_is_taken(monkeypatch):
    monkeypatch.delenv("MPIPGD_LAUNCH", raising=False)
    assert launcher.launch_command(3)[1:] == ["-n", "3"]
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n1")
    expected = {
        "mpich": ["srun", "--mpi=pmi2", "--wait=30"],
        "openmpi": [launcher.mpirun()],
    }
    assert launcher.launch_command() == expected[VENDOR]
    monkeypatch.setenv("MPIPGD_LAUNCH", "srun --mpi=pmix")
    assert launcher.launch_command(4) == ["srun", "--mpi=pmix", "-n", "4"]


def write_checkpoint(run, step):
    """Write a checkpoint of a run."""
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    path = run / "checkpoints" / checkpoint.file_name(step)
    checkpoint.write(path, {}, {"step": step})


def test_a_job_resumes_while_its_step_advances(tmp_path, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for restart, step in enumerate([0, 5, 9, 9, 9]):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        if step:
            write_checkpoint(run, step)
        assert requeue.record_start(run, 20) == bool(step)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "5")
    with pytest.raises(CheckpointError, match="given up"):
        requeue.record_start(run, 20)
    write_checkpoint(run, 10)
    with pytest.raises(CheckpointError, match="restarted 5 times, expected 4"):
        requeue.record_start(run, 4)
    assert requeue.record_start(run, 20)


def test_the_metrics_of_a_start_without_a_checkpoint_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not requeue.record_start(tmp_path, 20)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not requeue.record_start(tmp_path, 20)
    assert not (tmp_path / "metrics.jsonl").exists()
    assert "still at step 0" in requeue.requeue(tmp_path, 20)


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", ""])
def test_only_a_job_that_runs_is_requeued(tmp_path, monkeypatch, state):
    """By stand-ins for SLURM's commands; `test_slurm` does it with SLURM."""
    programs, requeued = tmp_path / "bin", tmp_path / "requeued"
    programs.mkdir()
    for name, line in {
        "squeue": f'test "$2" = --job=6_3 && echo {state}',
        "scontrol": f'echo "$@" >{requeued}',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "6")  # a task of an array
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue.record_start(tmp_path / "run", 20)
    write_checkpoint(tmp_path / "run", 5)
    message = requeue.requeue(tmp_path / "run", 20)
    if state == "RUNNING":
        assert message == "requeued after step 5"
        assert requeued.read_text() == "requeue 6_3\n"
    else:
        assert message == f"not requeued: the job is {state or 'unknown to SLURM'}"
        assert not requeued.exists()


def test_submit_and_the_script_have_the_same_options():
    text = (Path(__file__).parents[2] / "slurm" / "train.sbatch").read_text()
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    options = {line.removeprefix("#SBATCH").strip() for line in directives}
    assert set(slurm.DEFAULTS) < options


def test_submit_writes_what_would_run(tmp_path, monkeypatch, mpipgd):
    monkeypatch.chdir(tmp_path)
    words = "--nodes=2", "-J", "a b", "--print", "--", "digits", "--epochs", 3
    code, text, err = mpipgd("submit", *words)
    assert code == 0 and "#SBATCH -J 'a b'" in text and "#SBATCH --nodes=2" in text
    assert text.rstrip().endswith("launch --requeue=20 -- digits --epochs 3 --run RUN")
    assert not list(tmp_path.iterdir())


def test_status_tells_of_runs_in_all_states(tmp_path, mpipgd):
    words = "digits", "--epochs", 2, "--run", tmp_path / "done"
    assert mpipgd("train", *words)[0] == 0
    words = "digits", "--epochs", 10, "--lr", "1e300", "--run", tmp_path / "lost"
    assert mpipgd("train", *words)[0] == 4
    silent = tmp_path / "silent"
    silent.mkdir()
    for file in ("config.toml", "env.json", "metrics.jsonl"):
        (silent / file).write_bytes((tmp_path / "done" / file).read_bytes())
    record = {"step": 20, "steps": 100, "epoch": 1, "samples": 2000, "seconds": 4.0}
    (silent / "progress.json").write_text(json.dumps(record))
    for path in silent.iterdir():
        os.utime(path, (1e9, 1e9))
    (tmp_path / "waits").mkdir()
    (tmp_path / "waits" / "job.sbatch").touch()
    names = [tmp_path / name for name in ("done", "lost", "silent", "waits")]
    code, text, err = mpipgd("status", *names)
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert code == 0 and "done" in lines["done"] and "2 of 2" in lines["done"]
    assert "diverged" in lines["lost"] and "queued" in lines["waits"]
    assert "silent for" in lines["silent"] and lines["silent"].endswith("0:16")
    assert "500" in lines["silent"]


def test_status_gives_every_folder_a_row(tmp_path, mpipgd):
    words = "iris", "--epochs", 1, "--run", tmp_path / "done"
    assert mpipgd("train", *words)[0] == 0
    for name in (
        "comparison/runs",
        "failed/checkpoints",
        "foreign",
        "scaling",
        "cache",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "scaling" / "study.json").write_text("{}")
    (tmp_path / "file.h5").touch()
    (tmp_path / "cache" / "table.h5").touch()
    for name in ("config.toml", "env.json", "summary.json", "metrics.jsonl"):
        shutil.copytree(tmp_path / "done", tmp_path / f"bad-{name}")
        (tmp_path / f"bad-{name}" / name).write_text("\x00 no text\n")
    code, out, err = mpipgd("status", *sorted(tmp_path.iterdir()), tmp_path / "absent")
    assert (code, err) == (0, "")
    states = dict(line.split(maxsplit=1) for line in out.splitlines())
    expected = {
        "done": "done", "comparison": "comparison", "failed": "failed to start",
        "foreign": "no run folder", "scaling": "scaling study", "file.h5": "a file",
        "absent": "does not exist", "cache": "data files",
    }  # fmt: skip
    for name in ("config.toml", "env.json", "summary.json", "metrics.jsonl"):
        expected[f"bad-{name}"] = f"damaged: {name}"
    for name, state in expected.items():
        assert state in states[name]


def test_status_of_nothing_is_refused(tmp_path, mpipgd):
    code, out, err = mpipgd("status", tmp_path / "absent")
    assert code == 2 and "there is no such run folder" in err
