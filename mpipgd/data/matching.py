"""Bring the features and classes of data into the order of a model, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError, nearest
from .encoding import CATEGORY
from .matrix import Csr

if TYPE_CHECKING:
    from ..array_types import Array, IntArray
    from .hdf5.header import Header
    from .matrix import Matrix

ABSENT = -1  # a column of zeros


def match_features(model: Header, data: Header, path: str) -> IntArray | None:
    """Return (n_features,) the column of the data for each feature of the model.

    ABSENT stands for a category that the data's table has not. None where columns are
    the same, in the same order, or have no names and are as many. Raises DataError
    that names what is missing or unknown.
    """
    if model.feature_names is None or data.feature_names is None:
        if model.n_features != data.n_features:
            raise DataError(
                f"{path} has {data.n_features} features, the model takes "
                f"{model.n_features}"
            )
        return None
    if model.feature_names == data.feature_names:
        return None
    positions = {name: k for k, name in enumerate(data.feature_names)}
    optional = _categories(model, data)
    missing = [
        name
        for name in model.feature_names
        if name not in positions and name not in optional
    ]
    of_model = set(model.feature_names)
    unknown = [name for name in data.feature_names if name not in of_model]
    if missing:
        raise DataError(
            f"{path} has no feature {missing[0]!r}{nearest(missing[0], unknown)}, "
            f"which the model takes ({len(missing)} such)"
        )
    if unknown:
        raise DataError(
            f"{path} has a feature {unknown[0]!r} that the model does not know "
            f"({len(unknown)} such)"
        )
    return np.array([positions.get(name, ABSENT) for name in model.feature_names])


def _categories(model: Header, data: Header) -> set[str]:
    """Return the model's features of categories, of columns that the data has, too."""
    if model.encoding is None or data.encoding is None:
        return set()
    columns = {c.name for c in data.encoding.columns if c.kind == CATEGORY}
    return {
        f"{column.name}={category}"
        for column in model.encoding.columns
        if column.kind == CATEGORY and column.name in columns
        for category in column.categories
    }


def select_columns(X: Matrix, columns: IntArray, *, intercept: bool) -> Matrix:
    """Return X with other columns, see `match_features`; X may end with ones."""
    width = len(columns) + intercept
    if isinstance(X, Csr):
        targets = np.full(X.width, ABSENT)
        present = np.flatnonzero(columns != ABSENT)
        targets[columns[present]] = present
        if intercept:
            targets[-1] = width - 1
        indices = targets[X.indices].astype(X.indices.dtype)
        return Csr(X.data, indices, X.indptr, width)
    out = np.zeros((len(X), width), X.dtype)
    present = np.flatnonzero(columns != ABSENT)
    out[:, present] = X[:, columns[present]]
    if intercept:
        out[:, -1] = X[:, -1]
    return out


def match_classes(model: Header, data: Header, path: str) -> IntArray | None:
    """Return (C,) the model's class number of each class of the data, by its label.

    None where they are the same. Raises DataError for other tasks and unknown labels.
    """
    if (model.classes is None) != (data.classes is None):
        raise DataError(
            f"{path} is for {data.task}, the model for {model.task}: see --task"
        )
    if model.classes == data.classes or model.classes is None or data.classes is None:
        return None
    numbers = {str(label): k for k, label in enumerate(model.classes)}
    unknown = [str(label) for label in data.classes if str(label) not in numbers]
    if unknown:
        raise DataError(
            f"{path} has the class {unknown[0]!r}, the model knows "
            f"{', '.join(map(str, model.classes[:8]))}"
        )
    return np.array([numbers[str(label)] for label in data.classes])


def mapped_classes(y: Array, numbers: IntArray | None) -> Array:
    """Return class numbers of the data as those of the model; None: they are."""
    return y if numbers is None else numbers[y]
