"""Workers that drift apart and meet: equal to what they must be equal to."""

import numpy as np
import pytest

from mpipgd import Grid
from mpipgd.comm import mpi
from mpipgd.comm.allreduce import make_allreduce
from mpipgd.plan.partition import Disjoint
from mpipgd.reporting.timing import Clock
from mpipgd.stores import strategies
from mpipgd.stores.gossip import TOPOLOGIES
from mpipgd.stores.local import LocalSgd
from mpipgd.stores.strategies import STRATEGIES
from mpipgd.transforms.optimizers import OPTIMIZERS

from ..support import descend, objective, problem, ridge

LONG = {"epochs": 60, "lr": 0.2, "schedule": "cosine", "batch_size": 20}
CONVEX = {"penalty": "l2", "alpha": (0.1,), **LONG}
REACHES = {  # what a strategy needs beside, to come to the optimum
    "elastic": {"pull": 1.0},
    "gossip": {"topology": "torus"},
    "oneshot": {"split": "replicate", "epochs": 20},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_reaches_the_optimum(comm, strategy):
    header, X, y = problem(rows=2000)
    options = CONVEX | {"workers": 4, "strategy": strategy, "n_sync": 60}
    w = descend(comm, header, X, y, **options | REACHES.get(strategy, {}))
    best = objective(ridge(X, y, 0.1), X, y, 0.1)
    assert best <= objective(w, X, y, 0.1) <= best * 1.001


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("workers", [1, 3, 4])
def test_elastic_with_a_full_pull_is_average(comm, workers, optimizer):
    header, X, y = problem()
    options = {"workers": workers, "sync_every": 4, "optimizer": optimizer}
    elastic = descend(comm, header, X, y, strategy="elastic", pull=1.0, **options)
    average = descend(comm, header, X, y, strategy="average", **options)
    assert elastic.tobytes() == average.tobytes()


def test_elastic_without_a_pull_leaves_the_centre_where_it_was(comm):
    header, X, y = problem()
    w = descend(comm, header, X, y, strategy="elastic", pull=0.0, workers=3)
    assert not w.any()


@pytest.mark.parametrize("workers", [1, 2, 6])
@pytest.mark.parametrize("every", [1, 3])
def test_gossip_on_a_complete_graph_is_average(comm, workers, every):
    header, X, y = problem()
    options = {"workers": workers, "sync_every": every}
    gossip = descend(
        comm, header, X, y, strategy="gossip", topology="complete", **options
    )
    average = descend(comm, header, X, y, strategy="average", **options)
    assert np.allclose(gossip, average, rtol=1e-12, atol=1e-14)


def test_gossip_on_a_ring_is_not_average_but_its_workers_come_together(comm):
    header, X, y = problem()
    options = {"workers": 6, "lr": 0.02}
    ring = descend(comm, header, X, y, strategy="gossip", **options)
    average = descend(comm, header, X, y, strategy="average", sync_every=1, **options)
    assert not np.allclose(ring, average, rtol=1e-9)
    assert np.allclose(ring, average, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7, 9, 12, 16])
def test_mixing_is_doubly_stochastic_and_reaches_everybody(topology, workers):
    mixing = np.zeros((workers, workers))
    for k in range(workers):
        members = TOPOLOGIES[topology](k, workers) | {k}
        mixing[k, list(members)] = 1 / len(members)
    assert np.array_equal(mixing, mixing.T)
    assert np.allclose(mixing.sum(axis=0), 1)
    assert (np.linalg.matrix_power(mixing, workers) > 0).all()
    degrees = {"ring": 2, "torus": 4, "complete": workers - 1}
    assert (mixing > 0).sum(axis=1).max() - 1 <= degrees[topology]


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov"])
def test_an_outer_step_of_one_without_momentum_is_plain_averaging(
    comm, name, monkeypatch
):
    header, X, y = problem()
    options = {"strategy": "average", "workers": 5, "n_sync": 4}
    plain = descend(comm, header, X, y, **options)
    outer = OPTIMIZERS[name](np.ones_like, momentum=0.0)
    monkeypatch.setattr(strategies, "outer_optimizer", lambda options: outer)
    stepped = descend(comm, header, X, y, **options)
    assert np.allclose(stepped, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("nesterov", [False, True])
def test_outer_steps_are_those_of_slowmo_and_diloco(nesterov):
    rng, b, lr = np.random.default_rng(1), 0.6, 0.8
    grid = Grid(mpi.comm_self(), 3)
    plan = Disjoint(30, 3, 5)
    sums = make_allreduce(grid, Clock(), 4, "f8")
    outer = OPTIMIZERS["nesterov" if nesterov else "momentum"](
        lambda t: np.full(t.shape, lr), momentum=b
    )
    a, v = rng.normal(size=4), np.zeros(4)
    store = LocalSgd(a, sums, plan, lambda step: step + 1, outer=outer, outer_from=1)
    for step in range(1, 6):
        store.weights += rng.normal(size=(3, 4))
        g = a - store.weights.mean(axis=0)
        assert store.synchronize(step)
        if step == 1:  # still meeting at every step: the average itself
            a = a - g
        else:
            v = b * v + g
            a = a - lr * (g + b * v if nesterov else v)
        assert np.allclose(store.weights, a, rtol=1e-12)
        assert np.allclose(store.consensus(step), a, rtol=1e-12)
    grid.free()


@pytest.mark.parametrize("workers", [2, 3])
def test_meeting_at_every_step_to_the_end_is_sync(comm, workers):
    header, X, y = problem()
    late = {"strategy": "average", "sync_until": 99.0, "n_sync": 1}
    sync = descend(comm, header, X, y, workers=workers)
    local = descend(comm, header, X, y, workers=workers, **late)
    assert np.allclose(local, sync, rtol=1e-9, atol=1e-12)


def test_local_steps_begin_after_the_switch():
    due = strategies.sync_every_step_then(7, strategies.evenly_spaced(3, 23))
    met = [0]
    while met[-1] < 30:
        met.append(due(met[-1]))
    assert met == [*range(8), 15, 23, 30]


@pytest.mark.parametrize("strategy", ["sync", "average", "elastic", "gossip"])
def test_a_full_sample_is_a_replica(comm, strategy):
    header, X, y = problem()
    options = {"strategy": strategy, "workers": 3}
    copies = descend(comm, header, X, y, split="replicate", **options)
    sample = descend(comm, header, X, y, split="sample", fraction=1.0, **options)
    assert copies.tobytes() == sample.tobytes()


def test_sync_on_one_full_copy_is_serial_sgd_on_the_whole(comm):
    header, X, y = problem()
    serial = descend(comm, header, X, y, workers=1)
    copy = descend(comm, header, X, y, workers=1, split="replicate")
    assert serial.tobytes() == copy.tobytes()


def test_the_error_of_a_oneshot_average_falls_with_the_workers():
    """Zinkevich et al. 2010, theorem 4: the variance falls as 1 / W."""
    header, X, y = problem(rows=400)
    best = objective(ridge(X, y, 0.1), X, y, 0.1)
    counts = 2 ** np.arange(7)
    gaps = []
    for workers in counts:
        found = []
        for seed in range(4):
            w = descend(
                mpi.comm_self(), header, X, y, strategy="oneshot", split="replicate",
                workers=int(workers), seed=seed, alpha=(0.1,), batch_size=1, lr=0.02,
            )  # fmt: skip
            found.append(objective(w, X, y, 0.1) - best)
        gaps.append(np.mean(found))
    exponent = np.polyfit(np.log(counts), np.log(gaps), 1)[0]
    assert -1.2 < exponent < -0.7
