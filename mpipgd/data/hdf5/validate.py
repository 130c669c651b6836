"""Validate untrusted HDF5 files, their datasets and the rows in them.

Everything here raises DataError with a message that names the file and the dataset.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import h5py
import numpy as np

from ...array_types import Array, FloatArray, IntArray
from ...errors import DataError

Features: TypeAlias = h5py.Dataset | h5py.Group
"""X in a file: a dataset (n, d), or the group of a sparse one."""


class DatasetNames(NamedTuple):
    """The paths of X, y and, where rows can have them, weights of a split in a file."""

    X: str
    y: str
    weight: str | None = None


FILTERS = {
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_LZF: "lzf",
}
ALLOWED = ", ".join(FILTERS.values())
COMPRESSING = {"gzip", "lzf"}
MAX_RATIO = 1100  # deflate cannot compress by more than 1032
BLOCK_VALUES = 1 << 18  # summed at once by `verify_finite`


def open_file(path: Path) -> h5py.File:
    """Open an HDF5 file for reading; DataError says why that fails."""
    try:
        size = path.stat().st_size
        if path.is_file() and size == 0:
            raise DataError(f"{path} is empty (0 bytes), expected an HDF5 file")
        if not h5py.is_hdf5(path):
            path.open("rb").close()  # permission, a folder: the system's own reason
            raise DataError(
                f"{path} is not an HDF5 file, and by its name none of those that are "
                "imported: CSV (.csv, .tsv), .parquet, .arrow, .feather, .npz, .svm"
            )
        return h5py.File(path, "r", rdcc_nbytes=8 << 20, locking="best-effort")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        truncated = "truncated" in str(error)
        reason = "it is truncated" if truncated else (error.strerror or error)
        raise DataError(f"{path} cannot be opened: {reason}") from error


@contextlib.contextmanager
def checked_structure(path: Path) -> Iterator[None]:
    """Raise DataError where h5py fails to follow the structure of a file."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: its structure is damaged ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def open_hard_link(
    file: h5py.Group, name: str, path: Path
) -> h5py.Group | h5py.Dataset | None:
    """Return the object at `name`, reached by hard links only; None if absent."""
    node = file
    for key in name.strip("/").split("/"):
        if not isinstance(node, h5py.Group) or node.get(key, getlink=True) is None:
            return None
        if not isinstance(node.get(key, getlink=True), h5py.HardLink):
            raise DataError(f"{path}: {name} is reached by a soft or external link")
        node = node[key]
    return node


def verify_dataset(
    dataset: h5py.Group | h5py.Dataset,
    name: str,
    path: Path,
    *,
    ndim: int,
    kinds: str = "f",
) -> None:
    """Verify that a dataset has this shape and dtype, and is safe to read.

    It must not refer to other files, and not decompress to more than can be stored.
    kinds: the allowed `dtype.kind`s.
    """
    where = f"{path}: {name}"
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{where} is not a dataset")
    if dataset.external or dataset.is_virtual:
        raise DataError(f"{where} keeps its values in another file")
    if dataset.dtype.kind not in kinds or dataset.dtype.itemsize > 8:
        raise DataError(f"{where} holds {dataset.dtype}, expected plain numbers")
    if dataset.ndim != ndim:
        raise DataError(f"{where} has shape {dataset.shape}, expected {ndim} axes")
    _verify_size(dataset, where)


def verify_ids(
    dataset: h5py.Group | h5py.Dataset, name: str, path: Path, rows: int
) -> None:
    """Verify that a dataset holds a text or a whole number for each of the rows."""
    is_dataset = isinstance(dataset, h5py.Dataset)
    if not is_dataset or not h5py.check_string_dtype(dataset.dtype):
        verify_dataset(dataset, name, path, ndim=1, kinds="iu")
    elif dataset.external or dataset.is_virtual:
        raise DataError(f"{path}: {name} keeps its values in another file")
    if dataset.shape != (rows,):
        raise DataError(f"{path}: {name} has shape {dataset.shape}, expected ({rows},)")


def filters(dataset: h5py.Dataset) -> list[str]:
    """Return the names of a dataset's filters; "unknown 305" for others."""
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    return [FILTERS.get(code, f"unknown {code}") for code in codes]


