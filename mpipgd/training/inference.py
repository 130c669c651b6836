"""A trained model: its file, and predictions on raw features in parallel."""

import contextlib
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from ..atomic_file import atomic_hdf5, atomic_replace
from ..comm import mpi
from ..comm.even_partition import even_partition
from ..config import toml
from ..config.options import TrainConfig
from ..data.hdf5 import source as store
from ..data.hdf5.header import SPLITS, TEXT, Header, read_header
from ..data.load import read_rows
from ..data.standardize import standardize
from ..errors import CheckpointError, DataError, UsageError
from ..objectives import build_objective
from ..objectives.weights import views

ROWS = 65536  # predicted at once, by all ranks together


@dataclass(frozen=True)
class Model:
    """Weights (size,) of an objective, and the scaling of its features."""

    header: Header
    objective: Any
    weights: np.ndarray
    scaling: tuple | None

    def write(self, path, text):
        """Write model.h5: named weights, scaling, the data's header, the options."""
        with (
            atomic_replace(path, CheckpointError) as temporary,
            atomic_hdf5(temporary) as (file, _),
        ):
            self.header.write(file)
            file.attrs.update(format="mpipgd-model", config=text)
            file.attrs.update(dtype=self.header.dtype, sparse=self.header.sparse)
            for name, view in views(self.weights, self.objective.shapes).items():
                file.create_dataset(f"weights/{name}", data=view)
            if self.scaling:
                file["scaling/mean"], file["scaling/deviation"] = self.scaling

    def rows(self, source, part, lo, hi):
        """Return X and y of raw rows lo … hi-1, as the objective wants X."""
        X, y = read_rows(source, part, lo, hi, self.objective)
        if self.scaling:
            standardize(X, *self.scaling)
        return X, y


def read(folder):
    """Return the model of a run folder. Raises CheckpointError."""
    path = f"{folder}/model.h5"
    try:
        with h5py.File(path, "r") as file:
            known = file.attrs.get("format")
            if known != "mpipgd-model":
                raise CheckpointError(f"{path}: format {known}, expected mpipgd-model")
            header = read_header(
                file, path, dtype=file.attrs["dtype"], sparse=bool(file.attrs["sparse"])
            )
            options = TrainConfig(**toml.from_text(file.attrs["config"], path))
            objective = build_objective(options, header)
            weights = np.empty(objective.size, objective.dtype)
            for name, view in views(weights, objective.shapes).items():
                view[...] = file[f"weights/{name}"][...]
            scaling = None
            if "scaling" in file:
                scaling = tuple(
                    file[f"scaling/{k}"][...] for k in ("mean", "deviation")
                )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: no finished run's model: {error}") from error
    return Model(header, objective, weights, scaling)


def open_both(folder, data, *, comm, x=None, y=None):
    """Return model and data that fit together; collective."""
    with mpi.raise_collectively(comm):
        model = read(folder)
    source = store.open_data(comm, data, x=x, y=y)
    found, wanted = source.header.n_features, model.header.n_features
    if found != wanted:
        raise UsageError(
            f"{data} has {found} features, the model of {folder} takes {wanted}",
            agreed=True,
        )
    if source.header.sparse and not model.header.sparse:
        raise UsageError(
            f"{data} is sparse, the model of {folder} takes dense features", agreed=True
        )
    return model, source


def blocks(comm, source, part):
    """Yield (first, lo, hi): blocks of rows in order, each cut over the ranks."""
    n = source.rows[part]
    for first in range(0, n, ROWS):
        m = min(ROWS, n - first)
        lo, hi = even_partition(m, comm.size, comm.rank)
        yield first, first + lo, first + hi


def evaluate(folder, data, *, comm, x=None, y=None):
    """Return {part: {rows, loss, score}} of a run's model on raw data; collective.

    The loss is the mean over the rows, without penalty; the score R² or accuracy.
    """
    model, source = open_both(folder, data, comm=comm, x=x, y=y)
    _same_classes(model, source, data)
    parts = [part for part in SPLITS if source.rows[part]]
    return {part: _evaluate(model, source, part, comm) for part in parts}


def _same_classes(model, source, data):
    mine, theirs = model.header.classes, source.header.classes
    if mine != theirs:
        raise UsageError(
            f"{data} has the classes {theirs}, the model has {mine}", agreed=True
        )


def _evaluate(model, source, part, comm):
    sums = np.zeros(5)  # rows, loss, hits, Σ y, Σ y²
    shift = source.read(part, 0, 1)[1][0]  # against cancellation in Σ y²
    for _, lo, hi in blocks(comm, source, part):
        with mpi.raise_collectively(comm):
            X, y = model.rows(source, part, lo, hi)
            known = model.objective.targets(y)
        loss, hits = model.objective.evaluate(model.weights, X, known)
        centred = y - shift
        sums += hi - lo, loss, hits, centred.sum(), np.square(centred).sum()
    n, loss, hits, total, squares = np.sum(comm.allgather(sums), axis=0)
    score = hits / n
    if model.header.task == "regression":
        score = 1 - hits / (squares - total**2 / n)
    return {"rows": int(n), "loss": loss / n, "score": score}


def predict(folder, data, out, *, comm, x=None, y=None):
    """Write a run's predictions on raw data to OUT; return {part: rows}; collective.

    /PART/prediction (n,): values, or class labels; /PART/output (n,) or (n, C): raw
    outputs or probabilities.
    """
    model, source = open_both(folder, data, comm=comm, x=x, y=y)
    parts = {part: source.rows[part] for part in SPLITS if source.rows[part]}
    make = mpi.root_else(comm, PredictionWriter, NullPredictionWriter)
    with make(out, model.header.classes, parts) as file:
        for part in parts:
            for first, lo, hi in blocks(comm, source, part):
                with mpi.raise_collectively(comm):
                    X, _ = model.rows(source, part, lo, hi)
                    w, objective = model.weights, model.objective
                    found = objective.predict(w, X), objective.output(w, X)
                found = comm.gather(found)
                with mpi.raise_collectively(comm):
                    file.write(part, first, found)
    return parts


class PredictionWriter(contextlib.ExitStack):
    """The file of predictions, on rank 0; there when complete."""

    def __init__(self, path, classes, parts):
        super().__init__()
        self.path, self.parts = path, parts
        self.labels = None if classes is None else np.array(classes)
        if self.labels is not None and self.labels.dtype.kind == "U":
            self.labels = self.labels.astype(object)

    def __enter__(self):
        temporary = self.enter_context(atomic_replace(self.path, DataError))
        self.file, _ = self.enter_context(atomic_hdf5(temporary))
        return self

    def write(self, part, first, blocks):
        """Write the predictions of a block, from all ranks in order."""
        numbers, outputs = (np.concatenate(each) for each in zip(*blocks))
        labels = numbers if self.labels is None else self.labels[numbers]
        for name, rows in (("prediction", labels), ("output", outputs)):
            dtype = TEXT if rows.dtype == object else rows.dtype
            shape = self.parts[part], *rows.shape[1:]
            found = self.file.require_dataset(f"{part}/{name}", shape, dtype)
            found[first : first + len(rows)] = rows


class NullPredictionWriter(contextlib.nullcontext):
    """The same on the other ranks."""

    def __init__(self, *args):
        super().__init__(self)

    def write(self, *args):
        """Write nothing."""
