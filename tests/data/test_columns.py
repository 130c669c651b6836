"""What can be said of columns: hashing, dates, thousands, groups, ids; more sources."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mpipgd import ReadOptions, evaluate, predict, train
from mpipgd.comm import mpi
from mpipgd.data.create.ingest import ingest
from mpipgd.data.create.roles import parse_date, parse_hash
from mpipgd.data.hdf5.source import open_data
from mpipgd.data.matrix import Csr
from mpipgd.data.validation import hold_out
from mpipgd.errors import DataError, UsageError

from ..support import options

SELF = mpi.comm_self()


def words(n=300, seed=0):
    """Return a table with a column of many texts."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "word": [f"wörd {k}" for k in rng.integers(150, size=n)],
            "size": rng.normal(size=n),
            "y": rng.choice(["no", "yes"], n),
        }
    )


def all_rows(path, split="train"):
    """Return X, dense, and y of a split."""
    source = open_data(SELF, str(path))
    X, y = source.read(split, 0, source.rows[split])
    if isinstance(X, Csr):
        from scipy.sparse import csr_matrix

        shape = (source.rows[split], X.width)
        X = csr_matrix((X.data, X.indices, X.indptr), shape=shape).toarray()
    source.close()
    return X, y


def test_texts_are_hashed_as_by_scikit_learn(tmp_path):
    from sklearn.feature_extraction import FeatureHasher

    table = words()
    table.to_csv(tmp_path / "t.csv", index=False)
    ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", hash={"word": 64}, test_size=0)
    X, _ = all_rows(tmp_path / "o.h5")
    order = np.argsort(np.random.default_rng(0).permutation(len(table)))
    hasher = FeatureHasher(64, input_type="string")
    hashed = hasher.transform([[word] for word in table["word"]]).toarray()
    np.testing.assert_array_equal(X, np.c_[hashed, table["size"]][order])


def test_a_model_of_hashed_texts_takes_new_ones(tmp_path):
    words().to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "runs" / "r"
    train(options(tmp_path / "t.csv", run, hash=("word=2^10",)), comm=SELF)
    new = words(seed=1).assign(word="never seen").drop(columns="y")
    new.to_csv(tmp_path / "new.csv", index=False)
    rows = predict(
        str(run), str(tmp_path / "new.csv"), str(tmp_path / "p.csv"), comm=SELF
    )
    assert rows == {"test": 300}


@pytest.mark.parametrize(
    "text", ["word", "word=", "word=x", "word=1", "word=2^31", "=8"]
)
def test_a_hash_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--hash is"):
        parse_hash([text])


@pytest.mark.parametrize("text", ["day", "day=", "=%d", "day=d/m/Y"])
def test_a_date_format_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--date is"):
        parse_date([text])


def test_dates_become_days_or_parts_as_in_pandas(tmp_path):
    times = pd.date_range("1969-12-25 05:00", periods=60, freq="31h").to_series()
    table = pd.DataFrame(
        {
            "iso": times.dt.strftime("%Y-%m-%d %H:%M:%S"),
            "german": times.dt.strftime("%d.%m.%Y"),
            "days": times.dt.strftime("%d.%m.%Y"),
            "y": np.arange(60.0) / 7,
        }
    )
    table.loc[table.index[3], ["iso", "german", "days"]] = None
    table.to_csv(tmp_path / "t.csv", index=False)
    ingest(
        SELF,
        tmp_path / "t.csv",
        tmp_path / "o.h5",
        date={"german": "%d.%m.%Y", "days": "%d.%m.%Y"},
        date_parts=["iso", "german"],
        missing="drop",
        test_size=0,
    )
    X, y = all_rows(tmp_path / "o.h5")
    source = open_data(SELF, str(tmp_path / "o.h5"))
    assert source.header.feature_names == (
        *("iso year", "iso month", "iso day", "iso weekday", "iso hour"),
        *("german year", "german month", "german day", "german weekday", "days"),
    )
    kept = times.drop(times.index[3])
    day = kept.dt.floor("D")
    parts = [kept.dt.year, kept.dt.month, kept.dt.day, kept.dt.day_of_week]
    days = (day - pd.Timestamp(0)) / pd.Timedelta("1D")
    expected = np.stack([*parts, kept.dt.hour, *parts, days], axis=1)
    order = np.argsort(np.random.default_rng(0).permutation(59))
    np.testing.assert_array_equal(X, expected[order])


