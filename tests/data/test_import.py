"""Importing: the rows that come out are those that numpy or scikit-learn would read."""

import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.comm import mpi
from mpipgd.data.create import external_shuffle
from mpipgd.data.create import ingest as importing
from mpipgd.data.create.roles import parse_ordinal
from mpipgd.data.hdf5.source import scan
from mpipgd.data.matrix import Csr
from mpipgd.data.tables import csv as csv_tables
from mpipgd.data.tables.csv import MISSING
from mpipgd.errors import DataError, UsageError

MIXED = """weight,kind,grade,price
1.5,red,Low,10
2,blue,High,20
-3e1,red,Mid,30
4,"a,b",Low,40
"""


def ingest(source, out, **options):
    return importing.ingest(mpi.comm_self(), source, out, **options)


def rows_of(data, seed=0):
    """Return all rows of a data set in the order that they had in the source."""
    source = scan(data)
    parts = [source.read(part, 0, n) for part, n in source.rows.items()]
    order = np.random.default_rng(seed).permutation(sum(source.rows.values()))
    X, y = (np.concatenate(each) for each in zip(*parts, strict=True))
    return X[order], y[order]


def save(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_equals_numpy(tmp_path):
    draw = np.random.default_rng(0)
    table = draw.normal(size=(200, 5))
    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wt") as file:
        np.savetxt(file, table, delimiter=",", header="a,b,c,d,e", comments="")
    done = ingest(path, tmp_path / "o.h5", label="c", test_size=0.3)
    assert done.rows == {"train": 140, "test": 60}
    assert done.header.feature_names == ("a", "b", "d", "e")
    X, y = rows_of(tmp_path / "o.h5")
    np.testing.assert_array_equal(X, table[:, [0, 1, 3, 4]])
    np.testing.assert_array_equal(y, table[:, 2])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_text_becomes_one_feature_a_value_and_ordered_text_a_number(
    tmp_path, delimiter
):
    rows = csv.reader(io.StringIO(MIXED))
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    ordinal = parse_ordinal(["grade=Low<Mid<High"])
    done = ingest(tmp_path / "t.csv", tmp_path / "o.h5", ordinal=ordinal, test_size=0)
    header = done.header
    assert header.feature_names == (
        *("weight", "kind=a,b", "kind=blue", "kind=red", "grade"),
    )
    assert (header.task, header.target) == ("regression", "price")
    X, y = rows_of(tmp_path / "o.h5")
    expected = [[1.5, 0, 0, 1, 0], [2, 0, 1, 0, 2], [-30, 0, 0, 1, 1], [4, 1, 0, 0, 0]]
    np.testing.assert_array_equal(X, expected)
    np.testing.assert_array_equal(y, [10, 20, 30, 40])


@pytest.mark.parametrize(
    "label, task, classes, y",
    [
        ("kind", None, ("a,b", "blue", "red"), [2, 1, 2, 0]),
        ("price", "multiclass", (10, 20, 30, 40), [0, 1, 2, 3]),
        ("2", None, ("High", "Low", "Mid"), [1, 0, 2, 1]),
        ("-1", None, None, [10, 20, 30, 40]),
    ],
)
def test_target_of_text_or_by_task_makes_classes(tmp_path, label, task, classes, y):
    path = save(tmp_path / "t.csv", MIXED)
    done = ingest(
        path,
        tmp_path / "o.h5",
        label=label,
        task=task,
        drop_column=["weight"],
        test_size=0,
    )
    assert done.header.classes == classes
    np.testing.assert_array_equal(rows_of(tmp_path / "o.h5")[1], y)


def test_chunks_and_buckets_do_not_change_what_is_written(tmp_path, monkeypatch):
    lines = [f"{i},{'late' if i == 70 else i % 5},{i % 7}" for i in range(90)]
    path = save(tmp_path / "t.csv", "\n".join(["a,b,c", *lines]))
    ingest(path, tmp_path / "whole.h5", shards=1)
    monkeypatch.setattr(
        csv_tables.CsvReader.__init__, "__kwdefaults__", {"block_bytes": 100}
    )
    monkeypatch.setattr(
        external_shuffle.ExternalShuffle.__init__,
        "__kwdefaults__",
        {"bucket_bytes": 1000},
    )
    ingest(path, tmp_path / "pieces", shards=3)
    headers = [scan(tmp_path / name).header for name in ("whole.h5", "pieces")]
    assert headers[0] == headers[1]
    assert headers[0].feature_names == ("a", *(f"b={i}" for i in range(5)), "b=late")
    for mine, theirs in zip(
        rows_of(tmp_path / "whole.h5"), rows_of(tmp_path / "pieces"), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("pieces", "t.csv", "whole.h5")
    ]


def test_rows_with_missing_cells_are_left_out_on_request(tmp_path):
    path = save(tmp_path / "t.csv", "a,b,c\n1,x,1\n,x,2\n3,NA,3\n4,y,4\n")
    with pytest.raises(DataError, match="t.csv: row 2: a is missing; --missing"):
        ingest(path, tmp_path / "o.h5")
    done = ingest(
        path, tmp_path / "o.h5", missing="drop", test_size=0, task="regression"
    )
    assert done.rows == {"train": 2, "test": 0}
    X, y = rows_of(tmp_path / "o.h5")
    np.testing.assert_array_equal(np.column_stack([X, y]), [[1, 1, 0, 1], [4, 0, 1, 4]])


def test_csv_without_names_is_numbered(tmp_path):
    path = save(tmp_path / "t.csv", "1,2\n3,4\n5,6\n")
    done = ingest(path, tmp_path / "o.h5", header=False, label="0")
    assert done.header.feature_names == ("x1",)
    np.testing.assert_array_equal(rows_of(tmp_path / "o.h5")[0], [[2], [4], [6]])


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)
words = texts.map(str.strip).filter(lambda text: text and text not in MISSING)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(words, st.floats(-1e9, 1e9)), min_size=2, max_size=20))
def test_any_text_survives_quoting(tmp_path_factory, rows):
    rows = [("word", 0.5), *rows]
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(("text", "number", "goal"))
        csv.writer(file).writerows((*row, 0) for row in rows)
    done = ingest(path, path.with_suffix(".h5"), test_size=0, task="regression")
    X, _ = rows_of(path.with_suffix(".h5"))
    np.testing.assert_array_equal(X[:, -1], [number for _, number in rows])
    names = [name.removeprefix("text=") for name in done.header.feature_names]
    assert [names[i] for i in X[:, :-1].argmax(axis=1)] == [text for text, _ in rows]
    assert (X[:, :-1].sum(axis=1) == 1).all()


