"""Bad input: one message, the documented exit code, and no rank left waiting."""

import os
import re
import shutil
import time

import h5py
import numpy as np
import pytest

from mpipgd.comm import mpi
from mpipgd.data.create.make import make_bundled
from mpipgd.data.hdf5.header import Header
from mpipgd.data.hdf5.writer import create

from .support import finish, run, start

RANKS = 3


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """A sound data file, to be damaged; each rank has one."""
    path = tmp_path_factory.mktemp("data") / "iris.h5"
    make_bundled("iris", path)
    return path


@pytest.fixture
def shared_iris(iris, shared_tmp):
    """The data file of rank 0, on all ranks."""
    return mpi.world().bcast(iris)


def rewrite(path, name, change):
    """Change one dataset of a data file, with its checksums."""
    with h5py.File(path, "r+") as file:
        values = change(file[name][...])
        del file[name]
        file.create_dataset(name, data=values, chunks=True, fletcher32=True)


# Each damage gets a copy of iris and an empty folder, and returns the data to train on.


def missing(path, folder):
    return folder / "nowhere.h5"


def empty(path, folder):
    path.write_bytes(b"")
    return path


def not_hdf5(path, folder):
    path.write_text("cut,price\nIdeal,326\n" * 100)
    return path


def truncated(path, folder):
    os.truncate(path, path.stat().st_size // 2)
    return path


def flipped_bit(path, folder):
    with h5py.File(path) as file:
        offset = file["train/X"].id.get_chunk_info(0).byte_offset + 5
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))
    return path


def lengths(path, folder):
    rewrite(path, "train/y", lambda y: y[:-1])
    return path


def put_value(path, name, index, value):
    """Change one value of a dataset, counted in its flat order."""

    def change(X):
        X.flat[index] = value
        return X

    rewrite(path, name, change)


def nan(path, folder):
    put_value(path, "train/X", 321, np.nan)
    return path


def infinity(path, folder):
    put_value(path, "test/X", 7, np.inf)
    return path


def class_only_in_test(path, folder):
    rewrite(path, "train/y", lambda y: np.where(y == 2, 1, y))
    return path


def make_shards(folder, **differences):
    """Write two shards, the second one with other fields in its header."""
    shards = folder / "shards"
    shards.mkdir()
    fields = {"task": "regression", "n_features": 3, "dtype": "float64"}
    for number, header in enumerate((fields, fields | differences)):
        rows = {"train": 9, "test": 0}
        path = shards / f"{number}.h5"
        X = np.ones((9, header["n_features"]), header["dtype"])
        with create(path, Header(**header), rows=rows) as writer:
            writer.write("train", 0, X, np.ones(9))
    return shards


def width(path, folder):
    return make_shards(folder, n_features=4)


def dtype(path, folder):
    return make_shards(folder, dtype="float32")


DAMAGES = {  # damage -> pattern of the message
    missing: "nowhere.h5",
    empty: "empty|0 bytes",
    not_hdf5: "HDF5",
    truncated: "truncated|HDF5|damaged",
    flipped_bit: r"train/X.*rows",
    lengths: r"train/y.*119|119.*train/y",
    nan: r"(?i)nan.*row 80|row 80.*nan",
    infinity: r"(?i)test/X.*inf|inf.*test/X",
    class_only_in_test: "class 'virginica'.*no training row",
    width: "n_features: 3 .* 4",
    dtype: "dtype: 'float64' .* 'float32'",
}


def assert_refused(result, code, pattern):
    """Assert one message that matches the pattern, and the exit code."""
    exit_code, out, err = result
    messages = [line for line in err.splitlines() if line.startswith("mpipgd:")]
    assert exit_code == code, (exit_code, out, err)
    assert len(messages) == 1, err
    assert re.search(pattern, messages[0]), messages[0]
    assert "Traceback" not in err


@pytest.fixture
def refused_by_all(mpipgd):
    """Assert one message, by rank 0, and the exit code on all ranks of the world."""

    def check(*words, code, pattern):
        world = mpi.world()
        results = world.gather(mpipgd(*words))
        for rank, (found, out, err) in enumerate(results or ()):
            assert found == code, (rank, found, out, err)
            assert rank == 0 or "mpipgd:" not in err, (rank, err)
        if results:
            assert_refused(results[0], code, pattern)

    return check


def damaged(iris, damage, folder):
    """Return the path of damaged data in a folder."""
    shutil.copy(iris, folder / "data.h5")
    return damage(folder / "data.h5", folder)


@pytest.mark.mpi
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_data_is_a_data_error(iris, shared_tmp, refused_by_all, damage):
    path = mpi.on_root(mpi.world(), damaged, iris, damage, shared_tmp)
    words = path, "--run", shared_tmp / "run"
    refused_by_all(*words, code=3, pattern=DAMAGES[damage])


@pytest.mark.launcher
def test_a_data_error_is_the_exit_code_of_mpirun(iris, tmp_path):
    path = damaged(iris, flipped_bit, tmp_path)
    result = run(RANKS, path, "--run", tmp_path / "run")
    assert_refused(result, 3, DAMAGES[flipped_bit])


@pytest.mark.mpi
def test_more_workers_than_rows_is_a_data_error(
    shared_iris, shared_tmp, refused_by_all
):
    words = shared_iris, "--workers", 121, "--run", shared_tmp / "run"
    refused_by_all(*words, code=3, pattern="120 rows; 121 workers need at least 121")