def test_missing_dates_are_filled(tmp_path):
    (tmp_path / "t.csv").write_text("day,y\n2020-01-01,1.5\n,2.5\n2020-01-03,3.5\n")
    ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", missing="mean", test_size=0)
    X, y = all_rows(tmp_path / "o.h5")
    days = X[np.argsort(y), 0]
    np.testing.assert_array_equal(days, 18262 + np.arange(3))


def test_a_date_of_another_format_is_refused_by_row(tmp_path):
    (tmp_path / "t.csv").write_text("day,y\n31/12/2020,1.5\n2020-12-31,2.5\n")
    with pytest.raises(DataError, match="row 2: day is '2020-12-31', expected a date"):
        ingest(
            SELF, tmp_path / "t.csv", tmp_path / "o.h5", date={"day": "%d/%m/%Y"},
            test_size=0,
        )  # fmt: skip


@pytest.mark.parametrize(
    "separator, thousands, decimal",
    [(",", ",", "."), (";", ".", ","), ("\t", "'", ".")],
)
def test_thousands_are_read(tmp_path, separator, thousands, decimal):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(50, 2)) * 10.0 ** rng.integers(0, 8, (50, 1))
    swap = str.maketrans({",": thousands, ".": decimal})
    cells = [[f"{x:,.4f}".translate(swap) for x in row] for row in numbers]
    quote = '"' if thousands == separator else ""
    lines = [separator.join(f"{quote}{cell}{quote}" for cell in row) for row in cells]
    text = "\n".join([f"a{separator}b", *lines])
    (tmp_path / "t.csv").write_text(text)
    ingest(
        SELF, tmp_path / "t.csv", tmp_path / "o.h5", thousands=thousands, test_size=0
    )
    X, y = all_rows(tmp_path / "o.h5")
    order = np.argsort(np.random.default_rng(0).permutation(50))
    np.testing.assert_array_equal(np.c_[X, y], numbers.round(4)[order])


def test_a_decimal_comma_is_no_separator(tmp_path):
    (tmp_path / "t.csv").write_text("a, of b\ty\n1,5\t2,5\n2,5\t3,5\n")
    ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", decimal=",", test_size=0)
    X, y = all_rows(tmp_path / "o.h5")
    assert sorted(X[:, 0]) == [1.5, 2.5] and sorted(y) == [2.5, 3.5]


def test_groups_are_never_split(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"who": rng.integers(20, size=400).astype(str)})
    table["a"] = table["who"].astype(int) + 0.5
    table["y"] = rng.normal(size=400)
    table.to_csv(tmp_path / "t.csv", index=False)
    done = ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", group="who")
    X, X_test = (all_rows(tmp_path / "o.h5", split)[0] for split in ("train", "test"))
    assert not {*X[:, 0]} & {*X_test[:, 0]}
    assert abs(done.rows["test"] - 80) <= 20
    assert done.header.feature_names == ("a",)


def test_groups_are_held_out_whole(tmp_path):
    rng = np.random.default_rng(0)
    who = rng.integers(30, size=400)
    table = pd.DataFrame({"who": who, "a": who + 0.5, "y": rng.normal(size=400)})
    table.to_csv(tmp_path / "t.csv", index=False)
    ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", group="who", label="y")
    config = options(tmp_path / "o.h5", tmp_path / "r", validation=0.3)
    held_out = hold_out(SELF, open_data(SELF, config.data), config)
    parts = [
        {*held_out.read(split, 0, held_out.rows[split])[0][:, 0].tolist()}
        for split in ("train", "validation", "test")
    ]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert len(set.union(*parts)) == 30
    with pytest.raises(UsageError, match="--stratify: the data has groups"):
        hold_out(
            SELF,
            open_data(SELF, config.data),
            dataclasses.replace(config, stratify=True),
        )


def test_a_missing_group_is_refused_by_row(tmp_path):
    (tmp_path / "t.csv").write_text("who,a,y\nx,1,1.5\n,2,2.5\n")
    with pytest.raises(DataError, match="row 2: who, the group, is missing"):
        ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", group="who")


def test_a_stratified_split_has_the_shares_of_all_classes(tmp_path):
    y = np.repeat(["a", "b", "c"], [100, 40, 10])
    pd.DataFrame({"x": np.arange(150) / 7, "y": y}).to_csv(
        tmp_path / "t.csv", index=False
    )
    ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", stratify=True)
    _, y_test = all_rows(tmp_path / "o.h5", "test")
    np.testing.assert_array_equal(np.bincount(y_test), [20, 8, 2])


