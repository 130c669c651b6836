"""Bad input: one message, the documented exit code, and no rank left waiting."""

import os
import re
import shutil
import time

import h5py
import numpy as np
import pytest

from mpipgd.data.create.make import make_bundled
from mpipgd.data.hdf5.header import Header
from mpipgd.data.hdf5.writer import create

from .support import finish, run, start

RANKS = 3


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """Return a valid data file, of which tests damage copies."""
    path = tmp_path_factory.mktemp("data") / "iris.h5"
    make_bundled("iris", path)
    return path


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


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_data_is_a_data_error(iris, tmp_path, damage):
    shutil.copy(iris, tmp_path / "data.h5")
    path = damage(tmp_path / "data.h5", tmp_path)
    result = run(RANKS, path, "--run", tmp_path / "run")
    assert_refused(result, 3, DAMAGES[damage])


def test_more_workers_than_rows_is_a_data_error(iris, tmp_path):
    result = run(RANKS, iris, "--workers", 121, "--run", tmp_path / "run")
    assert_refused(result, 3, "120 rows; 121 workers need at least 121")


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


@pytest.mark.parametrize("case", USAGE)
def test_bad_options_are_usage_errors(iris, tmp_path, case):
    flags, pattern = USAGE[case]
    result = run(RANKS, iris, *flags, "--run", tmp_path / "run")
    assert_refused(result, 2, pattern)


def test_wrong_type_in_toml_is_a_usage_error(tmp_path):
    (tmp_path / "c.toml").write_text('epochs = "ten"\n')
    result = run(RANKS, "--config", tmp_path / "c.toml")
    assert_refused(result, 2, "c.toml: epochs = 'ten': expected a whole number")


def test_divergence_ends_all_ranks(iris, tmp_path):
    args = ["--lr", "1e200", "--loss", "softmax", "--run", tmp_path / "run"]
    assert_refused(run(RANKS, iris, *args), 4, "not finite at epoch 1")


def test_divergence_of_one_worker_ends_all_ranks(iris, tmp_path):
    args = ["--lr", "1e200", "--strategy", "oneshot", "--run", tmp_path / "run"]
    assert_refused(run(RANKS, iris, *args), 4, "not finite")


def test_resuming_nothing_is_a_checkpoint_error(tmp_path):
    assert_refused(run(RANKS, "--resume", tmp_path / "none"), 5, "no such run folder")


def test_full_disk_is_a_checkpoint_error_and_keeps_the_last_checkpoint(iris, tmp_path):
    # with a limit on the size of files, writing fails as on a full disk
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
    assert "hang: nothing for 3 s after step" in err
