"""`mpipgd data`: what it prints, and that all ranks raise the same errors."""

import io
import subprocess
import sys

import h5py
import numpy as np
import pytest

from mpipgd import cli
from mpipgd.comm import mpi
from mpipgd.data.create.make import make_bundled
from mpipgd.data.hdf5.describe import describe
from mpipgd.data.hdf5.source import scan
from mpipgd.errors import DataError, UsageError
from mpipgd.reporting.progress import Progress


def lines_of(comm, *words):
    """Run `mpipgd data …` and return the lines that this rank prints."""
    texts = []
    assert command(*words).run(comm, texts.append) == 0
    return "\n".join(texts).splitlines()


def command(*words):
    """Return the command of the command line `mpipgd data …`."""
    command_class, args = cli.parse(["data", *map(str, words)])
    return command_class(args)


def run_serial(*words):
    """Run `mpipgd data …` in one process and return the lines that it prints."""
    return lines_of(mpi.comm_self(), *words)


def test_make_info_and_check_agree(tmp_path):
    out = tmp_path / "out"
    (line,) = run_serial("make", "digits", out, "--shards", 2, "--test-size", 0.25)
    assert "multiclass (10 classes), 1,348 train and 449 test rows × 64" in line
    shown = "\n".join(run_serial("info", out))
    full = "\n".join(run_serial("info", out, "--all"))
    for text in ("2 files", "fletcher32", "scikit-learn digits", "and 44 more"):
        assert text in shown
    assert "pixel_7_7" not in shown and "pixel_7_7" in full
    assert run_serial("check", out) == [f"{path}  ok" for path in sorted(out.iterdir())]


def test_import_passes_on_every_flag(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("5,low,x,1\n6,high,y,0\n7,low,z,1\n,low,z,1\n")
    out = tmp_path / "o.h5"
    words = ["--kind", "csv", "--no-header", "--target", "-1", "--task", "binary"]
    words += ["--ordinal", "x1=low<high", "--drop", "x2", "--missing", "drop"]
    words += ["--test-size", 0, "--dtype", "float32"]
    *notices, line = run_serial("import", path, out, *words)
    assert any("1 rows with missing cells" in notice for notice in notices)
    assert "binary (2 classes), 3 train and 0 test rows × 2 features, float32" in line
    assert scan(out).header.feature_names == ("x0", "x1")


def test_info_shows_nan_and_ranges_where_train_would_refuse(tmp_path):
    make_bundled("diabetes", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["train/X"][3:5, 1] = np.nan
        values = np.concatenate([file["train/X"][:, 0], file["test/X"][:, 0]])
    lines = [line.split() for line in describe(tmp_path / "a.h5")]
    age = next(line for line in lines if line[:1] == ["age"])
    expected = (values.min(), values.mean(), values.max())
    np.testing.assert_allclose(list(map(float, age[1:4])), expected, rtol=1e-5)
    assert age[4] == "0"
    assert next(line for line in lines if line[:1] == ["sex"])[4] == "2"


def test_info_of_sparse_rows_counts_the_zeros(tmp_path):
    run_serial(
        "make", "regression", tmp_path / "a.h5", "--density", 0.5, "--features", 3
    )
    source = scan(tmp_path / "a.h5")
    X = np.zeros((10_000, 3))
    for part, first in (("train", 0), ("test", 8_000)):
        block, _ = source.read(part, 0, source.rows[part])
        row = np.repeat(np.arange(source.rows[part]), np.diff(block.indptr))
        X[first + row, block.indices] = block.data
    lines = [line.split() for line in describe(tmp_path / "a.h5")]
    for column in range(3):
        rows = (line for line in lines if len(line) == 5)
        shown = next(row for row in rows if row[0] == str(column))[1:4]
        low, mean, high = X[:, column].min(), X[:, column].mean(), X[:, column].max()
        expected = (low, mean, high)
        np.testing.assert_allclose(list(map(float, shown)), expected, rtol=1e-4)


def make_files_with_nan(folder):
    """Make three files, with a NaN in the second one."""
    make_bundled("iris", folder, shards=3)
    with h5py.File(folder / "shard-0001.h5", "a") as file:
        file["test/X"][2, 1] = np.nan


def test_check_reads_all_files_and_fails_on_all_ranks(comm, folder):
    folder = folder / "out"
    mpi.on_root(comm, make_files_with_nan, folder)
    lines = []
    with pytest.raises(DataError, match=r"1 unfit file.*shard-0001\.h5") as caught:
        command("check", f"{folder}/").run(comm, lines.append)
    assert caught.value.agreed
    assert [line.endswith("ok") for line in lines] == [True, False, True]
    assert "test/X holds nan at row 2, column 1" in lines[1]


def test_check_finds_shards_that_disagree(tmp_path):
    make_bundled("iris", tmp_path / "out" / "0.h5")
    make_bundled("wine", tmp_path / "out" / "1.h5")
    with pytest.raises(DataError, match="shards disagree in n_features"):
        run_serial("check", tmp_path / "out")


@pytest.mark.parametrize("action", ["info", "check"])
def test_other_hdf5_files_are_named_by_their_datasets(tmp_path, action):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a"], file["b"] = np.ones((9, 2)), np.arange(9) % 2
    with pytest.raises(DataError):
        run_serial(action, tmp_path / "f.h5")
    assert run_serial(action, tmp_path / "f.h5", "--x", "a", "--y", "b")


def test_make_and_import_fail_on_all_ranks(comm, folder):
    out = folder / "o.h5"
    for error, words in (
        (UsageError, ("make", "nosuch", out)),
        (UsageError, ("make", "blobs", out, "--rows", 0)),
        (DataError, ("import", folder / "none.csv", out)),
        (UsageError, ("import", "none.csv", out, "--ordinal", "a")),
    ):
        with pytest.raises(error) as caught:
            lines_of(comm, *words)
        assert caught.value.agreed


def test_parsing_imports_neither_mpi_nor_numpy():
    program = (
        "import sys; from mpipgd import cli; cli.parse(['data', 'info', 'a.h5']);"
        "sys.exit(bool({'numpy', 'h5py', 'mpi4py'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("tty, shown", [(True, ["50%", "100%"]), (False, ["50%"])])
def test_progress_is_a_bar_in_a_terminal_and_rare_lines_in_a_log(
    tty, shown, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("mpipgd.reporting.progress.on_terminal", lambda stream: tty)
    stream = io.StringIO()
    progress = Progress(1_000, "reading", stream=stream)
    for done, seconds in ((1, 0.01), (500, 6), (501, 0.01), (1_000, 1)):
        now[0] += seconds
        progress.update(done)
    lines = [line for line in stream.getvalue().replace("\r", "\n").split("\n") if line]
    assert len(lines) == len(shown)
    assert all(share in line for share, line in zip(shown, lines, strict=True))
    assert "0:06 left" in lines[0]
