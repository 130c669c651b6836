"""One column of a CSV file: what it holds, and the features it becomes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...array_types import FloatArray, IntArray
from ...errors import DataError
from .targets import sort_labels

MAX_CATEGORIES = 1000


@dataclass
class Column:
    """A column of numbers, or of text with its distinct `values`.

    `levels` gives the order of the values of ordinal text, which becomes one number;
    other text is encoded one-hot.
    """

    name: str
    position: int
    text: bool = False
    levels: tuple[str, ...] | None = None
    values: set[str] = field(default_factory=set)

    def observe(
        self, cells: Sequence[str], lines: Sequence[int], path: str | Path
    ) -> bool:
        """Add the texts of a chunk to the values of the column.

        Return False, and make the column text, where it was of numbers so far and a
        cell is none: the chunk is to be observed again, and those before it.
        """
        if not self.text:
            try:
                list(map(float, cells))
                return True
            except ValueError:
                self.text = True
                return False
        self.values.update(cells)
        if self.levels and not self.values <= set(self.levels):
            row = next(i for i, cell in enumerate(cells) if cell not in self.levels)
            raise DataError(
                f"{path}: line {lines[row]}: {self.name} is {cells[row]!r}, "
                f"--ordinal lists {'<'.join(self.levels)}"
            )
        if len(self.values) > MAX_CATEGORIES:
            raise DataError(
                f"{path}: {self.name} is text with more than {MAX_CATEGORIES} values; "
                f"leave it out with --drop {self.name!r}, or mend what is no number"
            )
        return True

    def order(self) -> tuple[str, ...]:
        """Return the categories in the order of their numbers or one-hot columns."""
        return self.levels or tuple(sort_labels(self.values))

    def features(self) -> list[str]:
        """Return the names of the features that this column becomes."""
        if self.text and not self.levels:
            return [f"{self.name}={value}" for value in self.order()]
        return [self.name]

    def encode(
        self, cells: Sequence[str], lines: Sequence[int], path: str | Path
    ) -> FloatArray:
        """Return (n,) numbers, or one-hot rows (n, categories)."""
        if not self.text:
            values = np.array(list(map(float, cells)))
            if not np.isfinite(values).all():
                row = int(np.argmin(np.isfinite(values)))
                raise DataError(
                    f"{path}: line {lines[row]}: {self.name} is {cells[row]!r}, "
                    "expected a finite number"
                )
            return values
        codes = self.codes(cells)
        return codes if self.levels else np.eye(len(self.order()))[codes]

    def codes(self, cells: Collection[str]) -> IntArray:
        """Return (n,) positions of the cells in the order of the categories."""
        code = {value: i for i, value in enumerate(self.order())}
        return np.array([code[cell] for cell in cells])
