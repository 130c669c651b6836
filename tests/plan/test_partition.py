"""Plans: every row once an epoch, the same number of steps, keyed streams."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.config.options import TrainConfig
from mpipgd.errors import DataError
from mpipgd.plan.partition import Disjoint, Sample, build_plan


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 50))
def test_every_row_is_read_once_an_epoch_in_batches_of_at_most_b(n, workers, batch):
    if n < workers:
        with pytest.raises(DataError, match=f"{n} rows; {workers} workers"):
            Disjoint(n, workers, batch)
        return
    plan = Disjoint(n, workers, batch)
    rows = [plan.order(2, k) for k in range(workers)]
    assert sorted(np.concatenate(rows)) == list(range(n))
    counts = plan.counts(range(workers))
    assert counts.shape == (plan.steps, workers)
    assert counts.max() <= batch and counts.max(axis=1).min() >= 1
    assert np.array_equal(counts.sum(axis=0), plan.sizes)
    assert np.array_equal(counts.sum(axis=1), plan.global_batch_sizes())


@given(st.integers(0, 40), st.integers(0, 40))
def test_rows_read_between_two_steps_are_those_of_the_batches(first, more):
    plan = Disjoint(103, 5, 4)
    counts = plan.counts(range(5))
    steps = [counts[step % plan.steps] for step in range(first, first + more)]
    expected = np.sum(steps, axis=0) if more else np.zeros(5)
    assert np.array_equal(plan.rows_consumed(first, first + more), expected)


def test_order_depends_on_seed_epoch_and_worker_alone():
    first, again = (Disjoint(100, 4, 8, seed=1).order(3, 2) for _ in range(2))
    assert np.array_equal(first, again)
    for other in ((2, 3, 2), (1, 4, 2), (1, 3, 1)):
        seed, epoch, worker = other
        order = Disjoint(100, 4, 8, seed=seed).order(epoch, worker)
        assert not np.array_equal(order, first)


@pytest.mark.parametrize("n, workers, batch", [(7, 3, 2), (50, 100, 8), (40, 1, 64)])
def test_a_full_sample_reads_every_row_once_an_epoch_as_a_replica_does(
    n, workers, batch
):
    options = TrainConfig(
        split="sample", fraction=1.0, workers=workers, batch_size=batch
    )
    full, copies = (
        build_plan(options, n),
        build_plan(replace(options, split="replicate"), n),
    )
    for k in range(workers):
        assert sorted(full.order(1, k)) == list(range(n))
        assert np.array_equal(full.order(1, k), copies.order(1, k))
        assert full.step_offsets(k)[-1] == n
    assert full.steps == -(-n // min(batch, n))
    assert full.global_batch_sizes().sum() == n * workers


def test_a_sample_is_drawn_without_replacement_and_stays_the_workers_own():
    plan = Sample(1000, 6, 32, fraction=0.25, seed=4)
    rows = [np.sort(plan.order(0, k)) for k in range(6)]
    for k, mine in enumerate(rows):
        assert len(mine) == plan.sizes[k] == 250 == len(set(mine))
        assert np.array_equal(mine, np.sort(plan.order(3, k)))
        assert not np.array_equal(plan.order(0, k), plan.order(3, k))
    overlaps = [len(set(a) & set(b)) for a, b in combinations(rows, 2)]
    assert 30 < min(overlaps) and max(overlaps) < 100  # 62.5 by chance


@pytest.mark.parametrize("split", ["disjoint", "replicate", "sample"])
@pytest.mark.parametrize("first, last", [(0, 1), (2, 5), (0, 7)])
def test_a_span_holds_all_rows_and_shares_of_its_workers(split, first, last):
    plan = build_plan(
        TrainConfig(split=split, fraction=0.3, workers=7, batch_size=4), 61
    )
    lo, hi = plan.row_range(first, last)
    for k in range(first, last):
        order, share = plan.order(5, k), plan.share(k)
        assert lo <= order.min() and order.max() < hi and len(set(order)) == len(order)
        assert lo <= share[0] and share[1] <= hi
    assert plan.share(0)[0] == 0 and plan.share(6)[1] == 61
