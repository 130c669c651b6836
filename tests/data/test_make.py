"""Making data: the rows depend on the recipe and the seed, and on nothing else."""

import hashlib

import numpy as np
import pytest

from mpipgd.comm import mpi
from mpipgd.data.create.bundled import BUNDLED, load_bundled
from mpipgd.data.create.external_shuffle import ExternalShuffle, UnorderedRows
from mpipgd.data.create.make import make, make_bundled
from mpipgd.data.create.split import ShardLayout
from mpipgd.data.create.synthetic import SyntheticSpec
from mpipgd.data.hdf5.source import Header, scan
from mpipgd.data.matrix import Csr, product, slice_rows
from mpipgd.errors import DataError, UsageError

RECIPES = {
    "regression": {"rows": 9_001, "features": 7, "informative": 3},
    "blobs": {"rows": 5_000, "features": 5, "classes": 4, "dtype": "float32"},
    "classification": {"rows": 4_500, "features": 300, "density": 0.05},
}


def contents(data):
    """Return the hash of all rows, and how many there are."""
    source, digest = scan(data), hashlib.sha256()
    for part, count in source.rows.items():
        X, y = source.read(part, 0, count)
        for values in (*(X[:3] if isinstance(X, Csr) else (X,)), y):
            digest.update(np.ascontiguousarray(values))
    return digest.hexdigest(), source.rows


@pytest.mark.diagonal
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("shards", [1, 2, 5])
def test_rows_are_the_same_for_any_ranks_and_files(
    comm, folder, tmp_path, name, shards
):
    make(mpi.comm_self(), name, tmp_path / "alone.h5", seed=3, **RECIPES[name])
    make(comm, name, f"{folder / 'out'}/", seed=3, shards=shards, **RECIPES[name])
    assert len(scan(folder / "out").files) == shards
    assert contents(folder / "out") == contents(tmp_path / "alone.h5")


def test_another_seed_gives_other_rows(tmp_path):
    for seed in (0, 1):
        make(mpi.comm_self(), "regression", tmp_path / f"{seed}.h5", seed=seed, rows=99)
    assert contents(tmp_path / "0.h5") != contents(tmp_path / "1.h5")


def test_blocks_and_truth_do_not_depend_on_how_many_rows_follow():
    short, long = (
        SyntheticSpec("blobs", rows=rows, features=9) for rows in (5_000, 9_000)
    )
    truth = short.true_parameters()
    np.testing.assert_array_equal(truth, long.true_parameters())
    for mine, theirs in zip(short.block(0, truth), long.block(0, truth), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_regression_is_its_teacher_plus_noise():
    recipe = SyntheticSpec(
        "regression", rows=4000, features=10, informative=4, noise=0.5
    )
    truth = recipe.true_parameters()
    X, y = recipe.block(0, truth)
    assert (truth[4:] == 0).all()
    fitted = np.linalg.lstsq(X, y, rcond=None)[0]
    np.testing.assert_allclose(fitted, truth[:, 0], atol=0.05)
    assert np.std(y - X @ truth[:, 0]) == pytest.approx(0.5, rel=0.05)


def test_classification_noise_is_the_share_of_drawn_labels():
    recipe = SyntheticSpec(
        "classification", rows=4000, features=10, classes=4, noise=0.2
    )
    truth = recipe.true_parameters()
    X, y = recipe.block(0, truth)
    wrong = np.mean(product(X, truth).argmax(axis=1) != y)
    assert wrong == pytest.approx(0.2 * 3 / 4, abs=0.03)


def test_blobs_lie_around_their_centres():
    recipe = SyntheticSpec("blobs", rows=4000, features=3, classes=2, noise=2.0)
    centres = recipe.true_parameters()
    X, y = recipe.block(0, centres)
    for number, centre in enumerate(centres):
        np.testing.assert_allclose(X[y == number].mean(axis=0), centre, atol=0.2)
        assert X[y == number].std() > 1.8


def test_sparse_rows_hold_each_column_once_and_about_the_density():
    recipe = SyntheticSpec("classification", rows=500, features=400, density=0.05)
    X, _ = recipe.block(0, recipe.true_parameters())
    assert 18 < len(X.data) / 500 <= 20
    for row in range(500):
        columns = slice_rows(X, row, row + 1).indices
        assert (np.diff(columns) > 0).all()


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_set_equals_scikit_learn(name):
    from sklearn import datasets

    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    header, X, y = load_bundled(name)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)
    assert header.feature_names == tuple(bunch.feature_names)
    if name != "diabetes":
        assert header.classes == tuple(bunch.target_names.tolist())


def sorted_rows(X, y):
    table = np.column_stack([X, y])
    return table[np.lexsort(table.T)]


