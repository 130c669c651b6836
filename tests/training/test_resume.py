"""Stop and resume ≡ straight on: the same weights and metrics, on any ranks."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from mpipgd.__main__ import main
from mpipgd.data.create.make import make_bundled

from ..support import finish, run, start

MORE = {
    "sync": ["--optimizer", "adam", "--lr", "0.01"],
    "average": ["--strategy", "average", "--n-sync", "7", "--optimizer", "momentum"],
    "oneshot": ["--strategy", "oneshot", "--model", "mlp", "--hidden", "24"],
    "outer": [
        *("--strategy", "average", "--sync-every", "50", "--sync-until", "9"),
        *("--outer-momentum", "0.7", "--outer-nesterov", "--split", "sample"),
    ],
    "elastic": ["--strategy", "elastic", "--sync-every", "30", "--optimizer", "adam"],
    "gossip": ["--strategy", "gossip", "--topology", "torus", "--sync-every", "3"],
}
COMMON = ["--workers", "5", "--batch-size", "4", "--epochs", "60", "--lr", "0.02"]
COMMON += ["--checkpoint-every", "97s", "--eval-every", "3", "--kernels", "numpy"]


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """Data, and each strategy's uninterrupted run, in this process."""
    folder = tmp_path_factory.mktemp("straight")
    make_bundled("wine", folder / "wine.h5")
    for name, more in MORE.items():
        words = [folder / "wine.h5", *COMMON, *more, "--run", folder / name]
        assert main([*map(str, words), "--no-picture", "--quiet"]) == 0
    return folder


def facts(folder):
    """Return hash and the lines of metrics, without what is about time."""
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    for line in lines:
        for key in ("seconds", "time", "bytes"):
            line.pop(key, None)
    return summary["weights_sha256"], lines


def slowed(step):
    """Return a program that takes its time after each step, to be stopped in it."""
    return (
        "-c",
        "import sys, time\n"
        "from mpipgd import __main__\n"
        "from mpipgd.plan.batches import Batches\n"
        "call = Batches.__call__\n"
        "def slow(self, weights, step):\n"
        f"    time.sleep({step})\n"
        "    return call(self, weights, step)\n"
        "Batches.__call__ = slow\n"
        "sys.exit(__main__.main())",
    )


def wait_for(folder, events, process):
    """Wait until the run has logged so many lines."""
    metrics, until = folder / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) >= events:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {events} events in time: {finish(process)}")


@pytest.mark.parametrize(
    "name, events, ranks",
    [
        pytest.param("sync", 4, 3, marks=pytest.mark.launcher),
        pytest.param("average", 9, 1, marks=pytest.mark.launcher),
        pytest.param("oneshot", 6, 4, marks=pytest.mark.programs),
        pytest.param("outer", 20, 4, marks=pytest.mark.programs),
        pytest.param("elastic", 6, 1, marks=pytest.mark.programs),
        pytest.param("gossip", 9, 3, marks=pytest.mark.programs),
    ],
)
def test_signal_then_resume_equals_straight_on(wine, tmp_path, name, events, ranks):
    folder = tmp_path / "run"
    args = [wine / "wine.h5", *COMMON, *MORE[name], "--run", folder]
    process = start(2, *args, program=slowed(0.002))
    wait_for(folder, events, process)
    launcher = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
    )
    os.kill(int(launcher.stdout.split()[0]), signal.SIGUSR1)
    code, out, err = finish(process)
    assert code == 75, (code, err)
    assert len(re.findall("stopped on request after step", err)) == 1
    assert json.loads((folder / "summary.json").read_text())["exit"] == 75
    code, out, err = run(ranks, "--resume", folder)
    assert code == 0, err
    assert facts(folder) == facts(wine / name)


@pytest.mark.parametrize(
    "name, events, ranks",
    [
        pytest.param("sync", 7, 1, marks=pytest.mark.programs),
        pytest.param("average", 13, 4, marks=pytest.mark.launcher),
        pytest.param("oneshot", 8, 2, marks=pytest.mark.programs),
    ],
)
def test_killed_rank_then_resume_equals_straight_on(
    wine, tmp_path, name, events, ranks
):
    folder = tmp_path / "run"
    args = [wine / "wine.h5", *COMMON, *MORE[name], "--run", folder]
    process = start(3, *args, program=slowed(0.002))
    wait_for(folder, events, process)
    found = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True)
    victims = [pid for pid in map(int, found.stdout.split()) if is_rank(pid)]
    os.kill(victims[-1], signal.SIGKILL)
    code, out, err = finish(process)
    assert code not in (0, 75)
    code, out, err = run(ranks, "--resume", folder)
    assert code == 0, err
    assert facts(folder) == facts(wine / name)


def is_rank(pid):
    """Say whether a process is a rank, not the launcher or its helpers."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().startswith("python")
    except OSError:
        return False


def test_resume_takes_the_newest_checkpoint_that_verifies(wine, tmp_path, mpipgd):
    folder = tmp_path / "run"
    args = [wine / "wine.h5", *COMMON, *MORE["sync"], "--run", folder]
    assert mpipgd(*args)[0] == 0
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    with open(newest, "r+b") as file:
        file.seek(-9, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-9, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    code, out, err = mpipgd("--resume", folder)
    assert code == 0, err
    assert facts(folder) == facts(wine / "sync")


def test_resume_may_go_further_but_not_elsewhere(wine, tmp_path, mpipgd):
    folder = tmp_path / "run"
    common = [*COMMON, "--strategy", "average", "--sync-every", "11", "--run"]
    short, longer = [*common, folder], [*common, tmp_path / "long"]
    assert mpipgd(wine / "wine.h5", *short, "--epochs", "20")[0] == 0
    assert mpipgd(wine / "wine.h5", *longer)[0] == 0
    code, out, err = mpipgd("--resume", folder, "--lr", "1")
    assert code == 2 and "--resume takes no --lr" in err
    assert mpipgd("--resume", folder, "--epochs", "60")[0] == 0
    assert facts(folder)[0] == facts(tmp_path / "long")[0]


def test_a_second_run_does_not_overwrite_the_first(wine, mpipgd):
    code, out, err = mpipgd(wine / "wine.h5", "--run", wine / "sync")
    assert code == 2 and "holds a run" in err
