"""Rows used where a file is mapped: what HDF5 would have read, or refused."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.data.hdf5 import chunk_layout, mapped
from mpipgd.data.matrix import MappedRows
from mpipgd.data.standardize import standardize
from mpipgd.errors import DataError
from mpipgd.objectives.losses import LOSS_IDS

from ..problems import linear, problem

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
WAYS = {
    "contiguous": {},
    "chunks": {"chunks": (7,)},
    "checksums": {"chunks": (7,), "fletcher32": True},
}


@pytest.fixture(autouse=True)
def small_too(monkeypatch):
    """Let small data be read so, and their blocks be many."""
    monkeypatch.setattr(chunk_layout, "MIN_MAPPED_BYTES", 0)
    monkeypatch.setattr(chunk_layout, "BLOCK_BYTES", 100)
    monkeypatch.setattr(mapped, "COPY_BYTES", 300)


def kept(path, X, **more):
    """Store X in a file; return its `Direct`."""
    if "chunks" in more:
        more["chunks"] = (min(more["chunks"][0], len(X)), X.shape[1])
    with h5py.File(path, "w") as file:
        file["before"] = np.arange(3, dtype=np.int8)  # so that places are odd
        file.create_dataset("X", data=X, **more)
    with h5py.File(path) as file:
        found = chunk_layout.chunk_layout(file["X"])
    return found and mapped.MappedDataset(path, "X", found)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    d=st.sampled_from([1, 3, 8, 129]),
    way=st.sampled_from(sorted(WAYS)),
    dtype=st.sampled_from([np.float32, np.float64]),
    scaled=st.booleans(),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_rows_are_those_that_hdf5_reads(
    tmp_path_factory, n, d, way, dtype, scaled, cut
):
    rng = np.random.default_rng(n)
    X = rng.normal(3, 2, size=(n, d)).astype(dtype)
    direct = kept(tmp_path_factory.mktemp("x") / "x.h5", X, **WAYS[way])
    a, b = sorted(round(n * each) for each in cut)
    scaling = X.mean(axis=0), X.std(axis=0) + 1
    for _ in range(2):  # the second time they are known to be good
        out = np.ones((b - a, d + 1), dtype)
        direct.read(a, b, out, scaling if scaled else None)
        known = X[a:b].copy()
        if scaled:
            standardize(known, *scaling)
        np.testing.assert_array_equal(out[:, :d], known)
        assert (out[:, d] == 1).all()


@each_dtype
def test_every_flipped_bit_of_a_checked_block_is_found(tmp_path, dtype):
    X = np.random.default_rng(1).normal(size=(20, 9)).astype(dtype)
    where = kept(tmp_path / "x.h5", X, **WAYS["checksums"]).layout
    whole = (tmp_path / "x.h5").read_bytes()
    for at in range(where.offsets[1], where.ends[1], 5):
        broken = bytearray(whole)
        broken[at] ^= 1 << at % 8
        path = tmp_path / "broken.h5"
        path.write_bytes(broken)
        direct, out = mapped.MappedDataset(path, "X", where), np.empty_like(X)
        with pytest.raises(DataError, match="X cannot be read at rows 7 … 13"):
            direct.read(0, 20, out)
        direct.read(14, 20, out)
        np.testing.assert_array_equal(out[:6], X[14:])


@pytest.mark.parametrize("size", [2, 62, 64, 66, 16384, 16386, 70000])
@pytest.mark.parametrize("byte", [0, 255, None])
def test_the_checksum_is_hdf5s_own(tmp_path, size, byte):
    rng = np.random.default_rng(size)
    data = rng.integers(0, 256, size, dtype=np.uint8)
    if byte is not None:
        data[:] = byte
    with h5py.File(tmp_path / "x.h5", "w") as file:
        found = file.create_dataset("X", data=data, chunks=(size,), fletcher32=True)
        file.flush()
        _, raw = found.id.read_direct_chunk((0,))
    checked = np.frombuffer(b"odd" + raw, np.uint8)
    assert mapped.fletcher32_matches(checked, 3, size)
    checked = checked.copy()
    checked[3 + size // 2] ^= 16
    assert not mapped.fletcher32_matches(checked, 3, size)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_named(tmp_path, way, value):
    X = np.ones((30, 4))
    X[17, 2] = value
    direct = kept(tmp_path / "x.h5", X, **WAYS[way])
    with pytest.raises(DataError, match=f"X holds {value} at row 17, column 2"):
        direct.fetch(3, 29)
    direct.fetch(0, 14)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_cut_short_is_refused(tmp_path, way):
    path = tmp_path / "x.h5"
    direct = kept(path, np.ones((5000, 4)), **WAYS[way])
    with open(path, "r+b") as file:
        file.truncate(20000)
    with pytest.raises(DataError, match="x.h5 cannot be read"):
        direct.fetch(3000, 5000)
    direct.verified[:] = True  # as if it was read before
    with pytest.raises(DataError, match="it ends too early"):
        direct.fetch(3000, 5000)
    shorter = mapped.MappedDataset(path, "X", direct.layout)
    with pytest.raises(DataError, match="it ends too early"):
        shorter.fetch(3000, 5000)


@pytest.mark.parametrize("way", WAYS)
def test_older_systems_read_the_same(tmp_path, monkeypatch, way):
    X = np.random.default_rng(2).normal(size=(3000, 40))
    monkeypatch.setattr(mapped, "POPULATE_READ", 77)  # no advice that any system knows
    out = np.empty_like(X)
    kept(tmp_path / "x.h5", X, **WAYS[way]).read(0, 3000, out)
    np.testing.assert_array_equal(out, X)


@pytest.mark.parametrize(
    "X, more",
    [
        (np.ones((50, 4)), {"chunks": (7,), "compression": "gzip"}),
        (np.ones((50, 4)), {"chunks": (7,), "shuffle": True}),
        (np.ones((50, 4), np.int64), {}),
        (np.ones((50, 4), ">f8"), {}),
    ],
    ids=["gzip", "shuffle", "whole numbers", "the other way round"],
)
def test_what_must_be_decoded_is_left_to_hdf5(tmp_path, X, more):
    assert kept(tmp_path / "x.h5", X, **more) is None


def test_a_file_behind_a_block_of_its_own_is_left_to_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=512) as file:
        whole = file.create_dataset("whole", data=np.ones((50, 4)))
        assert chunk_layout.chunk_layout(whole) is None


def test_chunks_of_columns_or_missing_ones_are_left_to_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        columns = file.create_dataset("columns", data=np.ones((9, 4)), chunks=(9, 2))
        missing = file.create_dataset("missing", (90, 4), "f8", chunks=(9, 4))
        missing[:20] = 1
        assert (
            chunk_layout.chunk_layout(columns)
            is chunk_layout.chunk_layout(missing)
            is None
        )


@settings(max_examples=60, deadline=None)
@given(
    loss=st.sampled_from(sorted(set(LOSS_IDS) - {"softmax"})),
    dtype=st.sampled_from([np.float32, np.float64]),
    intercept=st.booleans(),
    scaled=st.booleans(),
    ends=st.lists(st.integers(0, 60), max_size=4),
)
def test_gradients_are_those_of_rows_brought_into_shape(
    loss, dtype, intercept, scaled, ends
):
    X, y = problem(loss, dtype=dtype)
    d = X.shape[1] - 1
    raw = np.ascontiguousarray(X[:, :d])
    scaling = np.zeros(d, dtype), np.ones(d, dtype)
    if scaled:
        scaling = raw.mean(axis=0), raw.std(axis=0)
    ready = np.ones((len(raw), d + intercept), dtype)
    ready[:, :d] = raw
    standardize(ready[:, :d], *scaling)
    objective = replace(linear(loss, dtype=dtype, compiled=True), intercept=intercept)
    ends = [0, *sorted(min(end, len(raw)) for end in ends), len(raw)]
    data = np.frombuffer(b"odd" + raw.tobytes(), np.uint8)
    spans = [(3 + a * raw.itemsize * d, b - a) for a, b in zip(ends, ends[1:])]
    rows = MappedRows([(data, np.array(spans, np.int64))], scaling)
    w = np.random.default_rng(3).normal(size=objective.size).astype(dtype)
    found, known = np.empty_like(w), np.empty_like(w)
    value = objective.gradient(w, rows, y, None, found)
    assert value == pytest.approx(objective.gradient(w, ready, y, None, known), 1e-4)
    tolerance = 1e-10 if dtype == np.float64 else 2e-3
    np.testing.assert_allclose(found, known, rtol=tolerance, atol=tolerance)
