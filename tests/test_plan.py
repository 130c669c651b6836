"""Plans: every row once an epoch, the same number of steps, keyed streams."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.data.plan import Disjoint
from mpipgd.errors import DataError


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 50))
def test_every_row_is_read_once_an_epoch_in_batches_of_at_most_b(n, workers, batch):
    if n < workers:
        with pytest.raises(DataError, match=f"{n} rows; {workers} workers"):
            Disjoint(n, workers, batch)
        return
    plan = Disjoint(n, workers, batch)
    rows = [plan.order(2, k) + plan.bounds(k)[0] for k in range(workers)]
    assert sorted(np.concatenate(rows)) == list(range(n))
    counts = plan.counts(range(workers))
    assert counts.shape == (plan.steps, workers)
    assert counts.max() <= batch and counts.max(axis=1).min() >= 1
    assert np.array_equal(counts.sum(axis=0), plan.sizes)
    assert np.array_equal(counts.sum(axis=1), plan.totals())


@given(st.integers(0, 40), st.integers(0, 40))
def test_rows_read_between_two_steps_are_those_of_the_batches(first, more):
    plan = Disjoint(103, 5, 4)
    counts = plan.counts(range(5))
    steps = [counts[step % plan.steps] for step in range(first, first + more)]
    expected = np.sum(steps, axis=0) if more else np.zeros(5)
    assert np.array_equal(plan.read(first, first + more), expected)


def test_order_depends_on_seed_epoch_and_worker_alone():
    first, again = (Disjoint(100, 4, 8, seed=1).order(3, 2) for _ in range(2))
    assert np.array_equal(first, again)
    for other in ((2, 3, 2), (1, 4, 2), (1, 3, 1)):
        seed, epoch, worker = other
        order = Disjoint(100, 4, 8, seed=seed).order(epoch, worker)
        assert not np.array_equal(order, first)
