"""Readers of formats that fit in memory: svmlight, NPZ, IDX images, OpenML.

Each returns `Arrays`, whose targets become class numbers or numbers (`Arrays.table`);
`ingest` shuffles, splits and writes the rows.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ...errors import DataError
from ..hdf5.header import Header
from ..matrix import Csr, n_rows, stack, width
from .external_shuffle import permuted_reader
from .targets import class_numbers, encode, numbers

if TYPE_CHECKING:
    from ...array_types import Array, BoolArray, IntArray
    from .external_shuffle import RowReader

OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
MAX_GUESSED_CLASSES = 20  # more distinct whole numbers are taken for a regression
KINDS = "fiubUS"  # of the dtypes of targets: numbers, truth values, texts
SVMLIGHT_LINE = re.compile(rb"|\S+(\s+qid:\d+)?(\s+\d+:[-+.\deE]+)*")
READ_ERRORS = (
    OverflowError,
    OSError,
    EOFError,
    ValueError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Table:
    """Rows in memory: X (n, d) dense or Csr, y (n,) or, for several targets, (n, m).

    The last `n_test` are the test rows; None where the source has none. y is None where
    rows have no targets.
    """

    header: Header
    X: Array | Csr
    y: Array | None
    n_test: int | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return n_rows(self.X)

    def with_test(self, test: Table) -> Table:
        """Return these rows for training and those of another table as test rows."""
        if self.n_test is not None or self.y is None or test.y is None:
            raise DataError(
                f"{self.header.source} has test rows of its own: --test does not apply"
            )
        X: Array | Csr
        if isinstance(self.X, Csr) and isinstance(test.X, Csr):
            X = stack([self.X, test.X], self.X.width, self.header.dtype)
        elif isinstance(self.X, Csr) or isinstance(test.X, Csr):
            raise DataError(
                f"{test.header.source} and {self.header.source} are not both sparse"
            )
        else:
            X = np.concatenate([self.X, test.X])
        return replace(self, X=X, y=np.concatenate([self.y, test.y]), n_test=test.rows)

    def verify_trained(self, is_training: BoolArray) -> None:
        """Raise DataError where no training row has the class of some test row.

        is_training: (n,) of the rows.
        """
        if self.header.classes is None or self.y is None:
            return
        absent = set(self.y[~is_training].tolist()) - set(self.y[is_training].tolist())
        if absent:
            label = self.header.classes[min(absent)]
            raise DataError(
                f"{self.header.source}: the target is {label!r} in test rows and in no "
                "training row"
            )

    def shuffled(self, destinations: IntArray) -> RowReader:
        """Return `read(lo, hi)` of the rows in the order of their destinations."""
        y = np.zeros(self.rows) if self.y is None else self.y
        return permuted_reader(self.X, y, destinations, self.header)


@dataclass(frozen=True)
class Arrays:
    """What a source holds: X (n, d) dense or Csr, and targets y as they are written.

    where: what messages call y. is_classes: whether y are classes unless the user says
    otherwise; None for whole numbers and texts.
    """

    source: str
    X: Array | Csr
    y: Array | None
    where: str
    is_classes: bool | None = None
    n_test: int | None = None
    feature_names: tuple[str, ...] | None = None

    def table(self, *, task: str | None = None, dtype: str | None = None) -> Table:
        """Return the rows for training, see `targets.encode`; DataError without y."""
        if self.y is None:
            raise DataError(f"{self.source} holds no targets")
        if self.y.ndim == 2:
            return self._table_of_targets(task, dtype)
        task, classes, y = encode(self.y, task, self.where, classes=self.is_classes)
        return Table(self._header(task, dtype, classes=classes), self.X, y, self.n_test)

    def _table_of_targets(self, task: str | None, dtype: str | None) -> Table:
        assert self.y is not None
        if task not in (None, "regression"):
            raise DataError(f"{self.where} has shape {self.y.shape}, --task {task}")
        targets = tuple(f"y{k}" for k in range(self.y.shape[1]))
        header = self._header("regression", dtype, targets=targets)
        return Table(header, self.X, numbers(self.y, self.where), self.n_test)

    def _header(self, task: str, dtype: str | None, **target: Any) -> Header:
        is_single = not isinstance(self.X, Csr) and self.X.dtype == np.float32
        return Header(
            task,
            width(self.X),
            dtype=dtype or ("float32" if is_single else "float64"),
            sparse=isinstance(self.X, Csr),
            feature_names=self.feature_names,
            source=Path(self.source).name,
            **target,
        )

    def table_like(self, header: Header, *, labels: bool) -> Table:
        """Return the rows for a model that was trained on data of a header.

        Sparse rows may have fewer features, whose values are 0, and classes may be
        absent. Without `labels` rows may have no targets. Raises DataError.
        """
        X, n_features, expected = self.X, width(self.X), header.n_features
        fits = n_features <= expected if isinstance(X, Csr) else n_features == expected
        if not fits:
            raise DataError(
                f"{self.source} has {n_features} features, the model takes {expected}"
            )
        if isinstance(X, Csr):
            X = X._replace(width=expected)
        header = replace(
            header,
            sparse=isinstance(X, Csr),
            weight=None,
            encoding=None,
            source=Path(self.source).name,
        )
        if not labels:
            return Table(header, X, None)
        if self.y is None:
            raise DataError(f"{self.source} holds no targets: predict needs none")
        if self.y.shape != header.y_shape(len(self.y)):
            raise DataError(
                f"{self.where} has shape {self.y.shape}, the model's targets "
                f"{header.y_shape(len(self.y))}"
            )
        if header.classes is None:
            return Table(header, X, numbers(self.y, self.where))
        return Table(header, X, class_numbers(self.y, header.classes, self.where))


def read_svmlight(source: str) -> Arrays:
    """Read svmlight/LIBSVM text as sparse rows; few whole numbers as y are classes."""
    from sklearn.datasets import load_svmlight_file

    try:
        with _reading(source, "svmlight"), open_source(source) as file:
            X, y = load_svmlight_file(file)
    except DataError as error:
        raise DataError(f"{error}{_bad_line(source)}") from error
    if not X.shape[0]:
        raise DataError(f"{source} holds no rows")
    if not X.nnz:
        raise DataError(f"{source} holds no features")
    if not np.isfinite(X.data).all():
        entry = int(np.isfinite(X.data).argmin())
        row = int(np.searchsorted(X.indptr, entry, side="right"))
        raise DataError(
            f"{source}: row {row}: feature {X.indices[entry] + 1} is {X.data[entry]}, "
            "expected finite numbers"
        )
    distinct = np.unique(y)
    is_classes = bool(
        len(distinct) <= MAX_GUESSED_CLASSES and (distinct == np.floor(distinct)).all()
    )
    return Arrays(source, _csr(X), y, f"{source}: the target", is_classes)


def _bad_line(source: str) -> str:
    """Return which line of svmlight text is none, as the end of a message."""
    with open_source(source) as file:
        for number, line in enumerate(file, 1):
            if not SVMLIGHT_LINE.fullmatch(line.split(b"#")[0].strip()):
                return f" (line {number:,})"
    return ""


def read_npz(
    source: str, *, x_name: str = "X", y_name: str = "y", labels_file: str | None = None
) -> Arrays:
    """Read the arrays X, y and, if present, X_test, y_test; or scipy's sparse matrix.

    Integers are classes. y may be in an NPY file of its own, and may be missing.
    """
    with _reading(source, "NPZ"), open_source(source) as file:
        with np.load(file, allow_pickle=False) as arrays:
            names = set(arrays.files)
            if {"format", "shape", "data"} <= names:
                return _read_scipy(source, labels_file)
            X, n_test = _array(arrays, x_name, source), None
            y = arrays[y_name] if y_name in names and labels_file is None else None
            tests = f"{x_name}_test", f"{y_name}_test"
            if y is None and labels_file is None and y_name != "y":
                _array(arrays, y_name, source)  # which the user has named
            if labels_file is not None:
                y = _labels(labels_file)
            elif y is not None and {*tests} <= names:
                X_test, y_test = (_array(arrays, name, source) for name in tests)
                _verify_shapes(source, X_test, y_test)
                _verify_shapes(source, X, y, row_shape=X_test.shape[1:])
                n_test = len(y_test)
                X, y = np.concatenate([X, X_test]), np.concatenate([y, y_test])
    _verify_shapes(source, X, y)
    return Arrays(source, X, y, f"{source}: {y_name}", n_test=n_test)


def _read_scipy(source: str, labels_file: str | None) -> Arrays:
    """Read what `scipy.sparse.save_npz` has written, and y from an NPY file."""
    from scipy.sparse import load_npz

    with open_source(source) as file:
        X = load_npz(file).tocsr()
    X.sum_duplicates()
    _verify_columns(X, source)
    if X.dtype.kind not in "fiub" or not np.isfinite(X.data).all():
        raise DataError(f"{source} holds {X.dtype} that is not all finite numbers")
    X = _csr(X.astype(np.float32 if X.dtype == np.float32 else np.float64))
    y = None if labels_file is None else _labels(labels_file)
    if y is not None and y.shape[0] != n_rows(X):
        raise DataError(
            f"{labels_file} holds {len(y)} targets, {source} {n_rows(X)} rows"
        )
    return Arrays(source, X, y, str(labels_file))


def _labels(path: str) -> Array:
    """Return the array of an NPY file, (n,) or (n, m)."""
    with _reading(path, "NPY"), open_source(path) as file:
        y = np.load(file, allow_pickle=False)
    if (
        not isinstance(y, np.ndarray)
        or y.ndim not in (1, 2)
        or y.dtype.kind not in KINDS
    ):
        raise DataError(f"{path} is no array (n,) or (n, m) of numbers or texts")
    return y


def read_idx(source: str, *, labels_file: str | None = None) -> Arrays:
    """Read IDX images (the MNIST format), flattened, with unscaled pixels; float32.

    labels_file: by default the name of the images with "labels-idx1"; without such a
    file rows have no targets.
    """
    labels_file = labels_file or labels_beside(source)
    X = _idx(source)
    X = X.reshape(len(X), -1).astype(np.float32, copy=False)
    y = None if labels_file is None else _idx(labels_file)
    _verify_shapes(f"{source} and {labels_file}", X, y)
    return Arrays(source, X, y, str(labels_file))


def labels_beside(source: str) -> str | None:
    """Return the file of the labels of IDX images, if there is one of such a name."""
    path = Path(source)
    name = path.name.replace("images-idx3", "labels-idx1")
    labels_file = path.with_name(name)
    exists = labels_file != path and labels_file.exists()
    return str(labels_file) if exists else None


def read_openml(
    source: str, *, label: str | None = None, version: str | int = "active"
) -> Arrays:
    """Fetch a data set of OpenML by name or number; categories become numbers."""
    from sklearn.datasets import fetch_openml

    name = str(source).removeprefix("openml:")
    key: dict[str, Any] = {"data_id": int(name)} if name.isdigit() else {"name": name}
    if "name" in key:
        key["version"] = version
    if label is not None:
        key["target_column"] = label
    try:
        bunch = fetch_openml(**key, as_frame=False, parser="liac-arff")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"OpenML gave no data set {name!r}: {error}") from error
    X, y = bunch.data, np.asarray(bunch.target)
    X = _csr(X.tocsr()) if hasattr(X, "tocsr") else X  # scipy's sparse matrices
    names = tuple(map(str, bunch.feature_names)) or None
    return Arrays(
        f"OpenML {name}", X, y, f"OpenML {name}: the target", feature_names=names
    )


def open_source(path: str | Path) -> IO[Any]:
    """Open a source file for reading, decompressed; DataError if it does not exist."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file")
    opener: Any = OPENERS.get(path.suffix, open)
    return opener(path, "rb")


