"""Whole passes: from the disk, for many settings at once, and to the optimum."""

import math
import tempfile

import h5py
import numpy as np
from linear import data, run
from measure import Case

from mpipgd import train
from mpipgd.comm import mpi
from mpipgd.config.options import TrainConfig
from mpipgd.reporting.run_folder import read_epochs
from mpipgd.studies.compare.optimum import solve_reference

ROWS, FEATURES = 1_000_000, 100


def contiguous(comm, path):
    """Store the rows of a file contiguously, so that it is mapped and not read."""

    def rewrite():
        with h5py.File(path, "r+") as file:
            for name in ("train/X", "train/y"):
                array = file[name][...]
                del file[name]
                file.create_dataset(name, data=array)

    mpi.on_root(comm, rewrite)
    return path


def stream(comm):
    """Gradient descent with a tenth of the rows in memory: against all in memory."""
    size = {"rows": ROWS, "features": FEATURES}
    paths = {
        "in one piece": contiguous(comm, data(comm, "regression", **size)),
        "with checksums": data(comm, "regression", **size),
    }
    limit = {"memory_limit": f"{ROWS * FEATURES * 8 // 10**7}MB", "standardize": True}
    for how, path in paths.items():
        common = {"batch_size": ROWS, "epochs": 5, "lr": 0.3}
        sides = {
            "in memory": run(path, comm, **common),
            "a tenth in memory": run(path, comm, **common, **limit),
        }
        label = f"GD, 800 MB {how}"
        yield Case(label, sides, "in memory", ("a tenth in memory",), 0.8)


def evaluated(comm, path, **more):
    """Return the evaluations of a run, on rank 0; and on the others nothing."""
    folder = comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None)
    common = {"quiet": True, "picture": False, "data": str(path)}
    common |= {"run": folder + "/run", "workers": comm.size}
    common |= {"checkpoint_every": "1000000"}
    train(TrainConfig(**common | more), comm=comm)
    return read_epochs(folder + "/run")


def shuffle(comm):
    """Epochs to a loss with piles of a tenth of the rows: against a full shuffle."""
    path = data(comm, "classification", rows=100_000, features=50)
    common = {"batch_size": 4, "lr": 0.05, "schedule": "invscaling", "epochs": 12}
    best = evaluated(comm, path, **common)[-3]["loss"]

    def epochs(**more):
        def side():
            seed = np.random.default_rng().integers(1 << 30)
            seed = int(comm.bcast(seed))
            losses = evaluated(comm, path, seed=seed, **common, **more)
            return reached(losses, best * 1.001, "epoch")

        return side

    sides = {"full shuffle": epochs(), "piles": epochs(memory_limit="4.5MB")}
    yield Case("epochs to a loss", sides, "full shuffle", ("piles",), 1 / 1.05)


def reached(records, loss, what):
    """Return when the loss was first that low, between two evaluations by its log."""
    before = None
    for record in records:
        if record["loss"] <= loss:
            if before is None:
                return record[what]
            a, b = math.log(before["loss"]), math.log(record["loss"])
            share = (a - math.log(loss)) / max(a - b, 1e-300)
            return before[what] + share * (record[what] - before[what])
        before = record
    return math.inf


def many(comm):
    """Gradient descent for 16 settings in one pass: against one setting."""
    path = data(comm, "regression", rows=400_000, features=FEATURES)
    common = {"batch_size": ROWS, "epochs": 10, "lr": 0.3}
    grid = "lr=0.3,0.2,0.1,0.05,alpha=0.1,0.01,0.001,0.0001"
    sides = {
        "one setting": run(path, comm, **common),
        "16 settings": run(path, comm, many=grid, **common),
    }
    yield Case("GD, 400k × 100", sides, "one setting", ("16 settings",), 1 / 3)


def finish(comm):
    """Seconds to within 1e-8 of the optimum: SGD and then L-BFGS, against either."""
    path = data(comm, "classification", rows=200_000, features=100)
    common = {"alpha": (1e-4,), "batch_size": 16, "lr": 0.02, "epochs": 60}
    best = solve_reference(TrainConfig(data=str(path), **common), comm=comm).objective

    def seconds(**more):
        def side():
            records = evaluated(comm, path, **common | more)
            near = next((e for e in records if e["loss"] - best <= 1e-8), None)
            return near["seconds"] if near else math.inf

        return side

    sides = {
        "L-BFGS": seconds(optimizer="lbfgs"),
        "SGD, then L-BFGS": seconds(then="lbfgs"),
    }
    yield Case("log loss to f* + 1e-8", sides, "L-BFGS", ("SGD, then L-BFGS",), 1.0)
    schedule = {"schedule": "invscaling", "power": 1.0}
    if comm.rank == 0:
        print("SGD alone gets there in", seconds(**schedule)(), "s", flush=True)
