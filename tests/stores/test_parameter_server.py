"""Workers that push when they are ready: exact sums, and staleness within its bound."""

import time

import numpy as np
import pytest

from mpipgd import Grid
from mpipgd.comm import mpi
from mpipgd.comm.allreduce import make_allreduce
from mpipgd.data.create.make import make_bundled
from mpipgd.errors import UsageError
from mpipgd.plan.batches import Batches
from mpipgd.plan.partition import Disjoint
from mpipgd.reporting.timing import Clock
from mpipgd.stores.parameter_server import ParameterServer
from mpipgd.training import run

from ..support import descend, options, problem


def made(comm, size=7, *, workers=None, **more):
    """Return grid, sum and store over all ranks of a communicator."""
    grid = Grid(comm, workers or comm.size)
    sums = make_allreduce(grid, Clock(), size, "f8")
    plan = Disjoint(40 * grid.workers, grid.workers, 4)
    weights = np.arange(size, dtype="f8")
    return grid, sums, ParameterServer(weights, sums, plan, **{"servers": 1} | more)


@pytest.mark.parametrize(
    "servers, bound, size",
    [(1, None, 7), (3, None, 20_000), (2, None, 1), (1, 0, 7), (2, 2, 20_000)],
)
def test_no_update_is_lost(comm, agree, servers, bound, size):
    servers = min(servers, comm.size)
    grid, sums, store = made(comm, size, servers=servers, bound=bound)
    for _ in range(20):
        store.push(np.full((1, size), comm.size * 2.0**comm.rank))
    vector = store.consensus(20)
    expected = np.arange(size) + 20 * (2.0**comm.size - 1)
    facts, clocks = store.summary(), store._wait(1, 20)
    for each in (store, sums, grid):
        each.free()
    agree(np.array_equal(vector, expected), comm)
    agree(sum(facts["staleness"].values()) == 20 * comm.size, comm)
    agree((clocks == [21, 20]).all(), comm)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_one_worker_is_serial_sgd(optimizer, model):
    header, X, y = problem(classes=3)
    more = {"optimizer": optimizer, "model": model, "kernels": "numpy", "workers": 1}
    serial = descend(mpi.comm_self(), header, X, y, **more)
    found = descend(mpi.comm_self(), header, X, y, strategy="async", **more)
    assert found.tobytes() == serial.tobytes()


@pytest.mark.parametrize("servers, workers", [(1, 2), (2, 5)])
def test_without_staleness_it_is_sync(comm, workers, servers):
    header, X, y = problem(rows=243)
    more = {"workers": workers, "servers": min(servers, comm.size, workers)}
    sync = descend(comm, header, X, y, workers=workers)
    found = descend(comm, header, X, y, strategy="async", max_staleness=0, **more)
    assert np.allclose(found, sync, rtol=1e-10, atol=1e-13)


def slowed(monkeypatch, seed):
    """Let every rank be slow at times, in its gradient."""
    draw, call = np.random.default_rng([seed, mpi.world().rank]), Batches.__call__

    def slow(self, weights, step):
        if draw.random() < 0.1:
            time.sleep(0.002)
        return call(self, weights, step)

    monkeypatch.setattr(Batches, "__call__", slow)


def trained(folder, name, **more):
    """Train on wine in the world; return the summary on all ranks."""
    world = mpi.world()
    mpi.on_root(world, lambda: make_once(folder / "wine.h5"))
    more = {"strategy": "async", "workers": world.size, "epochs": 3} | more
    chosen = options(folder / "wine.h5", folder / name, batch_size=2, **more)
    return run.train(chosen, comm=world)


def make_once(path):
    if not path.exists():
        make_bundled("wine", path)


@pytest.mark.mpi
@pytest.mark.parametrize("bound", [0, 1, 4])
def test_staleness_keeps_its_bound_whoever_is_slow(
    shared_tmp, monkeypatch, agree, bound
):
    for seed in range(2):
        slowed(monkeypatch, seed)
        summary = trained(shared_tmp, f"run-{seed}", max_staleness=bound)
        histogram = summary["staleness"]
        agree(max(map(int, histogram)) <= bound)
        agree(sum(histogram.values()) == summary["steps"] * summary["workers"])
        monkeypatch.undo()


@pytest.mark.mpi
def test_without_a_bound_a_slow_rank_falls_behind(shared_tmp, monkeypatch, agree):
    world, call = mpi.world(), Batches.__call__

    def slow(self, weights, step):
        time.sleep(0.003 if world.rank == world.size - 1 else 0)
        return call(self, weights, step)

    monkeypatch.setattr(Batches, "__call__", slow)
    summary = trained(shared_tmp, "run", time_limit=30.0, epochs=2)
    alone = world.size == 1
    agree((max(map(int, summary["staleness"])) > 0) != alone)
    agree((summary["delay"]["max"] > 0) != alone)


@pytest.mark.mpi
def test_a_resumed_run_goes_on_and_keeps_its_counts(shared_tmp, agree):
    first = trained(shared_tmp, "run", epochs=2, damping=True)
    again = run.resume(str(shared_tmp / "run"), {"epochs": 5}, comm=mpi.world())
    agree(again["steps"] == first["steps"] // 2 * 5)
    agree(sum(again["staleness"].values()) == again["steps"] * again["workers"])
    agree(again["loss"] < first["loss"])


def test_damping_divides_by_the_staleness():
    grid, sums, store = made(mpi.comm_self(), damping=True)
    store.staleness = 3
    store.push(np.full((1, 7), 8.0))
    vector = store.consensus(1)
    for each in (store, sums, grid):
        each.free()
    assert np.array_equal(vector, np.arange(7) + 2.0)


def test_more_servers_than_ranks_are_refused():
    header, X, y = problem()
    with pytest.raises(UsageError, match="--servers 2: the run has 1 ranks"):
        descend(mpi.comm_self(), header, X, y, strategy="async", servers=2, workers=1)
