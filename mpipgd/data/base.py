"""What training reads from a split of the data, and what reading asks of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, overload

if TYPE_CHECKING:
    import numpy as np

    from ..array_types import Array
    from .matrix import MappedRows, Matrix
    from .weighted import Targets

RowRange: TypeAlias = tuple[int, int]
"""The rows first … end-1, as (first, end)."""


class Split(Protocol):
    """The rows of the train or test split that this rank's workers need.

    Implemented by `load.SplitRows` (in memory) and `out_of_core.StreamedRows` (read
    from disk, pass by pass). All arrays belong to the split and are read only.
    """

    @property
    def in_memory(self) -> bool:
        """True if `X` and `y` hold all rows; else they are empty."""

    @property
    def X(self) -> Matrix:
        """The features (n, width) in the format of the objective."""

    @property
    def y(self) -> Targets:
        """The targets (n,) as the objective wants them, with the rows' weights."""

    @property
    def first(self) -> int:
        """The number of the first row of `X` in the whole data set."""

    @property
    def shares(self) -> list[RowRange]:
        """The even share of each local worker, in row numbers of the whole set."""

    @property
    def mapped_example(self) -> MappedRows | None:
        """Mapped rows without a row, to compile for; None if `blocks` yields none."""

    @overload
    def blocks(
        self, i: int, *, mapped: Literal[False] = False
    ) -> Iterator[tuple[Matrix, Targets]]: ...

    @overload
    def blocks(
        self, i: int, *, mapped: bool
    ) -> Iterator[tuple[Matrix | MappedRows, Targets]]: ...

    def blocks(
        self, i: int, *, mapped: bool = False
    ) -> Iterator[tuple[Matrix | MappedRows, Targets]]:
        """Yield (X, y) of the even share of the i-th local worker, block by block.

        With `mapped`, X may be `MappedRows`, of which only gradients can be taken. A
        block is valid until the next but one is asked for.
        """


class RowFormat(Protocol):
    """What an objective says about the rows that it takes."""

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype of features and weights."""

    @property
    def intercept(self) -> bool:
        """True if X ends with a column of ones."""

    @property
    def supports_row_weights(self) -> bool:
        """True if rows may have weights."""

    @property
    def supports_mapped_rows(self) -> bool:
        """True if gradients can be taken of `MappedRows`."""

    def targets(self, y: Array) -> Array:
        """Return the y of a file as the loss wants it."""


class WorkerShares(Protocol):
    """What a plan says about the rows that its workers read."""

    @property
    def workers(self) -> int:
        """The number of workers on all ranks."""

    def share(self, worker: int) -> RowRange:
        """Return the even share of a worker."""

    def row_range(self, first: int, last: int) -> RowRange:
        """Return the rows that the workers first … last-1 need."""