def _verify_size(dataset: h5py.Dataset, where: str) -> None:
    used = filters(dataset)
    unknown = [name for name in used if name.startswith("unknown")]
    if unknown or sum(name in COMPRESSING for name in used) > 1:
        raise DataError(f"{where} has the filters {used}, expected some of {ALLOWED}")
    cell = dataset.dtype.itemsize
    declared = math.prod(dataset.shape) * cell
    chunk = math.prod(dataset.chunks or (0,)) * cell if declared else 0
    stored = dataset.id.get_storage_size()
    limit = stored * (MAX_RATIO if COMPRESSING & set(used) else 1)
    if stored > dataset.file.id.get_filesize() or max(declared, chunk) > limit:
        raise DataError(
            f"{where} declares {declared} bytes of {dataset.shape} "
            f"but the file holds {stored}"
        )


def corruption_error(path: Path, name: str, lo: int, hi: int) -> DataError:
    """Return the error which says that rows lo … hi-1 are damaged."""
    return DataError(
        f"{path}: {name} cannot be read at rows {lo} … {hi - 1}: "
        "the checksum does not match or the file is damaged"
    )


def verify_lengths(
    X: Features, y: h5py.Dataset | None, names: DatasetNames, path: Path
) -> int:
    """Return the number of rows; DataError where X and y, if any, differ in it."""
    rows = X.shape[0] if isinstance(X, h5py.Dataset) else int(X.attrs["shape"][0])
    if y is not None and rows != y.shape[0]:
        raise DataError(
            f"{path}: {names.X} has {rows} rows but {names.y} has {y.shape[0]}"
        )
    return int(rows)


def verify_sparse(group: h5py.Group, name: str, path: Path) -> tuple[int, int]:
    """Return the shape (n, d) of a CSR group after verifying its three datasets."""
    for array, kinds in (("data", "f"), ("indices", "iu"), ("indptr", "iu")):
        dataset = open_hard_link(group, array, path)
        if dataset is None:
            raise DataError(f"{path}: the sparse group {name} lacks {array!r}")
        verify_dataset(dataset, f"{name}/{array}", path, ndim=1, kinds=kinds)
    shape = np.asarray(group.attrs.get("shape", ()))
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 1).any():
        raise DataError(f"{path}: the attribute shape of {name} is not (rows, columns)")
    n, d = shape.tolist()
    lengths = [group[array].shape[0] for array in ("data", "indices", "indptr")]
    if lengths[0] != lengths[1] or lengths[2] != n + 1:
        raise DataError(
            f"{path}: {name} has data, indices and indptr of {lengths} values, "
            f"expected equal, equal and {n + 1}"
        )
    return n, d


def verify_indptr(indptr: IntArray, nnz: int, where: str) -> None:
    """Raise DataError unless the row starts rise within 0 … nnz."""
    if indptr[0] < 0 or indptr[-1] > nnz or (np.diff(indptr) < 0).any():
        raise DataError(f"{where}: indptr does not rise within 0 … {nnz}")


def verify_indices(indices: IntArray, width: int, where: str) -> None:
    """Raise DataError unless all column numbers are in 0 … width-1."""
    if indices.size and not (0 <= indices.min() and indices.max() < width):
        raise DataError(f"{where}: a column number is outside 0 … {width - 1}")


def verify_finite(values: Array, first_row: int, where: str) -> None:
    """Raise DataError that names the first NaN or infinity of values (n,) or (n, d)."""
    step = max(1, BLOCK_VALUES // max(1, values[:1].size))
    for lo in range(0, len(values), step):
        with np.errstate(over="ignore", invalid="ignore"):
            # a finite sum has finite terms, and takes half the time to find out
            if np.isfinite(values[lo : lo + step].sum()):
                continue
        finite = np.isfinite(values[lo : lo + step])
        if not finite.all():
            bad = np.argwhere(~finite)[0]
            column = f", column {bad[1]}" if len(bad) > 1 else ""
            total = values.size - np.count_nonzero(np.isfinite(values))
            raise DataError(
                f"{where} holds {values[lo + bad[0], *bad[1:]]} at row "
                f"{first_row + lo + bad[0]}{column} "
                f"({total} such in {len(values)} rows); expected finite numbers"
            )


def verify_weights(weights: FloatArray, first_row: int, where: str) -> None:
    """Raise DataError unless all row weights are finite numbers from 0."""
    verify_finite(weights, first_row, where)
    if (weights < 0).any():
        row = int(np.argmax(weights < 0))
        raise DataError(
            f"{where} holds {weights[row]} at row {first_row + row}, expected weights "
            "from 0"
        )


def verify_classes(y: IntArray, n_classes: int, first_row: int, where: str) -> None:
    """Raise DataError unless class numbers are in 0 … n_classes-1."""
    outside = (y < 0) | (y >= n_classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"{where} holds class number {y[row]} at row {first_row + row}, "
            f"expected 0 … {n_classes - 1}"
        )
