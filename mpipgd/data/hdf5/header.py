"""The header of a data file: the attributes on the root of the HDF5 file."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...errors import DataError
from ..encoding import Encoding

FORMAT, VERSION = "mpipgd", 1
TASKS = ("regression", "binary", "multiclass")
SPLITS = ("train", "test")
TEXT = h5py.string_dtype("utf-8")
MAX_ATTRIBUTE_BYTES = 32 << 10  # all attributes together: HDF5 allows 64 KiB for one
MAX_CLASSES = 1000  # more distinct labels look like names or measurements
_REQUIRED = object()


@dataclass(frozen=True)
class Header:
    """What all shards of one data set have in common.

    `classes` holds the labels in the order of the class numbers 0 … C-1 in y; it is
    None for regression. `dtype` is that of X; y is float64 or, for classes, int64.
    `target` is the name of the target column, or `targets` those of several, which y
    (n, m) holds; `weight` that of the row weights, None
    without weights; `source` says where the rows are from. `encoding` says how the
    columns of a table became the features, where they are from a table.
    """

    task: str
    n_features: int
    dtype: str = "float64"
    sparse: bool = False
    classes: tuple[Any, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    target: str | None = None
    targets: tuple[str, ...] | None = None
    weight: str | None = None
    source: str = ""
    encoding: Encoding | None = None

    @property
    def n_classes(self) -> int:
        """Return the number of classes, 0 for regression."""
        return len(self.classes or ())

    @property
    def y_dtype(self) -> np.dtype[Any]:
        """Return the dtype of y: class numbers or real values."""
        return np.dtype(np.float64 if self.classes is None else np.int64)

    def y_shape(self, n: int) -> tuple[int, ...]:
        """Return the shape of y of n rows."""
        return (n,) if self.targets is None else (n, len(self.targets))

    def write(self, root: h5py.Group) -> None:
        """Write the root attributes of a data file."""
        attributes: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "task": self.task,
        }
        attributes |= {"n_features": self.n_features, "source": self.source}
        attributes |= {"target": self.target, "weight": self.weight}
        attributes |= {"targets": self.targets}
        attributes |= {"feature_names": self.feature_names}
        attributes["classes"] = self.classes
        if self.encoding is not None:
            attributes["encoding"] = self.encoding.to_json()
        for name, value in attributes.items():
            if value is not None:
                _write_attribute(root, name, value)


def read_header(
    root: h5py.Group, path: Path | str, *, dtype: str, sparse: bool
) -> Header:
    """Return the `Header` of an open file whose X is of this dtype, dense or sparse.

    Raises DataError where an attribute is missing, unknown or contradicts another.
    """
    version = attribute(root, "version", path)
    if version != VERSION:
        raise DataError(
            f"{path}: data format version {version} is unknown; this is {VERSION}"
        )
    classes = attribute(root, "classes", path, default=None)
    names = attribute(root, "feature_names", path, default=None)
    header = Header(
        task=attribute(root, "task", path),
        n_features=attribute(root, "n_features", path),
        dtype=dtype,
        sparse=sparse,
        classes=classes,
        feature_names=names,
        target=attribute(root, "target", path, default=None),
        targets=attribute(root, "targets", path, default=None),
        weight=attribute(root, "weight", path, default=None),
        source=attribute(root, "source", path, default=""),
        encoding=_read_encoding(root, path),
    )
    verify_header(header, path)
    return header


def _read_encoding(root: h5py.Group, path: Path | str) -> Encoding | None:
    text = attribute(root, "encoding", path, default=None)
    if text is None:
        return None
    if isinstance(text, tuple) and len(text) == 1:
        text = text[0]
    if not isinstance(text, str):
        raise DataError(f"{path}: its encoding cannot be read ({type(text).__name__})")
    return Encoding.from_json(text, str(path))


def attribute(
    root: h5py.Group, name: str, path: Path | str, *, default: Any = _REQUIRED
) -> Any:
    """Return a root attribute as Python strings and numbers, arrays as tuples.

    Raises DataError where it is damaged, or missing and has no `default`.
    """
    if name not in root.attrs:
        if isinstance(root.get(name, getlink=True), h5py.HardLink):
            return _long_attribute(root, name, path)
        if default is not _REQUIRED:
            return default
        raise DataError(f"{path}: the root attribute {name!r} is missing")
    try:
        count = math.prod(root.attrs.get_id(name).shape)
        if count * 8 > root.file.id.get_filesize():
            raise OSError("it is larger than the file")
        return _to_python(root.attrs[name])
    except (OSError, RuntimeError, TypeError, UnicodeError) as error:
        raise DataError(
            f"{path}: the root attribute {name!r} cannot be read ({error})"
        ) from error


def _long_attribute(root: h5py.Group, name: str, path: Path | str) -> Any:
    """Return what `_write_attribute` wrote as a dataset; DataError for damage."""
    from . import validate

    dataset = root[name]
    try:
        text_kind = getattr(dataset, "dtype", np.dtype("f8")).kind
        if not isinstance(dataset, h5py.Dataset) or text_kind not in "Sif":
            raise TypeError("it is neither texts nor numbers")
        if dataset.is_virtual or dataset.external:
            raise OSError("it keeps its values in another file")
        if dataset.size * dataset.dtype.itemsize > root.file.id.get_filesize():
            raise OSError("it is larger than the file")
        if any(used.startswith("unknown") for used in validate.filters(dataset)):
            raise OSError("it has an unknown filter")
        return _to_python(dataset[()])
    except (OSError, RuntimeError, TypeError, UnicodeError) as error:
        raise DataError(f"{path}: {name!r} cannot be read ({error})") from error


def verify_header(header: Header, path: Path | str) -> None:
    """Raise DataError where task, classes, names and width do not fit together."""
    n_names = len(header.feature_names or ())
    n_classes = header.n_classes
    faults = {
        f"task is {header.task!r}, expected one of {', '.join(TASKS)}": (
            header.task not in TASKS
        ),
        f"n_features is {header.n_features!r}, expected a whole number from 1": (
            type(header.n_features) is not int or header.n_features < 1
        ),
        f"feature_names holds {n_names} names for {header.n_features} features": (
            header.feature_names is not None and n_names != header.n_features
        ),
        "the encoding makes other features than the file has": (
            header.encoding is not None
            and header.encoding.features != header.feature_names
        ),
        f"{header.task} with {n_classes} classes": (
            (header.task == "regression") != (n_classes == 0)
            or (header.task == "binary" and n_classes != 2)
        ),
        f"targets is {header.targets!r} and the task {header.task}": (
            header.targets is not None
            and (header.task != "regression" or not isinstance(header.targets, tuple))
        ),
    }
    for message, is_fault in faults.items():
        if is_fault:
            raise DataError(f"{path}: {message}")


def verify_agreement(first: Header, other: Header, *, paths: tuple[Path, Path]) -> None:
    """Raise DataError where the headers of two shards differ, but for `source`."""
    for field in fields(Header):
        a, b = getattr(first, field.name), getattr(other, field.name)
        if a != b and field.name != "source":
            raise DataError(
                f"shards disagree in {field.name}: {_short(a)} in {paths[0]}, "
                f"{_short(b)} in {paths[1]}"
            )


def _write_attribute(root: h5py.Group, name: str, value: Any) -> None:
    """Write numbers as they are, and texts in UTF-8, padded to a fixed length.

    HDF5 keeps texts of variable length in a heap without checksums; a flipped bit
    there can put its reader into an endless loop. What is too long for an attribute
    becomes a dataset of the root, with checksums.
    """
    items = value if isinstance(value, tuple) else (value,)
    if any(isinstance(item, str) for item in items):
        texts = [str(item).encode() for item in items]
        dtype = h5py.string_dtype("utf-8", max(1, *map(len, texts)))
        value = np.array(texts if isinstance(value, tuple) else texts[0], dtype)
    value = np.asarray(value)
    if value.nbytes <= MAX_ATTRIBUTE_BYTES:
        root.attrs.create(name, value, dtype=value.dtype)
    elif value.ndim:
        root.create_dataset(name, data=value, chunks=True, fletcher32=True)
    else:  # a scalar has no chunks, and so no checksum
        root.create_dataset(name, data=value[None], chunks=True, fletcher32=True)


def _to_python(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(_to_python(item) for item in value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
