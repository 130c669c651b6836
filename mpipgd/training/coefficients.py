"""The coefficients of a linear model by name, on the scale of the raw features."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..atomic_file import atomic_replace, verify_output
from ..comm import mpi
from ..errors import DataError, UsageError
from ..objectives.linear import Linear
from ..objectives.weights import views
from . import inference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..array_types import FloatArray
    from ..comm.mpi import Comm

INTERCEPT = "(intercept)"


class Coefficients(NamedTuple):
    """Coefficients of a linear model, as raw output = intercept + Σ value x.

    names: of the rows; columns: `coefficient`, or the labels of softmax's classes;
    values (rows, columns) float64; size (rows,): the largest absolute standardised
    coefficient of a row. The last row is the intercept, if any: raw features have one
    even where standardised ones do not.
    """

    names: Sequence[str]
    columns: Sequence[str]
    values: FloatArray
    size: FloatArray

    def take(self, rows: Sequence[int]) -> Coefficients:
        """Return some rows, in this order."""
        index = np.array(rows, dtype=np.intp)
        names = [self.names[row] for row in rows]
        return Coefficients(names, self.columns, self.values[index], self.size[index])


def coefficients(
    folder: str,
    *,
    comm: Comm,
    standardized: bool = False,
    top: int | None = None,
    by_size: bool = True,
    output: str | None = None,
    overwrite: bool = False,
) -> Coefficients:
    """Return the coefficients of a run's linear model, on all ranks; collective.

    Of raw features: w / deviation, and the intercept b - Σ w mean / deviation; with
    `standardized` those of standardised features, w and b. Sorted by falling size, or
    in the order of the columns, the intercept last; `top` leaves the largest ones.
    `output` names a CSV file to write. Raises UsageError for other models.
    """

    def read() -> Coefficients:
        table = _read(folder, standardized)
        chosen = _order(table, top, by_size)
        if output is not None:
            inputs = [f"{folder}/model.h5"]
            verify_output(output, inputs, overwrite=overwrite)
            _write(chosen, output)
        return chosen

    return mpi.on_root(comm, read)


def raw_scale(model: inference.Model) -> tuple[FloatArray, FloatArray]:
    """Return w (d, C) and b (C,) of a linear model for raw features, float64."""
    w, b = standardized_scale(model)
    if model.scaling:
        w = w / model.scaling.deviation[:, None]
        b = b - model.scaling.mean @ w
    return w, b


def standardized_scale(model: inference.Model) -> tuple[FloatArray, FloatArray]:
    """Return w (d, C) and b (C,) of a linear model as it was trained, float64."""
    named = views(model.weights.astype(np.float64), model.objective.shapes)
    w = named["coef"].reshape(model.header.n_features, -1)
    return w, named.get("intercept", np.zeros(w.shape[1]))


def _read(folder: str, standardized: bool) -> Coefficients:
    model = inference.read(folder)
    objective, header = model.objective, model.header
    if not isinstance(objective, Linear):
        raise UsageError(
            f"{folder}: its model is a network, which has no coefficients; coef takes "
            "--model linear"
        )
    if standardized and model.scaling is None:
        raise UsageError(
            f"--standardized: the features of {folder} were not standardised"
        )
    scaled, _ = standardized_scale(model)
    w, b = standardized_scale(model) if standardized else raw_scale(model)
    names = list(header.feature_names or (f"x{j}" for j in range(len(w))))
    columns = ["coefficient"]
    if w.shape[1] > 1:
        columns = [f"target_{k}" for k in range(1, w.shape[1] + 1)]
        if header.classes is not None:
            columns = [str(label) for label in header.classes]
    size = np.abs(scaled).max(axis=1)
    if objective.intercept or b.any():  # means make an intercept of raw features
        names.append(INTERCEPT)
        w, size = np.concatenate([w, b[None]]), np.append(size, 0.0)
    return Coefficients(names, columns, w, size)


def _order(table: Coefficients, top: int | None, by_size: bool) -> Coefficients:
    """Return the rows that are asked for, the intercept last."""
    has_intercept = table.names[-1] == INTERCEPT
    n_features = len(table.names) - has_intercept
    order = np.argsort(-table.size[:n_features], kind="stable")[:top]
    rows = (order if by_size else np.sort(order)).tolist()
    return table.take(rows + [n_features] * has_intercept)


def _write(table: Coefficients, path: str) -> None:
    with (
        atomic_replace(path, DataError) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", *table.columns])
        rows: list[list[Any]] = table.values.tolist()
        writer.writerows([name, *row] for name, row in zip(table.names, rows))