BAD_CSV = {
    "ragged": ("a,b\n1,2\n3\n", {}, "row 2 has 1 cells, expected 2"),
    "no names": ("1,2\n3,4\n", {}, "line 1 holds numbers.*--no-header"),
    "double": ("a,a\n3,4\n", {}, "two columns are named 'a'"),
    "empty": ("", {}, "is empty, expected a line of column names"),
    "no rows": ("a,b\n", {}, "holds no rows"),
    "infinity": ("a,b\n1,2\ninf,3\n", {}, "row 2: a is inf, expected a finite"),
    "target": ("a,b\n1,2\n", {"label": "c"}, "has no column 'c'; it has a, b"),
    "level": (
        "a,b\nx,2\nz,3\n",
        {"ordinal": {"a": ("x", "y")}},
        "a is 'z' in 1 rows, --ordinal lists x<y",
    ),
    "text": (
        "a,b\n1,x\n2,y\n",
        {"task": "regression"},
        "row 1: b, the label, is 'x', expected a number",
    ),
    "one class": ("a,b\n1,x\n2,x\n", {}, "1 distinct values, expected 2"),
    "binary": (
        "a,b\n1,x\n2,y\n3,z\n",
        {"task": "binary"},
        "has 3 classes, --task binary expects 2",
    ),
    "quote": (
        'a,b\n1,"2\n',
        {},
        "row 1 opens a quote that is never closed",
    ),
    "no features": ("a,b\n1,2\n", {"drop_column": ["a"]}, "none is left for features"),
    "names": (
        "a,b\n" + "".join(f"id{i},2\n" for i in range(1300)),
        {},
        "a is text with more than 1000 values; --drop-column 'a' leaves it out",
    ),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_csv_is_refused_in_one_sentence(tmp_path, name):
    text, options, message = BAD_CSV[name]
    path = save(tmp_path / "t.csv", text)
    with pytest.raises(DataError, match=message) as caught:
        ingest(path, tmp_path / "o.h5", **options)
    assert str(caught.value).count("\n") == 0
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_that_are_no_text_or_no_gzip_are_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n3,4\n\0,1\n")
    (tmp_path / "wide.csv").write_bytes("a,b\n1,2\n".encode("utf-16"))
    (tmp_path / "t.csv.gz").write_bytes(b"a,b\n1,2\n")
    whole = gzip.compress(MIXED.encode() * 99)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    for path in list(tmp_path.iterdir()):
        with pytest.raises(DataError, match=path.name):
            ingest(path, tmp_path / "o.h5")


@pytest.mark.parametrize("text", ["cut", "cut=Fair", "cut=Fair<Good<Fair", "=<"])
def test_bad_ordinal_is_refused(text):
    with pytest.raises(UsageError, match="expected COLUMN=LOW<…<HIGH"):
        parse_ordinal([text])


@pytest.mark.parametrize("compressed", [False, True])
def test_svmlight_equals_scikit_learn_and_stays_sparse(tmp_path, compressed):
    from sklearn.datasets import dump_svmlight_file, load_svmlight_file

    draw = np.random.default_rng(0)
    dense = draw.normal(size=(40, 6)) * (draw.random((40, 6)) < 0.3)
    dense[0, 5] = 1.0
    path = tmp_path / ("t.svm.gz" if compressed else "t.svm")
    buffer = io.BytesIO()
    dump_svmlight_file(dense, np.arange(40) % 2 * 2 - 1, buffer)
    content = buffer.getvalue()
    path.write_bytes(gzip.compress(content) if compressed else content)
    header = ingest(path, tmp_path / "o", shards=2, test_size=0.25).header
    assert (header.task, header.classes, header.sparse) == ("binary", (-1, 1), True)
    expected, labels = load_svmlight_file(io.BytesIO(content))
    order = np.random.default_rng(0).permutation(40)
    source = scan(tmp_path / "o")
    assert source.rows == {"train": 30, "test": 10}
    for part, first in (("train", 0), ("test", 30)):
        X, y = source.read(part, 0, source.rows[part])
        mine = np.argsort(order)[first : first + len(y)]
        assert isinstance(X, Csr)
        for name in ("data", "indices", "indptr"):
            theirs = getattr(expected[mine], name)
            np.testing.assert_array_equal(getattr(X, name), theirs)
        np.testing.assert_array_equal(np.array([-1, 1])[y], labels[mine])


def test_svmlight_targets_follow_their_values_or_the_task(tmp_path):
    path = save(tmp_path / "t.svm", "".join(f"{i}.5 1:{i}\n" for i in range(4)))
    assert ingest(path, tmp_path / "a.h5").header.task == "regression"
    path = save(tmp_path / "u.svm", "".join(f"{i} 1:{i}\n" for i in range(4)))
    done = ingest(path, tmp_path / "b.h5", test_size=0)
    assert done.header.classes == (0, 1, 2, 3)
    options = {"task": "regression"}
    assert ingest(path, tmp_path / "c.h5", **options).header.classes is None
    with pytest.raises(DataError, match="cannot be read as svmlight"):
        ingest(save(tmp_path / "v.svm", "1 a:b\n"), tmp_path / "d.h5")


def test_npz_keeps_its_own_test_part(tmp_path):
    draw = np.random.default_rng(0)
    arrays = {"X": draw.normal(size=(9, 3)), "y": np.arange(9) % 3}
    arrays |= {"X_test": draw.normal(size=(4, 3)), "y_test": np.array([2, 1, 0, 0])}
    np.savez(tmp_path / "t.npz", **arrays)
    done = ingest(tmp_path / "t.npz", tmp_path / "o.h5")
    assert (done.rows, done.header.task) == ({"train": 9, "test": 4}, "multiclass")
    source = scan(tmp_path / "o.h5")
    X, y = source.read("test", 0, 4)
    np.testing.assert_array_equal(X, arrays["X_test"])
    np.testing.assert_array_equal(y, arrays["y_test"])
    X, _ = source.read("train", 0, 9)
    np.testing.assert_array_equal(np.sort(X, axis=0), np.sort(arrays["X"], axis=0))


def test_bad_npz_is_refused(tmp_path):
    np.savez(tmp_path / "o.npz", X=np.array([[{}]], dtype=object), y=np.zeros(1))
    np.savez(tmp_path / "n.npz", features=np.zeros((3, 2)), y=np.zeros(3))
    np.savez(tmp_path / "l.npz", X=np.zeros((3, 2)), y=np.zeros(4))
    (tmp_path / "z.npz").write_bytes(b"PK\3\4 no zip")
    for name, message in {
        "o": "cannot be read as NPZ: Object arrays",
        "n": "has no array 'X'; it holds features, y",
        "l": r"X is float64 \(3, 2\) and y is float64 \(4,\)",
        "z": "cannot be read as NPZ",
    }.items():
        with pytest.raises(DataError, match=message):
            ingest(tmp_path / f"{name}.npz", tmp_path / "out.h5")
    done = ingest(tmp_path / "n.npz", tmp_path / "out.h5", x_name="features")
    assert done.header.n_features == 2


def idx(values):
    shape = np.array(values.shape, ">u4").tobytes()
    return b"\0\0\x08" + bytes([values.ndim]) + shape + values.tobytes()


def test_idx_images_are_flattened_and_kept_as_they_are(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(20, 3, 2), dtype=np.uint8)
    labels = (np.arange(20) % 4).astype(np.uint8)
    path = tmp_path / "a-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(images)))
    (tmp_path / "a-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    header = ingest(path, tmp_path / "o.h5").header
    assert (header.dtype, header.classes) == ("float32", (0, 1, 2, 3))
    X, y = rows_of(tmp_path / "o.h5")
    np.testing.assert_array_equal(X, images.reshape(20, 6))
    np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"GIF89a", "is no IDX file"),
        (idx(np.zeros((9, 2, 2), np.uint8))[:-1], "does not hold the"),
        (idx(np.zeros((9, 2, 2), np.uint8)) + b"0", "does not hold the"),
        (b"\0\0\x08\3" + b"\xff" * 12, "more than it can hold"),
        (idx(np.zeros((5, 2, 2), np.uint8)), r"y is uint8 \(9,\)"),
    ],
)
def test_bad_idx_is_refused(tmp_path, content, message):
    (tmp_path / "images-idx3-ubyte").write_bytes(content)
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx(np.arange(9, dtype=np.uint8)))
    with pytest.raises(DataError, match=message):
        ingest(tmp_path / "images-idx3-ubyte", tmp_path / "o.h5")


