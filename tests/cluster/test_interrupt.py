"""Ctrl-C and SIGTERM: no traceback, nobody hangs, and the run can go on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .. import support

ENDLESS = ("digits", "--epochs", "100000", "--eval-every", "1000", "--no-picture")


def interrupt(ranks, folder, wait, *words, launch=False, number=signal.SIGINT):
    """Start a training in a process group of its own, as a shell does; interrupt it.

    wait: seconds, or None: until it trains. Return its exit code and errors.
    """
    run = folder / "run"
    command = [sys.executable, "-m", "mpipgd"]
    if launch:
        command += ["launch", "-n", str(ranks), "--"]
    elif ranks:
        command = [support.BIN / "mpirun", "-n", str(ranks), *command]
    process = subprocess.Popen(
        list(map(str, [*command, *ENDLESS, "--run", run, *words])),
        env=os.environ | support.ENV,
        cwd=folder,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if wait is None:
            limit = time.monotonic() + 60
            while not (run / "metrics.jsonl").exists():
                assert time.monotonic() < limit
                time.sleep(0.05)
            time.sleep(0.5)
        else:
            time.sleep(wait)
        if launch:
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
        err = process.communicate(timeout=40)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, err


@pytest.mark.launcher
@pytest.mark.parametrize("ranks", [0, 1, 2])
def test_a_training_that_is_interrupted_can_go_on(tmp_path, ranks, mpipgd):
    code, err = interrupt(ranks, tmp_path, None)
    assert code != 0
    assert "Traceback" not in err and err.count("mpipgd:") <= 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["exit"] == 75
    assert f"mpipgd --resume {tmp_path}/run" in summary["reason"]
    assert "stopped" in mpipgd("status", tmp_path / "run")[1]
    if not ranks:  # without a launcher that has its own codes and kills
        assert code == 75 and "go on with" in err


@pytest.mark.launcher
@pytest.mark.parametrize("wait", [0.15, 0.5, 0.9])
def test_who_is_interrupted_before_the_first_step_leaves_nothing(tmp_path, wait):
    code, err = interrupt(2, tmp_path, wait)
    assert code != 0
    assert "Traceback" not in err and err.count("mpipgd:") <= 1
    run = tmp_path / "run"
    assert not run.exists() or (run / "summary.json").exists()


@pytest.mark.launcher
@pytest.mark.parametrize("wait", [0.1, None])
def test_launch_tells_whether_there_is_a_checkpoint(tmp_path, wait):
    code, err = interrupt(2, tmp_path, wait, launch=True)
    has_checkpoint = any((tmp_path / "run").glob("checkpoints/*.h5"))
    assert code == (75 if has_checkpoint else 130)
    assert wait is not None or has_checkpoint
    assert "Traceback" not in err


@pytest.mark.programs
def test_a_killed_run_is_called_stopped_at_once(tmp_path, mpipgd):
    code, err = interrupt(0, tmp_path, None, number=signal.SIGKILL)
    assert code == -signal.SIGKILL
    line = mpipgd("status", tmp_path / "run")[1].splitlines()[-1]
    assert "stopped" in line and "running" not in line
