"""A trained model: its file, and predictions on raw features in parallel."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import h5py
import numpy as np

from ..atomic_file import atomic_hdf5, atomic_replace, verify_output
from ..comm import mpi
from ..comm.even_partition import even_partition
from ..comm.reduction_tree import SubtreeSums
from ..config import toml
from ..config.option import flag
from ..config.options import TrainConfig
from ..data.create import cache
from ..data.create.ingest import is_source, is_table
from ..data.hdf5.header import SPLITS, Header, read_header
from ..data.hdf5.source import Source, open_data
from ..data.load import read_rows
from ..data.matching import (
    mapped_classes,
    match_classes,
    match_features,
    select_columns,
)
from ..data.matrix import slice_rows
from ..data.standardize import Scaling, standardize
from ..data.weighted import join_weights
from ..errors import CheckpointError, UsageError, expect
from ..objectives import build_objective
from ..objectives.weights import views
from .metrics.base import BLOCK_ROWS, weights_or_ones
from .metrics.classification import ClassificationSums, classification_sums
from .metrics.curve_file import CurveFile, NullCurveFile
from .metrics.curves import Curve, ScoreCounts, count_scores, curve
from .metrics.regression import RegressionSums, regression_sums
from .prediction_files import (
    NullPredictionFile,
    PredictedRows,
    PredictionLayout,
    expect_ending,
    open_prediction_file,
)
from .training_data import import_options

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray, IntArray
    from ..comm.mpi import Comm
    from ..data.matrix import Matrix
    from ..objectives.base import Objective

ROWS_AT_ONCE = 65536  # predicted at once, by all ranks together
BYTES_AT_ONCE = 256 << 20  # of dense features, but at least a block of rows a rank


@dataclass(frozen=True)
class Model:
    """Weights (size,) of an objective, and the scaling of its features.

    scaling: that of standardised features, or None. Of data whose features or classes
    are in another order, `columns` and `class_numbers` bring them into the model's: see
    `data.matching`.
    """

    header: Header
    objective: Objective
    weights: FloatArray
    scaling: Scaling | None
    columns: IntArray | None = None
    class_numbers: IntArray | None = None

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

    @property
    def has_probabilities(self) -> bool:
        """Whether the loss gives probabilities of classes: log and softmax do."""
        return self.objective.loss in ("log", "softmax")

    def probability(self, output: FloatArray) -> FloatArray | None:
        """Return probabilities (n, C) from raw outputs; None where there are none."""
        if not self.has_probabilities:
            return None
        if output.ndim == 2:  # softmax: the outputs are probabilities
            return output
        return np.exp(-np.logaddexp(0, np.stack([output, -output], axis=1)))

    def read_rows(
        self, source: Source, split: str, lo: int, hi: int
    ) -> tuple[Matrix, Array]:
        """Return X and y of raw rows lo … hi-1, X standardised as in training."""
        X, y = read_rows(source, split, lo, hi, self.objective)
        if self.columns is not None:
            intercept = self.objective.intercept
            X = select_columns(X, self.columns, intercept=intercept)
        y = mapped_classes(y, self.class_numbers)
        if self.scaling:
            standardize(cast("FloatArray", X), *self.scaling)  # sparse has none
        return X, y


def read(folder: str) -> Model:
    """Return the model of a run folder. Raises CheckpointError."""
    path = f"{folder}/model.h5"
    if not Path(path).exists():
        raise CheckpointError(f"{folder} is no finished run: it has no model.h5")
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


class ReadOptions(NamedTuple):
    """How data is read that a model is applied to.

    x, y: paths in HDF5 files of other formats. Of tables: drop_column are columns that
    the model does not know, ignore_unknown takes texts that are no category as none,
    csv says how a CSV is written (see `recognise`).
    """

    x: str | None = None
    y: str | None = None
    drop_column: tuple[str, ...] = ()
    ignore_unknown: bool = False
    csv: Mapping[str, Any] = {}


def open_model_and_data(
    folder: str,
    data: str,
    *,
    comm: Comm,
    read_options: ReadOptions = ReadOptions(),  # noqa: B008
    labels: bool = True,
    id_column: str | None = None,
) -> tuple[Model, Source]:
    """Return a run's model, and data brought into its order of features and classes.

    A table is brought into the model's encoding, in a file beside the run folder; that
    which the model was trained on keeps its training and test rows. Without `labels`
    the data needs no targets; id_column: of a table. DataError where the data does not
    fit. Collective.
    """
    with mpi.raise_collectively(comm):
        model = read(folder)
        is_imported = is_source(data)
        has_columns = is_imported and is_table(data)
        if has_columns and model.header.encoding is None:
            raise UsageError(
                f"{data} is a table, the model of {folder} was not trained on one"
            )
        _verify_read_options(read_options, data, has_columns)
    own = None
    if has_columns and labels:
        with mpi.raise_collectively(comm):
            importing = import_options(_run_options(folder))
        own = cache.imported_before(comm, data, Path(folder).parent, importing)
    if own is not None:
        data = own
    elif is_imported:
        data = cache.applied(
            comm,
            data,
            Path(folder).parent,
            model.header,
            labels=labels,
            id_column=id_column,
            drop_column=read_options.drop_column,
            ignore_unknown=read_options.ignore_unknown,
            reading=read_options.csv,
        )
    x, y = read_options.x, read_options.y
    source = open_data(comm, data, x=x, y=y, labels=labels)
    with mpi.raise_collectively(comm):
        columns = match_features(model.header, source.header, data)
        numbers = match_classes(model.header, source.header, data) if labels else None
    model = replace(model, columns=columns, class_numbers=numbers)
    if source.header.sparse and not model.header.sparse:
        raise UsageError(
            f"{data} is sparse, the model of {folder} takes dense features", agreed=True
        )
    return model, source


def _run_options(folder: str) -> TrainConfig:
    """Return the options of a run whose model can be read."""
    path = f"{folder}/model.h5"
    with h5py.File(path, "r") as file:
        return TrainConfig(**toml.from_text(file.attrs["config"], path))


def _verify_read_options(options: ReadOptions, data: str, is_table: bool) -> None:
    """Raise UsageError for options of tables where the data is none."""
    given = {
        "--drop-column": options.drop_column,
        "--unknown": options.ignore_unknown,
        **{flag(name): True for name in options.csv},
    }
    for name, is_given in given.items():
        if is_given and not is_table:
            raise UsageError(f"{name} takes a table, as CSV or Parquet; {data} is none")


def model_and_data_files(folder: str, source: Source) -> list[Path]:
    """Return the files that a model and its data are read from."""
    return [Path(folder) / "model.h5", *source.files]


def blocks(comm: Comm, source: Source, split: str) -> Iterator[tuple[int, int, int]]:
    """Yield (first, lo, hi): rows first … are predicted by all ranks, lo … hi-1 here.

    lo is a multiple of the rows of a block of the metrics: see `predict_in_blocks`.
    """
    n, at_once = source.rows[split], ROWS_AT_ONCE
    if not source.header.sparse:
        fitting = BYTES_AT_ONCE // (8 * source.header.n_features) // BLOCK_ROWS
        at_once = min(at_once, BLOCK_ROWS * max(fitting, comm.size))
    for first in range(0, n, at_once):
        count = min(at_once, n - first)
        part = even_partition(-(-count // BLOCK_ROWS), comm.size, comm.rank)
        lo, hi = (first + min(block * BLOCK_ROWS, count) for block in part)
        yield first, lo, hi


def predict_in_blocks(
    model: Model, X: Matrix, n: int
) -> Iterator[tuple[slice, Array, FloatArray]]:
    """Yield (rows, predictions, outputs) of X (n, width), a few rows at a time.

    These are always the same rows, so that a BLAS gives the same bits on any number of
    ranks.
    """
    for lo in range(0, n, BLOCK_ROWS):
        rows = slice(lo, min(lo + BLOCK_ROWS, n))
        block = slice_rows(X, rows.start, rows.stop)
        w, objective = model.weights, model.objective
        yield rows, objective.predict(w, block), objective.output(w, block)


def evaluate(
    folder: str,
    data: str,
    *,
    comm: Comm,
    read_options: ReadOptions = ReadOptions(),  # noqa: B008
    curves: str | None = None,
    overwrite: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return {split: {rows, loss, score, …}} of a run's model on raw data; collective.

    The loss is the mean over the rows, without penalty; the score R² or accuracy. Rows
    count by their weights, but for `rows`. The other metrics are those of
    `metrics.regression` or `metrics.classification`, and for classes roc_auc and
    average_precision: of the second of two classes, else of every class against the
    others (in `classes`) and their mean. A metric that the rows do not define is None,
    and `notes` says why. `curves` names a CSV file to write the points of all curves
    to. Splits without rows are left out.
    """
    model, source = open_model_and_data(
        folder, data, comm=comm, read_options=read_options
    )
    classes = model.header.classes
    targets, expected = source.header.y_shape(1)[1:], model.header.y_shape(1)[1:]
    if targets != expected:
        raise UsageError(
            f"{data} has {targets or 1} targets, the model has {expected or 1}",
            agreed=True,
        )
    if curves is not None:
        if classes is None:
            raise UsageError("--curves takes classes; this is regression", agreed=True)
        inputs = [Path(data), *model_and_data_files(folder, source)]
        mpi.on_root(comm, partial(verify_output, curves, inputs, overwrite=overwrite))
    open_file = mpi.root_else(comm, CurveFile, NullCurveFile)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(curves)) if curves else None
        return {
            split: _evaluate(model, source, split, comm, file)
            for split in SPLITS
            if source.rows[split]
        }