class Bunch:
    data = np.arange(12.0).reshape(6, 2)
    target = np.array(["no", "yes", "no"] * 2, dtype=object)
    feature_names = ["a", "b"]


def test_openml_is_fetched_by_name_or_number(tmp_path, monkeypatch):
    from sklearn import datasets

    asked = []
    monkeypatch.setattr(
        datasets, "fetch_openml", lambda **options: asked.append(options) or Bunch
    )
    header = ingest("openml:adult", tmp_path / "o.h5", version=2).header
    assert (header.task, header.classes) == ("binary", ("no", "yes"))
    ingest("openml:61", tmp_path / "p.h5")
    assert [(a.get("name"), a.get("version"), a.get("data_id")) for a in asked] == [
        ("adult", 2, None),
        (None, None, 61),
    ]
    np.testing.assert_array_equal(rows_of(tmp_path / "o.h5")[0], Bunch.data)


def test_openml_out_of_reach_is_refused(tmp_path, monkeypatch):
    from urllib.error import URLError

    from sklearn import datasets

    def unreachable(**options):
        raise URLError("no route to host")

    monkeypatch.setattr(datasets, "fetch_openml", unreachable)
    with pytest.raises(DataError, match="OpenML gave no data set 'adult'.*no route"):
        ingest("openml:adult", tmp_path / "o.h5")


