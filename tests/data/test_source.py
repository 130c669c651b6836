"""Data files: what is written is read, and no bad file is taken for a good one."""

import h5py
import numpy as np
import pytest

from mpipgd.comm import mpi
from mpipgd.data.hdf5.source import Header, Source, create, open_data, scan
from mpipgd.data.matrix import Csr
from mpipgd.errors import DataError, UsageError

N, D = 300, 4
CLASSES = ("ant", "bée", "cat")


def rows(seed=0, n=N, dtype="float64"):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, D)).astype(dtype), draw.integers(3, size=n)


def write(path, X, y, *, n_train=None, **header):
    n_train = len(y) * 2 // 3 if n_train is None else n_train
    header = {"classes": CLASSES, "dtype": X.dtype.name} | header
    task = "multiclass" if header["classes"] else "regression"
    counts = {"train": n_train, "test": len(y) - n_train}
    with create(path, Header(task, D, **header), rows=counts) as writer:
        writer.write("train", 0, X[:n_train], y[:n_train])
        if counts["test"]:
            writer.write("test", 0, X[n_train:], y[n_train:])
    return path


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.h5", *rows())


def test_rows_written_are_rows_read(good):
    X, y = rows()
    source = scan(good)
    assert source.rows == {"train": 200, "test": 100}
    for part, first in (("train", 0), ("test", 200)):
        for lo, hi in ((0, 100), (17, 18), (50, 50)):
            read_X, read_y = source.read(part, lo, hi)
            np.testing.assert_array_equal(read_X, X[first + lo : first + hi])
            np.testing.assert_array_equal(read_y, y[first + lo : first + hi])


def test_header_survives_the_file(tmp_path):
    names = ("a", "b", "größe", "x=1")
    extra = {"feature_names": names, "target": "t", "source": "s"}
    path = write(tmp_path / "a.h5", *rows(dtype="float32"), **extra)
    assert scan(path).header == Header(
        "multiclass", D, dtype="float32", classes=CLASSES, **extra
    )


def test_many_feature_names_fit(tmp_path):
    names = tuple(f"feature {i}" for i in range(20_000))
    header = Header("regression", 20_000, feature_names=names)
    with create(tmp_path / "wide.h5", header, rows={"train": 1}) as writer:
        writer.write("train", 0, np.zeros((1, 20_000)), np.zeros(1))
    assert scan(tmp_path / "wide.h5").header.feature_names == names


def test_reading_into_a_wider_array_leaves_its_last_column(good):
    out = np.ones((60, D + 1))
    X, _ = scan(good).read("train", 20, 80, out=out)
    np.testing.assert_array_equal(out[:, :D], rows()[0][20:80])
    assert np.shares_memory(X, out) and (out[:, D] == 1).all()


@pytest.mark.parametrize("cuts", [(0, 300), (0, 1, 150, 300), (0, 100, 100, 300)])
def test_shards_equal_one_file(tmp_path, cuts):
    X, y = rows()
    for i, (lo, hi) in enumerate(zip(cuts, cuts[1:], strict=False)):
        if lo < hi:
            path = tmp_path / f"shard-{i:04}.h5"
            write(path, X[lo:hi], y[lo:hi], n_train=hi - lo)
    for data in (tmp_path, str(tmp_path / "*.h5")):
        source = scan(data)
        read_X, read_y = source.read("train", 0, N)
        np.testing.assert_array_equal(read_X, X)
        np.testing.assert_array_equal(read_y, y)
        np.testing.assert_array_equal(source.read("train", 90, 160)[0], X[90:160])


def write_sparse(path, dense, blocks=(0, 5, 12)):
    header = Header("regression", dense.shape[1], dtype="float32", sparse=True)
    with create(path, header, rows={"train": len(dense)}) as writer:
        for lo, hi in zip(blocks, blocks[1:], strict=False):
            row, column = np.nonzero(dense[lo:hi])
            indptr = np.searchsorted(row, np.arange(hi - lo + 1))
            X = Csr(dense[lo:hi][row, column], column, indptr, dense.shape[1])
            writer.write("train", lo, X, np.arange(lo, hi))
    return path


