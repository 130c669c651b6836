"""The compiled scan of bytes with quotes, see `record_scan`."""

from __future__ import annotations

from ...array_types import ByteArray, IntArray
from ...jit import compiled
from .record_scan import LINE_BREAK, QUOTED


@compiled
def scan(
    data: ByteArray,
    classes: ByteArray,
    transitions: ByteArray,
    states: int,
    ends: IntArray,
    first_records: IntArray,
) -> None:
    """Set the states (4,) after some bytes, and the first records; see `BlockScan`.

    classes (256,) of bytes; transitions (4, 256) of four packed states, `states`.
    """
    missing = 4
    for i in range(data.size):
        kind = classes[data[i]]
        if missing and kind == LINE_BREAK:
            for k in range(4):
                if first_records[k] < 0 and (states >> 2 * k) & 3 != QUOTED:
                    first_records[k] = i + 1
                    missing -= 1
        states = int(transitions[kind, states])
    for k in range(4):
        ends[k] = (states >> 2 * k) & 3
