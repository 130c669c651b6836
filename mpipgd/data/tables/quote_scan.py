"""The compiled scan of bytes with quotes, see `record_scan`."""

from __future__ import annotations

from ...array_types import BoolArray, ByteArray, IntArray
from ...jit import compiled
from .record_scan import AFTER_QUOTE, LINE_BREAK, OTHER, QUOTED


@compiled
def scan(
    data: ByteArray,
    classes: ByteArray,
    transitions: ByteArray,
    may_be_malformed: BoolArray,
    states: int,
    ends: IntArray,
    first_records: IntArray,
    malformed: IntArray,
) -> None:
    """Set the outputs (4,) for the bytes `data`; see `BlockScan`.

    classes (256,) of bytes; transitions (5, 256) of four packed states, `states`;
    may_be_malformed (256,): whether one of these is behind a closing quote.
    """
    missing = 4
    for i in range(data.size):
        kind = classes[data[i]]
        if missing and kind == LINE_BREAK:
            for k in range(4):
                if first_records[k] < 0 and (states >> 2 * k) & 3 != QUOTED:
                    first_records[k] = i + 1
                    missing -= 1
        if kind == OTHER and may_be_malformed[states]:
            for k in range(4):
                if malformed[k] < 0 and (states >> 2 * k) & 3 == AFTER_QUOTE:
                    malformed[k] = i
        states = int(transitions[kind, states])
    for k in range(4):
        ends[k] = (states >> 2 * k) & 3
