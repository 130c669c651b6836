"""Arrow's columns as arrays of NumPy, and masks as Arrow's.

pyarrow's own conversions import pandas where it is installed, which takes as long as
reading a small table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..array_types import Array, BoolArray


def as_array(column: Any) -> Array:
    """Return a column of numbers or truth values as an array (n,); NaN for nulls."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        return as_array(column.cast(pa.uint8())).astype(bool)
    if column.null_count:
        column = column.cast(pa.float64(), safe=False)
    dtype = np.dtype(column.type.to_pandas_dtype())
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    arrays = [
        np.frombuffer(chunk.buffers()[1], dtype)[chunk.offset :][: len(chunk)]
        for chunk in chunks
        if len(chunk)
    ]
    if not arrays:
        return np.empty(0, dtype)
    if len(arrays) == 1 and not column.null_count:
        return arrays[0]
    array = np.concatenate(arrays)
    if column.null_count:
        array[is_null(column)] = np.nan
    return array


def is_null(column: Any) -> BoolArray:
    """Return which cells (n,) of a column are missing."""
    if not column.null_count:
        return np.zeros(len(column), bool)
    return as_array(column.is_null())


def select(table: Any, rows: BoolArray) -> Any:
    """Return the rows of a table or a column for which `rows` (n,) is True."""
    import pyarrow as pa

    packed = pa.py_buffer(np.packbits(rows, bitorder="little"))
    return table.filter(pa.Array.from_buffers(pa.bool_(), len(rows), [None, packed]))


def text_array(texts: Iterable[str]) -> Any:
    """Return texts as an array of Arrow."""
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(encoded), *buffers)
