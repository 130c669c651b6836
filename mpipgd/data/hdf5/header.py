"""What a data file says about itself: the attributes on the root of the HDF5 file."""

import math
from dataclasses import dataclass, fields

import h5py
import numpy as np

from ...errors import DataError

FORMAT, VERSION = "mpipgd", 1
TASKS = ("regression", "binary", "multiclass")
PARTS = ("train", "test")
TEXT = h5py.string_dtype("utf-8")


@dataclass(frozen=True)
class Header:
    """What all shards of one data set agree on.

    `classes` holds the labels in the order of the class numbers 0 … C-1 in y; it is
    None for regression. `dtype` is that of X; y is float64 or, for classes, int64.
    """

    task: str
    n_features: int
    dtype: str = "float64"
    sparse: bool = False
    classes: tuple | None = None
    feature_names: tuple | None = None
    target: str | None = None
    source: str = ""

    @property
    def n_classes(self):
        """Return the number of classes, 0 for regression."""
        return len(self.classes or ())

    @property
    def y_dtype(self):
        """Return the dtype of y: class numbers or real values."""
        return np.dtype(np.float64 if self.classes is None else np.int64)

    def write(self, root):
        """Write the root attributes of a data file."""
        given = {"format": FORMAT, "version": VERSION, "task": self.task}
        given |= {"n_features": self.n_features, "source": self.source}
        given |= {"target": self.target, "feature_names": self.feature_names}
        given["classes"] = self.classes
        for name, value in given.items():
            if value is not None:
                _store(root.attrs, name, value)


def read_header(root, path, *, dtype, sparse):
    """Return the `Header` of an open file whose X has this dtype and form.

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
        source=attribute(root, "source", path, default=""),
    )
    verify_header(header, path)
    return header


def attribute(root, name, path, **default):
    """Return a root attribute as plain Python; strings and numbers only."""
    if name not in root.attrs:
        if "default" in default:
            return default["default"]
        raise DataError(f"{path}: the root attribute {name!r} is missing")
    try:
        count = math.prod(root.attrs.get_id(name).shape)
        if count * 8 > root.file.id.get_filesize():
            raise OSError("it is larger than the file")
        return _plain(root.attrs[name])
    except (OSError, RuntimeError, TypeError, UnicodeError) as error:
        raise DataError(
            f"{path}: the root attribute {name!r} cannot be read ({error})"
        ) from error


def verify_header(header, path):
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
    }
    for message, found in faults.items():
        if found:
            raise DataError(f"{path}: {message}")


def verify_agreement(first, other, paths):
    """Raise DataError where the headers of two shards differ, but for `source`."""
    for field in fields(Header):
        mine, theirs = getattr(first, field.name), getattr(other, field.name)
        if mine != theirs and field.name != "source":
            raise DataError(
                f"shards disagree in {field.name}: {_short(mine)} in {paths[0]}, "
                f"{_short(theirs)} in {paths[1]}"
            )


def _store(attributes, name, value):
    """Write numbers as they are, and texts at one length, in UTF-8.

    HDF5 keeps texts of any length in a heap without checksums, and a flipped bit there
    can send its reader round in circles.
    """
    items = value if isinstance(value, tuple) else (value,)
    if not any(isinstance(item, str) for item in items):
        attributes[name] = value
        return
    texts = [str(item).encode() for item in items]
    dtype = h5py.string_dtype("utf-8", max(1, *map(len, texts)))
    shaped = texts if isinstance(value, tuple) else texts[0]
    attributes.create(name, np.array(shaped, dtype), dtype=dtype)


def _plain(value):
    if isinstance(value, np.ndarray):
        return tuple(_plain(each) for each in value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
