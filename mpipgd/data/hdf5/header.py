"""The header of a data file: the attributes on the root of the HDF5 file."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...errors import DataError

FORMAT, VERSION = "mpipgd", 1
TASKS = ("regression", "binary", "multiclass")
SPLITS = ("train", "test")
TEXT = h5py.string_dtype("utf-8")
MAX_CLASSES = 1000  # more distinct labels look like names or measurements
_REQUIRED = object()


@dataclass(frozen=True)
class Header:
    """What all shards of one data set have in common.

    `classes` holds the labels in the order of the class numbers 0 … C-1 in y; it is
    None for regression. `dtype` is that of X; y is float64 or, for classes, int64.
    `target` is the name of the target column, or `targets` those of several, which y
    (n, m) holds; `weight` that of the row weights, None
    without weights; `source` says where the rows are from.
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
        for name, value in attributes.items():
            if value is not None:
                _write_attribute(root.attrs, name, value)


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
    )
    verify_header(header, path)
    return header


def attribute(
    root: h5py.Group, name: str, path: Path | str, *, default: Any = _REQUIRED
) -> Any:
    """Return a root attribute as Python strings and numbers, arrays as tuples.

    Raises DataError where it is damaged, or missing and has no `default`.
    """
    if name not in root.attrs:
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


def _write_attribute(attributes: h5py.AttributeManager, name: str, value: Any) -> None:
    """Write numbers as they are, and texts in UTF-8, padded to a fixed length.

    HDF5 keeps texts of variable length in a heap without checksums; a flipped bit
    there can put its reader into an endless loop.
    """
    items = value if isinstance(value, tuple) else (value,)
    if not any(isinstance(item, str) for item in items):
        attributes[name] = value
        return
    texts = [str(item).encode() for item in items]
    dtype = h5py.string_dtype("utf-8", max(1, *map(len, texts)))
    padded = np.array(texts if isinstance(value, tuple) else texts[0], dtype)
    attributes.create(name, padded, dtype=dtype)


def _to_python(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(_to_python(item) for item in value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
