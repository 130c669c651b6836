"""Readers of formats that fit in memory: svmlight, NPZ, IDX images, OpenML.

Each returns a `Table`, which `ingest` shuffles, splits and writes.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ...errors import DataError
from ..hdf5.header import Header
from ..matrix import Csr
from .external_shuffle import permuted_reader
from .targets import encode

if TYPE_CHECKING:
    from ...array_types import Array, IntArray
    from .external_shuffle import RowReader
    from .targets import Labels

OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
MAX_GUESSED_CLASSES = 20  # more distinct whole numbers are taken for a regression
READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Table:
    """Rows in memory: X (n, d) dense or Csr, y (n,).

    The last `n_test` are the test rows; None where the source has none.
    """

    header: Header
    X: Array | Csr
    y: Array
    n_test: int | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.y)

    def shuffled(self, destinations: IntArray) -> RowReader:
        """Return `read(lo, hi)` of the rows in the order of their destinations."""
        return permuted_reader(self.X, self.y, destinations, self.header)


def read_svmlight(
    source: str, *, dtype: str | None = None, task: str | None = None
) -> Table:
    """Read svmlight/LIBSVM text as sparse rows; few whole numbers as y are classes."""
    from sklearn.datasets import load_svmlight_file

    dtype = dtype or "float64"
    with _reading(source, "svmlight"), open_source(source) as file:
        X, y = load_svmlight_file(file, dtype=np.dtype(dtype))
    _verify_columns(X, source)
    distinct = np.unique(y)
    is_classes = (
        len(distinct) <= MAX_GUESSED_CLASSES and (distinct == np.floor(distinct)).all()
    )
    task, classes, y = encode(
        y, task, f"{source}: the target", classes=bool(is_classes)
    )
    csr = Csr(X.data, X.indices, X.indptr.astype(np.int64), X.shape[1])
    return Table(_header(source, (task, classes), X, dtype), csr, y)


def read_npz(
    source: str,
    *,
    dtype: str | None = None,
    task: str | None = None,
    x_name: str = "X",
    y_name: str = "y",
) -> Table:
    """Read the arrays X, y and, if present, X_test, y_test; integers are classes."""
    with _reading(source, "NPZ"), open_source(source) as file:
        with np.load(file, allow_pickle=False) as arrays:
            X, y = (_array(arrays, name, source) for name in (x_name, y_name))
            n_test = None
            if f"{x_name}_test" in arrays and f"{y_name}_test" in arrays:
                X_test = _array(arrays, f"{x_name}_test", source)
                y_test = _array(arrays, f"{y_name}_test", source)
                _verify_shapes(source, X_test, y_test)
                _verify_shapes(source, X, y, width=X_test.shape[1:])
                n_test = len(y_test)
                X, y = np.concatenate([X, X_test]), np.concatenate([y, y_test])
    _verify_shapes(source, X, y)
    task, classes, y = encode(y, task, f"{source}: {y_name}")
    dtype = dtype or ("float32" if X.dtype == np.float32 else "float64")
    return Table(_header(source, (task, classes), X, dtype), X, y, n_test)


def read_idx(
    source: str,
    *,
    dtype: str | None = None,
    task: str | None = None,
    labels_file: str | None = None,
) -> Table:
    """Read IDX images (the MNIST format), flattened, with unscaled pixels; float32.

    labels_file: by default the name of the images with "labels-idx1".
    """
    if labels_file is None and "images-idx3" not in str(source):
        raise DataError(
            f"{source}: which labels? name their file with --labels-file FILE"
        )
    labels_file = labels_file or str(source).replace("images-idx3", "labels-idx1")
    X, y = _idx(source), _idx(labels_file)
    X = X.reshape(len(X), -1)
    _verify_shapes(f"{source} and {labels_file}", X, y)
    task, classes, y = encode(y, task, str(labels_file))
    return Table(_header(source, (task, classes), X, dtype or "float32"), X, y)


def read_openml(
    source: str,
    *,
    dtype: str | None = None,
    task: str | None = None,
    label: str | None = None,
    version: str | int = "active",
) -> Table:
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
    dtype = dtype or "float64"
    task, classes, y = encode(y, task, f"OpenML {name}: the target")
    header = _header(
        f"OpenML {name}", (task, classes), X, dtype, names=bunch.feature_names
    )
    if header.sparse:
        X = X.tocsr()
        X = Csr(X.data, X.indices, X.indptr.astype(np.int64), X.shape[1])
    return Table(header, X, y)


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


def _header(
    source: str,
    target: tuple[str, Labels | None],
    X: Any,
    dtype: str,
    *,
    names: Sequence[str] | None = None,
) -> Header:
    task, classes = target
    return Header(
        task,
        X.shape[1],
        dtype=dtype,
        sparse=hasattr(X, "tocsr"),  # scipy's sparse matrices, whichever it is
        classes=classes,
        feature_names=tuple(map(str, names)) if names else None,
        source=Path(source).name,
    )


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
    source: str, X: Array, y: Array, *, width: tuple[int, ...] | None = None
) -> None:
    fits = X.ndim == 2 and y.ndim == 1 and len(X) == len(y) and X.dtype.kind in "fiub"
    if not fits or (width is not None and X.shape[1:] != width):
        raise DataError(
            f"{source}: X is {X.dtype} {X.shape} and y is {y.shape}, expected numbers "
            f"(n, {'d' if width is None else ', '.join(map(str, width))}) and (n,)"
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
