"""What every rank did when: a trace for chrome://tracing or ui.perfetto.dev."""

from __future__ import annotations

import json
import os
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from ..atomic_file import atomic_replace
from ..errors import CheckpointError

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..comm.mpi import Comm

KINDS = ("compute", "exchange", "read", "evaluate", "checkpoint", "compile")
MAX_SPANS = 200_000  # of a rank: viewers cannot open more


class Trace:
    """The spans of one rank; its clock begins when all ranks create theirs."""

    def __init__(self, comm: Comm) -> None:
        comm.Barrier()
        self.origin = perf_counter()
        self.spans: list[tuple[int, float, float]] = []  # kind, began, ended
        self.dropped = 0

    def add(self, kind: str, began: float, ended: float) -> None:
        """Record a span in times of `perf_counter`; beyond MAX_SPANS only count it."""
        if len(self.spans) < MAX_SPANS:
            self.spans.append((KINDS.index(kind), began, ended))
        else:
            self.dropped += 1

    def table(self) -> FloatArray:
        """Return (spans, 3): kind, begin, duration in µs, with compute in the gaps."""
        spans = np.array(sorted(self.spans, key=lambda span: span[1])).reshape(-1, 3)
        gaps = np.stack([0 * spans[1:, 0], spans[:-1, 2], spans[1:, 1]], axis=1)
        spans = np.concatenate([spans, gaps[gaps[:, 2] > gaps[:, 1]]])
        spans[:, 1:] -= self.origin
        spans[:, 2] -= spans[:, 1]
        return spans * [1, 1e6, 1e6]


def write(trace: Trace, comm: Comm, path: str | os.PathLike[str]) -> None:
    """Write the traces of all ranks into one file, on rank 0; collective.

    Trace Event Format (Google 2016): complete events, one process per rank.
    """
    tables, dropped = comm.gather(trace.table()), comm.gather(trace.dropped)
    if tables is None or dropped is None:
        return
    with atomic_replace(path, CheckpointError) as temporary:
        with open(temporary, "w") as file:
            file.write('{"traceEvents": [\n')
            for rank, table in enumerate(tables):
                note = f" ({dropped[rank]:,} spans left out)" if dropped[rank] else ""
                metadata = {
                    "ph": "M",
                    "pid": rank,
                    "name": "process_name",
                    "args": {"name": f"rank {rank}{note}"},
                }
                file.write(",\n" * (rank > 0) + json.dumps(metadata))
                for kind, began, duration in table.tolist():
                    event = f'"ph": "X", "pid": {rank}, "tid": 0, "ts": {began:.3f}, '
                    event += f'"dur": {duration:.3f}, "name": "{KINDS[int(kind)]}"'
                    file.write(f",\n{{{event}}}")
            file.write("\n]}\n")
