"""Ranks on hosts of their own, with a network of known speed between them."""

import json
import os
import subprocess
import sys

import pytest

from ..support import BIN
from ..support import run as run_here
from .slurm_cluster import ROOT, needs_slurm

pytestmark = [*needs_slurm, pytest.mark.timeout(180)]
NETNS = ROOT / "scripts" / "netns"


@pytest.fixture(scope="module", params=["1gbit", "100mbit"])
def rate(request):
    """Two hosts; the bits/s between them."""
    subprocess.run([NETNS, "up", "2", request.param], check=True, timeout=30)
    yield {"1gbit": 1e9, "100mbit": 1e8}[request.param]
    subprocess.run([NETNS, "down"], check=True, timeout=30)


@pytest.fixture
def four_hosts():
    subprocess.run([NETNS, "up", "4", "1gbit"], check=True, timeout=30)
    yield
    subprocess.run([NETNS, "down"], check=True, timeout=30)


def on_hosts(ranks, *words, timeout=100):
    """Run a command of mpipgd on the hosts; return what is left of the process."""
    command = [NETNS, "run", "timeout", "-k", "2", str(timeout)]
    mpirun = [BIN / "mpirun", "-n", str(ranks)] if ranks else []
    command += [*mpirun, sys.executable, "-m", "mpipgd", *words]
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=timeout + 20, env=os.environ | {},
    )  # fmt: skip


def hosts(folder):
    return json.loads((folder / "env.json").read_text())["hosts"]


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("flags", [[], ["--model", "mlp", "--hidden", "128"]])
def test_weights_are_those_of_one_machine(rate, tmp_path, flags):
    words = ["digits", "--workers", "4", "--epochs", "2", *flags, "--run"]
    done = on_hosts(2, *words, tmp_path / "far")
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_here(2, *words, tmp_path / "near")[0] == 0
    assert hosts(tmp_path / "far") == {"mpipgd1": 1, "mpipgd2": 1}
    found = [summary(tmp_path / each)["weights_sha256"] for each in ("far", "near")]
    assert found[0] == found[1]


def test_four_hosts_have_them_too(four_hosts, tmp_path):
    words = ["digits", "--workers", "4", "--epochs", "2", "--run"]
    done = on_hosts(4, *words, tmp_path / "far")
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_here(1, *words, tmp_path / "near")[0] == 0
    assert hosts(tmp_path / "far") == {f"mpipgd{k}": 1 for k in (1, 2, 3, 4)}
    found = [summary(tmp_path / each)["weights_sha256"] for each in ("far", "near")]
    assert found[0] == found[1]


def test_the_doctor_tells_the_speed_of_the_network(rate, tmp_path):
    done = on_hosts(2, "doctor", "--folder", tmp_path)
    line = next(e for e in done.stdout.splitlines() if " exchange " in e)
    slow = rate < 1e9
    assert done.returncode == 2 * slow and line.startswith("FAULT") == slow, done.stdout
    assert "is this the right network?" in line or not slow


def test_a_calibration_finds_the_speed_of_the_network(rate, tmp_path):
    out = tmp_path / "out"
    words = ["scale", "digits", "--ranks", "1,2", "--repeat", "1", "--epochs", "3"]
    done = on_hosts(None, *words, "--calibrate", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    turn = json.loads((out / "calibration" / "0.json").read_text())
    large = [e for e in turn["exchanges"] if e["size"] == 1_000_000]
    assert {each["nodes"] for each in large} == {2}
    found = 8 * large[0]["bytes"] / large[0]["seconds"]
    assert 0.3 * rate < found < 1.1 * rate  # copies, too, take their time
