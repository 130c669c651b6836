"""L-BFGS over all rows: the optimum, by itself or after SGD; resumed or straight on."""

import json
import shutil

import numpy as np
import pytest

from mpipgd.data.create.make import make
from mpipgd.errors import UsageError
from mpipgd.studies.compare.optimum import solve_reference
from mpipgd.training.run import resume, train
from mpipgd.transforms.lbfgs import Lbfgs

from ..support import options

WAYS = {"lbfgs": {"optimizer": "lbfgs"}, "then": {"then": "lbfgs"}}
WAYS["after average"] = {"then": "lbfgs", "strategy": "average", "n_sync": 40}
RECIPES = {"squared": "regression", "huber": "regression", "log": "classification"}
RECIPES |= {"squared_hinge": "classification", "softmax": "classification"}


@pytest.fixture
def data(comm, folder):
    """Return loss -> a small data file for it."""

    def made(loss):
        path = folder / f"{loss}.h5"
        classes = {"classes": 3} if loss == "softmax" else {}
        make(comm, RECIPES[loss], str(path), rows=600, features=12, **classes)
        return path

    return made


@pytest.mark.diagonal
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", RECIPES)
def test_the_optimum_is_reached(comm, folder, data, agree, loss, way):
    known = {"loss": loss, "alpha": (1e-3,), "epochs": 400, "lr": 0.02, "workers": 5}
    run = options(data(loss), folder / "run", **known, **WAYS[way])
    summary = train(run, comm=comm)
    comm.Barrier()
    best = solve_reference(run, comm=comm).objective
    gap = summary["loss"] - best if summary else 0.0
    agree(abs(gap) <= 1e-10 * max(1, abs(best)), comm)
    agree(not summary or summary["reason"] == "converged", comm)


def rosenbrock(w):
    """Return the value and the gradient of a valley that bends; it is no sum."""
    a, b = w[:-1], w[1:] - w[:-1] ** 2
    gradient = np.zeros_like(w)
    gradient[:-1] = 2 * (a - 1) - 400 * a * b
    gradient[1:] += 200 * b
    return float((100 * b**2 + (1 - a) ** 2).sum()), gradient


@pytest.mark.parametrize("size", [2, 30])
def test_a_valley_that_bends(size):
    method, w, values = Lbfgs(rosenbrock, size), np.full(size, -1.2), []
    while not method.converged and method.iterations < 500:
        method.iterate(w)
        values.append(float(method.state["value"]))
    assert np.all(np.diff(values) <= 1e-12)
    np.testing.assert_allclose(w, 1.0, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_resumed_is_straight_on(comm, folder, data, agree, way):
    known = {"alpha": (1e-3,), "lr": 0.02, "workers": 3, **WAYS[way]}
    known |= {"sync_every": 9}
    path = data("squared")
    straight = train(options(path, folder / "all", epochs=11, **known), comm=comm)
    for epochs in (2, 6, 9):
        run = folder / f"cut{epochs}"
        train(options(path, run, epochs=epochs, **known), comm=comm)
        further = resume(str(run), {"epochs": 11}, comm=comm)
        same = not further or all(
            further[key] == straight[key] for key in ("weights_sha256", "loss", "steps")
        )
        agree(same, comm)
        comm.Barrier()
        if comm.rank == 0:
            shutil.rmtree(run)


def test_the_switch_is_told(comm, folder, data, agree):
    run = options(data("log"), folder / "run", epochs=40, then="lbfgs")
    train(run, comm=comm)
    comm.Barrier()
    lines = (folder / "run/metrics.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    agree(events.count("switch") == 1 and "stop" in events, comm)


@pytest.mark.parametrize(
    "more, found",
    [
        ({"optimizer": "lbfgs", "penalty": "l1"}, "no l1 penalty, found --penalty l1"),
        ({"then": "lbfgs", "loss": "hinge"}, "takes smooth functions, found hinge"),
        ({"optimizer": "lbfgs", "strategy": "gossip"}, "strategy sync, found gossip"),
        ({"then": "lbfgs", "model": "mlp"}, "takes smooth functions, found relu"),
    ],
)
def test_what_has_kinks_is_refused(folder, comm, data, more, found):
    with pytest.raises(UsageError, match=found):
        train(options(data("log"), folder / "run", **more), comm=comm)
