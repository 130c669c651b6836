"""Which task a target column is for, and its class numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...errors import DataError, UsageError
from ..encoding import is_number_text
from ..hdf5.header import MAX_CLASSES, TASKS

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray, IntArray

Labels: TypeAlias = tuple[Any, ...]  # of classes, by class number: texts or numbers


def encode(
    values: Array, task: str | None, where: str, *, classes: bool | None = None
) -> tuple[str, Labels | None, Array]:
    """Return (task, classes, y) of a target array of numbers or texts.

    Without a task, texts are classes, and numbers are where `classes` is True; by
    default where their dtype is one of integers. Raises DataError where task and values
    clash.
    """
    if task is None:
        if classes is None:
            classes = values.dtype.kind in "iub"
        task = "classes" if classes or values.dtype.kind in "USO" else "regression"
    if task == "regression":
        return task, None, numbers(values, where)
    if values.dtype.kind == "f":
        values = numbers(values, where)
    labels, y = np.unique(values, return_inverse=True)
    task, names = name_classes(labels.tolist(), task, where)
    return task, names, y.reshape(-1)


def name_classes(
    labels: Sequence[Any], task: str | None, where: str
) -> tuple[str, Labels]:
    """Return (task, labels as a tuple) for distinct labels in order.

    task: binary, multiclass, or "classes" for whichever fits.
    """
    verify_task(task, extra=("classes",))
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise DataError(
            f"{where} has {len(labels)} distinct values, expected 2 … {MAX_CLASSES} "
            "classes; --task regression takes numbers as they are"
        )
    if task == "binary" and len(labels) != 2:
        raise DataError(f"{where} has {len(labels)} classes, --task binary expects 2")
    fitting = "binary" if len(labels) == 2 else "multiclass"
    if task is None or task == "classes":
        task = fitting
    return task, tuple(map(_as_integer, labels))


def verify_task(task: str | None, *, extra: tuple[str, ...] = ()) -> None:
    """Raise UsageError for an unknown task."""
    if task is not None and task not in (*TASKS, *extra):
        raise UsageError(f"--task is {task!r}, expected one of {', '.join(TASKS)}")


def sort_labels(texts: Iterable[str]) -> list[str]:
    """Return texts sorted: by their values if all of them are numbers."""
    texts = list(texts)
    are_numbers = all(map(is_number_text, texts))
    return sorted(texts, key=_number) if are_numbers else sorted(texts)


def labels_of(texts: Iterable[str]) -> list[Any]:
    """Return texts converted to numbers if all of them are numbers."""
    texts = list(texts)
    if not all(map(is_number_text, texts)):
        return texts
    return [_as_integer(_number(text)) for text in texts]


def _number(text: str) -> float | int:
    """Return the number that a text is, whole ones with all digits."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _as_integer(label: Any) -> Any:
    """Return whole numbers as int, anything else unchanged."""
    if isinstance(label, (float, bool)) and float(label).is_integer():
        return int(label)
    return label


def numbers(values: Array, where: str) -> FloatArray:
    """Return targets as float64; DataError for texts and what is not finite."""
    try:
        converted = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where} holds text ({error}), --task regression expects numbers"
        ) from error
    finite = np.isfinite(converted)
    if not finite.all():
        row = int(np.argwhere(~finite)[0][0])
        raise DataError(f"{where} is {values[row]} in row {row + 1}: expected numbers")
    return converted


def class_numbers(values: Array, classes: Labels, where: str) -> IntArray:
    """Return the class number (n,) of each target, by the labels of the classes.

    Raises DataError for other labels.
    """
    numbers_of = {str(label): number for number, label in enumerate(classes)}
    labels, positions = np.unique(values, return_inverse=True)
    of_labels = [numbers_of.get(str(_as_integer(v)), -1) for v in labels.tolist()]
    if -1 in of_labels:
        unknown = labels.tolist()[of_labels.index(-1)]
        shown = ", ".join(map(str, classes[:8]))
        raise DataError(f"{where} is {unknown!r}, expected one of {shown}")
    found: IntArray = np.array(of_labels, np.int64)[positions.reshape(-1)]
    return found
