"""Sums in slices: between nodes dense or sparse, and of more than 2 GiB."""

import numpy as np
import pytest

from mpipgd import Grid, mpi, sums
from mpipgd.clock import Clock
from mpipgd.slices import gather

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
    sparse = gather(comm, rows[first : first + counts[comm.rank]], whole, counts)
    agree(np.array_equal(whole, rows) and sparse == (density < 0.1))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("density", [0.01, 1.0])
@pytest.mark.parametrize("node_size", [1, 2, 3, None])
def test_nodes_and_slices_change_no_bit(agree, apart, density, node_size):
    size, workers = 9001, 7
    rows = np.random.default_rng(5).normal(size=(workers, size))
    rows[np.random.default_rng(6).random(rows.shape) >= density] = 0
    with mpi.freeing(Grid(mpi.world(), workers, node_size=node_size)) as grid:
        same = True
        if not grid.idle:
            expected = sums.Sum(grid, Clock())(rows.copy())
            args = grid, Clock(), size, "f8"
            with mpi.freeing(sums.total(*args, apart=apart)) as total:
                same = _same(total, rows[grid.first : grid.last], expected)
    agree(same)


def _same(total, mine, expected):
    """Sum twice: a second sum must not meet what the first one left."""
    for _ in range(2):
        if not total.apart:
            return np.array_equal(total(mine.copy()), expected)
        total.rows[...] = mine
        part = total.of_slice().copy()
        total.window.meet()
        if not np.array_equal(part, expected[total.slice]):
            return False
    return True
