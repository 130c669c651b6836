"""The column to predict: its task, its classes, and their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...comm import mpi
from ...errors import DataError
from ..arrow_arrays import as_array, is_null, text_array
from ..encoding import as_numbers, as_texts, shortened, shown
from ..tables import base
from ..tables.blocks import Block, TableBlocks
from .targets import labels_of, name_classes, sort_labels

if TYPE_CHECKING:
    from ...array_types import Array, IntArray
    from ..tables.base import TableReader

MAX_LABELS = 1001  # distinct values of the label that are counted


class Label(NamedTuple):
    """The column to predict: its task and, for classes, their texts and labels.

    `texts` are the cells of each class as texts, by class number; `classes` the labels
    in the header, which are numbers where all texts are.
    """

    name: str
    task: str
    texts: tuple[str, ...] | None = None
    classes: tuple[Any, ...] | None = None

    def values(self, block: Block) -> Array:
        """Return the class numbers or numbers (n,) of a block; DataError."""
        column = block.table[self.name]
        if column.null_count:
            row = int(is_null(column).argmax())
            raise DataError(
                f"{block.row_name(row)}: {self.name}, the label, is missing"
            )
        if self.texts is None:
            values = as_numbers(column, self.name, block.row_name)
            if not np.isfinite(values).all():
                row = int(np.isfinite(values).argmin())
                raise DataError(
                    f"{block.row_name(row)}: {self.name}, the label, is {values[row]}, "
                    "expected a finite number"
                )
            return values
        return self.class_numbers(column, block)

    def verify_trained(
        self, counts: IntArray, path: str, test: TableReader | None
    ) -> None:
        """Raise DataError where only test rows have a class; on all ranks.

        counts: (2, C) training and test rows of each class. test: the file of these.
        """
        cure = "; --stratify draws from every class" if test is None else ""
        path = path if test is None else test.path
        for text, n_train, n_test in zip(self.texts or (), *counts.tolist()):
            if n_test and not n_train:
                raise DataError(
                    f"{path}: {self.name}, the label, is {text!r} in {n_test} test "
                    f"rows and in no training row{cure}",
                    agreed=True,
                )

    def class_numbers(self, column: Any, block: Block) -> Array:
        """Return the class numbers (n,) of the cells of a column; DataError."""
        from pyarrow import compute

        assert self.texts is not None
        cells = as_texts(column)
        codes = compute.index_in(cells, value_set=text_array(self.texts))
        numbers = np.nan_to_num(as_array(codes), nan=-1).astype(np.int64)
        if (numbers < 0).any():
            row = int((numbers < 0).argmax())
            raise DataError(
                f"{block.row_name(row)}: {self.name}, the label, is "
                f"{shown(cells[row].as_py())}, expected one of {shortened(self.texts)}"
            )
        return numbers


def find_label(blocks: TableBlocks, name: str, task: str | None) -> Label:
    """Return the label's task and classes; collective. DataError where they clash."""
    kind = blocks.types[name]
    where = f"{blocks.readers[0].path}: the label {name}"
    if task == "regression" and kind in (base.TEXT, base.DATE):
        with mpi.raise_collectively(blocks.comm):
            for block in blocks:  # names row and text
                as_numbers(block.table[name], f"{name}, the label,", block.row_name)
        raise DataError(f"{where} holds {kind}s, expected numbers", agreed=True)
    if task == "regression" or (task is None and kind == base.REAL):
        return Label(name, "regression")
    distinct: set[str] = set()
    with mpi.raise_collectively(blocks.comm):
        for block in blocks:
            if len(distinct) < MAX_LABELS:
                texts = as_texts(block.table[name].drop_null().unique())
                distinct.update(texts.to_pylist())
    distinct = set[str]().union(*blocks.comm.allgather(distinct))
    if task is None and kind == base.INTEGER and len(distinct) != 2:
        return Label(name, "regression")
    with mpi.raise_collectively(blocks.comm):
        texts = tuple(sort_labels(distinct))
        labels = labels_of(texts)
        task, classes = name_classes(labels, task or "classes", where)
    return Label(name, task, texts, classes)
