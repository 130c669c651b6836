"""Synthetic rows by the block: a block depends on the recipe and its number alone.

regression        y = X w + noise·ε,  X, ε ~ N(0, 1),  w ~ N(0, 1/k)
classification    y = argmax_c (X W)_c, replaced with probability `noise` by any class
blobs             X = centre_y + noise·N(0, 1),  centres ~ U(-10, 10)

k is the number of informative features, the first ones. With a `density` X is sparse:
each row has about density·d values ~ N(0, 1), and w ~ N(0, 1/(k·density)). With a
`skew` s columns are as frequent as words: the r-th of them, in a random order of the
columns, is drawn in proportion to 1/r^s.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...errors import UsageError
from ..hdf5.header import Header
from ..matrix import Csr, product

NOISE = {"regression": 0.1, "classification": 0.05, "blobs": 1.0}
SYNTHETIC = tuple(NOISE)
TRUTH, ROWS, COLUMNS = 0, 1, 2  # which stream of the seed


@dataclass(frozen=True)
class SyntheticSpec:
    """What a synthetic set is made of; None stands for the default of its kind."""

    name: str
    rows: int = 10_000
    features: int = 100
    classes: int | None = None
    noise: float | None = None
    informative: int | None = None
    density: float | None = None
    skew: float = 0.0
    dtype: str = "float64"
    seed: int = 0

    def __post_init__(self):
        if self.noise is None:
            object.__setattr__(self, "noise", NOISE[self.name])
        if self.classes is None and self.name != "regression":
            object.__setattr__(self, "classes", 2 if self.name != "blobs" else 3)
        for flag, valid in self._limits().items():
            if not valid:
                raise UsageError(f"{self.name}: {flag}")

    def _limits(self):
        informative = self.features if self.informative is None else self.informative
        return {
            f"--rows is {self.rows}, expected at least 1": self.rows >= 1,
            f"--features is {self.features}, expected at least 1": self.features >= 1,
            f"--noise is {self.noise}, expected at least 0": self.noise >= 0,
            f"--seed is {self.seed}, expected at least 0": self.seed >= 0,
            f"--dtype is {self.dtype}, expected float32 or float64": (
                self.dtype in ("float32", "float64")
            ),
            f"--classes is {self.classes}, expected at least 2, none for regression": (
                (self.classes is None) == (self.name == "regression")
                and (self.classes or 2) >= 2
            ),
            f"--informative is {informative}, expected 1 … {self.features}": (
                1 <= informative <= self.features
            ),
            f"--skew is {self.skew}, expected at least 0": self.skew >= 0,
            f"--skew {self.skew} takes a --density of at most 0.5": (
                not self.skew or (self.density or 1) <= 0.5
            ),
            f"--density is {self.density}, expected 0 < density ≤ 1, none for blobs": (
                self.density is None or (0 < self.density <= 1 and self.name != "blobs")
            ),
        }

    @property
    def row_values(self):
        """Return how many numbers a row of X holds, about."""
        return max(1, round((self.density or 1.0) * self.features))

    @property
    def block_rows(self):
        """Return the rows of a block: 4096, or fewer where rows are wide."""
        return min(4096, max(64, (1 << 20) // self.row_values))

    def header(self):
        """Return the header of the files that hold these rows."""
        classes = self.classes and tuple(range(self.classes))
        kind = "binary" if self.classes == 2 else "multiclass"
        return Header(
            kind if classes else "regression",
            self.features,
            dtype=self.dtype,
            sparse=self.density is not None,
            classes=classes,
            source=f"synthetic {self.name}, seed {self.seed}",
        )

    def truth(self):
        """Return what rows are drawn around: weights (d, C or 1) or centres (C, d)."""
        draw = np.random.default_rng([self.seed, TRUTH])
        if self.name == "blobs":
            return draw.uniform(-10, 10, (self.classes, self.features))
        informative = self.informative or self.features
        scale = 1 / math.sqrt(max(1.0, informative * (self.density or 1.0)))
        weights = np.zeros((self.features, self.classes or 1))
        weights[:informative] = draw.normal(0, scale, (informative, weights.shape[1]))
        return weights

    def block(self, number, truth):
        """Return (X, y) of a block, (block_rows, d) and (block_rows,), or the rest."""
        n = min(self.block_rows, self.rows - number * self.block_rows)
        draw = np.random.default_rng([self.seed, ROWS, number])
        if self.name == "blobs":
            y = draw.integers(self.classes, size=n)
            X = truth[y] + self.noise * draw.normal(size=(n, self.features))
        else:
            dense = self.density is None
            X = draw.normal(size=(n, self.features)) if dense else self._sparse(draw, n)
            y = self._answer(draw, product(X, truth))
        return self._cast(X), y

    def _answer(self, draw, scores):
        n = len(scores)
        if self.name == "regression":
            return scores[:, 0] + self.noise * draw.normal(size=n)
        wrong = draw.random(n) < self.noise
        random = draw.integers(self.classes, size=n)
        return np.where(wrong, random, scores.argmax(axis=1))

    @cached_property
    def _skewed(self):
        """Return columns by frequency, cumulative chances, and draws for a row.

        Draws that hit a column again are lost, so that there are more of them.
        """
        order = np.random.default_rng([self.seed, COLUMNS]).permutation(self.features)
        chances = np.arange(1.0, self.features + 1) ** -self.skew
        chances /= chances.sum()
        many = self.row_values
        while np.sum(1 - (1 - chances) ** many) < self.row_values:
            many += max(1, many // 50)
        return order, np.minimum(np.cumsum(chances), 1.0), many

    def _sparse(self, draw, n):
        """Draw columns with repetition, then keep each once."""
        if self.skew:
            order, chances, many = self._skewed
            ranks = np.searchsorted(chances, draw.random((n, many)))
            columns = order[ranks]
        else:
            columns = draw.integers(self.features, size=(n, self.row_values))
        cells = np.unique(columns + self.features * np.arange(n)[:, None])
        row, indices = np.divmod(cells, self.features)
        indptr = np.searchsorted(row, np.arange(n + 1))
        values = draw.normal(size=len(cells))
        return Csr(values, indices.astype(np.int32), indptr, self.features)

    def _cast(self, X):
        if isinstance(X, Csr):
            return X._replace(data=X.data.astype(self.dtype))
        return X.astype(self.dtype, copy=False)