@pytest.mark.parametrize("ids", [[7, 8, 9, 10], ["a", "bß", "c", "dd"]])
def test_ids_stay_with_their_rows(tmp_path, ids):
    table = pd.DataFrame({"key": ids, "x": [1.5, 2.5, 3.5, 4.5], "y": [1.5, 0, 2, 3]})
    table.to_csv(tmp_path / "t.csv", index=False)
    ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", id_column="key", test_size=0.5)
    source = open_data(SELF, str(tmp_path / "o.h5"))
    assert source.header.feature_names == ("x",)
    found = {
        source.read(split, 0, 2)[0][k, 0]: source.read_ids(split, 0, 2)[k]
        for split in ("train", "test")
        for k in range(2)
    }
    assert found == dict(zip(table["x"], ids))
    run = tmp_path / "runs" / "r"
    train(options(tmp_path / "o.h5", run, workers=1), comm=SELF)
    for data in ("o.h5", "t.csv"):
        out = tmp_path / f"{data}.csv"
        predict(str(run), str(tmp_path / data), str(out), comm=SELF, id_column="key")
        assert sorted(pd.read_csv(out)["key"]) == sorted(ids)
    assert pd.read_csv(out)["key"].tolist() == ids  # a table keeps its order


def test_a_folder_and_a_glob_are_one_table(tmp_path):
    table = words().drop(columns="word")
    folder = tmp_path / "parts"
    folder.mkdir()
    table.to_csv(tmp_path / "whole.csv", index=False)
    for k in range(3):
        part = table.iloc[100 * k : 100 * (k + 1)]
        part[["y", "size"] if k else ["size", "y"]].to_csv(
            folder / f"{k}.csv", index=False
        )
    for name in ("whole.csv", "parts", "parts/*.csv"):
        ingest(SELF, tmp_path / name, tmp_path / "o.h5", overwrite=True, label="y")
        rows = all_rows(tmp_path / "o.h5")
        if name == "whole.csv":
            expected = rows
        np.testing.assert_array_equal(rows[0], expected[0])
        np.testing.assert_array_equal(rows[1], expected[1])
    (folder / "p.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="files of kinds csv, parquet"):
        ingest(SELF, folder, tmp_path / "p.h5")


def test_sparse_matrices_of_scipy_are_read(tmp_path):
    from scipy import sparse

    X = sparse.random(60, 9, density=0.3, format="coo", random_state=0)
    y = np.arange(60) % 2
    sparse.save_npz(tmp_path / "X.npz", X)
    np.save(tmp_path / "y.npy", y)
    with pytest.raises(DataError, match="X.npz holds no targets"):
        ingest(SELF, tmp_path / "X.npz", tmp_path / "o.h5")
    labels_file = str(tmp_path / "y.npy")
    ingest(
        SELF, tmp_path / "X.npz", tmp_path / "o.h5", labels_file=labels_file,
        test_size=0,
    )  # fmt: skip
    order = np.argsort(np.random.default_rng(0).permutation(60))
    found_X, found_y = all_rows(tmp_path / "o.h5")
    np.testing.assert_array_equal(found_X, X.toarray()[order])
    np.testing.assert_array_equal(found_y, y[order])
    run = tmp_path / "runs" / "r"
    train(options(tmp_path / "o.h5", run), comm=SELF)
    out = tmp_path / "p.csv"
    predict(str(run), str(tmp_path / "X.npz"), str(out), comm=SELF)
    assert len(pd.read_csv(out)) == 60


def idx(values):
    """Return an array of bytes as an IDX file."""
    shape = np.array(values.shape, ">u4").tobytes()
    return b"\0\0\x08" + bytes([values.ndim]) + shape + values.tobytes()


def test_images_come_with_a_file_of_test_images(tmp_path):
    rng = np.random.default_rng(0)
    for name, n in (("train", 40), ("t10k", 10)):
        images = rng.integers(256, size=(n, 2, 3), dtype=np.uint8)
        labels = (np.arange(n) % 4).astype(np.uint8)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    train_file, test_file = (
        str(tmp_path / f"{name}-images-idx3-ubyte") for name in ("train", "t10k")
    )
    done = ingest(SELF, train_file, tmp_path / "o.h5", test=test_file)
    assert done.rows == {"train": 40, "test": 10}
    X, y = all_rows(tmp_path / "o.h5", "test")
    np.testing.assert_array_equal(X, images.reshape(10, 6))
    np.testing.assert_array_equal(y, labels)
    (tmp_path / "t.svm").write_text("1 1:2\n")
    with pytest.raises(DataError, match="are not both sparse"):
        ingest(SELF, train_file, tmp_path / "p.h5", test=str(tmp_path / "t.svm"))


def test_a_class_of_test_rows_only_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.eye(8), y=np.arange(8) % 2)
    np.savez(tmp_path / "b.npz", X=np.eye(8), y=np.arange(8) % 3)
    with pytest.raises(DataError, match="b.npz: y is 2, expected one of 0, 1"):
        ingest(
            SELF, tmp_path / "a.npz", tmp_path / "o.h5", test=str(tmp_path / "b.npz")
        )
    np.savez(tmp_path / "c.npz", X=np.eye(10), y=[0] * 9 + [1])
    with pytest.raises(DataError, match="c.npz: the target is 1 in test rows"):
        for seed in range(50):
            ingest(SELF, tmp_path / "c.npz", tmp_path / f"{seed}.h5", seed=seed)


