"""Synchronous steps in one compiled call are the loop's steps, to the bit."""

import numpy as np
import pytest

from mpipgd.comm import mpi
from mpipgd.data.create.make import make_bundled
from mpipgd.errors import DivergenceError
from mpipgd.training import fused_sync, run

from ..support import options

pytestmark = pytest.mark.mpi
VARIANTS = {
    "l2": {},
    "none": {"penalty": "none", "intercept": False},
    "float32": {"dtype": "float32", "schedule": "cosine"},
    "single rows": {"batch_size": 1},
    "softmax": {"loss": "softmax", "batch_size": 40},
    "softmax, float32": {"loss": "softmax", "dtype": "float32", "penalty": "none"},
    "weighted": {"class_weight": "balanced"},
    "softmax, weighted": {"loss": "softmax", "class_weight": "balanced"},
    "hinge": {"loss": "hinge", "batch_size": 3, "warmup": 1.0},
}


@pytest.fixture
def comm():
    return mpi.world()


@pytest.fixture
def data(comm, folder):
    path = folder / "data.h5"
    mpi.on_root(comm, make_bundled, "breast_cancer", path)
    return path


@pytest.fixture
def fused(monkeypatch):
    """How many steps the compiled calls took."""
    taken, real = [], fused_sync.FusedSyncStepper.advance

    def counted(self, weights, step, until):
        taken.append(until - step)
        return real(self, weights, step, until)

    monkeypatch.setattr(fused_sync.FusedSyncStepper, "advance", counted)
    return taken


def hashed(comm, data, name, **more):
    """Train with a worker a rank; return the hash of the weights."""
    known = {"workers": comm.size, "epochs": 3, "batch_size": 8, "lr": 0.01}
    made = options(data, data.parent / name, **known | {"loss": "log"} | more)
    return run.train(made, comm=comm)["weights_sha256"]


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_are_those_of_single_steps(comm, data, fused, monkeypatch, agree, name):
    fast = hashed(comm, data, "fast", **VARIANTS[name])
    agree(sum(fused) > 0 or comm.size == 1)
    taken = sum(fused)
    monkeypatch.setattr("mpipgd.training.build.can_fuse_sync", lambda *args: False)
    slow = hashed(comm, data, "slow", **VARIANTS[name])
    agree(fast == slow and sum(fused) == taken)


def test_ranks_with_fused_steps_agree_with_ranks_without(
    comm, data, fused, monkeypatch, agree
):
    if comm.rank % 2:
        monkeypatch.setattr("mpipgd.training.build.can_fuse_sync", lambda *args: False)
    mixed = hashed(comm, data, "mixed")
    agree(bool(fused) == (comm.rank % 2 == 0 and comm.size > 1))
    monkeypatch.setattr("mpipgd.training.build.can_fuse_sync", lambda *args: False)
    agree(mixed == hashed(comm, data, "plain"))


def test_a_run_goes_on_step_by_step_after_fused_steps(comm, data, monkeypatch, agree):
    """The transform's counters are as if it had taken the steps: the rates go on."""
    more = {"schedule": "invscaling", "epochs": 4}
    whole = hashed(comm, data, "whole", **more)
    hashed(comm, data, "half", **more | {"target": 0.0})  # ends after an epoch
    monkeypatch.setattr("mpipgd.training.build.can_fuse_sync", lambda *args: False)
    kept = {"target": 2.0, "epochs": 4, "quiet": True}
    found = run.resume(data.parent / "half", kept, comm=comm)
    agree(found["weights_sha256"] == whole)


def test_divergence_is_seen_at_the_same_step(comm, data, monkeypatch, agree):
    def ends(name):
        with pytest.raises(DivergenceError) as error:
            hashed(comm, data, name, lr=1e150, alpha=(1.0,))
        return str(error.value)

    with np.errstate(all="ignore"):
        fast = ends("fast")
        monkeypatch.setattr("mpipgd.training.build.can_fuse_sync", lambda *args: False)
        slow = ends("slow")
    agree(fast == slow and "is not finite at epoch" in fast)
