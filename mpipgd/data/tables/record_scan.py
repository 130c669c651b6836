"""Find where the records of a CSV file begin, in blocks that ranks scan in parallel.

A line break within quotes ends no record, so that a block of bytes tells where its
records begin only together with the state in which it is entered. Each block is scanned
once for all four states, which gives its first record and the state at its end for
each; the states then follow block by block (Mytkowicz, Musuvathi & Schulte 2014,
"Data-parallel finite-state machines").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...array_types import ByteArray, IntArray

# states: at the start of a field, in a field, in a quoted field, after a quote in one
START, FIELD, QUOTED, AFTER_QUOTE = range(4)
# classes of bytes; SPACE is also "\\r"
OTHER, QUOTE, SEPARATOR, LINE_BREAK, SPACE = range(5)
NEXT_STATE = {
    OTHER: (FIELD, FIELD, QUOTED, FIELD),
    SPACE: (FIELD, FIELD, QUOTED, AFTER_QUOTE),
    QUOTE: (QUOTED, FIELD, AFTER_QUOTE, QUOTED),
    SEPARATOR: (START, START, QUOTED, START),
    LINE_BREAK: (START, START, QUOTED, START),
}
_ALL_STATES = sum(state << 2 * state for state in range(4))  # packed, two bits each


class BlockScan(NamedTuple):
    """What a block of bytes does to each of the states (4,) in which it is entered.

    `ends` are the states after it; `first_records` the offset of the first record that
    begins in it, -1 for none; `malformed` that of the first text that follows a closing
    quote, -1 for none.
    """

    ends: IntArray
    first_records: IntArray
    malformed: IntArray


def scan_block(data: bytes, separator: bytes) -> BlockScan:
    """Return the `BlockScan` of some bytes, at least one."""
    if b'"' not in data:  # as in most files: searching takes a tenth of scanning
        outside = START if data[-1:] in (separator, b"\n") else FIELD
        first = data.find(b"\n") + 1 or -1
        behind_quote = data.lstrip(b" \r")[:1]
        text_follows = behind_quote not in (b"", separator, b"\n")
        after = np.array(
            [outside, outside, QUOTED, outside if behind_quote else AFTER_QUOTE]
        )
        return BlockScan(
            after,
            np.array([first, first, -1, first]),
            np.array([-1, -1, -1, 0 if text_follows else -1]),
        )
    from .quote_scan import scan  # numba takes a third of a second to import

    classes = np.full(256, OTHER, np.uint8)
    classes[ord('"')] = QUOTE
    classes[ord("\n")] = LINE_BREAK
    classes[[ord(" "), ord("\r")]] = SPACE
    classes[ord(separator)] = SEPARATOR
    ends, first_records, malformed = np.full((3, 4), -1)
    array = np.frombuffer(data, np.uint8)
    states = np.arange(256)[:, None] >> 2 * np.arange(4) & 3
    may_be_malformed = (states == AFTER_QUOTE).any(axis=1)
    scan(
        array,
        classes,
        _packed_transitions(),
        may_be_malformed,
        _ALL_STATES,
        ends,
        first_records,
        malformed,
    )
    return BlockScan(ends, first_records, malformed)


def _packed_transitions() -> ByteArray:
    """Return (5, 256): for a class of bytes and four packed states, the next ones."""
    table = np.zeros((5, 256), np.uint8)
    for kind, following in NEXT_STATE.items():
        for packed in range(256):
            states = [(packed >> 2 * k) & 3 for k in range(4)]
            table[kind, packed] = sum(
                following[state] << 2 * k for k, state in enumerate(states)
            )
    return table


def record_starts(
    scans: list[BlockScan], offsets: IntArray
) -> tuple[IntArray, int, bool]:
    """Return (n + 1,) where the records of each block begin, and the last state.

    And whether some text follows a closing quote.

    offsets (n + 1,): where the blocks of bytes begin, the first one with a record, and
    the end of the file. A block in which no record begins gets the start of the next
    one, and so no records. The state is that at the end of the file.
    """
    starts = np.full(len(scans) + 1, offsets[-1])
    starts[0], state, malformed = offsets[0], START, False
    for k, scan in enumerate(scans):
        if k and scan.first_records[state] >= 0:
            starts[k] = offsets[k] + scan.first_records[state]
        elif k:
            starts[k] = -1
        malformed |= bool(scan.malformed[state] >= 0)
        state = int(scan.ends[state])
    for k in range(len(scans) - 1, 0, -1):
        if starts[k] < 0:
            starts[k] = starts[k + 1]
    return starts, state, malformed
