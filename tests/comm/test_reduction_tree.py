"""The fixed tree: one order of summing, however the workers are spread."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.comm.reduction_tree import (
    cover_range,
    merge_schedule,
    sum_rows,
    tree_reduce,
)


def by_hand(values):
    """Sum by the definition: halves of the next power of two, no absent leaves."""
    half = 1 << (len(values) - 1).bit_length() >> 1
    if len(values) == 1:
        return values[0]
    return by_hand(values[:half]) + by_hand(values[half:])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 130), st.data())
def test_any_spread_of_workers_gives_the_bits_of_the_definition(workers, data):
    ranks = data.draw(st.integers(1, workers))
    inner = st.integers(1, max(1, workers - 1))
    cuts = sorted(data.draw(st.sets(inner, max_size=ranks - 1)) - {workers})
    rng = np.random.default_rng(workers)
    rows = rng.normal(size=(workers, 3)) * 10 ** rng.uniform(-6, 6, (workers, 1))
    nodes, sums = [], []
    for lo, hi in zip([0, *cuts], [*cuts, workers]):
        for start, length in cover_range(lo, hi, workers):
            nodes.append((start, length))
            sums.append(sum_rows(rows[start : min(start + length, hi)].copy()).copy())
    pairs, left = merge_schedule(nodes, workers)
    for i, j in pairs:
        sums[i] = sums[i] + sums[j]
    assert len(left) == 1
    assert sums[0].tobytes() == by_hand(rows).tobytes()
    assert tree_reduce(list(rows), np.add).tobytes() == sums[0].tobytes()


@given(st.integers(0, 300), st.integers(1, 300))
def test_nodes_are_few_and_cover_the_range(lo, count):
    nodes = cover_range(lo, lo + count, lo + count + 1)
    covered = [k for start, length in nodes for k in range(start, start + length)]
    assert covered == list(range(lo, lo + count))
    assert all(start % length == 0 for start, length in nodes)
    assert len(nodes) <= 2 * count.bit_length()