def _evaluate(
    model: Model,
    source: Source,
    split: str,
    comm: Comm,
    file: CurveFile | NullCurveFile | None,
) -> dict[str, Any]:
    """Return the metrics of a split, and write its curves to a file; collective."""
    observer = SplitObserver() if file is None else CurveWriter(comm, file, split)
    metrics = evaluate_split(model, source, split, comm=comm, observer=observer)
    if file is not None and metrics.get("calibration"):
        for of_class, bins in zip(metrics["classes"], metrics["calibration"]):
            file.write_calibration(split, of_class["label"], bins)
    return metrics


class SplitObserver:
    """What is told of an evaluation beside its metrics; this one ignores it."""

    def predicted(self, first: int, y: Array, prediction: Array) -> None:
        """Look at targets and predictions (n,) or (n, k) of the rows from `first` on.

        They are rows of this rank; on each rank in rising order.
        """

    def curve(self, label: Any, points: Curve) -> None:
        """Look at this rank's points of the curve of a class; collective."""


class CurveWriter(SplitObserver):
    """Writes the points of the curves of a split to a file."""

    def __init__(self, comm: Comm, file: CurveFile | NullCurveFile, split: str) -> None:
        self._comm, self._file, self._split = comm, file, split

    def curve(self, label: Any, points: Curve) -> None:
        """Write the points of all ranks, in the order of the ranks."""
        comm = self._comm
        chunk = (points.threshold, points.true_positives, points.false_positives)
        for rank in range(comm.size):
            of_ranks: Any = comm.gather(chunk if comm.rank == rank else None)
            with mpi.raise_collectively(comm, root=True):
                self._file.write_points(self._split, label, points, of_ranks, rank)


