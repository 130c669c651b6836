"""Synthetic rows in blocks: a block depends on the spec and on its number alone.

regression        y = X w + noise·ε,  X, ε ~ N(0, 1),  w ~ N(0, 1/k)
classification    y = argmax_c (X W)_c, replaced with probability `noise` by any class
blobs             X = centre_y + noise·N(0, 1),  centres ~ U(-10, 10)

k is the number of informative features, the first ones. With a `density` X is sparse:
each row has about density·d values ~ N(0, 1), and w ~ N(0, 1/(k·density)). With a
`skew` s columns are as frequent as words: the r-th of them, in a random order of the
columns, is drawn in proportion to 1/r^s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UsageError
from ..hdf5.header import Header
from ..matrix import Csr, product

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray, IntArray
    from ..matrix import Matrix

NOISE = {"regression": 0.1, "classification": 0.05, "blobs": 1.0}
SYNTHETIC = tuple(NOISE)
PARAMETERS, ROWS, COLUMNS = 0, 1, 2  # random streams of a seed


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

    def __post_init__(self) -> None:
        if self.noise is None:
            object.__setattr__(self, "noise", NOISE[self.name])
        if self.classes is None and self.name != "regression":
            object.__setattr__(self, "classes", 2 if self.name != "blobs" else 3)
        for flag, valid in self._limits().items():
            if not valid:
                raise UsageError(f"{self.name}: {flag}")

    def _limits(self) -> dict[str, bool]:
        """Return message -> whether the limit that it names is respected."""
        informative = self.features if self.informative is None else self.informative
        return {
            f"--rows is {self.rows}, expected at least 1": self.rows >= 1,
            f"--features is {self.features}, expected at least 1": self.features >= 1,
            f"--noise is {self.noise}, expected at least 0": self.noise_level >= 0,
            f"--seed is {self.seed}, expected at least 0": self.seed >= 0,
            f"--dtype is {self.dtype}, expected float32 or float64": (
                self.dtype in ("float32", "float64")
            ),
            f"--classes is {self.classes}, expected at least 2, none for regression": (
                (self.classes is None) == (self.name == "regression")
                and (self.classes is None or self.classes >= 2)
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
    def noise_level(self) -> float:
        """The noise, that of the kind by default."""
        return NOISE[self.name] if self.noise is None else self.noise

    @property
    def row_values(self) -> int:
        """About how draws numbers a row of X holds."""
        return max(1, round((self.density or 1.0) * self.features))

    @property
    def block_rows(self) -> int:
        """The rows of a block: 4096, or fewer where rows are wide."""
        return min(4096, max(64, (1 << 20) // self.row_values))

    def header(self) -> Header:
        """Return the header of the files that hold these rows."""
        classes = tuple(range(self.classes)) if self.classes else None
        task = "binary" if self.classes == 2 else "multiclass"
        return Header(
            task if classes else "regression",
            self.features,
            dtype=self.dtype,
            sparse=self.density is not None,
            classes=classes,
            source=f"synthetic {self.name}, seed {self.seed}",
        )

    def true_parameters(self) -> FloatArray:
        """Return what rows are drawn from: weights (d, C or 1) or centers (C, d)."""
        draw = np.random.default_rng([self.seed, PARAMETERS])
        if self.name == "blobs":
            return draw.uniform(-10, 10, (self.classes or 1, self.features))
        informative = self.informative or self.features
        scale = 1 / math.sqrt(max(1.0, informative * (self.density or 1.0)))
        weights = np.zeros((self.features, self.classes or 1))
        weights[:informative] = draw.normal(0, scale, (informative, weights.shape[1]))
        return weights

    def block(self, number: int, parameters: FloatArray) -> tuple[Matrix, Array]:
        """Return X (n, d) and y (n,) of a block; n is block_rows, in the last less."""
        n = min(self.block_rows, self.rows - number * self.block_rows)
        draw = np.random.default_rng([self.seed, ROWS, number])
        if self.name == "blobs":
            y = draw.integers(self.classes or 1, size=n)
            noise = self.noise_level * draw.normal(size=(n, self.features))
            return self._cast(parameters[y] + noise), y
        X: Matrix = (
            draw.normal(size=(n, self.features))
            if self.density is None
            else self._draw_sparse(draw, n)
        )
        y = self._draw_targets(draw, product(X, parameters))
        return self._cast(X), y

    def _draw_targets(self, draw: np.random.Generator, scores: FloatArray) -> Array:
        n = len(scores)
        if self.name == "regression":
            values: Array = scores[:, 0] + self.noise_level * draw.normal(size=n)
            return values
        wrong = draw.random(n) < self.noise_level
        random = draw.integers(self.classes or 1, size=n)
        return np.where(wrong, random, scores.argmax(axis=1))

    @cached_property
    def _skewed(self) -> tuple[IntArray, FloatArray, int]:
        """Columns by frequency, their cumulative probabilities, and draws for a row.

        Draws that hit a column again are lost, so that there are more of them than
        values in a row.
        """
        order = np.random.default_rng([self.seed, COLUMNS]).permutation(self.features)
        probabilities = np.arange(1.0, self.features + 1) ** -self.skew
        probabilities /= probabilities.sum()
        draws = self.row_values
        while np.sum(1 - (1 - probabilities) ** draws) < self.row_values:
            draws += max(1, draws // 50)
        return order, np.minimum(np.cumsum(probabilities), 1.0), draws

    def _draw_sparse(self, draw: np.random.Generator, n: int) -> Csr:
        """Draw columns with repetition, then keep each once."""
        if self.skew:
            order, probabilities, draws = self._skewed
            ranks = np.searchsorted(probabilities, draw.random((n, draws)))
            columns = order[ranks]
        else:
            columns = draw.integers(self.features, size=(n, self.row_values))
        cells = np.unique(columns + self.features * np.arange(n)[:, None])
        row, indices = np.divmod(cells, self.features)
        indptr = np.searchsorted(row, np.arange(n + 1))
        values = draw.normal(size=len(cells))
        return Csr(values, indices.astype(np.int32), indptr, self.features)

    def _cast(self, X: Matrix) -> Matrix:
        if isinstance(X, Csr):
            return X._replace(data=X.data.astype(self.dtype))
        return X.astype(self.dtype, copy=False)
