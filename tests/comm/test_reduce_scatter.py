"""Sums in slices: between nodes dense or sparse, and of more than 2 GiB."""

import numpy as np
import pytest

from mpipgd import Grid
from mpipgd.comm import allreduce, mpi, overlap
from mpipgd.comm.reduce_scatter import SharedWindowReduce, allgather_sparse
from mpipgd.data.load import SplitRows
from mpipgd.objectives.mlp import MLP
from mpipgd.plan.batches import Batches
from mpipgd.plan.partition import Disjoint
from mpipgd.reporting.timing import Clock

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("density", [0.0, 0.01, 0.6, 1.0])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_rows_arrive_as_they_left(agree, density, dtype):
    comm, size = mpi.world(), 5000
    counts = [1 + rank % 3 for rank in range(comm.size)]
    rows = np.random.default_rng(3).normal(size=(sum(counts), size)).astype(dtype)
    rows[np.random.default_rng(4).random(rows.shape) >= density] = 0
    first = sum(counts[: comm.rank])
    whole = np.full_like(rows, np.nan)
    local = rows[first : first + counts[comm.rank]]
    sparse = allgather_sparse(comm, local, whole, counts)
    agree(np.array_equal(whole, rows) and sparse == (density < 0.1))


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("density", [0.01, 1.0])
@pytest.mark.parametrize("node_size", [1, 2, 3, None])
def test_nodes_and_slices_change_no_bit(agree, sharded, density, node_size):
    size, workers = 9001, 7
    rows = np.random.default_rng(5).normal(size=(workers, size))
    rows[np.random.default_rng(6).random(rows.shape) >= density] = 0
    with mpi.freed_collectively(
        Grid(mpi.world(), workers, node_size=node_size)
    ) as grid:
        same = True
        if not grid.idle:
            expected = allreduce.LocalReduce(grid, Clock())(rows.copy())
            args = grid, Clock(), size, "f8"
            with mpi.freed_collectively(
                allreduce.make_allreduce(*args, sharded=sharded)
            ) as total:
                same = _same(total, rows[grid.first : grid.last], expected)
    agree(same)


def _same(total, mine, expected):
    """Sum twice: a second sum must not meet what the first one left."""
    for _ in range(2):
        if not total.sharded:
            return np.array_equal(total(mine.copy()), expected)
        total.gradient_buffer[...] = mine
        part = total.reduce_scatter(total.gradient_buffer).copy()
        total.window.barrier()
        if not np.array_equal(part, expected[total.slice]):
            return False
    return True


@pytest.mark.parametrize(
    "hidden, buckets", [((300,), 2), ((200, 300), 3), ((10, 4), 1)]
)
@pytest.mark.parametrize("node_size", [2, 3])
def test_overlapped_layers_change_no_bit(
    agree, monkeypatch, hidden, buckets, node_size
):
    monkeypatch.setattr(overlap, "MIN_BUCKET_BYTES", 4000)
    rng, workers = np.random.default_rng(7), 7
    network = MLP(50, hidden, 4)
    weights = network.init(rng)[None]
    X = rng.normal(size=(workers * 20, 50)).astype("f4")
    part = SplitRows(X, rng.integers(0, 4, len(X)), 0, None)
    plan = Disjoint(len(X), workers, 5)
    alone = allreduce.LocalReduce(Grid(mpi.comm_self(), workers), Clock())
    known = Batches(network, plan, part, range(workers))
    with mpi.freed_collectively(
        Grid(mpi.world(), workers, node_size=node_size)
    ) as grid:
        same = True
        if not grid.idle:
            args = grid, Clock(), network.size, "f4"
            with mpi.freed_collectively(
                SharedWindowReduce(*args, sharded=True)
            ) as total:
                batches = Batches(
                    network,
                    plan,
                    part,
                    grid.local_workers,
                    out=total.gradient_buffer,
                    on_ready=total.overlap and total.overlap.on_gradient_ready,
                )
                for step in range(5):
                    expected = alone(known(weights, step))
                    gradients = batches(weights, step)
                    if total.overlap:
                        assert len(total.overlap.pending) == buckets
                    found = total.reduce_scatter(gradients).copy()
                    total.window.barrier()
                    same = same and np.array_equal(found, expected[total.slice])
    agree(same)
