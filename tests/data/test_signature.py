"""The signature of data: the same for copies, another for other rows or targets."""

import shutil

import h5py
import numpy as np
import pytest

from mpipgd import train
from mpipgd.data.create.make import make
from mpipgd.data.hdf5 import signature as signatures
from mpipgd.data.hdf5.signature import signature
from mpipgd.data.hdf5.source import scan
from mpipgd.errors import DataError
from mpipgd.training.run import resume

from ..support import options


def sign(comm, path, **names):
    return signature(comm, scan(path, **names))


@pytest.mark.parametrize("density", [1.0, 0.2])
def test_copies_have_it_and_other_data_has_not(comm, folder, agree, density):
    recipe = {"rows": 900, "features": 5, "density": density}
    for seed, name in enumerate(("a.h5", "b.h5")):
        make(comm, "regression", str(folder / name), seed=seed, **recipe)
    if comm.rank == 0:
        shutil.copy(folder / "a.h5", folder / "c.h5")
    comm.Barrier()
    a, b, c = (sign(comm, folder / name) for name in ("a.h5", "b.h5", "c.h5"))
    agree(a == c and a != b, comm)
    agree(len(set(comm.allgather(a))) == 1, comm)


def test_checksums_are_read_and_not_the_rows(folder_of_one, monkeypatch):
    from mpipgd.comm import mpi

    path = folder_of_one
    stored = [signatures._stored_checksums(h5py.File(path)[n]) for n in ("train/X",)]
    assert None not in stored
    monkeypatch.setattr(signatures, "_evenly_spaced", None)  # fails where it is called
    assert sign(mpi.comm_self(), path)


@pytest.fixture
def folder_of_one(tmp_path):
    from mpipgd.comm import mpi

    path = tmp_path / "data.h5"
    make(mpi.comm_self(), "regression", str(path), rows=500, features=4)
    return path


def test_a_checksum_is_that_of_the_chunk(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for change in (0.0, 1.0):
        path = tmp_path / f"{change}.h5"
        with h5py.File(path, "w") as file:
            X = rng.normal(size=(100, 3)) if not found else X  # noqa: F821
            X[57, 1] += change
            kept = {"chunks": (10, 3), "fletcher32": True, "compression": "gzip"}
            file.create_dataset("X", data=X, **kept)
        with h5py.File(path) as file:
            found.append(signatures._stored_checksums(file["X"]))
    assert found[0] != found[1]


@pytest.mark.parametrize("what", ["y", "X"])
def test_a_file_without_checksums(comm, folder, agree, what):
    path = folder / "plain.h5"

    def write(shift):
        if comm.rank == 0:
            with h5py.File(path, "w") as file:
                X = np.random.default_rng(1).normal(size=(60, 3))
                values = {"X": X, "y": X.sum(axis=1)}
                values[what] = values[what] + shift
                for name, array in values.items():
                    file[name] = array
        comm.Barrier()

    write(0.0)
    before = sign(comm, path, x="X", y="y")
    agree(before == sign(comm, path, x="X", y="y"), comm)
    comm.Barrier()
    write(0.5)
    agree(before != sign(comm, path, x="X", y="y"), comm)


@pytest.mark.parametrize("shards", [1, 3])
def test_resume_refuses_other_data(comm, folder, agree, shards):
    data, run = folder / ("d.h5" if shards == 1 else "d"), str(folder / "run")
    recipe = {"rows": 400, "features": 5, "shards": shards}
    make(comm, "regression", str(data), **recipe)
    train(options(data, run, workers=2, epochs=2), comm=comm)
    comm.Barrier()
    make(comm, "regression", str(data), seed=9, overwrite=True, **recipe)
    with pytest.raises(DataError, match="allow-changed-data") as caught:
        resume(run, {"epochs": 3}, comm=comm)
    agree(caught.value.agreed and "d" in str(caught.value), comm)
    changes = {"epochs": 3, "allow_changed_data": True}
    summary = resume(run, changes, comm=comm)
    agree(not summary or summary["epochs"] == 3, comm)


def test_model_and_checkpoints_have_it(comm, folder, agree):
    data = folder / "d.h5"
    make(comm, "regression", str(data), rows=400, features=5)
    train(options(data, folder / "run", workers=2, epochs=1), comm=comm)
    comm.Barrier()
    expected = sign(comm, data)
    paths = [folder / "run/model.h5", *(folder / "run/checkpoints").iterdir()]
    for path in paths:
        with h5py.File(path) as file:
            agree(file.attrs["data_signature"] == expected, comm)
