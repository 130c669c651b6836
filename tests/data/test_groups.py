"""Groups in data files, which are held out whole; damaged ones are refused."""

import h5py
import numpy as np
import pytest

from mpipgd.comm import mpi
from mpipgd.data.create.ingest import ingest
from mpipgd.data.hdf5.source import open_data
from mpipgd.data.validation import hold_out
from mpipgd.errors import DataError

from ..support import options

SELF = mpi.comm_self()


def damage(path, change):
    """Replace the groups of the training rows."""
    with h5py.File(path, "r+") as file:
        groups = file["train/group"][...]
        del file["train/group"]
        change(file, groups)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda file, groups: file.create_dataset("train/group", data=groups[1:]),
            "train/group has shape",
        ),
        (
            lambda file, groups: file.create_dataset("train/group", data=groups / 2),
            "train/group holds float64",
        ),
        (
            lambda file, groups: file.create_dataset("train/group", data=0 * groups),
            "training rows have one",
        ),
        (lambda file, groups: file.create_group("train/group"), "train/group"),
    ],
)
def test_damaged_groups_are_refused(tmp_path, change, message):
    rows = [f"g{k % 9},{k}.5,{k % 5}.5" for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["who,a,y", *rows]) + "\n")
    ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", group="who")
    damage(tmp_path / "o.h5", change)
    config = options(tmp_path / "o.h5", tmp_path / "r", validation=0.3)
    with pytest.raises(DataError, match=message):
        hold_out(SELF, open_data(SELF, config.data), config)


@pytest.mark.mpi
def test_shards_and_ranks_hold_out_the_same_groups(shared_tmp):
    world = mpi.world()

    def write():
        rows = [f"g{k % 9},{k}.5,{k % 5}.5" for k in range(60)]
        (shared_tmp / "t.csv").write_text("\n".join(["who,a,y", *rows]) + "\n")

    mpi.on_root(world, write)
    held_out = []
    for shards in (1, 3):
        out = f"{shared_tmp}/{shards}/"
        ingest(world, shared_tmp / "t.csv", out, group="who", shards=shards)
        config = options(out, shared_tmp / "r", validation=0.3)
        source = hold_out(world, open_data(world, config.data), config)
        held_out.append(source.read("validation", 0, source.rows["validation"])[0])
        source.close()
    np.testing.assert_array_equal(*held_out)