def test_several_targets_of_an_npz_become_a_regression(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    np.savez(tmp_path / "t.npz", X=X, y=y)
    done = ingest(SELF, tmp_path / "t.npz", tmp_path / "o.h5", test_size=0)
    assert done.header.targets == ("y0", "y1")
    order = np.argsort(np.random.default_rng(0).permutation(50))
    np.testing.assert_array_equal(all_rows(tmp_path / "o.h5")[1], y[order])


def test_svmlight_with_fewer_features_and_classes_is_evaluated(tmp_path):
    lines = [f"{k % 3} 1:0.{k} 3:{1 + k % 3} 5:1" for k in range(60)]
    (tmp_path / "t.svm").write_text("\n".join(lines) + "\n")
    run = tmp_path / "runs" / "r"
    train(options(tmp_path / "t.svm", run, epochs=3), comm=SELF)
    (tmp_path / "few.svm").write_text("1 1:2.5\n1 1:3.5\n")
    metrics = evaluate(str(run), str(tmp_path / "few.svm"), comm=SELF)["test"]
    assert metrics["rows"] == 2
    (tmp_path / "more.svm").write_text("1 1:2.5 9:1\n")
    with pytest.raises(DataError, match="has 9 features, the model takes 5"):
        evaluate(str(run), str(tmp_path / "more.svm"), comm=SELF)
    (tmp_path / "other.svm").write_text("7 1:2.5\n")
    with pytest.raises(DataError, match="is 7.0, expected one of 0, 1, 2"):
        evaluate(str(run), str(tmp_path / "other.svm"), comm=SELF)


def test_unknown_categories_are_taken_as_none_when_asked_for(tmp_path):
    table = words()[["size", "y"]].assign(kind=["a", "b", "c"] * 100)
    table[["kind", "size", "y"]].to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "runs" / "r"
    train(options(tmp_path / "t.csv", run), comm=SELF)
    table.assign(kind="d", more=1).to_csv(tmp_path / "new.csv", index=False)
    read_options = ReadOptions(ignore_unknown=True, drop_column=("more",))
    data = str(tmp_path / "new.csv")
    metrics = evaluate(str(run), data, comm=SELF, read_options=read_options)
    assert metrics["test"]["rows"] == 300
    with pytest.raises(DataError, match="--unknown ignore"):
        evaluate(
            str(run), data, comm=SELF, read_options=ReadOptions(drop_column=("more",))
        )


@pytest.mark.mpi
def test_columns_are_encoded_the_same_on_any_ranks(shared_tmp):
    world = mpi.world()

    def write():
        table = words().assign(who=np.arange(300) // 7, key=np.arange(300))
        table["day"] = pd.date_range("2020-01-01", periods=300).strftime("%d/%m/%Y")
        table.to_parquet(shared_tmp / "t.parquet", row_group_size=40)

    mpi.on_root(world, write)

    def content(name, comm):
        out = shared_tmp / f"{name}.h5"
        ingest(
            comm,
            shared_tmp / "t.parquet",
            out,
            label="y",
            hash={"word": 1 << 12},
            date={"day": "%d/%m/%Y"},
            date_parts=["day"],
            group="who",
            id_column="key",
        )
        return mpi.on_root(comm, out.read_bytes)

    together = content("together", world)
    alone = mpi.on_root(world, content, "alone", SELF)
    assert together == alone
