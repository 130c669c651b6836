"""Tables: what is read, learned and encoded is what pandas and scikit-learn would."""

import json

import numpy as np
import pandas as pd
import pytest

from mpipgd import evaluate, predict, train
from mpipgd.comm import mpi
from mpipgd.data.create import ingest as importing
from mpipgd.data.encoding import Encoding
from mpipgd.data.hdf5.source import scan
from mpipgd.data.tables import csv as csv_tables
from mpipgd.data.tables.csv import CsvReader
from mpipgd.data.tables.record_scan import scan_block
from mpipgd.errors import DataError, UsageError

from ..support import options

SELF = mpi.comm_self()
HARD_TEXTS = ["x", 'y "q" z', 'two\nlines, "here"', "5' pipe", "ä,ö;"]


def frame(n=400, seed=0):
    """Return a table with numbers, texts, dates, missing cells and two classes."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n).round(3)
    table = pd.DataFrame(
        {
            "size": size,
            "kind": rng.choice(HARD_TEXTS, n),
            "day": pd.date_range("2020-01-01", periods=n).strftime("%Y-%m-%d"),
            "bought": np.where(size + rng.normal(size=n) > 0, "yes", "no"),
        }
    )
    table.loc[::7, "size"] = np.nan
    table.loc[::9, "kind"] = None
    return table


@pytest.mark.parametrize("block_bytes", [50, 333, 1 << 20])
def test_blocks_hold_the_rows_that_pandas_reads(tmp_path, block_bytes):
    table = frame()
    table.to_csv(tmp_path / "t.csv", index=False)
    reader = CsvReader(SELF, str(tmp_path / "t.csv"), block_bytes=block_bytes)
    blocks = [
        reader.read(block, texts=reader.names) for block in range(reader.n_blocks)
    ]
    rows = [row for block in blocks for row in zip(*block.to_pydict().values())]
    expected = pd.read_csv(tmp_path / "t.csv", dtype=str).astype(object)
    assert rows == [tuple(row) for row in expected.where(expected.notna(), None).values]


@pytest.mark.parametrize(
    "text", ['a,"b\nc",d\n', 'x"y,z\n', '"a""b"\n"c', "\n,\n", '"']
)
def test_a_block_with_quotes_is_scanned_as_its_bytes_one_by_one(text):
    whole = scan_block(text.encode(), b",")
    state = np.arange(4)
    for char in text:
        state = scan_block(char.encode(), b",").ends[state]
    np.testing.assert_array_equal(whole.ends, state)


@pytest.mark.parametrize("missing", ["mean", "median", "most-frequent", "indicator"])
def test_missing_cells_are_filled_as_by_scikit_learn(tmp_path, missing):
    from sklearn.impute import SimpleImputer

    table = frame().drop(columns=["kind", "day"])
    table.to_csv(tmp_path / "t.csv", index=False)
    importing.ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", missing=missing)
    source = scan(tmp_path / "o.h5")
    order = np.random.default_rng(0).permutation(len(table))
    train_rows = np.argsort(order)[: source.rows["train"]]
    strategy = missing.replace("-", "_").replace("indicator", "mean")
    imputer = SimpleImputer(strategy=strategy, add_indicator=missing == "indicator")
    cells = table[["size"]].to_numpy()
    imputer.fit(cells[train_rows])
    X, _ = source.read("train", 0, source.rows["train"])
    np.testing.assert_allclose(X, imputer.transform(cells[train_rows]), rtol=1e-14)


def test_formats_and_dialects_give_the_same_rows(tmp_path):
    table = frame()
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(
        tmp_path / "b.csv", index=False, sep=";", decimal=",", encoding="cp1252"
    )
    table.to_csv(tmp_path / "c.tsv", index=False, sep="\t", encoding="utf-8-sig")
    table.to_csv(tmp_path / "d.csv.gz", index=False, lineterminator="\r\n")
    table.to_parquet(tmp_path / "e.parquet", row_group_size=77)
    table.to_feather(tmp_path / "f.arrow", chunksize=50, compression="uncompressed")
    read = []
    for path in sorted(tmp_path.iterdir()):
        if path.name == "d.csv.gz":  # line breaks within quotes are "\r\n" there
            continue
        out = tmp_path / f"{path.name}.h5"
        importing.ingest(SELF, path, out, missing="indicator", drop_column=["day"])
        source = scan(out)
        read.append((source.header.feature_names, source.read("train", 0, 320)[0]))
    for names, X in read[1:]:
        assert names == read[0][0]
        # means, for missing cells, are summed block by block, which formats differ in
        np.testing.assert_allclose(X, read[0][1], rtol=1e-12)
    assert len(read) == 5


def test_an_encoding_survives_its_text_and_10_000_columns(tmp_path):
    n = 10_000
    names = [f"column number {k}" for k in range(n)]
    rows = np.arange(3 * n).reshape(3, n) % 7
    lines = [",".join(map(str, row)) for row in rows]
    (tmp_path / "t.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
    importing.ingest(SELF, tmp_path / "t.csv", tmp_path / "o.h5", test_size=0)
    header = scan(tmp_path / "o.h5").header
    assert header.feature_names == tuple(names[:-1])
    assert header.encoding == Encoding.from_json(header.encoding.to_json(), "here")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"columns": [{}]}', '{"columns": 3}',
     '{"columns": [{"name": "a", "kind": "spell", "categories": []}], "label": null, '
     '"ignored": []}'],
)  # fmt: skip
def test_an_encoding_that_is_none_is_refused(text):
    with pytest.raises(DataError, match="m.h5: its encoding cannot be read"):
        Encoding.from_json(text, "m.h5")


@pytest.fixture
def trained(tmp_path):
    """Return the folder of a run on a table, and the table."""
    table = frame()
    table.to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "runs" / "r"
    train(options(tmp_path / "t.csv", run, missing="median", workers=2), comm=SELF)
    return run, table


def test_columns_are_found_by_their_names(tmp_path, trained):
    run, table = trained
    (tmp_path / "same.csv").write_bytes((tmp_path / "t.csv").read_bytes())
    expected = evaluate(str(run), str(tmp_path / "same.csv"), comm=SELF)["test"]
    table[["bought", "day", "kind", "size"]].to_parquet(tmp_path / "other.parquet")
    found = evaluate(str(run), str(tmp_path / "other.parquet"), comm=SELF)["test"]
    assert found == expected


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.drop(columns="kind"), "has no column 'kind'"),
        (
            lambda t: t.rename(columns={"size": "Size"}),
            "no column 'size'; did you mean",
        ),
        (lambda t: t.assign(more=1), "a column 'more' that the model does not know"),
        (lambda t: t.replace("x", "X"), "row .: kind is 'X', expected one of"),
        (lambda t: t.drop(columns="bought"), "no column 'bought', the label"),
        (lambda t: t.replace("yes", "maybe"), "bought, the label, is 'maybe'"),
        (lambda t: t.astype({"size": object}).fillna({"size": "small"}), "is 'small'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(
    tmp_path, trained, change, message
):
    run, table = trained
    change(table).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match=message):
        evaluate(str(run), str(tmp_path / "other.csv"), comm=SELF)


def test_predictions_need_no_label_and_replace_no_input(tmp_path, trained):
    run, table = trained
    table.drop(columns="bought").to_csv(tmp_path / "new.csv", index=False)
    predict(str(run), str(tmp_path / "new.csv"), str(tmp_path / "p.csv"), comm=SELF)
    labels = pd.read_csv(tmp_path / "p.csv")["prediction"]
    (tmp_path / "same.csv").write_bytes((tmp_path / "t.csv").read_bytes())
    score = evaluate(str(run), str(tmp_path / "same.csv"), comm=SELF)["test"]["score"]
    assert (labels == table["bought"]).mean() == pytest.approx(score)
    before = (tmp_path / "new.csv").read_bytes()
    (tmp_path / "link.csv").symlink_to("new.csv")
    for out in ("new.csv", "link.csv"):
        with pytest.raises(UsageError, match="is read from"):
            predict(
                str(run),
                str(tmp_path / "new.csv"),
                str(tmp_path / out),
                comm=SELF,
                overwrite=True,
            )
    assert (tmp_path / "new.csv").read_bytes() == before


def test_the_table_of_a_run_keeps_its_training_and_test_rows(tmp_path, trained):
    run, table = trained
    metrics = evaluate(str(run), str(tmp_path / "t.csv"), comm=SELF)
    assert {split: m["rows"] for split, m in metrics.items()} == {
        "train": 320,
        "test": 80,
    }
    summary = json.loads((run / "summary.json").read_text())
    assert metrics["test"]["score"] == pytest.approx(summary["score"])


def test_a_source_is_imported_once_until_it_changes(tmp_path, trained):
    run, table = trained
    cache = tmp_path / "runs" / "cache"
    first = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    train(options(tmp_path / "t.csv", run.with_name("s"), missing="median"), comm=SELF)
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == first
    table.iloc[::-1].to_csv(tmp_path / "t.csv", index=False)
    train(options(tmp_path / "t.csv", run.with_name("u"), missing="median"), comm=SELF)
    assert len(list(cache.iterdir())) == len(first) + 1


@pytest.mark.mpi
def test_files_and_weights_are_the_same_on_any_ranks(shared_tmp, monkeypatch):
    world = mpi.world()
    monkeypatch.setattr(
        csv_tables.CsvReader.__init__, "__kwdefaults__", {"block_bytes": 900}
    )

    def write():
        frame().to_csv(shared_tmp / "t.csv", index=False)

    mpi.on_root(world, write)

    def outcome(name, comm):
        out = shared_tmp / f"{name}.h5"
        importing.ingest(
            comm, shared_tmp / "t.csv", out, missing="indicator", ordinal=None
        )
        config = options(shared_tmp / "t.csv", shared_tmp / name / "r", missing="mean")
        summary = train(config, comm=comm)
        return summary and summary["weights_sha256"]

    together = outcome("together", world)
    alone = mpi.on_root(world, outcome, "alone", SELF)
    assert together in (alone, None)
    files = [(shared_tmp / f"{name}.h5").read_bytes() for name in ("together", "alone")]
    assert files[0] == files[1]
