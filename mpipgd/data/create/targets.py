"""Which task a target column makes, and its class numbers."""

import numpy as np

from ...errors import DataError, UsageError
from ..hdf5.header import MAX_CLASSES, TASKS


def encode(values, task, where, *, classes=None):
    """Return (task, classes, y) of a target array of numbers or texts.

    Without a task, texts are classes; numbers are where `classes` says so, by default
    where they are whole numbers by dtype. Raises DataError where task and values clash.
    """
    if task is None:
        whole = values.dtype.kind in "iub" if classes is None else classes
        task = "classes" if whole or values.dtype.kind in "USO" else "regression"
    if task == "regression":
        return task, None, _numbers(values, where)
    labels, y = np.unique(values, return_inverse=True)
    task, labels = name_classes(labels.tolist(), task, where)
    return task, labels, y.reshape(-1)


def name_classes(labels, task, where):
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
    return (fitting if task == "classes" else task), tuple(map(_whole, labels))


def verify_task(task, *, extra=()):
    """Raise UsageError for a task that is not known."""
    if task is not None and task not in (*TASKS, *extra):
        raise UsageError(f"--task is {task!r}, expected one of {', '.join(TASKS)}")


def sort_labels(texts):
    """Return texts sorted, and as numbers if all of them are."""
    try:
        return sorted(texts, key=float)
    except ValueError:
        return sorted(texts)


def labels_of(texts):
    """Return texts as the numbers that they stand for, if all of them do."""
    try:
        return [_whole(float(text)) for text in texts]
    except ValueError:
        return list(texts)


def _whole(label):
    if isinstance(label, (float, bool)) and float(label).is_integer():
        return int(label)
    return label


def _numbers(values, where):
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where} holds text ({error}), --task regression expects numbers"
        ) from error
