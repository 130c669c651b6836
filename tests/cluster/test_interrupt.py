"""Ctrl-C and SIGTERM: no traceback, nobody hangs, and the run can go on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .. import support
from .test_doctor import VENDOR

ENDLESS = ("digits", "--epochs", "100000", "--eval-every", "1000", "--no-picture")


def start(command, folder):
    """Start a command in a process group of its own, as a shell does."""
    return subprocess.Popen(
        list(map(str, command)),
        env=os.environ | support.ENV,
        cwd=folder,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(ranks, folder, wait, *words, launch=False, number=signal.SIGINT):
    """Start a training in a process group of its own, as a shell does; interrupt it.

    wait: seconds after it has installed its handlers, or None: until it trains. Return
    its exit code and errors.
    """
    run = folder / "run"
    command = [sys.executable, "-m", "mpipgd"]
    if launch:
        command += ["launch", "-n", str(ranks), "--"]
    elif ranks:
        command = [support.BIN / "mpirun", "-n", str(ranks), *command]
    process = start([*command, *ENDLESS, "--run", run, *words], folder)
    try:
        if wait is None:
            limit = time.monotonic() + 60
            while not (run / "metrics.jsonl").exists():
                assert time.monotonic() < limit
                time.sleep(0.05)
            time.sleep(0.5)
        else:
            while launch and not handles_sigterm(process.pid):
                time.sleep(0.01)
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


def handles_sigterm(pid):
    """Return whether a process has installed the handlers of `environment`."""
    with open(f"/proc/{pid}/status") as file:
        caught = next(line for line in file if line.startswith("SigCgt"))
    return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.launcher
@pytest.mark.parametrize("ranks", [0, 1, 2])
def test_a_training_that_is_interrupted_can_go_on(tmp_path, ranks, mpipgd):
    code, err = interrupt(ranks, tmp_path, None)
    assert code != 0
    assert "Traceback" not in err and err.count("mpipgd:") <= 1
    path = tmp_path / "run" / "summary.json"
    # Open MPI's mpirun may kill the ranks before their checkpoint is complete
    if not ranks or VENDOR == "mpich" or path.exists():
        summary = json.loads(path.read_text())
        assert summary["exit"] == 75
        assert f"mpipgd --resume {tmp_path}/run" in summary["reason"]
    limit = time.monotonic() + 10  # a rank may be completing its checkpoint
    while "stopped" not in mpipgd("status", tmp_path / "run")[1]:
        assert time.monotonic() < limit
        time.sleep(0.2)
    if not ranks:  # without a launcher that has its own codes and kills
        assert code == 75 and "go on with" in err


@pytest.mark.launcher
@pytest.mark.parametrize("wait", [0.9, 1.5])
def test_who_is_interrupted_before_the_first_step_leaves_nothing(tmp_path, wait):
    code, err = interrupt(2, tmp_path, wait)
    assert code != 0
    assert "Traceback" not in err and err.count("mpipgd:") <= 1
    run = tmp_path / "run"
    assert not run.exists() or (run / "summary.json").exists()


@pytest.mark.launcher
@pytest.mark.parametrize("wait", [0.0, 0.3, None])
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


@pytest.mark.programs
def test_a_reader_that_leaves_ends_the_run_without_a_traceback(tmp_path):
    words = [sys.executable, "-m", "mpipgd", *ENDLESS, "--run", tmp_path / "run"]
    process = subprocess.Popen(
        list(map(str, words)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


@pytest.fixture
def table(tmp_path):
    """Return a table whose import takes seconds."""
    block = "".join(
        f"{k % 97},{k % 89},{k % 83},{k % 79 + k % 97}\n" for k in range(5000)
    )
    path = tmp_path / "table.csv"
    path.write_text("a,b,c,y\n" + 600 * block)
    return path


@pytest.mark.launcher
def test_an_import_that_is_interrupted_leaves_no_file(tmp_path, table):
    code, err = interrupt_command(tmp_path, "data", "import", table, tmp_path / "t.h5")
    assert code != 0 and "Traceback" not in err and err.count("mpipgd:") <= 1
    assert not (tmp_path / "t.h5").exists()


@pytest.mark.launcher
def test_an_evaluation_that_is_interrupted_prints_no_traceback(tmp_path, table, mpipgd):
    small = tmp_path / "small.csv"
    small.write_text("".join(table.read_text().splitlines(keepends=True)[:2000]))
    run = tmp_path / "run"
    assert mpipgd("train", small, "--epochs", 1, "--quiet", "--run", run)[0] == 0
    code, err = interrupt_command(tmp_path, "evaluate", run, table)
    assert code != 0 and "Traceback" not in err and err.count("mpipgd:") <= 1


def interrupt_command(folder, *words):
    """Interrupt a command on two ranks while it imports; return its code and errors."""
    command = [support.BIN / "mpirun", "-n", "2", sys.executable, "-m", "mpipgd"]
    process = start([*command, *words], folder)
    try:
        time.sleep(2)
        os.killpg(process.pid, signal.SIGINT)
        return process.wait(40), process.stderr.read()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
