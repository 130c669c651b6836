"""Many settings in one pass ≡ a run for each of them."""

import numpy as np
import pytest

from mpipgd.comm import mpi
from mpipgd.data.create.make import make
from mpipgd.errors import DivergenceError, UsageError
from mpipgd.objectives.sweep import parse_sweep
from mpipgd.training import inference
from mpipgd.training.run import train

from ..support import options

CASES = [
    {"loss": "squared", "many": "lr=0.02,0.005,alpha=1e-3,0.1"},
    {"loss": "log", "many": "alpha=0.1,0.01,0.001", "optimizer": "adam", "lr": 0.01},
    {"loss": "hinge", "many": "lr=0.02,0.05", "strategy": "average", "sync_every": 7},
    {"loss": "huber", "many": "l1_ratio=0.2,0.9", "penalty": "elasticnet"},
    {"loss": "squared_hinge", "many": "alpha=0.1,0.01", "penalty": "l1", "lr": 0.01},
    {"loss": "squared", "many": "lr=0.02,0.01", "strategy": "gossip", "momentum": 0.5},
]


def label(case):
    return f"{case['loss']} {case['many']}"


@pytest.fixture
def data(comm, folder):
    """Return (loss, density) -> a small data file for it."""

    def made(loss, density):
        name = "regression" if loss in ("squared", "huber") else "classification"
        path = folder / f"{name}-{density}.h5"
        make(comm, name, str(path), rows=500, features=30, density=density)
        return path

    return made


@pytest.mark.diagonal
@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize("case", CASES, ids=label)
def test_each_is_a_run_of_its_own(comm, folder, data, agree, case, density):
    known = {"workers": 3, "epochs": 4, "alpha": (0.01,), "lr": 0.02, **case}
    known |= {"validation": 0.2, "allow_climb": True}
    path = data(case["loss"], density)
    together = train(options(path, folder / "many", **known), comm=comm)
    points = parse_sweep(known.pop("many"))
    for k, point in enumerate(points):
        point = {key: (v,) if key == "alpha" else v for key, v in point.items()}
        run = folder / f"one{k}"
        alone = train(options(path, run, **known | point), comm=comm)
        if alone:
            found = together["many"][k]
            for key in ("loss", "data_loss", "validation_loss", "validation_score"):
                assert found[key] == pytest.approx(alone[key], rel=1e-8, abs=1e-9)
            assert "score" not in found and "test_loss" not in found
            if k == together["best"]:
                for key in ("test_loss", "score"):
                    expected = pytest.approx(alone[key], rel=1e-8, abs=1e-9)
                    assert together[key] == expected
            if k == together["best"] and comm.rank == 0:
                kept, own = (inference.read(folder / n) for n in ("many", run))
                np.testing.assert_allclose(kept.weights, own.weights, atol=1e-9)
    agree(True, comm)


@pytest.mark.diagonal
@pytest.mark.parametrize("strategy", ["sync", "average", "elastic", "gossip"])
@pytest.mark.parametrize("density", [1.0, 0.3])
def test_one_that_diverges_leaves_the_others(
    comm, folder, data, agree, strategy, density
):
    path = data("squared", density)
    known = {"workers": 3, "epochs": 30, "strategy": strategy, "sync_every": 5}
    known["validation"] = 0.2
    many = train(options(path, folder / "many", many="lr=1e6,0.01", **known), comm=comm)
    alone = train(options(path, folder / "one", lr=0.01, **known), comm=comm)
    if alone:
        assert not np.isfinite(many["many"][0]["loss"])
        assert many["many"][0]["diverged"] and not many["many"][1]["diverged"]
        assert many["many"][0]["validation_score"] is None
        assert many["best"] == 1
        assert many["loss"] == pytest.approx(alone["loss"], rel=1e-8)
    ended = alone is None  # a rank without a worker sees nothing
    try:
        train(options(path, folder / "none", many="lr=1e6,1e7", **known), comm=comm)
    except DivergenceError:
        ended = True
    agree(ended, comm)


@pytest.mark.mpi
@pytest.mark.parametrize("case", CASES[:3], ids=label)
def test_the_law_holds(shared_tmp, agree, case):
    hashes = set()
    rank = mpi.world().rank
    for name, comm in ((f"alone{rank}", mpi.comm_self()), ("world", mpi.world())):
        folder = shared_tmp / name
        if comm.rank == 0:
            folder.mkdir(exist_ok=True)
        comm.Barrier()
        recipe = "regression" if case["loss"] == "squared" else "classification"
        make(comm, recipe, str(folder / "data.h5"), rows=500, features=30)
        run = options(folder / "data.h5", folder / "run", workers=5, epochs=3, **case)
        summary = train(run, comm=comm)
        if summary:
            hashes.add(summary["weights_sha256"])
    agree(len(hashes) == 1)


@pytest.mark.parametrize(
    "text, found",
    [
        ("lr=0.1,alhpa=1", "unknown 'alhpa', expected lr, alpha, l1_ratio; did you"),
        ("lr=0.1,fast", "'fast' is no number"),
        ("0.1", "unknown '0.1'"),
    ],
)
def test_what_is_no_setting_is_refused(text, found):
    with pytest.raises(UsageError, match=found):
        parse_sweep(text)
