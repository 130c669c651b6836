"""One column of a CSV file: what it holds, and the features it becomes."""

from dataclasses import dataclass, field

import numpy as np

from ...errors import DataError
from .targets import sort_labels

MOST_CATEGORIES = 1000


@dataclass
class Column:
    """One column: numbers, or texts with their `values`; `levels` gives an order."""

    name: str
    position: int
    text: bool = False
    levels: tuple | None = None
    values: set = field(default_factory=set)

    def observe(self, cells, lines, path):
        """Note the texts of a chunk; return False at the first that is no number."""
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
        if len(self.values) > MOST_CATEGORIES:
            raise DataError(
                f"{path}: {self.name} is text with more than {MOST_CATEGORIES} values; "
                f"leave it out with --drop {self.name!r}, or mend what is no number"
            )
        return True

    def order(self):
        """Return the categories in the order of their numbers or one-hot columns."""
        return self.levels or tuple(sort_labels(self.values))

    def features(self):
        """Return the names of the features that this column becomes."""
        if self.text and not self.levels:
            return [f"{self.name}={value}" for value in self.order()]
        return [self.name]

    def encode(self, cells, lines, path):
        """Return (n,) numbers or (n, categories) of zeros and a one."""
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

    def codes(self, cells):
        """Return (n,) positions of the cells in the order of the categories."""
        code = {value: i for i, value in enumerate(self.order())}
        return np.array([code[cell] for cell in cells])
