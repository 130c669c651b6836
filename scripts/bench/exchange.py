"""The sum in the fixed order: against MPI's own Allreduce, by size and ranks."""

import os
import time

import numpy as np
from measure import Case

from mpipgd import Grid
from mpipgd.comm import allreduce
from mpipgd.reporting.timing import Clock

SIZES = (1_000, 10_000, 200_000, 1_000_000)


def in_slices(total):
    """Return the sum, or what a step does with one that stays in shared memory."""

    def slices(rows):
        total.gradient_buffer[...] = rows
        total.reduce_scatter(total.gradient_buffer)
        total.window.barrier()

    return slices if total.sharded else total


def exchange(comm):
    """Sum one row a rank, as a step of sync does."""
    grid = Grid(comm, comm.size)
    for size in SIZES:
        repeats = max(5, 200_000 // (size + 100))
        rows = np.ones((1, size))

        def side(total, repeats=repeats, rows=rows):
            def measure():
                comm.Barrier()
                began = time.perf_counter()
                for _ in range(repeats):
                    total(rows)
                return (time.perf_counter() - began) / repeats

            return measure

        args = grid, Clock(), size, "f8"
        totals = {
            "Allreduce": allreduce.MpiAllreduce(*args),
            "mpipgd": allreduce.make_allreduce(*args),
            "mpipgd, compiled": allreduce.make_allreduce(*args, compiled=True),
            "mpipgd, in slices": allreduce.make_allreduce(*args, sharded=True),
        }
        sides = {name: side(in_slices(total)) for name, total in totals.items()}
        if not totals["mpipgd, in slices"].sharded:
            del sides["mpipgd, in slices"]
        crowded = comm.size > (os.cpu_count() or 1)
        least = 1.8 if size >= 10_000 and comm.size >= 4 else 0.95
        yield Case(
            f"sum of {size:,} doubles{', crowded' * crowded}",
            sides,
            "Allreduce",
            tuple(sides)[1:],
            least,
        )
        for total in totals.values():
            total.free()
    grid.free()