USAGE = {  # case -> flags, pattern of the message
    "unknown flag": (["--lerning-rate", "1"], "unknown flag --lerning-rate"),
    "nearest flag": (["--epoch", "1"], "did you mean --epochs"),
    "wrong number": (["--epochs", "ten"], "--epochs ten: expected a whole number"),
    "unknown choice": (["--strategy", "synk"], "did you mean sync"),
    "misfit": (["--loss", "hinge"], "two classes.*softmax"),
    "too many averagings": (
        ["--strategy", "average", "--n-sync", "9999"],
        "--n-sync 9999: the run has",
    ),
}


AGREED = ("misfit", "too many averagings")  # once the data is known


@pytest.mark.parametrize("case", USAGE)
def test_bad_options_are_usage_errors(iris, tmp_path, mpipgd, case):
    args, pattern = USAGE[case]
    result = mpipgd(iris, *args, "--run", tmp_path / "run")
    assert_refused(result, 2, pattern)


@pytest.mark.mpi
@pytest.mark.parametrize("case", AGREED)
def test_options_that_do_not_fit_the_data_are_usage_errors(
    shared_iris, shared_tmp, refused_by_all, case
):
    args, pattern = USAGE[case]
    words = shared_iris, *args, "--run", shared_tmp / "run"
    refused_by_all(*words, code=2, pattern=pattern)


@pytest.mark.launcher
@pytest.mark.parametrize("case", ["unknown flag", "misfit"])
def test_a_usage_error_is_the_exit_code_of_mpirun(iris, tmp_path, case):
    args, pattern = USAGE[case]
    result = run(RANKS, iris, *args, "--run", tmp_path / "run")
    assert_refused(result, 2, pattern)


def test_wrong_type_in_toml_is_a_usage_error(tmp_path, mpipgd):
    (tmp_path / "c.toml").write_text('epochs = "ten"\n')
    result = mpipgd("--config", tmp_path / "c.toml")
    assert_refused(result, 2, "c.toml: epochs = 'ten': expected a whole number")


@pytest.mark.mpi
def test_divergence_ends_all_ranks(shared_iris, shared_tmp, refused_by_all):
    words = "--lr", "1e200", "--loss", "softmax", "--run", shared_tmp / "run"
    refused_by_all(shared_iris, *words, code=4, pattern="not finite at epoch 1")


@pytest.mark.programs
def test_divergence_of_one_worker_alone_ends_all_ranks(iris, tmp_path):
    args = ["--lr", "1e200", "--strategy", "oneshot", "--run", tmp_path / "run"]
    assert_refused(run(RANKS, iris, *args), 4, "not finite")


@pytest.mark.mpi
def test_resuming_nothing_is_a_checkpoint_error(shared_tmp, refused_by_all):
    words = "--resume", shared_tmp / "none"
    refused_by_all(*words, code=5, pattern="no such run folder")


@pytest.mark.programs
def test_full_disk_is_a_checkpoint_error_and_leaves_the_last_checkpoint(iris, tmp_path):
    # a limit on the size of files is what a full disk looks like to a writer
    program = (
        "-c",
        "import resource, signal, sys\n"
        "from mpipgd.__main__ import main\n"
        "from mpipgd.training import callbacks\n"
        "write = callbacks.CheckpointCallback.save\n"
        "def save(self, step, state):\n"
        "    if step > 20:\n"
        "        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, -1))\n"
        "    write(self, step, state)\n"
        "callbacks.CheckpointCallback.save = save\n"
        "sys.exit(main())",
    )
    folder = tmp_path / "run"
    assert_refused(
        run(RANKS, iris, "--run", folder, program=program),
        5,
        "cannot write.*File too large",
    )
    assert [path.name for path in (folder / "checkpoints").iterdir()]
    code, out, err = run(RANKS, "--resume", folder)
    assert code == 0, err


@pytest.mark.launcher
def test_exception_on_one_rank_ends_all_within_seconds(iris, tmp_path):
    program = (
        "-c",
        "import sys, time\n"
        "from mpipgd import __main__\n"
        "from mpipgd.training import callbacks\n"
        "call = callbacks.StopCheck.__call__\n"
        "def fail(self, step, state):\n"
        "    if self.context.grid.comm.rank == 2 and step > 10:\n"
        "        print('failing at', time.time(), file=sys.stderr, flush=True)\n"
        "        raise RuntimeError('on purpose')\n"
        "    return call(self, step, state)\n"
        "callbacks.StopCheck.__call__ = fail\n"
        "sys.exit(__main__.main())",
    )
    process = start(4, iris, "--run", tmp_path / "run", program=program)
    code, out, err = finish(process)
    end = time.time()
    failure = float(re.search(r"failing at ([\d.]+)", err)[1])
    assert code == 1, err
    assert "rank 2 failed" in err and "on purpose" in err
    assert end - failure < 5


@pytest.mark.launcher
def test_hang_ends_all_ranks(iris, tmp_path):
    program = (
        "-c",
        "import sys, time\n"
        "from mpipgd import __main__\n"
        "from mpipgd.training import callbacks\n"
        "call = callbacks.StopCheck.__call__\n"
        "def sleep(self, step, state):\n"
        "    if self.context.grid.comm.rank == 1 and step > 10:\n"
        "        time.sleep(1000)\n"
        "    return call(self, step, state)\n"
        "callbacks.StopCheck.__call__ = sleep\n"
        "sys.exit(__main__.main())",
    )
    args = [iris, "--run", tmp_path / "run", "--hang-after", "3"]
    code, out, err = run(3, *args, program=program)
    assert code == 6, err
    assert re.search("hang: nothing for 3 s after (the first )?step", err), err
