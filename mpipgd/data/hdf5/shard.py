"""One open data file: verified when opened, and again in every block that is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import DTypeLike

from ...array_types import Array, FloatArray, IntArray
from ...errors import DataError
from ..matrix import Csr
from . import validate
from .chunk_layout import ChunkLayout, chunk_layout
from .header import (
    FORMAT,
    MAX_CLASSES,
    SPLITS,
    Header,
    attribute,
    read_header,
    verify_header,
)
from .validate import DatasetNames

if TYPE_CHECKING:
    from .mapped import MappedDataset

NAMES = {
    split: DatasetNames(f"{split}/X", f"{split}/y", f"{split}/weight")
    for split in SPLITS
}
MAX_LISTED = 8  # datasets that an error message lists
LABEL_ROWS = 1 << 20  # read at once to find the distinct labels


class SplitDatasets(NamedTuple):
    """X, a dataset (n, d) or the group of a sparse one, and y (n,) of a split.

    y is None where a file is read without labels.
    """

    X: validate.Features
    y: h5py.Dataset | None


class MatrixKind(NamedTuple):
    """Columns of X, the dtype to read it as, and whether it is sparse."""

    width: int
    dtype: str
    sparse: bool


def external_names(
    x: str, y: str = "", weight: str | None = None
) -> dict[str, DatasetNames]:
    """Return the names of both splits in a file that mpipgd did not make.

    y may be left out where a file is read without labels. Its test split, if any, is in
    the group /test under the same last names.
    """
    paths = x.strip("/"), y.strip("/"), weight and weight.strip("/")
    names = {"train": DatasetNames(*paths)}
    if not names["train"].X.startswith("test/"):
        last = [path and f"test/{path.rsplit('/', 1)[-1]}" for path in names["train"]]
        names["test"] = DatasetNames._make(last)
    return names


class Shard:
    """The datasets of one file; `names` says where X and y of each split are.

    `datasets` holds those of the splits that the file has, `weights` the row weights of
    splits that have them, `rows` the splits' numbers of rows, 0 for absent ones.
    Without `labels` y and weights are neither needed nor read. Raises
    DataError for a file that cannot be trusted.
    """

    def __init__(
        self, path: Path, names: Mapping[str, DatasetNames], *, labels: bool = True
    ) -> None:
        self.path, self.names, self._labelled = path, dict(names), labels
        self.file = validate.open_file(path)
        self.datasets: dict[str, SplitDatasets] = {}
        self.weights: dict[str, h5py.Dataset] = {}
        self.rows = dict.fromkeys(SPLITS, 0)
        try:
            with validate.checked_structure(path):
                for split in names:
                    if pair := self._open_pair(names[split]):
                        self.datasets[split] = pair
                for split, (X, y) in self.datasets.items():
                    n = validate.verify_lengths(X, y, names[split], path)
                    self.rows[split] = n
                    self._open_weights(split)
        except BaseException:
            self.file.close()
            raise
        self._mapped: dict[str, MappedDataset | None] = {}

    def mapped(self, split: str) -> MappedDataset | None:
        """Return the mapped X of a split, or None where HDF5 must read it."""
        if split not in self._mapped:
            layout = None
            if split in self.datasets:
                X = self.datasets[split].X
                layout = chunk_layout(X) if isinstance(X, h5py.Dataset) else None
            self._mapped[split] = self._map(split, layout) if layout else None
        return self._mapped[split]

    def _map(self, split: str, layout: ChunkLayout) -> MappedDataset:
        from .mapped import MappedDataset  # loads numba, which takes a while

        return MappedDataset(self.path, self.names[split].X, layout)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _open_pair(self, names: DatasetNames) -> SplitDatasets | None:
        """Return the verified X and y of a split, or None where it is absent."""
        used = names[:2] if self._labelled else names[:1]
        X, *rest = (
            validate.open_hard_link(self.file, name, self.path) for name in used
        )
        y = rest[0] if rest else None
        if X is None and y is None:
            return None
        if X is None or (y is None and self._labelled):
            absent = names.X if X is None else names.y
            raise DataError(f"{self.path} has no {absent}{self._list_datasets()}")
        if isinstance(X, h5py.Group):
            validate.verify_sparse(X, names.X, self.path)
        else:
            validate.verify_dataset(X, names.X, self.path, ndim=2, kinds="fiub")
        if y is not None:
            several = isinstance(y, h5py.Dataset) and y.ndim == 2
            validate.verify_dataset(
                y, names.y, self.path, ndim=2 if several else 1, kinds="fiub"
            )
        return SplitDatasets(X, y)

    def _open_weights(self, split: str) -> None:
        """Verify the row weights of a split, where it has them, and keep them."""
        name = self.names[split].weight
        if name is None or not self._labelled:
            return
        weights = validate.open_hard_link(self.file, name, self.path)
        if weights is None:
            return
        validate.verify_dataset(weights, name, self.path, ndim=1, kinds="fiub")
        if len(weights) != self.rows[split]:
            raise DataError(
                f"{self.path}: {self.names[split].X} has {self.rows[split]} rows but "
                f"{name} has {len(weights)}"
            )
        self.weights[split] = weights

    def _list_datasets(self) -> str:
        """Return the end of a message: what the file holds instead."""
        texts: list[str] = []

        def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset) and len(texts) < MAX_LISTED:
                texts.append(f"{name} {node.shape}")

        self.file.visititems(visit)
        return f"; it holds {', '.join(texts) or 'no datasets'}"

    def width(self, default: int) -> int:
        """Return the number of columns of X, or the default where there is no X."""
        return next((_matrix_kind(X).width for X, _ in self.datasets.values()), default)

    def header(self, *, foreign: bool) -> Header:
        """Return the header; that of a foreign file is derived from its datasets."""
        own = attribute(self.file, "format", self.path, default=None) == FORMAT
        if not (foreign or own):
            raise DataError(
                f'{self.path} lacks the root attribute format="mpipgd": name its '
                f"datasets with --x PATH and --y PATH{self._list_datasets()}"
            )
        if foreign and "train" not in self.datasets:
            name = self.names["train"].X
            raise DataError(f"{self.path} has no {name}{self._list_datasets()}")
        kinds = {split: _matrix_kind(X) for split, (X, _) in self.datasets.items()}
        width, dtype, sparse = next(iter(kinds.values()), (0, "float64", False))
        if len(set(kinds.values())) > 1:
            plain = {split: tuple(kind) for split, kind in kinds.items()}
            raise DataError(
                f"{self.path}: train and test disagree in (columns, dtype, sparse): "
                f"{plain}"
            )
        if foreign:
            return self._derived(width, dtype, sparse)
        header = read_header(self.file, self.path, dtype=dtype, sparse=sparse)
        self._verify_targets(header)
        if self.datasets and width != header.n_features:
            raise DataError(
                f"{self.path}: X has {width} columns, n_features is {header.n_features}"
            )
        return header

    def _derived(self, width: int, dtype: str, sparse: bool) -> Header:
        """Return the header of a foreign file: whole-number labels are classes."""
        common: dict[str, Any]
        common = {"dtype": dtype, "sparse": sparse, "source": self.path.name}
        common["weight"] = self.names["train"].weight
        if any(y is None or y.dtype.kind == "f" for _, y in self.datasets.values()):
            header = Header("regression", width, **common)
            y = next(iter(self.datasets.values())).y
            if y is not None and y.ndim == 2:
                names = tuple(f"y{k}" for k in range(y.shape[1]))
                header = replace(header, targets=names)
            self._verify_targets(header)
            return header
        self._verify_targets(Header("multiclass", width, classes=(0, 1)))
        labels = sorted(set[int]().union(*map(self._labels, self.datasets)))
        task = "binary" if len(labels) == 2 else "multiclass"
        header = Header(task, width, classes=tuple(labels), **common)
        verify_header(header, self.path)
        return header

    def _verify_targets(self, header: Header) -> None:
        """Raise DataError unless y has the columns that the header names."""
        for split, (_, y) in self.datasets.items():
            expected = header.y_shape(self.rows[split])
            if y is not None and y.shape != expected:
                raise DataError(
                    f"{self.path}: {self.names[split].y} has shape {y.shape}, expected "
                    f"{expected}"
                )

    def _labels(self, split: str) -> set[int]:
        """Return the distinct labels of a split."""
        y, name, labels = self.datasets[split].y, self.names[split].y, set[int]()
        assert y is not None
        for lo in range(0, len(y), LABEL_ROWS):
            hi = min(len(y), lo + LABEL_ROWS)
            with self._explain_failure(name, y, lo, hi):
                labels.update(np.unique(y[lo:hi]).tolist())
            if len(labels) > MAX_CLASSES:
                raise DataError(
                    f"{self.path}: {name} holds more than {MAX_CLASSES} distinct "
                    "whole numbers; store it as float for regression"
                )
        return labels

    def read_dense(self, split: str, a: int, b: int, out: FloatArray) -> None:
        """Read rows a … b-1 of X into `out` (b-a, ≥ d); further columns become ones.

        Raises DataError where the file is damaged.
        """
        X, name = self.datasets[split].X, self.names[split].X
        mapped = self.mapped(split)
        if mapped and mapped.layout.dtype == out.dtype:
            mapped.read(a, b, out)
            return
        with self._explain_failure(name, X, a, b):
            X.read_direct(out, np.s_[a:b], np.s_[: b - a, : X.shape[1]])
        out[:, X.shape[1] :] = 1

    def read_csr(self, split: str, a: int, b: int, dtype: DTypeLike) -> Csr:
        """Return rows a … b-1 of a sparse X, its structure verified."""
        group, name = self.datasets[split].X, self.names[split].X
        nnz, width = group["data"].shape[0], int(group.attrs["shape"][1])
        where = f"{self.path}: {name}, rows {a} … {b - 1}"
        indptr = self._read_array(group, "indptr", name, a, b + 1).astype(np.int64)
        validate.verify_indptr(indptr, nnz, where)
        lo, hi = int(indptr[0]), int(indptr[-1])
        data = self._read_array(group, "data", name, lo, hi).astype(dtype, copy=False)
        indices = self._read_array(group, "indices", name, lo, hi)
        validate.verify_indices(indices, width, where)
        return Csr(data, indices.astype(np.int32), indptr - lo, width)

    def _read_array(
        self, group: h5py.Group, array: str, name: str, lo: int, hi: int
    ) -> Array:
        with self._explain_failure(f"{name}/{array}", group[array], lo, hi):
            return group[array][lo:hi]

    def read_y(
        self, split: str, a: int, b: int, classes: tuple[Any, ...] | None = None
    ) -> Array:
        """Return rows a … b-1 of y; of `classes`, where given, the class numbers."""
        dataset, name = self.datasets[split].y, self.names[split].y
        assert dataset is not None  # it was opened with labels
        with self._explain_failure(name, dataset, a, b):
            y = dataset[a:b]
        return y if classes is None else np.searchsorted(classes, y)

    def read_weights(self, split: str, a: int, b: int) -> FloatArray | None:
        """Return row weights (b-a,) float64, verified; None where there are none."""
        if split not in self.weights:
            return None
        dataset, name = self.weights[split], str(self.names[split].weight)
        with self._explain_failure(name, dataset, a, b):
            weights: FloatArray = dataset[a:b].astype(np.float64)
        validate.verify_weights(weights, a, f"{self.path}: {name}")
        return weights

    def read_ids(self, split: str, a: int, b: int) -> Array:
        """Return rows a … b-1 of the split's `id`, texts or whole numbers.

        Raises DataError where there are none.
        """
        name = f"{split}/id"
        dataset = validate.open_hard_link(self.file, name, self.path)
        if dataset is None:
            raise DataError(
                f"{self.path} has no {name}: ids are stored by mpipgd data import --id"
            )
        validate.verify_ids(dataset, name, self.path, self.rows[split])
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        with self._explain_failure(name, dataset, a, b):
            return dataset.asstr()[a:b] if is_text else dataset[a:b]

    def read_groups(self, split: str, a: int, b: int) -> IntArray | None:
        """Return the numbers of the groups of rows a … b-1; None without groups."""
        name = f"{split}/group"
        dataset = validate.open_hard_link(self.file, name, self.path)
        if dataset is None:
            return None
        validate.verify_dataset(dataset, name, self.path, ndim=1, kinds="iu")
        if dataset.shape != (self.rows[split],):
            raise DataError(f"{self.path}: {name} has shape {dataset.shape}")
        with self._explain_failure(name, dataset, a, b):
            groups: IntArray = dataset[a:b]
        return groups

    @contextlib.contextmanager
    def _explain_failure(
        self, name: str, dataset: h5py.Dataset, lo: int, hi: int
    ) -> Iterator[None]:
        """Turn a failed read into a DataError that names the rows of the bad chunk."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            lo, hi = _bad_chunk(dataset, lo, hi)
            raise validate.corruption_error(self.path, name, lo, hi) from error


def _bad_chunk(dataset: h5py.Dataset, lo: int, hi: int) -> tuple[int, int]:
    """Return the rows of the first chunk between lo and hi that cannot be read."""
    step = dataset.chunks[0] if dataset.chunks else hi - lo
    for start in range(lo - lo % step, hi, step):
        a, b = max(lo, start), min(hi, start + step)
        try:
            dataset[a:b]
        except (OSError, RuntimeError):
            return a, b
    return lo, hi


def _matrix_kind(X: validate.Features) -> MatrixKind:
    sparse = isinstance(X, h5py.Group)
    values = X["data"] if sparse else X
    width = int(X.attrs["shape"][1]) if sparse else X.shape[1]
    dtype = np.result_type(values.dtype, np.float32).newbyteorder("=")
    return MatrixKind(width, dtype.name, sparse)