def dense_of(X):
    dense = np.zeros((len(X.indptr) - 1, X.width))
    row = np.repeat(np.arange(len(dense)), np.diff(X.indptr))
    dense[row, X.indices] = X.data
    return dense


@pytest.mark.parametrize("lo, hi", [(0, 12), (3, 9), (6, 7), (4, 4)])
def test_sparse_rows_written_are_rows_read(tmp_path, lo, hi):
    dense = np.random.default_rng(0).integers(-1, 2, (12, 9)) * 1.5
    dense[6] = 0
    X, y = scan(write_sparse(tmp_path / "s.h5", dense)).read("train", lo, hi)
    np.testing.assert_array_equal(dense_of(X), dense[lo:hi])
    np.testing.assert_array_equal(y, np.arange(lo, hi))


def test_sparse_shards_equal_one_file(tmp_path):
    dense = np.random.default_rng(0).integers(-1, 2, (12, 9)) * 1.5
    write_sparse(tmp_path / "0.h5", dense[:5], (0, 5))
    write_sparse(tmp_path / "1.h5", dense[5:], (0, 7))
    X, _ = scan(tmp_path).read("train", 2, 11)
    np.testing.assert_array_equal(dense_of(X), dense[2:11])


@pytest.mark.parametrize("labels", [[7, -2, 30], [False, True]])
def test_foreign_labels_become_class_numbers(tmp_path, labels):
    X, _ = rows(n=60)
    y = np.array(labels)[np.arange(60) % len(labels)]
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["deep/features"], file["deep/labels"] = X, y
        file["test/features"], file["test/labels"] = X[:9], y[:9]
    source = scan(tmp_path / "f.h5", x="deep/features", y="/deep/labels")
    assert source.header.classes == tuple(sorted(labels))
    assert source.rows == {"train": 60, "test": 9}
    numbers = source.read("train", 0, 60)[1]
    np.testing.assert_array_equal(np.array(sorted(labels))[numbers], y)


def test_foreign_floats_are_regression_and_images_float32(tmp_path):
    pixels = np.arange(40, dtype=np.uint8).reshape(10, 4)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["X"], file["y"] = pixels, np.arange(10) / 3
    source = scan(tmp_path / "f.h5", x="X", y="y")
    assert (source.header.task, source.header.dtype) == ("regression", "float32")
    np.testing.assert_array_equal(source.read("train", 0, 10)[0], pixels)
    assert source.rows["test"] == 0


def replace_dataset(path, name, **arguments):
    with h5py.File(path, "a") as file:
        del file[name]
        return file.create_dataset(name, **arguments)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5000])


def flip_bit(path):
    with h5py.File(path) as file:
        offset = file["train/X"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 100] ^= 1
    path.write_bytes(bytes(content))


def set_value(name, index, value):
    def change(path):
        with h5py.File(path, "a") as file:
            file[name][index] = value

    return change


def set_attribute(name, value):
    def change(path):
        with h5py.File(path, "a") as file:
            file.attrs[name] = value

    return change


def link(path, target):
    with h5py.File(path, "a") as file:
        del file["train/X"]
        file["train/X"] = target


