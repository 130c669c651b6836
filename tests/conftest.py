"""Fixtures of all tests: communicators, a folder that ranks share, small data."""

import re
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from mpipgd import __main__
from mpipgd.comm import environment

from . import support

environment.configure_environment()

REAL = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser):
    """Add --full, for the tests that the marker `diagonal` leaves out under mpirun."""
    text = "under mpirun, run all cases of the tests with the marker `diagonal`"
    parser.addoption("--full", action="store_true", help=text)


def pytest_ignore_collect(collection_path, config):
    """Do not import, on each rank, the files that hold no tests for mpirun."""
    if config.getoption("--with-mpi") and collection_path.name.startswith("test_"):
        text = collection_path.read_text()
        return True if not re.search(r"\bcomm\b|mark\.mpi\b", text) else None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Deselect what the marker `diagonal` leaves out; the same on all ranks."""
    if config.getoption("--full"):
        return
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker("diagonal") and item.get_closest_marker("mpi"):
            cases[item.nodeid.split("[")[0]].append(item)
    dropped = {item for tests in cases.values() for item in off_diagonal(tests)}
    if dropped:
        config.hook.pytest_deselected(items=list(dropped))
        items[:] = [item for item in items if item not in dropped]


def off_diagonal(tests):
    """Return the cases of a test that the diagonal of its parameters leaves out.

    The diagonal has as many cases as the longest parameter has values, and case j has
    value j, counted modulo its number of values, of each parameter.
    """
    values = defaultdict(list)
    for test in tests:
        for name, value in test.callspec.params.items():
            if value not in values[name]:
                values[name].append(value)
    kept = [
        {name: each[j % len(each)] for name, each in values.items()}
        for j in range(max(map(len, values.values())))
    ]
    return [test for test in tests if test.callspec.params not in kept]


def pytest_runtest_setup(item):
    """Let only tests with a marker for it start programs."""
    markers = "launcher", "programs", "cluster"
    support.may_start_programs = any(map(item.get_closest_marker, markers))


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


@pytest.fixture
def mpipgd(capfd):
    """Run a command of mpipgd in this process, together with all ranks of the world.

    Return the exit code, and this rank's output and errors.
    """

    def run(*words):
        capfd.readouterr()
        code = __main__.main([*map(str, words), *support.without_picture(words)])
        sys.stdout.flush()
        return code, *capfd.readouterr()

    return run
