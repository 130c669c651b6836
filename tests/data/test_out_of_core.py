"""Rows that do not fit: read in piles, and yet the same result on any ranks."""

import functools

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.comm import mpi
from mpipgd.data.create.make import make
from mpipgd.data.hdf5 import chunk_layout
from mpipgd.errors import DataError, UsageError
from mpipgd.plan.block_shuffle import BlockShuffle
from mpipgd.plan.partition import Disjoint
from mpipgd.training.run import resume, train

from ..support import options, run

LIMIT = {"memory_limit": "100KB"}


@pytest.fixture(autouse=True)
def small_too(monkeypatch):
    """Use rows where files are mapped though they are few."""
    monkeypatch.setattr(chunk_layout, "MIN_MAPPED_BYTES", 0)
    monkeypatch.setattr(chunk_layout, "BLOCK_BYTES", 3000)


KINDS = {
    "chunked": ("regression", {"features": 20}),
    "contiguous": ("regression", {"features": 20}),
    "packed": ("regression", {"features": 20}),
    "sparse": ("classification", {"features": 60, "density": 0.1}),
    "classes": ("classification", {"features": 20, "classes": 3}),
}
WAYS = [
    {"batch_size": 8},
    {"batch_size": 10**6, "lr": 0.3},
    {"batch_size": 1, "strategy": "average", "sync_every": 50, "lr": 0.01},
    {"batch_size": 300, "strategy": "gossip", "optimizer": "momentum", "lr": 0.01},
    {"batch_size": 16, "epochs": 3, "then": "lbfgs", "tol": 9.0},
]


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(3, 400),
    workers=st.integers(1, 3),
    batch=st.sampled_from([1, 7, 64, 1000]),
    pile=st.integers(1, 200),
)
def test_piles_hold_every_row_once(rows, workers, batch, pile):
    plan = Disjoint(rows, workers, batch, seed=1)
    piles, found = BlockShuffle(plan, pile, 1 << 20), []
    for worker in range(workers):
        for number, each in enumerate(piles.buffers_of(worker)):
            assert each.last - each.first <= pile
            ranges = piles.row_ranges(2, worker, each)
            read = np.concatenate([np.arange(0), *(np.arange(*r) for r in ranges)])
            order = piles.order(2, worker, number, each)
            found.extend(read[order])
    assert sorted(found) == list(range(rows))


def made(comm, folder, kind):
    """Make a small file; return its path."""
    name, more = KINDS[kind]
    path = folder / f"{kind}.h5"
    make(comm, name, str(path), rows=700, **more)
    if kind in ("contiguous", "packed"):
        more = {"compression": "gzip"} if kind == "packed" else {}
        mpi.on_root(comm, functools.partial(anew, path, **more))
    return path


def anew(path, **more):
    """Store a file's datasets anew, each in one piece and without checksums."""
    with h5py.File(path, "r+") as file:
        for name in ("train/X", "train/y", "test/X", "test/y"):
            array = file[name][...]
            del file[name]
            file.create_dataset(name, data=array, **more)


@pytest.mark.diagonal
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_whole_gradients_are_those_in_memory(comm, folder, agree, kind, optimizer):
    path, known = made(comm, folder, kind), {"workers": 3, "epochs": 8}
    known |= {"batch_size": 10**6, "lr": 0.2, "checkpoint_every": "100"}
    known |= {"optimizer": optimizer}
    runs = [
        train(options(path, folder / f"run{i}", **known | limit), comm=comm)
        for i, limit in enumerate(({}, LIMIT))
    ]
    if runs[0]:
        for key in ("loss", "test_loss", "score"):
            assert runs[0][key] == pytest.approx(runs[1][key], rel=1e-9)
    agree(True, comm)


@pytest.mark.mpi
@pytest.mark.parametrize(
    "kind, way",
    [("chunked", 0), ("contiguous", 1), ("packed", 2), ("chunked", 4), ("sparse", 3)],
)
def test_the_law_holds(shared_tmp, agree, kind, way):
    world = mpi.world()
    path = made(world, shared_tmp, kind)
    world.Barrier()
    known = {"workers": 5, "epochs": 2, **LIMIT, **WAYS[way]}
    together = train(options(path, shared_tmp / "run", **known), comm=world)
    same = True
    if world.rank == 0:
        alone = train(
            options(path, shared_tmp / "alone", **known), comm=mpi.comm_self()
        )
        same = all(together[key] == alone[key] for key in ("weights_sha256", "loss"))
    mpi.wait_asleep(world.Ibarrier())
    agree(same)


@pytest.mark.parametrize(
    "way", WAYS[:3], ids=lambda way: "-".join(map(str, way.values()))
)
def test_resumed_is_straight_on(comm, folder, agree, way):
    path, known = made(comm, folder, "chunked"), {"workers": 3, **LIMIT, **way}
    straight = train(options(path, folder / "all", **known, epochs=4), comm=comm)
    train(options(path, folder / "cut", **known, epochs=2), comm=comm)
    further = resume(str(folder / "cut"), {"epochs": 4}, comm=comm)
    same = not further or further["weights_sha256"] == straight["weights_sha256"]
    agree(same, comm)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(700, marks=pytest.mark.programs, id="decoded"),
        pytest.param(20_000, marks=pytest.mark.launcher, id="mapped"),
    ],
)
def test_a_damaged_block_ends_all_ranks(tmp_path, rows):
    path = tmp_path / "data.h5"
    make(mpi.comm_self(), "regression", str(path), rows=rows, features=20)
    with h5py.File(path) as file:
        where = file["train/X"].id.get_chunk_info(0).byte_offset
    with open(path, "r+b") as file:
        file.seek(where + 1000)
        file.write(b"\x55" * 8)
    more = ("--memory-limit", "100KB", "--run", tmp_path / "run", "--workers", 2)
    code, _, err = run(2, path, *more)
    assert code == 3
    assert "train/X cannot be read at rows 0" in err


@pytest.mark.parametrize("name", ["train/X", "train/y", "test/X"])
@pytest.mark.parametrize("kind", ["chunked", "packed"])
@pytest.mark.parametrize("standardize", [True, False])
def test_a_number_that_is_none_is_refused(tmp_path, kind, name, standardize):
    path = made(mpi.comm_self(), tmp_path, kind)
    with h5py.File(path, "r+") as file:
        file[name][(130,) if name == "train/y" else (130, 3)] = np.nan
    known = {"standardize": standardize, "workers": 2, **LIMIT}
    with pytest.raises(DataError, match=f"{name} holds nan at row 130"):
        train(options(path, tmp_path / "run", **known), comm=mpi.comm_self())


def test_only_disjoint_rows_are_read_in_piles(comm, folder):
    path = made(comm, folder, "chunked")
    known = options(path, folder / "run", split="sample", **LIMIT)
    with pytest.raises(
        UsageError, match="takes --split disjoint, found --split sample"
    ):
        train(known, comm=comm)


@pytest.mark.parametrize("text", ["lots", "-1GB", "0", "3 QB", "2", "999999"])
def test_a_limit_is_a_number_of_bytes(text):
    with pytest.raises(UsageError, match="expected bytes with a unit, as 500MB"):
        options("digits", "run", memory_limit=text)
