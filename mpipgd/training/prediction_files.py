"""Files of predictions, written block by block: HDF5, or tables by pyarrow."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..atomic_file import atomic_hdf5, atomic_replace
from ..data.hdf5.header import TEXT
from ..errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..array_types import Array, FloatArray


class PredictedRows(NamedTuple):
    """Predictions of n consecutive rows.

    prediction (n,): values, or class indices; output (n,) or (n, C): see `Objective`;
    probability (n, C), where the loss has it; ids (n,), where asked for.
    """

    prediction: Array
    output: FloatArray
    probability: FloatArray | None
    ids: Array | None = None


class PredictionLayout(NamedTuple):
    """What a file of predictions holds.

    splits: {name: rows}; classes: labels of the class indices, or None; probabilities:
    whether a table has a column for each class; id_column: the name of that of the ids;
    n_targets: predicted values a row.
    """

    splits: Mapping[str, int]
    classes: Sequence[Any] | None
    probabilities: bool
    id_column: str | None
    n_targets: int = 1

    @property
    def columns(self) -> list[str]:
        """The names of the columns of a table."""
        names = [] if self.id_column is None else [self.id_column]
        names += ["split"] if len(self.splits) > 1 else []
        if self.n_targets == 1:
            names.append("prediction")
        else:
            names += [f"prediction_{k}" for k in range(1, self.n_targets + 1)]
        return names + (
            [str(label) for label in self.classes or ()] if self.probabilities else []
        )

    def verify(self) -> None:
        """Raise UsageError where two columns have the same name."""
        names = self.columns
        for name in names:
            if names.count(name) > 1:
                raise UsageError(
                    f"two columns of the output are named {name!r}: --id takes another "
                    "name; classes of such names need an output in .h5"
                )

    def labels(self, prediction: Array) -> Array:
        """Return the labels of predicted classes, or predicted values as they are."""
        if self.classes is None:
            return prediction
        labels = np.array(self.classes)
        return (labels.astype(object) if labels.dtype.kind == "U" else labels)[
            prediction
        ]


class PredictionFile(Protocol):
    """A file of predictions, on rank 0; it appears when it is complete."""

    def __enter__(self) -> PredictionFile:
        """Open a temporary file."""

    def __exit__(self, *error: Any) -> Any:
        """Put the file in its place, or remove it after an error."""

    def write(self, split: str, first: int, of_ranks: Sequence[PredictedRows]) -> None:
        """Write rows from the first-th on, which all ranks have predicted in order."""


class Hdf5Predictions(contextlib.ExitStack):
    """/SPLIT/prediction, /SPLIT/output, and /SPLIT/probability and /SPLIT/id if any."""

    def __init__(self, path: str, layout: PredictionLayout) -> None:
        super().__init__()
        self.path, self.layout = path, layout

    def __enter__(self) -> Hdf5Predictions:
        temporary = self.enter_context(atomic_replace(self.path, DataError))
        self.file, _ = self.enter_context(atomic_hdf5(temporary))
        return self

    def write(self, split: str, first: int, of_ranks: Sequence[PredictedRows]) -> None:
        """Write the rows of a block, from all ranks."""
        block = _concatenate(of_ranks)
        columns = {
            "prediction": self.layout.labels(block.prediction),
            "output": block.output,
            "probability": block.probability,
            "id": block.ids,
        }
        for name, rows in columns.items():
            if rows is None:
                continue
            dtype = TEXT if rows.dtype == object else rows.dtype
            shape = self.layout.splits[split], *rows.shape[1:]
            dataset = self.file.require_dataset(f"{split}/{name}", shape, dtype)
            dataset[first : first + len(rows)] = rows


class TablePredictions(contextlib.ExitStack):
    """A table of `PredictionLayout.columns`, in a format of pyarrow."""

    def __init__(self, path: str, layout: PredictionLayout) -> None:
        super().__init__()
        self.path, self.layout = path, layout
        self._open = TABLES[Path(path).suffix.lower()]
        self._writer: Any = None

    def __enter__(self) -> TablePredictions:
        self._temporary = self.enter_context(atomic_replace(self.path, DataError))
        return self

    def write(self, split: str, first: int, of_ranks: Sequence[PredictedRows]) -> None:
        """Write the rows of a block, from all ranks."""
        import pyarrow as pa

        block, layout = _concatenate(of_ranks), self.layout
        columns: list[Any] = [] if block.ids is None else [block.ids]
        if len(layout.splits) > 1:
            columns.append(np.full(len(block.prediction), split, dtype=object))
        labels = layout.labels(block.prediction)
        columns.extend(labels.reshape(len(labels), -1).T)
        if layout.probabilities:
            assert block.probability is not None
            columns.extend(block.probability.T)
        batch = pa.record_batch([pa.array(c) for c in columns], names=layout.columns)
        if self._writer is None:
            writer = self._open(str(self._temporary), batch.schema)
            self._writer = self.enter_context(writer)
        self._writer.write_batch(batch)


class NullPredictionFile(contextlib.nullcontext["NullPredictionFile"]):
    """The null object of the other ranks: it writes nothing."""

    def __init__(self, path: str, layout: PredictionLayout) -> None:
        super().__init__(self)

    def write(self, split: str, first: int, of_ranks: None) -> None:
        """Write nothing."""


def _concatenate(of_ranks: Sequence[PredictedRows]) -> PredictedRows:
    """Return the rows of all ranks, in order; those of ranks without rows aside."""
    columns: list[Any] = [
        None if arrays[0] is None else np.concatenate(arrays)
        for arrays in zip(*(rows for rows in of_ranks if len(rows.prediction)))
    ]
    return PredictedRows(*columns)


def _csv_writer(delimiter: str) -> Any:
    def open_writer(path: str, schema: Any) -> Any:
        from pyarrow import csv

        style = csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
        return csv.CSVWriter(path, schema, write_options=style)

    return open_writer


def _parquet_writer(path: str, schema: Any) -> Any:
    from pyarrow import parquet

    return parquet.ParquetWriter(path, schema)


def _arrow_writer(path: str, schema: Any) -> Any:
    import pyarrow as pa

    return pa.ipc.new_file(path, schema)


TABLES = {  # ending -> what opens a writer of record batches
    ".csv": _csv_writer(","),
    ".tsv": _csv_writer("\t"),
    ".parquet": _parquet_writer,
    ".arrow": _arrow_writer,
    ".feather": _arrow_writer,
}
HDF5_ENDINGS = (".h5", ".hdf5")
ENDINGS = (*TABLES, *HDF5_ENDINGS)


def expect_ending(path: str) -> None:
    """Raise UsageError unless the ending of an output names a format."""
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        found = f"the ending {ending}" if ending else "no ending"
        raise UsageError(f"{path} has {found}, expected one of {', '.join(ENDINGS)}")


def open_prediction_file(path: str, layout: PredictionLayout) -> PredictionFile:
    """Return the file of predictions that the ending of the path asks for."""
    is_hdf5 = Path(path).suffix.lower() in HDF5_ENDINGS
    return (Hdf5Predictions if is_hdf5 else TablePredictions)(path, layout)