@pytest.mark.parametrize(
    "source, options, kind, message",
    [
        ("t.dat", {}, DataError, "does not tell its kind; add --kind"),
        ("none.csv", {}, DataError, "none.csv does not exist"),
        (
            "t.csv",
            {"labels_file": "l"},
            UsageError,
            "--labels-file does not apply to csv",
        ),
        ("t.csv", {"task": "ranking"}, UsageError, "--task is 'ranking'"),
    ],
)
def test_what_cannot_be_imported_is_refused(tmp_path, source, options, kind, message):
    save(tmp_path / "t.csv", MIXED)
    with pytest.raises(kind, match=message):
        ingest(tmp_path / source, tmp_path / "o.h5", **options)


@pytest.mark.real
def test_mnist_splits_exactly(real, tmp_path):
    images = real / "mnist-t10k-images-idx3-ubyte.gz"
    done = ingest(images, tmp_path / "m.h5", test_size=0.25)
    assert done.rows == {"train": 7_500, "test": 2_500}
    assert done.header.n_features == 784


@pytest.mark.real
def test_diamonds_have_nine_features(real, tmp_path):
    ordinal = parse_ordinal(
        [
            "cut=Fair<Good<Very Good<Premium<Ideal",
            "color=J<I<H<G<F<E<D",
            "clarity=I1<SI2<SI1<VS2<VS1<VVS2<VVS1<IF",
        ]
    )
    path = real / "diamonds.csv.gz"
    done = ingest(path, tmp_path / "d.h5", label="price", ordinal=ordinal)
    assert (done.header.task, done.header.n_features) == ("regression", 9)
    X, y = rows_of(tmp_path / "d.h5")
    np.testing.assert_array_equal(X[0], [0.23, 4, 5, 1, 61.5, 55, 3.95, 3.98, 2.43])
    assert (len(y), y[0]) == (53_940, 326)
