"""One open data file: verified when opened, and again in every block that is read."""

import contextlib

import h5py
import numpy as np

from ...errors import DataError
from ..create.targets import MOST_CLASSES
from ..matrix import Csr
from . import validate
from .chunk_layout import chunk_layout
from .header import FORMAT, PARTS, Header, attribute, read_header, verify_header

NAMES = {part: (f"{part}/X", f"{part}/y") for part in PARTS}


def external_names(x, y):
    """Return the names of both parts in a file that mpipgd did not make.

    Its test part, if any, lies in the group /test under the same last names.
    """
    x, y = x.strip("/"), y.strip("/")
    names = {"train": (x, y)}
    if not x.startswith("test/"):
        names["test"] = tuple(f"test/{name.rsplit('/', 1)[-1]}" for name in (x, y))
    return names


class Shard:
    """The datasets of one file; `names` is {part: (name of X, name of y)}."""

    def __init__(self, path, names):
        self.path, self.names = path, names
        self.file = validate.open_file(path)
        try:
            with validate.checked_structure(path):
                found = {part: self._pair(*names[part]) for part in names}
                self.parts = {part: pair for part, pair in found.items() if pair}
                self.rows = dict.fromkeys(PARTS, 0)
                for part, (X, y) in self.parts.items():
                    self.rows[part] = validate.verify_pair(X, y, names[part], path)
        except BaseException:
            self.file.close()
            raise
        self._directs = {}

    def direct(self, part):
        """Return the `Direct` that maps a part's X, or None where HDF5 must read it."""
        if part not in self._directs:
            X, name = self.parts.get(part, (None,))[0], self.names[part][0]
            found = isinstance(X, h5py.Dataset) and chunk_layout(X)
            self._directs[part] = self._mapped(name, found) if found else None
        return self._directs[part]

    def _mapped(self, name, found):
        from .mapped import MappedDataset  # it takes its time, as numba does

        return MappedDataset(self.path, name, found)

    def close(self):
        """Close the file."""
        self.file.close()

    def _pair(self, name_x, name_y):
        """Return the verified (X, y) of a part, or None where it is absent."""
        X, y = (
            validate.open_hard_link(self.file, name, self.path)
            for name in (name_x, name_y)
        )
        if X is None and y is None:
            return None
        for name, found in ((name_x, X), (name_y, y)):
            if found is None:
                raise DataError(f"{self.path} has no {name}{self._known()}")
        if isinstance(X, h5py.Group):
            validate.verify_sparse(X, name_x, self.path)
        else:
            validate.verify_dataset(X, name_x, self.path, ndim=2, kinds="fiub")
        validate.verify_dataset(y, name_y, self.path, ndim=1, kinds="fiub")
        return X, y

    def _known(self):
        found = []
        self.file.visititems(
            lambda name, node: (
                found.append(f"{name} {node.shape}")
                if isinstance(node, h5py.Dataset) and len(found) < 8
                else None
            )
        )
        return f"; it holds {', '.join(found) or 'no datasets'}"

    def width(self, default):
        """Return the number of columns of X, or the default where there is no row."""
        return next((_matrix_kind(X)[0] for X, _ in self.parts.values()), default)

    def header(self, *, foreign):
        """Return what the file says about itself; of a foreign file, what it shows."""
        own = attribute(self.file, "format", self.path, default=None) == FORMAT
        if not (foreign or own):
            raise DataError(
                f'{self.path} lacks the root attribute format="mpipgd": name its '
                f"datasets with --x PATH and --y PATH{self._known()}"
            )
        if foreign and "train" not in self.parts:
            name = self.names["train"][0]
            raise DataError(f"{self.path} has no {name}{self._known()}")
        forms = {part: _matrix_kind(X) for part, (X, _) in self.parts.items()}
        width, dtype, sparse = next(iter(forms.values()), (0, "float64", False))
        if len(set(forms.values())) > 1:
            raise DataError(
                f"{self.path}: train and test disagree in (columns, dtype, sparse): "
                f"{forms}"
            )
        if foreign:
            return self._derived(width, dtype, sparse)
        header = read_header(self.file, self.path, dtype=dtype, sparse=sparse)
        if self.parts and width != header.n_features:
            raise DataError(
                f"{self.path}: X has {width} columns, n_features is {header.n_features}"
            )
        return header

    def _derived(self, width, dtype, sparse):
        """Return the header of a foreign file: whole-number labels are classes."""
        common = {"dtype": dtype, "sparse": sparse, "source": self.path.name}
        if any(y.dtype.kind == "f" for _, y in self.parts.values()):
            return Header("regression", width, **common)
        labels = sorted(set().union(*(self._labels(part) for part in self.parts)))
        task = "binary" if len(labels) == 2 else "multiclass"
        header = Header(task, width, classes=tuple(labels), **common)
        verify_header(header, self.path)
        return header

    def _labels(self, part):
        y, name, labels = self.parts[part][1], self.names[part][1], set()
        for lo in range(0, len(y), 1 << 20):
            with self._damage(name, y, lo, min(len(y), lo + (1 << 20))):
                labels.update(np.unique(y[lo : lo + (1 << 20)]).tolist())
            if len(labels) > MOST_CLASSES:
                raise DataError(
                    f"{self.path}: {name} holds more than {MOST_CLASSES} distinct "
                    "whole numbers; store it as float for regression"
                )
        return labels

    def read_dense(self, part, a, b, out):
        """Read rows a … b-1 of X into `out` (b-a, ≥ d); columns behind become ones."""
        X, name = self.parts[part][0], self.names[part][0]
        direct = self.direct(part)
        if direct and direct.layout.dtype == out.dtype:
            direct.read(a, b, out)
            return
        with self._damage(name, X, a, b):
            X.read_direct(out, np.s_[a:b], np.s_[: b - a, : X.shape[1]])
        out[:, X.shape[1] :] = 1

    def read_csr(self, part, a, b, dtype):
        """Return rows a … b-1 of a sparse X as Csr, its structure verified."""
        group, name = self.parts[part][0], self.names[part][0]
        stored, width = group["data"].shape[0], int(group.attrs["shape"][1])
        where = f"{self.path}: {name}, rows {a} … {b - 1}"
        indptr = self._read(group, "indptr", name, (a, b + 1)).astype(np.int64)
        validate.verify_indptr(indptr, stored, where)
        span = int(indptr[0]), int(indptr[-1])
        data = self._read(group, "data", name, span).astype(dtype, copy=False)
        indices = self._read(group, "indices", name, span)
        validate.verify_indices(indices, width, where)
        return Csr(data, indices.astype(np.int32), indptr - span[0], width)

    def _read(self, group, part, name, span):
        with self._damage(f"{name}/{part}", group[part], *span):
            return group[part][slice(*span)]

    def read_y(self, part, a, b, classes=None):
        """Return rows a … b-1 of y; labels, where given, become class numbers."""
        y, name = self.parts[part][1], self.names[part][1]
        with self._damage(name, y, a, b):
            y = y[a:b]
        return y if classes is None else np.searchsorted(classes, y)

    @contextlib.contextmanager
    def _damage(self, name, dataset, lo, hi):
        """Turn a failed read into a DataError that names the rows of the bad chunk."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            lo, hi = _bad_chunk(dataset, lo, hi)
            raise validate.corruption_error(self.path, name, lo, hi) from error


def _bad_chunk(dataset, lo, hi):
    """Return the rows of the first chunk between lo and hi that cannot be read."""
    step = dataset.chunks[0] if dataset.chunks else hi - lo
    for start in range(lo - lo % step, hi, step):
        a, b = max(lo, start), min(hi, start + step)
        try:
            dataset[a:b]
        except (OSError, RuntimeError):
            return a, b
    return lo, hi


def _matrix_kind(X):
    """Return (columns, dtype to read as, sparse) of X, a dataset or a sparse group."""
    values = X["data"] if isinstance(X, h5py.Group) else X
    width = int(X.attrs["shape"][1]) if isinstance(X, h5py.Group) else X.shape[1]
    dtype = np.result_type(values.dtype, np.float32).newbyteorder("=")
    return width, dtype.name, isinstance(X, h5py.Group)
