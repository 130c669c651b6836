"""One flat vector of weights and the named views into it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..array_types import FloatArray


def views(
    w: FloatArray, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, FloatArray]:
    """Return name -> array, the slices of the flat vector `w` in their shapes.

    `shapes` names them in flat order. A view shares memory with `w`.
    """
    arrays, lo = {}, 0
    for name, shape in shapes.items():
        hi = lo + math.prod(shape)
        arrays[name] = w[lo:hi].reshape(shape)
        lo = hi
    return arrays


def size(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the number of weights that `shapes` (name -> shape) add up to."""
    return sum(map(math.prod, shapes.values()))
