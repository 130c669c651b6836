"""Readers of formats that fit in memory: svmlight, NPZ, IDX images, OpenML.

Each returns a `Table`; ingest shuffles, splits and writes it.
"""

import contextlib
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DataError
from ..hdf5.header import Header
from ..matrix import Csr
from .compressed import open_source
from .external_shuffle import permuted_reader
from .targets import encode

IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
FEW = 20  # at most so many distinct whole numbers are taken for classes
BROKEN = (OSError, EOFError, ValueError, MemoryError, zlib.error)
BROKEN += (zipfile.BadZipFile,)


@dataclass(frozen=True)
class Table:
    """Rows in memory: X (n, d) dense or Csr, y (n,); the last `n_test` are the test."""

    header: Header
    X: object
    y: np.ndarray
    n_test: int | None = None

    @property
    def rows(self):
        """Return the number of rows."""
        return len(self.y)

    @contextlib.contextmanager
    def shuffled(self, places, folder, progress):
        """Give `read(lo, hi)` of the rows in the order of their places."""
        yield permuted_reader(self.X, self.y, places, self.header)


def read_svmlight(source, *, dtype=None, task=None):
    """Read svmlight/LIBSVM text, kept sparse; few whole numbers as y are classes."""
    from sklearn.datasets import load_svmlight_file

    dtype = dtype or "float64"
    with _reading(source, "svmlight"), open_source(source) as file:
        X, y = load_svmlight_file(file, dtype=np.dtype(dtype))
    _verify_columns(X, source)
    distinct = np.unique(y)
    few = len(distinct) <= FEW and (distinct == np.floor(distinct)).all()
    task, classes, y = encode(y, task, f"{source}: the target", classes=few)
    csr = Csr(X.data, X.indices, X.indptr.astype(np.int64), X.shape[1])
    return Table(_header(source, (task, classes), X, dtype), csr, y)


def read_npz(source, *, dtype=None, task=None, x_name="X", y_name="y"):
    """Read the arrays X, y and, if there, X_test, y_test; whole numbers are classes."""
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


def read_idx(source, *, dtype=None, task=None, labels=None):
    """Read IDX images (the MNIST format), flattened, pixels as they are; float32.

    labels: the file of labels; by default named as the images with "labels-idx1".
    """
    if labels is None and "images-idx3" not in str(source):
        raise DataError(f"{source}: which labels? name their file with --labels FILE")
    labels = labels or str(source).replace("images-idx3", "labels-idx1")
    X, y = _idx(source), _idx(labels)
    X = X.reshape(len(X), -1)
    _verify_shapes(f"{source} and {labels}", X, y)
    task, classes, y = encode(y, task, str(labels))
    return Table(_header(source, (task, classes), X, dtype or "float32"), X, y)


def read_openml(source, *, dtype=None, task=None, target=None, version="active"):
    """Fetch a set of OpenML by name or number; its categories come as numbers."""
    from sklearn.datasets import fetch_openml

    name = str(source).removeprefix("openml:")
    key = {"data_id": int(name)} if name.isdigit() else {"name": name}
    if "name" in key:
        key["version"] = version
    if target is not None:
        key["target_column"] = target
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


@contextlib.contextmanager
def _reading(source, kind):
    try:
        yield
    except BROKEN as error:
        raise DataError(f"{source} cannot be read as {kind}: {error}") from error


def _header(source, target, X, dtype, *, names=None):
    task, classes = target
    return Header(
        task,
        X.shape[1],
        dtype=dtype,
        sparse=hasattr(X, "tocsr"),
        classes=classes,
        feature_names=names and tuple(map(str, names)),
        source=Path(source).name,
    )


def _verify_columns(X, source):
    if X.shape[1] < 1:
        raise DataError(f"{source} holds no features")


def _array(arrays, name, source):
    if name not in arrays:
        known = ", ".join(arrays.files)
        raise DataError(f"{source} has no array {name!r}; it holds {known}")
    return arrays[name]


def _verify_shapes(source, X, y, *, width=None):
    fits = X.ndim == 2 and y.ndim == 1 and len(X) == len(y) and X.dtype.kind in "fiub"
    if not fits or (width is not None and X.shape[1:] != width):
        raise DataError(
            f"{source}: X is {X.dtype} {X.shape} and y is {y.shape}, expected numbers "
            f"(n, {'d' if width is None else ', '.join(map(str, width))}) and (n,)"
        )


def _idx(path):
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