@pytest.mark.parametrize("shards", [1, 4])
def test_bundled_files_hold_every_row_once_and_shuffled(tmp_path, shards):
    make_bundled("wine", tmp_path / "out", test_size=0.25, seed=1, shards=shards)
    source = scan(tmp_path / "out")
    assert source.rows == {"train": 134, "test": 44}
    _, X, y = load_bundled("wine")
    parts = [source.read(part, 0, n) for part, n in source.rows.items()]
    read_X, read_y = (np.concatenate(each) for each in zip(*parts, strict=True))
    np.testing.assert_array_equal(sorted_rows(read_X, read_y), sorted_rows(X, y))
    assert len(np.unique(read_y[:30])) == 3


def test_row_order_of_a_bundled_set_is_the_same_in_any_number_of_files(tmp_path):
    for shards in (1, 3):
        make_bundled("iris", tmp_path / str(shards), shards=shards)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


@pytest.mark.parametrize(
    "n, test_size, shards", [(10, 0.25, 3), (7, 0, 7), (9, 0.9, 2)]
)
def test_places_number_the_rows_file_by_file(n, test_size, shards):
    split = ShardLayout(n, test_size, shards)
    assert split.rows["test"] == round(n * test_size)
    expected = [
        first + i + (split.rows["train"] if part == "test" else 0)
        for _, part, first, count in split.segments()
        for i in range(count)
    ]
    assert np.argsort(split.destinations(np.arange(n))).tolist() == expected


@pytest.mark.parametrize("bucket_rows", [1, 3, 7, 100])
def test_external_shuffle_equals_the_one_in_memory(tmp_path, bucket_rows):
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(50, 3)), draw.normal(size=50)
    places = draw.permutation(50)
    header = Header("regression", 3)
    row_bytes = 8 + 8 + 3 * 8
    scatter = ExternalShuffle(
        mpi.comm_self(), 50, header, tmp_path, bucket_bytes=bucket_rows * row_bytes
    )
    for lo in range(0, 50, 8):
        rows = slice(lo, lo + 8)
        scatter.append(places[rows], UnorderedRows(X[rows], y[rows]))
    assert len(list(tmp_path.iterdir())) == (bucket_rows < 50)
    scatter.finish()
    order = np.argsort(places)
    for lo, hi in ((0, 20), (20, 21), (21, 50)):
        read_X, read_y, *_ = scatter.read(lo, hi)
        np.testing.assert_array_equal(read_X, X[order[lo:hi]])
        np.testing.assert_array_equal(read_y, y[order[lo:hi]])
    scatter.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("nosuch", {}, "unknown data set 'nosuch'; known: digits"),
        ("digits", {"rows": 5}, "digits is a finished set: it has no --rows"),
        ("blobs", {"density": 0.1}, "--density is 0.1, .* none for blobs"),
        ("regression", {"classes": 3}, "--classes is 3, .* none for regression"),
        ("regression", {"informative": 101}, "--informative is 101, expected 1 … 100"),
        ("regression", {"rows": 0}, "--rows is 0"),
        ("regression", {"rows": 4, "shards": 5}, "--shards is 5, expected 1 … 4"),
        ("iris", {"test_size": 1.5}, "--test-size is 1.5"),
        ("iris", {"test_size": 0.999}, "all 150 rows would be test rows"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, name, options, message):
    with pytest.raises(UsageError, match=message):
        make(mpi.comm_self(), name, tmp_path / "a.h5", **options)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path):
    make_bundled("iris", tmp_path / "out", shards=3)
    with pytest.raises(UsageError, match="exists already: --overwrite"):
        make_bundled("iris", tmp_path / "out")
    make_bundled("iris", tmp_path / "out", overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["shard-0000.h5"]
    (tmp_path / "out" / "other.h5").touch()
    with pytest.raises(UsageError, match="other.h5 is no shard"):
        make_bundled("iris", tmp_path / "out", overwrite=True)


def test_one_rank_that_cannot_write_refuses_on_all(comm, folder, monkeypatch):
    from mpipgd import atomic_file

    def full(path):
        raise OSError(28, "No space left on device")

    if comm.rank == comm.size - 1:
        monkeypatch.setattr(atomic_file, "_sync", full)
    recipe = {"rows": 9_000, "features": 5, "shards": 2 * comm.size}
    with pytest.raises(DataError, match="the disk is full") as caught:
        make(comm, "regression", folder / "out", **recipe)
    assert caught.value.agreed


def test_skewed_columns_are_as_frequent_as_words():
    recipe = SyntheticSpec(
        "classification", rows=3000, features=500, density=0.04, skew=1.0
    )
    X, _ = recipe.block(0, recipe.true_parameters())
    counts = np.sort(np.bincount(X.indices, minlength=500))[::-1]
    assert abs(len(X.data) / 3000 - 20) < 1
    assert counts[0] > 0.9 * 3000 and counts[300] < 0.05 * 3000
    assert not np.array_equal(counts, np.bincount(X.indices, minlength=500))


def test_a_skew_takes_few_columns_a_row():
    with pytest.raises(UsageError, match="--skew 1.0 takes a --density"):
        SyntheticSpec("classification", features=9, density=0.9, skew=1.0)
