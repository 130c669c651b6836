"""Fixtures of all tests: communicators, a folder that ranks share, small data."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from mpipgd.comm import environment

environment.configure_environment()

REAL = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(params=["self", pytest.param("world", marks=pytest.mark.mpi)])
def comm(request):
    """The communicators of one rank and of all ranks, each in its turn."""
    from mpipgd.comm import mpi

    return mpi.comm_self() if request.param == "self" else mpi.world()


@pytest.fixture(autouse=True)
def together(request):
    """Let no rank run ahead into the next test."""
    yield
    if request.config.getoption("--with-mpi", default=False):
        from mpipgd.comm import mpi

        mpi.world().Barrier()


@pytest.fixture
def shared_tmp():
    """A folder that all ranks share, removed afterwards."""
    from mpipgd.comm import mpi

    comm = mpi.world()
    folder = comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None)
    yield Path(folder)
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)


@pytest.fixture
def folder(comm, shared_tmp, tmp_path):
    """A folder that the ranks of `comm` share, and only they."""
    return tmp_path if comm.size == 1 else shared_tmp


@pytest.fixture
def agree():
    """A collective assertion that names the ranks on which it does not hold."""
    from mpipgd.comm import mpi

    def check(condition, comm=None):
        held = (comm or mpi.world()).allgather(bool(condition))
        assert all(held), f"fails on ranks {[r for r, ok in enumerate(held) if not ok]}"

    return check


@pytest.fixture
def real():
    """The folder of real data; the test is skipped where there is none."""
    if not REAL.is_dir():
        pytest.skip("no real data beside the project")
    return REAL


@pytest.fixture
def rng():
    return np.random.default_rng(7)
