"""A standardised target: the raw optimum, losses and weights in units of the data."""

import json

import h5py
import numpy as np
import pytest
from sklearn.linear_model import ElasticNet, HuberRegressor, LinearRegression, Ridge

from mpipgd import evaluate, train
from mpipgd.comm import mpi
from mpipgd.data.create.make import make_bundled
from mpipgd.data.hdf5.source import scan
from mpipgd.studies.compare.optimum import solve_reference
from mpipgd.training import inference
from mpipgd.training.run import resume

from ..support import options


@pytest.fixture
def data(comm, folder):
    path = folder / "diabetes.h5"
    mpi.on_root(comm, make_bundled, "diabetes", path)
    return path


def rows(path, split="train"):
    source = scan(path)
    return source.read(split, 0, source.rows[split])


def weights(folder):
    """Return coefficients and intercept on the raw scale."""
    model = inference.read(str(folder))
    w = model.weights[: model.objective.n_features] / model.scaling.deviation
    intercept = model.weights[-1] if model.objective.intercept else 0.0
    return w, intercept - w @ model.scaling.mean


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_optimum_is_that_of_the_raw_target(comm, folder, data, loss, intercept):
    known = {
        "loss": loss,
        "epsilon": 30.0 if intercept else 200.0,
        "alpha": (0.05,),
        "intercept": intercept,
    }
    known |= {"optimizer": "lbfgs", "epochs": 300, "workers": 3}
    raw, scaled = (
        train(options(data, folder / str(s), standardize_target=s, **known), comm=comm)
        for s in (False, True)
    )
    comm.Barrier()
    if raw:
        for key in ("loss", "data_loss", "test_loss", "score"):
            assert scaled[key] == pytest.approx(raw[key], rel=1e-7)
    a, b = (inference.read(str(folder / str(s))).weights for s in (False, True))
    np.testing.assert_allclose(a, b, atol=2e-3 * np.abs(a).max())
    best = solve_reference(options(data, folder / "best", **known), comm=comm)
    assert best.objective == pytest.approx(scaled["loss"] if scaled else best.objective)


def test_ridge_is_scikit_learns(comm, folder, data):
    X, y = rows(data)
    known = {"alpha": (0.2,), "optimizer": "lbfgs", "epochs": 300, "workers": 2}
    train(options(data, folder / "run", **known), comm=comm)
    comm.Barrier()
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = Ridge(alpha=0.2 * len(y)).fit(Z, y)
    w, b = weights(folder / "run")
    np.testing.assert_allclose(X @ w + b, expected.predict(Z), rtol=1e-6)


def test_elastic_net_is_scikit_learns(comm, folder, data):
    X, y = rows(data)
    known = {"penalty": "elasticnet", "alpha": (2.0,), "l1_ratio": 0.7, "lr": 0.2}
    known |= {"batch_size": 1000, "epochs": 3000, "workers": 1, "eval_every": 1000}
    train(options(data, folder / "run", **known), comm=comm)
    comm.Barrier()
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = ElasticNet(alpha=2.0, l1_ratio=0.7, tol=1e-12, max_iter=10**5).fit(Z, y)
    model = inference.read(str(folder / "run"))
    np.testing.assert_allclose(model.weights[:-1], expected.coef_, atol=1e-4)
    assert (model.weights[:-1] == 0).sum() == (expected.coef_ == 0).sum()


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_evaluate_and_the_summary_agree(comm, folder, data, model):
    known = {"model": model, "workers": 3, "validation": 0.2, "epochs": 5}
    summary = train(options(data, folder / "run", **known), comm=comm)
    comm.Barrier()
    found = evaluate(str(folder / "run"), str(data), comm=comm)
    if summary:
        assert found["test"]["score"] == pytest.approx(summary["score"], rel=1e-5)
        loss = summary["test_loss"] - (summary["loss"] - summary["data_loss"])
        assert found["test"]["loss"] == pytest.approx(loss, rel=1e-5)


def test_a_network_trains_with_default_settings(comm, folder, data, agree):
    X, y = rows(data)
    Xt, yt = rows(data, "test")
    linear = LinearRegression().fit(X, y).score(Xt, yt)
    known = {"model": "mlp", "workers": 1, "validation": 0.2, "tol": 0.0}
    summary = train(options(data, folder / "run", **known), comm=comm)
    agree(not summary or summary["loss"] < 0.5 * summary["start_loss"], comm)
    agree(not summary or summary["score"] > linear - 0.1, comm)


def test_worker_scores_and_resume_are_in_units_of_the_data(comm, folder, data, agree):
    known = {"strategy": "average", "worker_scores": True, "workers": 3, "n_sync": 9}
    known |= {"lr": 0.01, "sync_every": 4}
    straight = train(options(data, folder / "all", epochs=9, **known), comm=comm)
    train(options(data, folder / "cut", epochs=4, **known), comm=comm)
    further = resume(str(folder / "cut"), {"epochs": 9}, comm=comm)
    keys = ("weights_sha256", "loss", "score", "worker_scores")
    agree(not further or all(further[k] == straight[k] for k in keys), comm)
    agree(not further or min(straight["worker_scores"]) > 0.3, comm)


def test_the_hash_is_that_of_the_weights_in_the_model(comm, folder, data):
    import hashlib

    train(options(data, folder / "run", workers=2), comm=comm)
    comm.Barrier()
    summary = json.loads((folder / "run/summary.json").read_text())
    with h5py.File(folder / "run/model.h5") as file:
        parts = [file[f"weights/{name}"][:] for name in ("coef", "intercept")]
    flat = np.concatenate(parts).astype("<f8")
    assert hashlib.sha256(flat.tobytes()).hexdigest() == summary["weights_sha256"]


def test_huber_is_scikit_learns(comm, folder, data):
    """HuberRegressor divides by a scale of its own: compare at that scale."""
    X, y = rows(data)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = HuberRegressor(alpha=0, epsilon=1.35, max_iter=10**4, tol=1e-10)
    expected.fit(Z, y)
    known = {
        "loss": "huber",
        "epsilon": float(1.35 * expected.scale_),
        "penalty": "none",
    }
    known |= {"optimizer": "lbfgs", "epochs": 400, "workers": 2}
    train(options(data, folder / "run", **known), comm=comm)
    comm.Barrier()
    w, b = weights(folder / "run")
    np.testing.assert_allclose(X @ w + b, expected.predict(Z), rtol=1e-3)