def external(path):
    secret = path.with_name("secret")
    secret.write_bytes(bytes(200 * D * 8))
    with h5py.File(path, "a") as file:
        del file["train/X"]
        where = [(str(secret), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("train/X", (200, D), "f8", external=where)


def virtual(path):
    layout = h5py.VirtualLayout((200, D), "f8")
    layout[:] = h5py.VirtualSource(path.with_name("other.h5"), "X", (200, D))
    with h5py.File(path, "a") as file:
        del file["train/X"]
        file.create_virtual_dataset("train/X", layout)


def bomb(path, **options):
    replace_dataset(path, "train/X", shape=(1 << 38, D), dtype="f8", **options)


BAD = {
    "missing": (lambda p: p.unlink(), "does not exist"),
    "empty": (lambda p: p.write_bytes(b""), r"is empty \(0 bytes\)"),
    "not HDF5": (lambda p: p.write_text("a,b\n1,2\n"), "is not an HDF5 file"),
    "truncated": (truncate, "it is truncated"),
    "flipped bit": (flip_bit, r"train/X cannot be read at rows 0 … 199"),
    "lengths": (
        lambda p: replace_dataset(p, "train/y", data=np.zeros(199, int)),
        "train/X has 200 rows but train/y has 199",
    ),
    "no y": (lambda p: h5py.File(p, "a").pop("train/y"), "has no train/y; it holds"),
    "NaN": (set_value("train/X", (7, 2), np.nan), r"holds nan at row 7, column 2 \(1 "),
    "infinity": (set_value("test/X", (0, 0), -np.inf), "test/X holds -inf at row 0"),
    "class number": (set_value("train/y", 11, 3), "class number 3 at row 11"),
    "negative class": (set_value("test/y", 5, -1), "class number -1 at row 5"),
    "version": (set_attribute("version", 2), "version 2 is unknown"),
    "format": (set_attribute("format", "other"), "--x PATH and --y PATH; it holds"),
    "task": (set_attribute("task", "ranking"), "task is 'ranking', expected one of"),
    "width": (set_attribute("n_features", 5), "X has 4 columns, n_features is 5"),
    "binary": (set_attribute("task", "binary"), "binary with 3 classes"),
    "names": (set_attribute("feature_names", ["a"]), "holds 1 names for 4 features"),
    "soft link": (lambda p: link(p, h5py.SoftLink("/test/X")), "soft or external link"),
    "external link": (
        lambda p: link(p, h5py.ExternalLink("other.h5", "X")),
        "soft or external link",
    ),
    "external": (external, "keeps its values in another file"),
    "virtual": (virtual, "keeps its values in another file"),
    "text": (
        lambda p: replace_dataset(p, "train/X", data=[["a"] * D] * 200),
        "train/X holds object, expected plain numbers",
    ),
    "axes": (
        lambda p: replace_dataset(p, "train/X", data=np.zeros((200, 2, 2))),
        r"has shape \(200, 2, 2\), expected 2 axes",
    ),
    "8 TB": (lambda p: bomb(p, chunks=(64, D)), "declares 8796093022208 bytes"),
    "8 TB gzip": (
        lambda p: bomb(p, chunks=(64, D), compression="gzip"),
        "declares 8796093022208 bytes",
    ),
    "filter": (
        lambda p: replace_dataset(
            p, "train/X", data=np.zeros((200, D)), scaleoffset=2, chunks=(9, D)
        ),
        "has the filters",
    ),
}


def read_all(data):
    source = scan(data)
    for part, count in source.rows.items():
        source.read(part, 0, count)


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_in_one_sentence(good, name):
    damage, message = BAD[name]
    read_all(good)
    damage(good)
    with pytest.raises(DataError, match=message) as caught:
        read_all(good)
    assert str(good) in str(caught.value) and "\n" not in str(caught.value)


BAD_SPARSE = {
    "indptr falls": (set_value("train/X/indptr", 3, 10_000), "indptr does not rise"),
    "column": (set_value("train/X/indices", 4, 9), r"outside 0 … 8"),
    "negative column": (set_value("train/X/indices", 4, -1), r"outside 0 … 8"),
    "lengths": (
        lambda p: replace_dataset(p, "train/X/indptr", data=np.zeros(4, int)),
        "expected equal, equal and 13",
    ),
    "lacking": (lambda p: h5py.File(p, "a").pop("train/X/data"), "lacks 'data'"),
    "NaN": (set_value("train/X/data", 0, np.nan), "holds nan"),
}


@pytest.mark.parametrize("name", BAD_SPARSE)
def test_bad_sparse_file_is_refused(tmp_path, name):
    damage, message = BAD_SPARSE[name]
    path = write_sparse(tmp_path / "s.h5", np.ones((12, 9)))
    read_all(path)
    damage(path)
    with pytest.raises(DataError, match=message):
        read_all(path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dtype": "float32"}, "disagree in dtype"),
        ({"classes": None}, "disagree in task"),
        ({"classes": ("ant", "bée", "dog")}, "disagree in classes"),
        ({"feature_names": tuple("abcd")}, "disagree in feature_names"),
    ],
)
def test_shards_that_disagree_are_refused(tmp_path, change, message):
    X, y = rows()
    write(tmp_path / "0.h5", X, y)
    write(tmp_path / "1.h5", X.astype(change.get("dtype", "float64")), y, **change)
    with pytest.raises(DataError, match=message):
        scan(tmp_path)


def test_shards_of_different_width_are_refused(tmp_path):
    X, y = rows()
    write(tmp_path / "0.h5", X, y)
    header = Header("multiclass", 3, classes=CLASSES)
    with create(tmp_path / "1.h5", header, rows={"train": N}) as writer:
        writer.write("train", 0, X[:, :3], y)
    with pytest.raises(DataError, match="disagree in n_features: 4 in .*, 3 in"):
        scan(tmp_path)


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no data file"):
        scan(tmp_path)
    with create(tmp_path / "0.h5", Header("regression", 2), rows={}):
        pass
    with pytest.raises(DataError, match="holds no rows"):
        scan(tmp_path)
    with pytest.raises(UsageError, match="go together"):
        scan(tmp_path, x="X")


def test_file_that_changes_between_scan_and_read_is_refused(good):
    source = scan(good)
    write(good, *rows(n=200))
    with pytest.raises(DataError, match="changed after it was looked at"):
        source.read("train", 0, 100)


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with create(tmp_path / "a.h5", Header("regression", 2), rows={"train": 9}):
            raise KeyboardInterrupt
    with pytest.raises(ValueError, match="rows still missing"):
        with create(tmp_path / "a.h5", Header("regression", 2), rows={"train": 9}):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    header = Header("regression", 2)
    with pytest.raises(DataError, match="cannot write .*No such file"):
        with create(tmp_path / "none" / "a.h5", header, rows={"train": 9}):
            pass


@pytest.mark.parametrize("sparse", [False, True])
def test_a_disk_that_fills_up_is_refused_and_leaves_no_file(tmp_path, sparse):
    import resource

    header, n = Header("regression", 50, sparse=sparse), 8_000
    dense = np.ones((n, 50))
    X = Csr(dense.reshape(-1), np.tile(np.arange(50), n), np.arange(n + 1) * 50, 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(DataError, match="cannot write .*: File too large"):
            with create(tmp_path / "a.h5", header, rows={"train": n}) as writer:
                writer.write("train", 0, X if sparse else dense, np.ones(n))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_class_that_only_test_rows_have_is_refused(good):
    source = scan(good)
    comm = mpi.comm_self()
    source.verify_classes(comm, [3, 1, 0], [2, 0, 0])
    with pytest.raises(DataError, match="class 'cat' has 4 test rows but no training"):
        source.verify_classes(comm, [3, 1, 0], [2, 0, 4])


def test_all_ranks_open_the_same_source_or_refuse_alike(comm, folder):
    mpi.on_root(comm, write, folder / "a.h5", *rows())
    source = open_data(comm, folder / "a.h5")
    assert isinstance(source, Source)
    np.testing.assert_array_equal(source.read("train", 0, 200)[0], rows()[0][:200])
    counts = np.array([1, 1, 0]), np.array([0, 0, comm.rank == comm.size - 1])
    for refused in (
        lambda: source.verify_classes(comm, *counts),
        lambda: open_data(comm, folder / "none.h5"),
    ):
        with pytest.raises(DataError) as caught:
            refused()
        assert caught.value.agreed
    source.close()
