"""Hostile tables: trained on and predicted from as pandas reads them, or refused."""

import contextlib
import functools
import gzip
import re
import shutil
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

from mpipgd import cli
from mpipgd.cli import parser
from mpipgd.comm import mpi
from mpipgd.data.create.ingest import ingest
from mpipgd.data.hdf5.source import scan
from mpipgd.data.tables.csv import CsvReader
from mpipgd.errors import MpipgdError, printable

from .hostile_tables import (
    ACCEPTED,
    ARRAYS,
    GOODS_FLAGS,
    IDS,
    IN_BLOCKS,
    LATER,
    REFUSED,
    Table,
    goods,
    parquet_of,
    sizes,
    with_column,
    write,
    written,
)

SELF = mpi.comm_self()
SHORT = (
    *("--epochs", "1", "--workers", "1", "--lr", "0.01", "--no-picture"),
    *("--checkpoint-every", "1000"),
)
LONGEST_MESSAGE = 500
pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module", autouse=True)
def one_parser():
    """Build the parser of the command line once, which takes as long as a run here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser, "_build_parser", functools.cache(parser._build_parser))
        yield


def call(*words):
    """Run a command as the program does, without ending it; return code and output.

    Warnings are errors: a person cannot tell what becomes of the numbers.
    """
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            command_class, args = cli.parse([*map(str, words)])
            command = command_class(args)
            code = command.run(SELF, lambda *text: said.append(" ".join(text)))
        except MpipgdError as error:
            return error.code, printable(str(error))
    return code, printable("\n".join(said))


def train(path, *flags):
    """Train on a table, in the folder `runs` beside it; return code, output and run."""
    run = path.parent / "runs" / "r"
    flags = [path.parent / f if (path.parent / f).is_file() else f for f in flags]
    return *call("train", path, "--run", run, *SHORT, *flags), run


def expect_sentence(message, *parts):
    """Assert that a message is one sentence that a terminal can show, and its parts."""
    assert message.isprintable(), f"it does not print as it is: {message!r}"
    assert len(message) <= LONGEST_MESSAGE, f"{len(message)} characters"
    for part in parts:
        assert re.search(part, message), f"{part!r} is not in: {message}"


def expect_flags(message, command):
    """Assert that the flags that a message recommends are flags of the command.

    Where it speaks of the training they may be those of train.
    """
    commands = parser._build_parser()._subparsers._group_actions[0].choices
    flags = commands[command].flags
    if "training" in message:
        flags = commands["train"].flags
    for flag in re.findall(r"--[a-z][a-z-]+", message):
        assert flag in flags, f"mpipgd {command} has no {flag}: {message}"


def expect_files(folder, *expected):
    """Assert that a folder holds some files, and no temporary ones beside them."""
    present = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert present <= {*expected, "runs", "runs/cache"}


@pytest.mark.parametrize("table", REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, table):
    path = write(table, tmp_path)
    code, message, _ = train(path, *table.flags)
    assert code == table.code, f"exit code {code}: {message}"
    expect_sentence(message.replace(f"{tmp_path}/", ""), *table.says)
    if table.code == 3:
        assert (table.blamed or path.name) in message
    expect_flags(message, "train")
    if "squared" in message:  # it is a table, and only the training refuses it
        shutil.rmtree(tmp_path / "runs" / "cache")
    expect_files(tmp_path, path.name, *table.others)


def read_by_pandas(table, path):
    """Return the table as pandas reads it."""
    if callable(table.reading):
        return table.reading(path)
    if "parquet" in path.suffix:
        return pd.read_parquet(path)
    return pd.read_csv(path, **table.reading)


class Reference:
    """Features and targets that numpy makes of a frame, learned on training rows."""

    def __init__(self, frame, table):
        self.label = table.label or frame.columns[-1]
        self.missing = table.missing
        if self.missing == "drop":
            frame = frame.dropna().reset_index(drop=True)
        self.frame, n = frame, len(frame)
        self.order = np.random.default_rng(0).permutation(n)
        self.is_training = self.order < n - round(n * 0.2)
        training = frame[self.is_training]
        columns = [name for name in frame if name != self.label]
        self.columns = {name: self.learned(training[name]) for name in columns}
        self.classes = None
        labels = frame[self.label]
        if table.classes:
            self.classes = sorted(set(labels.astype(str)))
            with contextlib.suppress(ValueError):
                self.classes = sorted(self.classes, key=float)
            labels = labels.astype(str).map(self.classes.index)
        self.y = labels.to_numpy(float)

    def learned(self, cells):
        """Return the categories of a column, what fills it, and whether it misses."""
        if cells.dtype.kind in "iuf" and not self.missing:
            return None, None, False
        cells, categories = plain(cells), None
        present = cells.dropna()
        if cells.dtype == object:
            categories = sorted(present.unique())
            with contextlib.suppress(ValueError):
                categories = sorted(categories, key=float)
        counts = present.value_counts()
        frequent = min(counts.index[counts == counts.max()]) if len(counts) else None
        fill = {"mean": "mean", "indicator": "mean", "median": "median"}
        if categories is not None or self.missing == "most-frequent":
            fill = frequent
        elif self.missing not in (None, "drop"):
            fill = getattr(present, fill[self.missing])()
        indicator = self.missing == "indicator" and cells.isna().any()
        return categories, fill, indicator

    @property
    def names(self):
        """The names of the features."""
        names = []
        for name, (categories, _, indicator) in self.columns.items():
            one = [name] if categories is None else [f"{name}={c}" for c in categories]
            names += [*one, *([f"{name} is missing"] if indicator else [])]
        return tuple(names)

    def features(self, frame):
        """Return the features (n, width) of a frame that has the columns."""
        frame = frame[[*self.columns]]
        if not self.missing and all(dtype.kind in "iuf" for dtype in frame.dtypes):
            return frame.to_numpy(float)
        columns = []
        for name, (categories, fill, indicator) in self.columns.items():
            cells = plain(frame[name])
            missing = cells.isna()
            if missing.any():
                cells = cells.where(~missing, fill)
            if categories is None:
                columns.append(cells.to_numpy(float))
            else:
                columns += [
                    (cells == category).to_numpy(float) for category in categories
                ]
            if indicator:
                columns.append(missing.to_numpy(float))
        return np.column_stack(columns)


def plain(cells):
    """Return a column as float64: numbers, days since 1970; or as objects: texts."""
    if pd.api.types.is_datetime64_any_dtype(cells):
        if cells.dt.tz is not None:
            cells = cells.dt.tz_convert(None)
        return (cells - pd.Timestamp(0)) / pd.Timedelta(days=1)
    if pd.api.types.is_bool_dtype(cells):
        cells = cells.map({True: "true", False: "false"})
    elif pd.api.types.is_numeric_dtype(cells):
        return cells.astype(float)
    return cells.map(str.strip, na_action="ignore").astype(object)


def model_output(run, X, classes):
    """Return what numpy makes of raw features with the numbers in model.h5."""
    with h5py.File(run / "model.h5") as file:
        if "scaling" in file:
            X = (X - file["scaling/mean"][...]) / file["scaling/deviation"][...]
        output = X @ file["weights/coef"][...] + file["weights/intercept"][...]
    if classes is not None and output.ndim == 2:
        output = np.exp(output - output.max(axis=1, keepdims=True))
        output /= output.sum(axis=1, keepdims=True)
    return output


def expect_predictions(run, data, X, classes, flags=()):
    """Assert that the predictions from a table are those of its features, in order."""
    out = run.parent.parent / "predictions.h5"
    code, message = call("predict", run, data, "-o", out, "--overwrite", *flags)
    assert code == 0, message
    with h5py.File(out) as file:
        parts = [file[name] for name in ("train", "test") if name in file]
        prediction = np.concatenate([part["prediction"][...] for part in parts])
        output = np.concatenate([part["output"][...] for part in parts])
    expected = model_output(run, X, classes)
    np.testing.assert_allclose(output, expected, rtol=1e-9, atol=1e-9)
    if classes is not None:
        numbers = expected > 0 if expected.ndim == 1 else expected.argmax(axis=1)
        labels = np.array(classes, object)[numbers.astype(int)]
        found = [p.decode() if isinstance(p, bytes) else str(p) for p in prediction]
        np.testing.assert_array_equal(found, labels)
    out.unlink()


def reading_flags(flags):
    """Return those flags of train that say how a CSV file is written."""
    if "--no-header" in flags:
        return ["--no-header"]
    pairs = zip(flags[::2], flags[1::2])
    names = "--separator", "--decimal", "--thousands", "--encoding"
    return [word for pair in pairs if pair[0] in names for word in pair]


def in_another_order(frame, reference, path, flags):
    """Write every other row without the label, columns turned round; return them."""
    other = frame[::2].drop(columns=reference.label)
    other = other[other.columns[::-1]].reset_index(drop=True)
    booleans = other.select_dtypes(bool).columns
    texts = {name: plain(other[name]) for name in booleans}
    dates = [word.partition("=")[2] for word in flags if word.startswith("day=")]
    date_format = dates[0] if dates else None
    other.assign(**texts).to_csv(path, index=False, date_format=date_format)
    return other


@pytest.mark.parametrize("table", ACCEPTED.values(), ids=ACCEPTED)
def test_a_table_is_trained_on_as_pandas_reads_it(tmp_path, table):
    path = write(table, tmp_path)
    missing = ["--missing", table.missing] if table.missing else []
    code, message, run = train(path, *table.flags, *missing)
    assert code == 0, message
    assert table.says is None or re.search(table.says, message), message
    assert message.replace("\n", "").isprintable()
    frame = read_by_pandas(table, path)
    reference = Reference(frame, table)
    X = reference.features(reference.frame)
    source = scan(next((tmp_path / "runs" / "cache").iterdir()))
    assert source.header.feature_names == reference.names
    parts = [source.read(name, 0, n) for name, n in source.rows.items() if n]
    found, y = (np.concatenate(arrays)[reference.order] for arrays in zip(*parts))
    np.testing.assert_allclose(found, X, rtol=1e-14)
    np.testing.assert_array_equal(y, reference.y)
    with h5py.File(run / "model.h5") as file:
        mean = X[reference.is_training].mean(axis=0)
        np.testing.assert_allclose(
            file["scaling/mean"][...], mean, rtol=1e-9, atol=1e-9
        )
    # texts that only test rows have are none when trained, and refused later
    new_texts = table.says is not None and "in no training row" in table.says
    unknown = ["--unknown", "ignore"] if new_texts else []
    reading = [*reading_flags(table.flags), *unknown]
    if X.shape[1] < 5_000:  # else the other table will do
        X = reference.features(frame)
        expect_predictions(run, path, X, reference.classes, reading)
    other = in_another_order(frame, reference, tmp_path / "other.csv", table.flags)
    expect_predictions(
        run,
        tmp_path / "other.csv",
        reference.features(other),
        reference.classes,
        unknown,
    )
    if reference.classes is not None:
        code, message = call("evaluate", run, path, *reading)
        assert code == 0, message
    temporary = [p for p in tmp_path.rglob("*") if p.name.startswith(".")]
    assert not temporary


@pytest.mark.parametrize("arrays", ARRAYS.values(), ids=ARRAYS)
def test_arrays_are_trained_on_as_numpy_has_them(tmp_path, arrays):
    path = tmp_path / arrays.file
    path.write_bytes(arrays.content)
    code, message, run = train(path, *arrays.flags)
    assert code == 0, message
    classes = None
    if arrays.y.dtype.kind in "iU":
        classes = [*map(str, np.unique(arrays.y))]
    later, X = arrays.content, arrays.X
    if arrays.later is not None:
        later, X = arrays.later, arrays.later_X
    path = path.with_name(arrays.later_file or f"later{path.name[1:]}")
    path.write_bytes(later)
    expect_predictions(run, path, X, classes)


@pytest.fixture(scope="module")
def goods_run(tmp_path_factory):
    """Return the folder of a run on the table `goods`, and its reference."""
    path = tmp_path_factory.mktemp("goods") / "goods.csv"
    path.write_bytes(written(goods()))
    code, message, run = train(path, *GOODS_FLAGS)
    assert code == 0, message
    frame = with_numbers(goods())
    return run, Reference(frame, Table("goods.csv", b"", classes=True))


def with_numbers(frame):
    """Return a table of `goods` with numbers for levels, and dates that are times."""
    levels = frame["grade"].map(["Low", "Mid", "High"].index)
    return frame.assign(grade=levels, day=pd.to_datetime(frame["day"]))


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_a_later_table_is_brought_into_the_encoding_or_refused(
    tmp_path, goods_run, later
):
    run, reference = goods_run
    path = tmp_path / later.file
    path.write_bytes(later.content)
    if later.goods is not None:
        X = reference.features(with_numbers(later.goods))
        expect_predictions(run, path, X, reference.classes, later.flags)
        return
    before = {*run.parent.rglob("*")}
    words = ["evaluate", run, path]
    if not later.evaluate:
        words = ["predict", run, path, "-o", tmp_path / "p.csv"]
    code, message = call(*words)
    assert code == 3, f"exit code {code}: {message}"
    assert path.name in message
    expect_sentence(message.replace(f"{tmp_path}/", ""), *later.says)
    expect_flags(message, words[0])
    assert {*run.parent.rglob("*")} == before
    assert {*tmp_path.iterdir()} == {path}


@pytest.mark.parametrize("cells", IN_BLOCKS.values(), ids=IN_BLOCKS)
def test_what_a_column_is_does_not_depend_on_blocks(tmp_path, monkeypatch, cells):
    table = pd.DataFrame({"a": [cell for cell in cells for _ in range(6)]})
    path = tmp_path / "t.csv"
    path.write_bytes(written(table.assign(price=np.arange(len(table)) / 7)))
    outcomes = []
    for block_bytes in (1 << 20, 80, 40):
        monkeypatch.setattr(
            CsvReader.__init__,
            "__kwdefaults__",
            {"file": None, "block_bytes": block_bytes},
        )
        out = tmp_path / f"{block_bytes}.h5"
        done = ingest(SELF, str(path), str(out), test_size=0)
        X, y = scan(out).read("train", 0, len(table))
        outcomes.append((done.header.feature_names, X.tolist(), y.tolist()))
    assert outcomes[1:] == outcomes[:1] * 2


TEST_FILES = {
    "b.csv": written(sizes(9, seed=9)[["price", "kind", "size"]]),
    "b.tsv": written(sizes(9, seed=9), sep="\t"),
    "b.txt": written(sizes(9, seed=9), sep=";", decimal=","),
    "b.parquet": parquet_of(sizes(9, seed=9)),
    "b.csv.gz": gzip.compress(written(sizes(9, seed=9))),
}


@pytest.mark.parametrize("content", TEST_FILES.values(), ids=TEST_FILES)
def test_a_file_of_test_rows_is_read_as_it_is_written(tmp_path, request, content):
    path = tmp_path / "t.csv"
    path.write_bytes(written(sizes()))
    other = tmp_path / request.node.callspec.id
    other.write_bytes(content)
    code, message, _ = train(path, "--test", other.name)
    assert code == 0, message
    source = scan(next((tmp_path / "runs" / "cache").iterdir()))
    X, y = source.read("test", 0, source.rows["test"])
    expected = sizes(9, seed=9)
    kinds = [expected["kind"] == kind for kind in sorted(sizes()["kind"].unique())]
    np.testing.assert_array_equal(X, np.column_stack([expected["size"], *kinds]))
    np.testing.assert_array_equal(y, expected["price"])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-7", "iso2022_jp", "shift_jis"])
def test_encodings_of_two_bytes_are_read_in_blocks_or_refused(tmp_path, encoding):
    table = with_column("a", ["日本", "東京", "x,y"])
    path = tmp_path / "t.csv"
    path.write_bytes(written(table, encoding=encoding))
    with contextlib.suppress(MpipgdError):
        for block_bytes in (1 << 20, 61):
            reader = CsvReader(
                SELF, str(path), block_bytes=block_bytes, encoding=encoding
            )
            blocks = range(reader.n_blocks)
            read = [reader.read(k, texts=["a"])["a"].to_pylist() for k in blocks]
            assert [cell for cells in read for cell in cells] == [*table["a"]]


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_ids_come_out_as_they_went_in(tmp_path, goods_run, ids):
    table = goods(len(ids)).drop(columns="bought").assign(name=ids)
    path = tmp_path / "later.csv"
    path.write_bytes(written(table))
    out = tmp_path / "p.csv"
    code, message = call("predict", goods_run[0], path, "-o", out, "--id", "name")
    assert code == 0, message
    found = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert [*found["name"]] == ids


HARD_LABELS = ('=1+1, "so"', "two\nlines", "<script>alert(1)</script>", "größer 🌍")


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "arrow"])
def test_labels_of_all_kinds_come_out_as_they_went_in(tmp_path, ending):
    table = pd.DataFrame({"a": np.arange(40.0), "b": [*HARD_LABELS] * 10})
    path = tmp_path / "t.csv"
    path.write_bytes(written(table))
    code, message, run = train(path)
    assert code == 0, message
    out = tmp_path / f"p.{ending}"
    code, message = call("predict", run, path, "-o", out, "--probabilities")
    assert code == 0, message
    read = {
        "csv": pd.read_csv,
        "tsv": functools.partial(pd.read_csv, sep="\t"),
        "parquet": pd.read_parquet,
        "arrow": pd.read_feather,
    }
    found = read[ending](out)
    labels = sorted(HARD_LABELS)
    assert [*found.columns] == ["prediction", *labels]
    best = found[labels].to_numpy().argmax(axis=1)
    assert [*found["prediction"]] == [labels[k] for k in best]
    for page in run.glob("*.html"):
        assert "<script>alert" not in page.read_text()


# files and the bytes of their blocks: what ranks find must not depend on their number
PARALLEL = {
    name: (table, block_bytes)
    for tables, block_bytes, names in (
        (
            ACCEPTED,
            90,
            (
                *("quotes with separators and line breaks", "quotes with CRLF"),
                *("blank lines between", "mixed line ends", "all cells quoted"),
                *("whole numbers, then reals", "missing numbers and texts, median"),
                *("Parquet, a row in a group", "Arrow, empty batches", "one row"),
                "semicolons, decimal commas",
            ),
        ),
        (ACCEPTED, 1 << 19, ("a cell of 10 MB",)),
        (
            REFUSED,
            60,
            (
                *("a short row", "a short row behind blank lines", "a long row"),
                *("a short row behind quoted line breaks", "an infinite cell"),
                *("a quote that is not closed", "a missing cell", "labels missing"),
                *("Parquet, an infinite number", "Parquet, NaN", "a header only"),
            ),
        ),
        (REFUSED, 4000, ("a text in a row far behind",)),
    )
    for name in names
    for table in [tables[name]]
}


@pytest.mark.mpi
@pytest.mark.parametrize("name", PARALLEL)
def test_any_number_of_ranks_finds_the_same(shared_tmp, monkeypatch, agree, name):
    table, block_bytes = PARALLEL[name]
    world = mpi.world()
    monkeypatch.setattr(
        CsvReader.__init__, "__kwdefaults__", {"file": None, "block_bytes": block_bytes}
    )
    path = mpi.on_root(world, write, table, shared_tmp)
    flags = dict(zip(table.flags[::2], table.flags[1::2]))
    options = {flag[2:].replace("-", "_"): value for flag, value in flags.items()}
    if getattr(table, "missing", None):
        options["missing"] = table.missing
    if "drop_column" in options:
        options["drop_column"] = [options["drop_column"]]

    def outcome(comm, name):
        try:
            done = ingest(comm, str(path), str(shared_tmp / name), **options)
        except MpipgdError as error:
            return re.sub(r" \(rank \d+\)$", "", str(error)), b""
        return done.notes, done.files[0].read_bytes()

    together = outcome(world, "together.h5")
    alone = mpi.on_root(world, outcome, SELF, "alone.h5")
    agree(together == alone)
    left = {path.name for path in shared_tmp.iterdir()}
    agree(left <= {path.name, "together.h5", "alone.h5"})


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_blocks_of_any_size_hold_the_same_rows(tmp_path, line_end):
    table = pd.DataFrame(
        {
            "a": [
                'x"y',
                "one, two",
                f'"{line_end},"',
                "",
                f"{line_end}{line_end}",
                "z",
            ],
            "b": [1, None, 3, 4, 5, 6],
        }
    )
    path = tmp_path / "t.csv"
    content = written(table, lineterminator=line_end)
    path.write_bytes(content)
    expected = CsvReader(SELF, str(path)).read(0, texts=("a", "b")).to_pydict()
    assert expected["a"] == [cell or None for cell in table["a"]]
    for block_bytes in range(1, len(content)):
        reader = CsvReader(SELF, str(path), block_bytes=block_bytes)
        blocks = [
            reader.read(block, texts=("a", "b")) for block in range(reader.n_blocks)
        ]
        rows = [block[name].to_pylist() for name in "ab" for block in blocks]
        found = [cell for cells in rows for cell in cells]
        assert found == [*expected["a"], *expected["b"]], block_bytes
