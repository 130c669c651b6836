"""Refusals at the door: what an untrusted HDF5 file may hold, and what rows may."""

import contextlib
import math

import h5py
import numpy as np

from ...errors import DataError

FILTERS = {
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_LZF: "lzf",
}
ALLOWED = ", ".join(FILTERS.values())
COMPRESSING = {"gzip", "lzf"}
RATIO = 1100  # deflate cannot shrink by more than 1032


def open_file(path):
    """Open an HDF5 file to read; DataError says why it cannot be."""
    try:
        size = path.stat().st_size
        if path.is_file() and size == 0:
            raise DataError(f"{path} is empty (0 bytes), expected an HDF5 file")
        if not h5py.is_hdf5(path):
            path.open("rb").close()  # permission, a folder: the system's own reason
            raise DataError(f"{path} is not an HDF5 file")
        return h5py.File(path, "r", rdcc_nbytes=8 << 20, locking="best-effort")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        truncated = "truncated" in str(error)
        reason = "it is truncated" if truncated else (error.strerror or error)
        raise DataError(f"{path} cannot be opened: {reason}") from error


@contextlib.contextmanager
def checked_structure(path):
    """Refuse a file whose inner structure h5py fails to follow."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: its structure is damaged ({_first_line(error)})"
        ) from error


def _first_line(error):
    return str(error).partition("\n")[0]


def open_hard_link(file, name, path):
    """Return the object at `name`, reached by hard links only, or None."""
    node = file
    for part in name.strip("/").split("/"):
        if not isinstance(node, h5py.Group) or node.get(part, getlink=True) is None:
            return None
        if not isinstance(node.get(part, getlink=True), h5py.HardLink):
            raise DataError(f"{path}: {name} is reached by a soft or external link")
        node = node[part]
    return node


def verify_dataset(dataset, name, path, *, ndim, kinds="f"):
    """Refuse a dataset that reads other files, unpacks without bound, or misfits."""
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


def filters(dataset):
    """Return the names of a dataset's filters; "unknown 305" for others."""
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    return [FILTERS.get(code, f"unknown {code}") for code in codes]


def _verify_size(dataset, where):
    used = filters(dataset)
    unknown = [name for name in used if name.startswith("unknown")]
    if unknown or sum(name in COMPRESSING for name in used) > 1:
        raise DataError(f"{where} has the filters {used}, expected some of {ALLOWED}")
    cell = dataset.dtype.itemsize
    declared = math.prod(dataset.shape) * cell
    chunk = math.prod(dataset.chunks or (0,)) * cell if declared else 0
    stored = dataset.id.get_storage_size()
    limit = stored * (RATIO if COMPRESSING & set(used) else 1)
    if stored > dataset.file.id.get_filesize() or max(declared, chunk) > limit:
        raise DataError(
            f"{where} declares {declared} bytes of {dataset.shape} "
            f"but the file holds {stored}"
        )


def corruption_error(path, name, lo, hi):
    """Return the error that names rows lo … hi-1 as damaged."""
    return DataError(
        f"{path}: {name} cannot be read at rows {lo} … {hi - 1}: "
        "the checksum does not match or the file is damaged"
    )


def verify_pair(X, y, names, path):
    """Raise DataError where X and y differ in length; X may be a sparse group."""
    rows = X.shape[0] if isinstance(X, h5py.Dataset) else int(X.attrs["shape"][0])
    if rows != y.shape[0]:
        raise DataError(
            f"{path}: {names[0]} has {rows} rows but {names[1]} has {y.shape[0]}"
        )
    return rows


def verify_sparse(group, name, path):
    """Return the shape (n, d) of a CSR group after verifying its three datasets."""
    for part, kinds in (("data", "f"), ("indices", "iu"), ("indptr", "iu")):
        inner = open_hard_link(group, part, path)
        if inner is None:
            raise DataError(f"{path}: the sparse group {name} lacks {part!r}")
        verify_dataset(inner, f"{name}/{part}", path, ndim=1, kinds=kinds)
    shape = np.asarray(group.attrs.get("shape", ()))
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 1).any():
        raise DataError(f"{path}: the attribute shape of {name} is not (rows, columns)")
    n, d = (int(each) for each in shape)
    lengths = [group[part].shape[0] for part in ("data", "indices", "indptr")]
    if lengths[0] != lengths[1] or lengths[2] != n + 1:
        raise DataError(
            f"{path}: {name} has data, indices and indptr of {lengths} values, "
            f"expected equal, equal and {n + 1}"
        )
    return n, d


def verify_indptr(indptr, stored, where):
    """Raise DataError unless the row starts rise within 0 … stored."""
    if indptr[0] < 0 or indptr[-1] > stored or (np.diff(indptr) < 0).any():
        raise DataError(f"{where}: indptr does not rise within 0 … {stored}")


def verify_indices(indices, width, where):
    """Raise DataError unless all column numbers lie in 0 … width-1."""
    if indices.size and not (0 <= indices.min() and indices.max() < width):
        raise DataError(f"{where}: a column number is outside 0 … {width - 1}")


def verify_finite(values, first_row, where):
    """Raise DataError that names the first NaN or infinity; values is 1-D or 2-D."""
    step = max(1, (1 << 18) // max(1, values[:1].size))
    for lo in range(0, len(values), step):
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values[lo : lo + step].sum()):  # twice as fast
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


def verify_classes(y, n_classes, first_row, where):
    """Raise DataError unless class numbers lie in 0 … n_classes-1."""
    outside = (y < 0) | (y >= n_classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"{where} holds class number {y[row]} at row {first_row + row}, "
            f"expected 0 … {n_classes - 1}"
        )
