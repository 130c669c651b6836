"""Linear models: plain SGD, averaging, hogwild, full gradients."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Case, timed

from mpipgd import train
from mpipgd.comm import mpi
from mpipgd.config.options import TrainConfig
from mpipgd.data.create.make import make
from mpipgd.data.hdf5.source import open_data
from mpipgd.objectives.linear import Linear


def data(comm, recipe, **more):
    """Make a data file that all ranks see, without a test part."""
    folder = Path(comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None))
    make(comm, recipe, str(folder / "data.h5"), test_size=0.0, **more)
    return folder / "data.h5"


def run(path, comm, losses=None, **more):
    """Return a side: seconds of training of a whole run; idle ranks wait."""
    common = {"data": str(path), "quiet": True, "picture": False, "standardize": False}
    common |= {"eval_every": 10**6, "checkpoint_every": str(10**6)} | more

    def side():
        if comm is None:
            return 1.0
        folder = comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None)
        options = {"workers": comm.size} | common
        summary = train(TrainConfig(**options, run=folder + "/run"), comm=comm)
        if losses is not None:
            losses.append(summary["loss"])
        return summary["seconds"]

    return side


def only(comm, ranks):
    """Return a communicator of this rank alone on the first ranks, else None."""
    return mpi.comm_self() if comm.rank < ranks else None


def sgd(comm):
    """Squared loss, batch 1, 400k × 100, shuffled: against scikit-learn's pass."""
    from sklearn.linear_model import SGDRegressor

    path = data(comm, "regression", rows=400_000, features=100)
    X, y = open_data(comm, path).read("train", 0, 400_000)
    learning = {"alpha": 1e-4, "learning_rate": "constant", "eta0": 1e-4}

    def theirs():
        seed = time.time_ns() % 2**31
        return timed(SGDRegressor(**learning, random_state=seed).partial_fit, X, y)

    ours = run(path, comm, batch_size=1, epochs=1, lr=1e-4)
    plain = run(path, comm, batch_size=1, epochs=1, lr=1e-4, penalty="none")
    sides = {"scikit-learn": theirs, "mpipgd": ours, "mpipgd, no penalty": plain}
    label = "SGD, batch 1, 400k × 100"
    yield Case(label, sides, "scikit-learn", tuple(sides)[1:], 3.5)


def reading(comm):
    """One pass from the page cache, batch 1: against 0.48 M rows a second.

    That is what Vowpal Wabbit took from its own binary cache on a like machine.
    """
    rows = 1_000_000
    path = data(comm, "regression", rows=rows, features=100)
    common = {"batch_size": 1, "epochs": 1, "lr": 1e-4, "memory_limit": "400MB"}
    sides = {
        "0.48 M rows/s": lambda: rows / 0.48e6,
        "mpipgd": run(path, comm, **common),
        "mpipgd, no penalty": run(path, comm, penalty="none", **common),
    }
    label = "reading and SGD, batch 1, d = 100"
    yield Case(label, sides, "0.48 M rows/s", tuple(sides)[1:], 8.0)


def skewed(comm):
    """Make 200k rows with 76 entries each, in 47k columns as frequent as words."""
    spec = {"rows": 200_000, "features": 47_000, "density": 0.001617, "skew": 1.0}
    return data(comm, "classification", **spec)


def sparse(comm):
    """Hinge loss on CSR rows, shuffled: against scikit-learn's pass."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import SGDClassifier

    path = skewed(comm)
    X, y = open_data(comm, path).read("train", 0, 200_000)
    X = csr_matrix((X.data, X.indices, X.indptr.astype("i4")), (len(y), X.width))
    learning = {"alpha": 1e-4, "learning_rate": "constant", "eta0": 1e-3}

    def theirs():
        seed = time.time_ns() % 2**31
        model = SGDClassifier(loss="hinge", **learning, random_state=seed)
        return timed(lambda: model.partial_fit(X, y, classes=[0, 1]))

    common = {"batch_size": 1, "epochs": 1, "lr": 1e-3, "loss": "hinge"}
    sides = {
        "scikit-learn": theirs,
        "mpipgd": run(path, comm, **common),
        "mpipgd, no penalty": run(path, comm, penalty="none", **common),
    }
    yield Case("SGD, hinge, 76 of 47k", sides, "scikit-learn", tuple(sides)[1:], 3.0)


def average(comm):
    """Models averaged once an epoch, on all ranks: against one rank."""
    path = data(comm, "regression", rows=400_000, features=100)
    common = {"batch_size": 1, "lr": 1e-4}
    one = run(path, only(comm, 1), epochs=3, strategy="sync", **common)
    many = run(path, comm, epochs=3, n_sync=3, strategy="average", **common)
    sides = {"1 rank": one, "all ranks": many}
    yield Case("average an epoch", sides, "1 rank", ("all ranks",), 0.95 * comm.size)


def softmax(comm):
    """Synchronous steps of softmax regression: against the same in numpy."""
    for rows, features, batch, least in (20_000, 64, 32, 4), (10_000, 784, 100, 1):
        path = data(comm, "classification", rows=rows, features=features, classes=10)
        common = {"batch_size": batch, "epochs": 3, "lr": 0.1}
        sides = {
            "numpy": run(path, comm, kernels="numpy", **common),
            "compiled": run(path, comm, **common),
        }
        label = f"{features}-10, batch {batch} a rank"
        yield Case(label, sides, "numpy", ("compiled",), least)


def hogwild(comm):
    """SGD on single rows, all ranks on one vector: against one rank."""
    dense = data(comm, "regression", rows=400_000, features=100)
    works = {
        "hogwild, d = 100": (dense, {"lr": 2e-4}),
        "hogwild, 76 of 47k": (skewed(comm), {"lr": 0.01}),
    }
    for label, (path, more) in works.items():
        common = {"batch_size": 1, "penalty": "none", "epochs": 5} | more
        alone, shared = [], []
        sides = {
            "1 rank": run(path, only(comm, 1), alone, **common),
            "all ranks": run(path, comm, shared, strategy="hogwild", **common),
        }
        yield Case(label, sides, "1 rank", ("all ranks",), None)
        if comm.rank == 0:
            worst = statistics.median(shared) / alone[0] - 1
            print(f"{label}: objective {worst:+.2%} from one rank's", flush=True)


def gradient(comm):
    """The full gradient of 2 GB: against reading as fast as the cores can."""
    from bandwidth import read

    n, d = 2_500_000 // comm.size, 100
    rng = np.random.default_rng(comm.rank)
    X = np.empty((n, d))
    X.reshape(-1, 1000 * d)[:] = rng.normal(size=1000 * d)
    y, w, out = rng.normal(size=n), rng.normal(size=d), np.empty(d)
    model = Linear(d, intercept=False, compiled=True)

    def at_once(function, *args):
        def side():
            comm.Barrier()
            seconds = timed(function, *args)
            return mpi.allreduce_max(comm, [seconds])[0]

        return side

    sides = {
        "read": at_once(read, X),
        "numpy's sum": at_once(np.sum, X),
        "gradient": at_once(model.gradient, w, X, y, None, out),
    }
    label = f"gradient, 2 GB, {comm.size} cores"
    yield Case(label, sides, "read", ("gradient", "numpy's sum"), 0.85)
