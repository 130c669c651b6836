#!/usr/bin/env python3
"""Measure, interleaved with the other side, and print medians and ratios.

scripts/bench step        a sync step against raw numpy and Allreduce, 2 ranks
scripts/bench exchange    the sum in the fixed order against MPI's own, by size
scripts/bench hogwild     rows a second of hogwild on 2 ranks against one rank

Runs in every environment that scripts/test has made (.venv-mpich, .venv-openmpi).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENV = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def interleaved(rounds, sides):
    """Return name -> seconds of each round, the sides taken in turn."""
    found = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def show(comm, label, found, base, *, unit=1e6, name="µs"):
    """Print medians and the median of the ratios to the base side, round by round."""
    if comm.rank:
        return
    for side, seconds in found.items():
        ratios = [a / b for a, b in zip(seconds, found[base])]
        print(
            f"{label:<28} {side:<22} {unit * statistics.median(seconds):10.2f} {name}"
            f"   × {statistics.median(ratios):5.2f} of {base}",
            flush=True,
        )


def raw_step(comm, X, y, steps):
    """Return seconds a step of the least that a sync step can be in numpy."""
    import numpy as np
    from mpi4py import MPI

    order = np.random.default_rng(comm.rank).permutation(len(X)).reshape(-1, 32)
    w, batch = np.zeros(X.shape[1]), 32 * comm.size
    comm.Barrier()
    began = time.perf_counter()
    for step in range(steps):
        rows = order[step % len(order)]
        Xb = X[rows]
        r = Xb @ w - y[rows]
        g = Xb.T @ r
        comm.Allreduce(MPI.IN_PLACE, g)
        g *= 0.01 / batch
        w -= g
    return (time.perf_counter() - began) / steps


def step(comm, rounds):
    """Global batch 64, d = 100, squared loss: whole runs against a raw loop."""
    from mpipgd import train
    from mpipgd.options import Train
    from mpipgd.data.make import make
    from mpipgd.data.store import open_data

    folder = Path(comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None))
    path, batch = folder / "data.h5", 32 * comm.size
    make(comm, "regression", str(path), rows=500 * batch, features=100, test_size=0.0)
    n = 500 * 32
    source = open_data(comm, path)
    X, y = source.read("train", comm.rank * n, (comm.rank + 1) * n)
    count = iter(range(10**6))
    common = {"data": str(path), "quiet": True, "lr": 0.01, "eval_every": 40}
    common |= {"checkpoint_every": "40", "epochs": 40}

    def ours(**more):
        def side():
            options = Train(**common | more, run=str(folder / f"run{next(count)}"))
            summary = train(options, comm=comm)
            return summary["seconds"] / summary["steps"]

        return side

    sides = {
        "raw": lambda: raw_step(comm, X, y, 20_000),
        "mpipgd": ours(penalty="none"),
        "mpipgd, l2": ours(),
        "mpipgd --reduction mpi": ours(penalty="none", reduction="mpi"),
    }
    found = interleaved(rounds, sides)
    show(comm, f"step, batch {batch}, d = 100", found, "raw")
    if comm.rank == 0:
        pairs = zip(found["mpipgd"], found["mpipgd --reduction mpi"])
        extra = statistics.median(a / b for a, b in pairs) - 1
        print(f"the fixed order costs {extra:+.1%} of a step", flush=True)
    comm.Barrier()


def exchange(comm, rounds):
    """Sum one row a rank, by size of the vector."""
    import numpy as np

    from mpipgd import Grid, sums
    from mpipgd.clock import Clock

    grid = Grid(comm, comm.size)
    for size in (100, 1000, 4000, 16_000, 64_000, 250_000, 1_000_000):
        kinds = {
            "Allgatherv": sums.Gathered,
            "flags, numpy": partial(sums.Flagged, compiled=False),
            "flags, compiled": partial(sums.Flagged, compiled=True),
            "slices": sums.Windowed,
            "Allreduce": sums.Native,
        }
        totals = {name: kind(grid, Clock(), size, "f8") for name, kind in kinds.items()}
        rows = np.ones((1, size))
        many = max(5, 200_000 // (size + 100))

        def side(total):
            def go():
                comm.Barrier()
                began = time.perf_counter()
                for _ in range(many):
                    total(rows)
                return (time.perf_counter() - began) / many

            return go

        sides = {name: side(total) for name, total in totals.items()}
        found = interleaved(rounds, sides)
        show(comm, f"sum of {size:,} doubles", found, "Allreduce")
        for total in totals.values():
            total.free()
    grid.free()


HOGWILD = {  # label -> (how the rows are made, how they are learned)
    "dense, d = 100": (
        ("regression", {"rows": 400_000, "features": 100}),
        {"lr": 2e-4, "epochs": 5},
    ),
    "76 of 47,000": (
        (
            "classification",
            {"rows": 200_000, "features": 47_000, "density": 0.001617, "skew": 1.0},
        ),
        {"lr": 0.01, "epochs": 5},
    ),
}


def hogwild(comm, rounds):
    """SGD on single rows, all ranks against one: rows a second, and the objective."""
    for label, (recipe, options) in HOGWILD.items():
        _hogwild(comm, rounds, label, recipe, options)


def _hogwild(comm, rounds, label, recipe, options):
    from mpipgd import mpi, train
    from mpipgd.options import Train
    from mpipgd.data.make import make

    folder = Path(comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None))
    (name, more), path = recipe, folder / "data.h5"
    make(comm, name, str(path), test_size=0.0, **more)
    common = {"data": str(path), "quiet": True, "batch_size": 1, "penalty": "none"}
    common |= {"eval_every": 1000, "checkpoint_every": "1000"} | options
    count, losses = iter(range(10**6)), {}

    def side(ranks, strategy):
        def go():
            summary = None
            if comm.rank < ranks.size:
                run = str(folder / f"{strategy}{ranks.size}-{next(count)}")
                run = Train(**common, strategy=strategy, workers=ranks.size, run=run)
                summary = train(run, comm=ranks)
            mpi.patiently(comm.Ibarrier())
            if comm.rank == 0:
                losses.setdefault((strategy, ranks.size), []).append(summary["loss"])
                return summary["seconds"] / summary["samples"]
            return 1.0

        return go

    sides = {
        "serial": side(mpi.alone(), "sync"),
        "hogwild, 1 rank": side(mpi.alone(), "hogwild"),
        f"hogwild, {comm.size} ranks": side(comm, "hogwild"),
    }
    found = interleaved(rounds, sides)
    show(comm, label, found, "serial")
    if comm.rank == 0:
        ours = found[f"hogwild, {comm.size} ranks"]
        gains = sorted(a / b for a, b in zip(found["serial"], ours))
        print(
            f"  {statistics.median(gains):.2f} × the rows a second of one rank", end=""
        )
        print(f" ({gains[0]:.2f} … {gains[-1]:.2f})", end="")
        (_, (serial, *_)), *_, (_, shared) = losses.items()
        worst = max(shared, key=lambda loss: abs(loss / serial - 1)) / serial - 1
        print(f"; objective {serial:.6g}, at most {worst:+.2%} from it", flush=True)
    comm.Barrier()


BENCHES = {"step": step, "exchange": exchange, "hogwild": hogwild}


def launch(args):
    """Run a bench under the mpirun of each environment there is."""
    environments = [ROOT / name for name in (".venv-mpich", ".venv-openmpi", ".venv")]
    found = [each for each in environments if (each / "bin/mpirun").exists()]
    found = found[:2] or sys.exit(
        "no environment: run scripts/test or quickstart first"
    )
    for each in found:
        print(
            f"== {each.name}, {args.ranks} ranks on {os.cpu_count()} cores", flush=True
        )
        command = [each / "bin/mpirun", "-n", str(args.ranks), each / "bin/python"]
        command += [__file__, args.bench, "--rounds", str(args.rounds), "--inside"]
        subprocess.run(command, env=os.environ | ENV, timeout=900, check=True)


def main():
    """Parse the arguments; start the ranks, or be one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.inside:
        return launch(args)
    from mpipgd import launch as settings

    settings.prepare()
    from mpipgd import mpi

    BENCHES[args.bench](mpi.world(), args.rounds)


if __name__ == "__main__":
    main()