@contextlib.contextmanager
def _reading(source: str, kind: str) -> Iterator[None]:
    """Raise DataError for what the reader of a format refuses."""
    try:
        yield
    except READ_ERRORS as error:
        raise DataError(f"{source} cannot be read as {kind}: {error}") from error


def _csr(X: Any) -> Csr:
    """Return a CSR matrix of scipy as ours."""
    return Csr(X.data, X.indices, X.indptr.astype(np.int64), X.shape[1])


def _verify_columns(X: Any, source: str) -> None:
    if X.shape[1] < 1:
        raise DataError(f"{source} holds no features")


def _array(arrays: Any, name: str, source: str) -> Array:
    if name not in arrays:
        names = ", ".join(arrays.files)
        raise DataError(f"{source} has no array {name!r}; it holds {names}")
    array: Array = arrays[name]
    return array


def _verify_shapes(
    source: str, X: Array, y: Array | None, *, row_shape: tuple[int, ...] | None = None
) -> None:
    if X.ndim == 2 and not len(X):
        raise DataError(f"{source} holds no rows")
    fits = X.ndim == 2 and X.dtype.kind in "fiub" and X.shape[1] > 0
    if y is not None:
        fits = fits and y.ndim in (1, 2) and len(y) == len(X) and y.dtype.kind in KINDS
    if not fits or (row_shape is not None and X.shape[1:] != row_shape):
        of_y = "missing" if y is None else f"{y.dtype} {y.shape}"
        expected = "d" if row_shape is None else ", ".join(map(str, row_shape))
        raise DataError(
            f"{source}: X is {X.dtype} {X.shape} and y is {of_y}, expected numbers "
            f"(n, {expected}) and numbers or texts (n,)"
        )
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        raise DataError(
            f"{source}: row {row + 1}: feature {column} is {X[row, column]}, expected "
            "finite numbers"
        )


def _idx(path: str) -> Array:
    """Return the array of an IDX file; reads no more than its header declares."""
    with _reading(path, "IDX"), open_source(path) as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES:
            raise DataError(f"{path} is no IDX file: it begins with {start!r}")
        shape = np.frombuffer(file.read(4 * start[3]), ">u4").tolist()
        dtype = np.dtype(IDX_TYPES[start[2]])
        declared = math.prod(shape) * dtype.itemsize
        if declared > 1100 * Path(path).stat().st_size or len(shape) != start[3]:
            raise DataError(f"{path} declares {shape} items, more than it can hold")
        values = file.read(declared)
        if len(values) != declared or file.read(1):
            raise DataError(f"{path} does not hold the {shape} items it declares")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))
