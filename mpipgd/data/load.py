"""Each rank reads the rows of its own workers, and all bring them into shape."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from .. import mpi
from .layout import PARTS, Header
from .rows import slice_rows, with_ones
from .standardize import standardize, statistics


@dataclass
class Part:
    """Rows of the hosted workers, one after the other.

    X (n, width) dense or CSR, y (n,), and bounds (hosted + 1,): the i-th worker of
    this rank has the rows bounds[i] … bounds[i + 1] - 1.
    """

    X: object
    y: np.ndarray
    bounds: list

    def of(self, i):
        """Return X and y of the i-th hosted worker."""
        lo, hi = self.bounds[i : i + 2]
        return slice_rows(self.X, lo, hi), self.y[lo:hi]


@dataclass
class Dataset:
    """This rank's rows of training and test part, or None, ready for the objective.

    scaling: the (mean, deviation) that the features were standardised by, or None.
    """

    header: Header
    train: Part
    test: Part | None
    scaling: tuple | None


def load(grid, source, plan, objective, *, standardized, clock):
    """Return this rank's `Dataset`. Collective; DataError where the rows are unfit.

    Test rows are cut evenly over the workers, so that scores too depend on those alone.
    """
    began = perf_counter()
    m, workers = source.rows["test"], plan.workers
    bounds = {"train": plan.bounds}
    bounds |= (
        {"test": lambda k: (k * m // workers, (k + 1) * m // workers)} if m else {}
    )
    with mpi.together(grid.comm):
        parts = {
            name: read(grid, source, name, b, objective) for name, b in bounds.items()
        }
    source.close()
    header, scaling = source.header, None
    if header.classes:
        source.verify_classes(grid.comm, *class_counts(parts, header.n_classes))
    if standardized and not header.sparse:
        scaling = statistics(grid, parts["train"], header.n_features)
        for part in parts.values():
            standardize(part.X, *scaling)
    for part in parts.values():
        part.y = objective.targets(part.y)
    clock.read = perf_counter() - began
    return Dataset(header, parts["train"], parts.get("test"), scaling)


def class_counts(parts, classes):
    """Return how many of this rank's rows are of each class, for train and for test."""
    none = np.zeros(classes, np.int64)
    return [
        np.bincount(parts[name].y, minlength=classes) if name in parts else none
        for name in PARTS
    ]


def read(grid, source, name, bounds, objective):
    """Read a part's rows that `bounds(worker)` -> (first, last) gives the workers."""
    ranges = [bounds(worker) for worker in range(grid.first, grid.last)]
    lo, hi = ranges[0][0], ranges[-1][1]
    X, y = read_rows(source, name, lo, hi, objective)
    return Part(X, y, [first - lo for first, _ in ranges] + [hi - lo])


def read_rows(source, name, lo, hi, objective):
    """Return rows lo … hi-1 in the objective's dtype and with its column of ones."""
    if source.header.sparse:
        X, y = source.read(name, lo, hi)
        X = X._replace(data=X.data.astype(objective.dtype, copy=False))
        return (with_ones(X) if objective.intercept else X), y
    shape = hi - lo, source.header.n_features + objective.intercept
    X = np.ones(shape, objective.dtype)  # the last column stays so
    return X, source.read(name, lo, hi, out=X)[1]
