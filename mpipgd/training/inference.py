"""A trained model: its file, and predictions on raw features in parallel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np

from ..atomic_file import atomic_hdf5, atomic_replace
from ..comm import mpi
from ..comm.even_partition import even_partition
from ..config import toml
from ..config.options import TrainConfig
from ..data.hdf5.header import SPLITS, TEXT, Header, read_header
from ..data.hdf5.source import Source, open_data
from ..data.load import read_rows
from ..data.standardize import Scaling, standardize
from ..data.weighted import join_weights
from ..errors import CheckpointError, DataError, UsageError
from ..objectives import build_objective
from ..objectives.weights import views

if TYPE_CHECKING:
    from pathlib import Path

    from ..array_types import Array, FloatArray
    from ..comm.mpi import Comm
    from ..data.matrix import Matrix
    from ..objectives.base import Objective

BLOCK_ROWS = 65536  # predicted at once, by all ranks together


@dataclass(frozen=True)
class Model:
    """Weights (size,) of an objective, and the scaling of its features.

    scaling: that of standardised features, or None.
    """

    header: Header
    objective: Objective
    weights: FloatArray
    scaling: Scaling | None

    def write(self, path: Path, text: str, data_signature: str = "") -> None:
        """Write model.h5: named weights, scaling, the data's header, the options.

        data_signature: of the data that it was trained on.
        """
        with (
            atomic_replace(path, CheckpointError) as temporary,
            atomic_hdf5(temporary) as (file, _),
        ):
            self.header.write(file)
            file.attrs.update(format="mpipgd-model", config=text)
            file.attrs["data_signature"] = data_signature
            file.attrs.update(dtype=self.header.dtype, sparse=self.header.sparse)
            for name, view in views(self.weights, self.objective.shapes).items():
                file.create_dataset(f"weights/{name}", data=view)
            if self.scaling:
                file["scaling/mean"], file["scaling/deviation"] = self.scaling

    def read_rows(
        self, source: Source, split: str, lo: int, hi: int
    ) -> tuple[Matrix, Array]:
        """Return X and y of raw rows lo … hi-1, X standardised as in training."""
        X, y = read_rows(source, split, lo, hi, self.objective)
        if self.scaling:
            standardize(cast("FloatArray", X), *self.scaling)  # sparse has none
        return X, y


def read(folder: str) -> Model:
    """Return the model of a run folder. Raises CheckpointError."""
    path = f"{folder}/model.h5"
    try:
        with h5py.File(path, "r") as file:
            stored_format = file.attrs.get("format")
            if stored_format != "mpipgd-model":
                raise CheckpointError(
                    f"{path}: format {stored_format}, expected mpipgd-model"
                )
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
                mean, deviation = file["scaling/mean"], file["scaling/deviation"]
                scaling = Scaling(mean[...], deviation[...])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: no finished run's model: {error}") from error
    return Model(header, objective, weights, scaling)


def open_model_and_data(
    folder: str, data: str, *, comm: Comm, x: str | None = None, y: str | None = None
) -> tuple[Model, Source]:
    """Return a run's model, and data that fits it; UsageError where it does not.

    Collective.
    """
    with mpi.raise_collectively(comm):
        model = read(folder)
    source = open_data(comm, data, x=x, y=y)
    n_features, expected = source.header.n_features, model.header.n_features
    if n_features != expected:
        raise UsageError(
            f"{data} has {n_features} features, the model of {folder} takes {expected}",
            agreed=True,
        )
    if source.header.sparse and not model.header.sparse:
        raise UsageError(
            f"{data} is sparse, the model of {folder} takes dense features", agreed=True
        )
    return model, source


def blocks(comm: Comm, source: Source, split: str) -> Iterator[tuple[int, int, int]]:
    """Yield (first, lo, hi): a block's first row, and this rank's part of the block."""
    n = source.rows[split]
    for first in range(0, n, BLOCK_ROWS):
        lo, hi = even_partition(min(BLOCK_ROWS, n - first), comm.size, comm.rank)
        yield first, first + lo, first + hi


def evaluate(
    folder: str, data: str, *, comm: Comm, x: str | None = None, y: str | None = None
) -> dict[str, dict[str, float]]:
    """Return {split: {rows, loss, score}} of a run's model on raw data; collective.

    The loss is the mean over the rows, without penalty; the score R² or accuracy. Rows
    count by their weights, but for `rows`.
    """
    model, source = open_model_and_data(folder, data, comm=comm, x=x, y=y)
    classes, expected = source.header.classes, model.header.classes
    if classes != expected:
        raise UsageError(
            f"{data} has the classes {classes}, the model has {expected}", agreed=True
        )
    targets, expected = source.header.y_shape(1)[1:], model.header.y_shape(1)[1:]
    if targets != expected:
        raise UsageError(
            f"{data} has {targets or 1} targets, the model has {expected or 1}",
            agreed=True,
        )
    splits = [split for split in SPLITS if source.rows[split]]
    return {split: _evaluate(model, source, split, comm) for split in splits}


def _evaluate(model: Model, source: Source, split: str, comm: Comm) -> dict[str, float]:
    m = source.header.y_shape(1)[-1] if model.header.task == "regression" else 1
    sums = np.zeros((5, m))  # weighted: rows, loss, hits, Σ y, Σ y²
    shift = source.read(split, 0, 1)[1][0]  # against cancellation in Σ y²
    for _, lo, hi in blocks(comm, source, split):
        with mpi.raise_collectively(comm):
            X, y = model.read_rows(source, split, lo, hi)
            u = source.read_weights(split, lo, hi)
            targets = join_weights(model.objective.targets(y), u)
        loss, *hits = model.objective.evaluate(model.weights, X, targets)
        if u is None:
            u = np.ones(hi - lo)
        centered = (y - shift).reshape(hi - lo, -1)
        sums[:2] += [[u.sum()], [loss]]
        sums[2:] += hits, u @ centered, u @ np.square(centered)
    n, loss, hits, total, squares = np.sum(comm.allgather(sums), axis=0)
    scores = hits / n
    if model.header.task == "regression":
        scores = 1 - hits / (squares - total**2 / n)
    score, loss, rows = scores.mean(), (loss / n)[0], source.rows[split]
    return {"rows": rows, "loss": loss, "score": score}


def predict(
    folder: str,
    data: str,
    out: str,
    *,
    comm: Comm,
    x: str | None = None,
    y: str | None = None,
) -> dict[str, int]:
    """Write a run's predictions on raw data to OUT; return {split: rows}; collective.

    /SPLIT/prediction (n,): values, or class labels; /SPLIT/output (n,) or (n, C): raw
    outputs or probabilities.
    """
    model, source = open_model_and_data(folder, data, comm=comm, x=x, y=y)
    splits = {split: source.rows[split] for split in SPLITS if source.rows[split]}
    open_writer = mpi.root_else(comm, PredictionWriter, NullPredictionWriter)
    with open_writer(out, model.header.classes, splits) as writer:
        for split in splits:
            for first, lo, hi in blocks(comm, source, split):
                with mpi.raise_collectively(comm):
                    X, _ = model.read_rows(source, split, lo, hi)
                    w, objective = model.weights, model.objective
                    local = objective.predict(w, X), objective.output(w, X)
                of_ranks = comm.gather(local)
                with mpi.raise_collectively(comm):
                    writer.write(split, first, of_ranks)
    return splits


class PredictionWriter(contextlib.ExitStack):
    """The file of predictions, on rank 0; it appears when it is complete.

    classes: labels of the class indices, or None; splits: {name: rows}.
    """

    def __init__(
        self, path: str, classes: Sequence[Any] | None, splits: dict[str, int]
    ) -> None:
        super().__init__()
        self.path, self.splits = path, splits
        self.labels = None if classes is None else np.array(classes)
        if self.labels is not None and self.labels.dtype.kind == "U":
            self.labels = self.labels.astype(object)

    def __enter__(self) -> PredictionWriter:
        temporary = self.enter_context(atomic_replace(self.path, DataError))
        self.file, _ = self.enter_context(atomic_hdf5(temporary))
        return self

    def write(
        self, split: str, first: int, blocks: Sequence[tuple[Array, Array]]
    ) -> None:
        """Write the predictions and outputs of a block of rows, from all ranks."""
        predictions, outputs = (np.concatenate(arrays) for arrays in zip(*blocks))
        if self.labels is not None:
            predictions = self.labels[predictions]
        for name, rows in (("prediction", predictions), ("output", outputs)):
            dtype = TEXT if rows.dtype == object else rows.dtype
            shape = self.splits[split], *rows.shape[1:]
            dataset = self.file.require_dataset(f"{split}/{name}", shape, dtype)
            dataset[first : first + len(rows)] = rows


class NullPredictionWriter(contextlib.nullcontext["NullPredictionWriter"]):
    """The null object of the other ranks: it writes nothing."""

    def __init__(
        self, path: str, classes: Sequence[Any] | None, splits: dict[str, int]
    ) -> None:
        super().__init__(self)

    def write(self, split: str, first: int, blocks: None) -> None:
        """Write nothing."""
