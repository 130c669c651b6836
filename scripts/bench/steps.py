"""Steps of synchronous SGD: against raw numpy, PyTorch's DDP, MLPClassifier."""

import os
import socket
import sys
import time

import numpy as np
from linear import data, run
from measure import Case, timed

from mpipgd.data.hdf5.source import open_data

NETWORK = {"model": "mlp", "hidden": (256,), "penalty": "none", "lr": 0.01}


def per_step(side, steps):
    """Return a side that counts the seconds of a step."""
    return lambda: side() / steps


def step(comm):
    """Global batch 64, d = 100, squared loss: against numpy and Allreduce alone."""
    from mpi4py import MPI

    n, batch = 16_000, 64 // comm.size
    path = data(comm, "regression", rows=n * comm.size, features=100)
    X, y = open_data(comm, path).read("train", comm.rank * n, (comm.rank + 1) * n)
    order = np.random.default_rng(comm.rank).permutation(n)
    w, steps = np.zeros(100), 20 * n // batch

    def raw():
        for k in range(steps):
            lo = k * batch % n
            rows = order[lo : lo + batch]
            Xb = X[rows]
            g = Xb.T @ (Xb @ w - y[rows])
            comm.Allreduce(MPI.IN_PLACE, g)
            g *= 1e-4 / 64
            np.subtract(w, g, out=w)

    def ours(**more):
        side = run(path, comm, batch_size=batch, epochs=20, lr=1e-4, **more)
        return per_step(side, steps)

    sides = {
        "raw": lambda: timed(raw) / steps,
        "mpipgd": ours(penalty="none"),
        "mpipgd, l2": ours(),
        "mpipgd --reduction mpi": ours(penalty="none", reduction="mpi"),
    }
    yield Case("sync step, batch 64, d = 100", sides, "raw", tuple(sides)[1:], None)


def torch(comm):
    """The same steps, and those of a network 784-256-10: against DDP with gloo."""
    pytorch = _pytorch(comm)
    if pytorch is None:
        print("torch: not installed, skipped", file=sys.stderr)
        return
    yield from _linear(comm, pytorch)
    for batch, least in ((100, 3.0), (1000, 1.5)):
        yield from _network(comm, pytorch, batch, least)
    pytorch.distributed.destroy_process_group()


def _pytorch(comm):
    """Return the module with its ranks joined by gloo, a thread each; None without."""
    try:
        import torch as pytorch
    except ImportError:
        return None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = comm.bcast(free.getsockname()[1])
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pytorch.set_num_threads(1)
    pytorch.distributed.init_process_group("gloo", rank=comm.rank, world_size=comm.size)
    return pytorch


def _theirs(pytorch, model, loss, X, y, batch, steps):
    """Return a side: seconds of a step of DDP on rows taken in random order."""
    wrapped = pytorch.nn.parallel.DistributedDataParallel(model)
    descent = pytorch.optim.SGD(wrapped.parameters(), lr=1e-4)
    order = pytorch.randperm(len(X))

    def side():
        began = time.perf_counter()
        for k in range(steps):
            lo = k * batch % (len(X) - batch + 1)
            rows = order[lo : lo + batch]
            descent.zero_grad()
            loss(wrapped(X[rows]), y[rows]).backward()
            descent.step()
        return (time.perf_counter() - began) / steps

    return side


def _linear(comm, pytorch):
    n, batch = 16_000, 64 // comm.size
    path = data(comm, "regression", rows=n * comm.size, features=100)
    X, y = open_data(comm, path).read("train", comm.rank * n, (comm.rank + 1) * n)
    X, y = pytorch.from_numpy(X), pytorch.from_numpy(y)[:, None]
    model = pytorch.nn.Linear(100, 1).double()
    loss = pytorch.nn.functional.mse_loss
    ours = run(path, comm, batch_size=batch, epochs=20, lr=1e-4)
    sides = {
        "DDP": _theirs(pytorch, model, loss, X, y, batch, 500),
        "mpipgd": per_step(ours, 20 * n // batch),
    }
    yield Case("sync step, batch 64, d = 100", sides, "DDP", ("mpipgd",), 60.0)


def _network(comm, pytorch, batch, least):
    n, batch = 5000, batch // comm.size
    path = _images(comm, n * comm.size)
    X, y = open_data(comm, path).read("train", comm.rank * n, (comm.rank + 1) * n)
    X, y = pytorch.from_numpy(X.astype("f4")), pytorch.from_numpy(y.astype("i8"))
    layers = pytorch.nn.Linear(784, 256), pytorch.nn.ReLU(), pytorch.nn.Linear(256, 10)
    loss = pytorch.nn.functional.cross_entropy
    model = pytorch.nn.Sequential(*layers)
    ours = run(path, comm, batch_size=batch, epochs=4, **NETWORK)
    sides = {
        "DDP": _theirs(pytorch, model, loss, X, y, batch, 2 * n // batch),
        "mpipgd": per_step(ours, 4 * n // batch),
    }
    label = f"784-256-10, batch {batch * comm.size}"
    yield Case(label, sides, "DDP", ("mpipgd",), least)


def _images(comm, rows):
    """Make rows as wide as MNIST's images, of ten classes."""
    return data(comm, "classification", rows=rows, features=784, classes=10)


def network(comm):
    """An epoch of a network 784-256-10 on one rank: against MLPClassifier's."""
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    path = _images(comm, 10_500)
    X, y = open_data(comm, path).read("train", 0, 10_500)
    X = X.astype("f4")
    model = MLPClassifier(
        (256,), batch_size=100, solver="sgd", alpha=0.0, learning_rate_init=0.01
    )
    model.partial_fit(X, y, classes=range(10))

    def theirs():
        with threadpool_limits(2):
            return timed(model.partial_fit, X, y)

    ours = run(path, comm, batch_size=100, epochs=1, **NETWORK)

    def threaded(threads):
        def side():
            with threadpool_limits(threads):
                return ours()

        return side

    sides = {"MLPClassifier, 2 threads": theirs}
    sides |= {"mpipgd, 1 thread": threaded(1), "mpipgd, 2 threads": threaded(2)}
    label = "epoch of 784-256-10, batch 100"
    yield Case(label, sides, "MLPClassifier, 2 threads", tuple(sides)[1:], 1.8)