class BlockSums(NamedTuple):
    """Σ w and Σ w loss of some rows, and the sums that their metrics follow from."""

    weight: float
    loss: float
    sums: RegressionSums | ClassificationSums

    def merge(self, other: BlockSums) -> BlockSums:
        """Return the sums over the rows of both."""
        sums = self.sums.merge(other.sums)  # type: ignore[arg-type]
        return BlockSums(self.weight + other.weight, self.loss + other.loss, sums)


def evaluate_split(
    model: Model,
    source: Source,
    split: str,
    *,
    comm: Comm,
    observer: SplitObserver,
    max_curves: float = math.inf,
) -> dict[str, Any]:
    """Return the metrics of a split, as `evaluate` does; collective.

    max_curves: of more curves than that none is computed, nor the areas under them.
    """
    objective, labels = model.objective, model.header.classes
    positives = positive_classes(len(labels or ()))
    if len(positives) > max_curves:
        positives = range(0)
    tree: SubtreeSums[BlockSums] = SubtreeSums(BlockSums.merge)
    scores: dict[int, list[tuple[int, ScoreCounts]]] = defaultdict(list)
    for _, lo, hi in blocks(comm, source, split):
        with mpi.raise_collectively(comm):
            X, y = model.read_rows(source, split, lo, hi)
            weights = source.read_weights(split, lo, hi)
            targets = join_weights(objective.targets(y), weights)
            for rows, prediction, output in predict_in_blocks(model, X, hi - lo):
                first = lo + rows.start
                block = slice_rows(X, rows.start, rows.stop)
                loss = objective.evaluate(model.weights, block, targets[rows])[0]
                w = None if weights is None else weights[rows]
                sums: RegressionSums | ClassificationSums
                if labels is None:
                    sums = regression_sums(y[rows], prediction, w)
                else:
                    probability, C = model.probability(output), len(labels)
                    sums = classification_sums(y[rows], prediction, probability, C, w)
                    for c in positives:
                        score = output if output.ndim == 1 else output[:, c]
                        counts = count_scores(score, y[rows] == c, w)
                        scores[c].append((first // BLOCK_ROWS, counts))
                weight = float(weights_or_ones(w, len(prediction)).sum())
                tree.add(first // BLOCK_ROWS, BlockSums(weight, float(loss), sums))
                observer.predicted(first, y[rows], prediction)
    n = source.rows[split]
    total = tree.allreduce(comm, -(-n // BLOCK_ROWS))
    metrics = total.sums.metrics()
    if labels is not None:
        _describe_classes(metrics, labels, model)
        areas = []
        for c in positives:
            points = curve(comm, scores[c], n)
            observer.curve(labels[c], points)
            areas.append(
                {"roc_auc": points.auc, "average_precision": points.average_precision}
            )
        _add_areas(metrics, positives, areas)
    elif "targets" in metrics:
        names = model.header.targets or ()
        metrics["targets"] = [
            {"target": name, **of_target}
            for name, of_target in zip(names, metrics["targets"])
        ]
    loss = total.loss / total.weight if total.weight else np.nan
    if not np.isfinite(loss):
        metrics["notes"].append("the loss is not finite")
    score = metrics["r2" if labels is None else "accuracy"]
    finite_loss = loss if np.isfinite(loss) else None
    return {"rows": n, "loss": finite_loss, "score": score, **metrics}


def positive_classes(n_classes: int) -> range:
    """Return the classes that have curves: the second of two, or all of them."""
    return range(1, 2) if n_classes == 2 else range(n_classes)


def _add_areas(
    metrics: dict[str, Any], positives: range, areas: list[dict[str, float | None]]
) -> None:
    """Add the areas of all classes with curves, and their means, to the metrics."""
    for c, of_class in zip(positives, areas):
        if len(areas) > 1:
            metrics["classes"][c] |= of_class
    for name in ("roc_auc", "average_precision"):
        values = [of_class[name] for of_class in areas]
        defined = [value for value in values if value is not None]
        all_defined = values and len(defined) == len(values)
        metrics[name] = float(np.mean(defined)) if all_defined else None


def _describe_classes(
    metrics: dict[str, Any], labels: Sequence[Any], model: Model
) -> None:
    """Add the labels, and notes on what is not defined, to metrics of classes."""
    metrics["classes"] = [
        {"label": label, **row} for label, row in zip(labels, metrics["classes"])
    ]
    absent = [repr(row["label"]) for row in metrics["classes"] if not row["rows"]]
    if absent:
        listed = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        plural = "classes have" if len(absent) > 1 else "class has"
        metrics["notes"].append(
            f"{len(absent)} {plural} no rows ({listed}): its metrics and curves, and "
            "macro means, are not defined"
        )
    if not model.has_probabilities:
        metrics["notes"].append(
            f"--loss {model.objective.loss} has decision values, no probabilities: "
            "log-loss and calibration are not defined"
        )


def predict(
    folder: str,
    data: str,
    out: str,
    *,
    comm: Comm,
    read_options: ReadOptions = ReadOptions(),  # noqa: B008
    split: str = "all",
    probabilities: bool = False,
    id_column: str | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write a run's predictions on raw data to OUT; return {split: rows}; collective.

    Needs no targets. OUT is HDF5, or a table in CSV, TSV, Parquet or Arrow's format, by
    its ending: see `prediction_files`. split: train, test or all. With `probabilities`
    a table has a column per class, named by its label, else it has none. id_column: the
    name of a first column with the rows' ids: a column of the table, or /SPLIT/id of
    the data. An output is never
    an input, and replaces a file only with `overwrite`.
    """
    model, source = open_model_and_data(
        folder,
        data,
        comm=comm,
        read_options=read_options,
        labels=False,
        id_column=id_column,
    )
    with mpi.raise_collectively(comm):
        splits = _selected_splits(source, split, data)
    if probabilities and not model.has_probabilities:
        raise UsageError(
            f"--probabilities: the model has none, its loss is {model.objective.loss}",
            agreed=True,
        )
    layout = PredictionLayout(
        splits,
        model.header.classes,
        probabilities,
        id_column,
        n_targets=model.objective.n_outputs if model.header.classes is None else 1,
    )
    inputs = [Path(data), *model_and_data_files(folder, source)]
    with mpi.raise_collectively(comm):
        expect_ending(out)
        layout.verify()
    mpi.on_root(comm, partial(verify_output, out, inputs, overwrite=overwrite))
    open_writer = mpi.root_else(comm, open_prediction_file, NullPredictionFile)
    with open_writer(out, layout) as writer:
        for name in splits:
            for first, lo, hi in blocks(comm, source, name):
                with mpi.raise_collectively(comm):
                    X, _ = model.read_rows(source, name, lo, hi)
                    local = _predicted_rows(model, X, hi - lo)
                    if id_column is not None:
                        local = local._replace(ids=source.read_ids(name, lo, hi))
                of_ranks = comm.gather(local)
                with mpi.raise_collectively(comm, root=True):
                    writer.write(name, first, of_ranks)
    source.close()
    return splits


def _selected_splits(source: Source, split: str, data: str) -> dict[str, int]:
    """Return {name: rows} of the splits that `split` names."""
    expect("--split", split, ("all", *SPLITS))
    names = SPLITS if split == "all" else (split,)
    splits = {name: source.rows[name] for name in names if source.rows[name]}
    if not splits:
        raise UsageError(f"--split {split}: {data} has no such rows")
    return splits


def _predicted_rows(model: Model, X: Matrix, n: int) -> PredictedRows:
    """Return the predictions of X (n, width)."""
    C = model.objective.n_outputs
    parts = list(predict_in_blocks(model, X, n))
    if not parts:  # ranks without rows of this block
        output = np.empty((0, C) if C > 1 else 0, model.objective.dtype)
        prediction = np.empty(0, np.intp if model.header.classes else output.dtype)
    else:
        _, predictions, outputs = zip(*parts)
        prediction, output = np.concatenate(predictions), np.concatenate(outputs)
    return PredictedRows(prediction, output, model.probability(output))
