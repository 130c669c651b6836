"""What this room provides to a run, and what it reads of one.

`ConsoleProtocol` and `RunFolderProtocol` are what rank 0 shows and writes; the other
ranks get null objects with the same methods. `ReportedRun` is what the lines at the
start and the end of a run are made from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict

if TYPE_CHECKING:
    from ..array_types import IntArray
    from ..config.options import TrainConfig

Record: TypeAlias = dict[str, Any]  # a line of metrics.jsonl: name -> value


class Roc(TypedDict):
    """A ROC curve of a class against the rest, from (0, 0) to (1, 1), and its area.

    Of many points some are left out, but not for the area.
    """

    label: Any
    fpr: list[float]
    tpr: list[float]
    auc: float


class PredictedTrue(TypedDict):
    """A sample of rows of a regression: pairs [prediction, true value] of a target."""

    target: str | None
    pairs: list[list[float]]


class Confusion(TypedDict):
    """The weight of the rows of a true class that were predicted to be of another."""

    true: Any
    predicted: Any
    rows: float


class PartEvaluation(TypedDict, total=False):
    """What evaluation.json holds of one part of the data; all of it is optional.

    weighted: whether rows count by weights; metrics: as `mpipgd evaluate --json` has
    them; classes: their labels; by_class, by_target: metrics of each, of several
    targets; confusion: weights of rows (true class, predicted class), in the order of
    `classes`; confused: the most frequent mistakes, where classes are too many for a
    matrix; roc: of the second of two classes, or of each class.
    """

    rows: int
    weighted: bool
    metrics: dict[str, float | None]
    classes: list[Any]
    by_class: list[dict[str, Any]]
    by_target: list[dict[str, Any]]
    confusion: list[list[float]]
    confused: list[Confusion]
    roc: list[Roc]
    predicted_true: list[PredictedTrue]
    notes: list[str]


# The content of evaluation.json, an optional file of a run folder: part ("test" or
# "validation") -> what was measured on it.
Evaluation: TypeAlias = dict[str, PartEvaluation]


class ConsoleProtocol(Protocol):
    """What is shown while a run trains."""

    def say(self, text: str = "") -> None:
        """Show a line of text."""

    def progress(self, step: int) -> None:
        """Show that `step` updates have been made."""

    def epoch(self, record: Record) -> None:
        """Show an evaluation, unless another was shown just before."""

    def row(self, record: Record) -> None:
        """Show an evaluation."""

    def close(self) -> None:
        """Show what is still due."""


class RunFolderProtocol(Protocol):
    """The files of a run: metrics and whatever else is left for later.

    `folder` is None where nothing is written. Methods that write raise CheckpointError
    when the system cannot.
    """

    folder: Path | None

    def metric(self, record: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl."""

    def length(self) -> int:
        """Return the size of metrics.jsonl in bytes, all of them on the disk."""

    def progress(
        self, position: Callable[[str, int], Record], step: int, steps: int
    ) -> None:
        """Write progress.json, unless that was done just before.

        `position(event, step)` returns the fields that every line of the metrics has.
        """

    def text(self, name: str, content: str) -> None:
        """Write a small text file."""

    def json(self, name: str, record: Mapping[str, Any]) -> None:
        """Write an indented JSON file."""

    def close(self) -> None:
        """Close the metrics."""


class ReportedHeader(Protocol):
    """What is reported of a data file's header."""

    @property
    def task(self) -> str: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_classes(self) -> int: ...
    @property
    def classes(self) -> tuple[Any, ...] | None: ...
    @property
    def sparse(self) -> bool: ...


class ReportedData(Protocol):
    """What is reported of the rows: a part that does not exist is None."""

    @property
    def header(self) -> ReportedHeader: ...
    @property
    def test(self) -> Any: ...
    @property
    def validation(self) -> Any: ...


class ReportedPlan(Protocol):
    """What is reported of the plan; `sizes` (workers,): the rows of each worker."""

    @property
    def rows(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def sizes(self) -> IntArray: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def steps(self) -> int: ...


class ReportedObjective(Protocol):
    """What is reported of the objective; `size`: its number of weights."""

    @property
    def loss(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def dtype(self) -> Any: ...


class ReportedRun(Protocol):
    """What is reported of a run: its options, data, plan and objective."""

    @property
    def options(self) -> TrainConfig: ...
    @property
    def data(self) -> ReportedData: ...
    @property
    def plan(self) -> ReportedPlan: ...
    @property
    def objective(self) -> ReportedObjective: ...
