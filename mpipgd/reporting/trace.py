"""What every rank did when: a trace for chrome://tracing or ui.perfetto.dev."""

import json
from time import perf_counter

import numpy as np

from ..atomic_file import atomic_replace
from ..errors import CheckpointError

KINDS = ("compute", "exchange", "read", "evaluate", "checkpoint", "compile")
MAX_SPANS = 200_000  # spans of a rank: a viewer takes no more


class Trace:
    """The spans of a rank, by the clock that begins when all ranks make theirs."""

    def __init__(self, comm):
        comm.Barrier()
        self.origin, self.spans, self.lost = perf_counter(), [], 0

    def add(self, kind, began, ended):
        """Keep a span of the clock `perf_counter`; what is too much is only counted."""
        if len(self.spans) < MAX_SPANS:
            self.spans.append((KINDS.index(kind), began, ended))
        else:
            self.lost += 1

    def table(self):
        """Return (spans, 3): kind, begin, duration in µs, with compute in the gaps."""
        spans = np.array(sorted(self.spans, key=lambda span: span[1])).reshape(-1, 3)
        gaps = np.stack([0 * spans[1:, 0], spans[:-1, 2], spans[1:, 1]], axis=1)
        spans = np.concatenate([spans, gaps[gaps[:, 2] > gaps[:, 1]]])
        spans[:, 1:] -= self.origin
        spans[:, 2] -= spans[:, 1]
        return spans * [1, 1e6, 1e6]


def write(trace, comm, path):
    """Write the traces of all ranks into one file, on rank 0; collective.

    Trace Event Format (Google 2016): complete events, a process a rank.
    """
    tables, lost = comm.gather(trace.table()), comm.gather(trace.lost)
    if tables is None:
        return
    with atomic_replace(path, CheckpointError) as temporary:
        with open(temporary, "w") as file:
            file.write('{"traceEvents": [\n')
            for rank, table in enumerate(tables):
                cut = f" ({lost[rank]:,} spans left out)" if lost[rank] else ""
                args = {"name": f"rank {rank}{cut}"}
                event = {"ph": "M", "pid": rank, "name": "process_name", "args": args}
                file.write(",\n" * (rank > 0) + json.dumps(event))
                for kind, began, lasted in table.tolist():
                    event = f'"ph": "X", "pid": {rank}, "tid": 0, "ts": {began:.3f}, '
                    event += f'"dur": {lasted:.3f}, "name": "{KINDS[int(kind)]}"'
                    file.write(f",\n{{{event}}}")
            file.write("\n]}\n")
