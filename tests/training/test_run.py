"""A run and its folder: what it leaves, early ends, predictions, pictures."""

import json

import h5py
import numpy as np
import pytest

from mpipgd import evaluate, predict, train
from mpipgd.comm import mpi
from mpipgd.config import toml
from mpipgd.config.options import TrainConfig
from mpipgd.data.create.make import make, make_bundled
from mpipgd.data.hdf5.source import scan
from mpipgd.errors import DataError

from ..support import options


def made(comm, folder, name="digits"):
    """Return a bundled data file that all ranks see."""
    path = str(folder / f"{name}.h5")
    mpi.on_root(comm, lambda: make_bundled(name, path))
    return path


def lines(folder, event):
    """Return the records of one kind of event."""
    records = [json.loads(line) for line in open(folder / "metrics.jsonl")]
    return [each for each in records if each["event"] == event]


def test_run_folder_holds_what_the_contract_says(comm, folder, agree):
    data, home = made(comm, folder), folder / "run"
    variant = {
        "strategy": "average",
        "n_sync": 4,
        "workers": 5,
        "epochs": 6,
        "picture": True,
        "checkpoint_every": "1",
    }
    train(options(data, home, **variant), comm=comm)
    comm.Barrier()  # idle ranks are here at once
    summary = json.loads((home / "summary.json").read_text())
    agree(summary["ranks"] == comm.size and summary["exit"] == 0, comm)
    found = {path.name for path in home.iterdir()}
    assert found >= {"config.toml", "env.json", "metrics.jsonl", "checkpoints"}
    assert found >= {"model.h5", "summary.json", "loss.png", "report.html"}
    stored = TrainConfig(**toml.read(home / "config.toml"))
    assert (stored.strategy, stored.workers) == ("average", 5)
    epochs = lines(home, "epoch")
    assert [each["epoch"] for each in epochs] == list(range(7))
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert epochs[0]["step"] == 0 and epochs[0]["seconds"] < epochs[1]["seconds"]
    assert set(epochs[0]["time"]) == {"compute", "exchange", "wait", "read"}
    assert len(lines(home, "sync")) == 4
    assert [len(lines(home, each)) for each in ("start", "end")] == [1, 1]
    assert len(list((home / "checkpoints").iterdir())) in (2, 3)


def test_loss_and_score_are_those_of_the_model_on_all_rows(comm, folder):
    data, home = made(comm, folder, "diabetes"), folder / "run"
    chosen = options(data, home, workers=3, alpha=(0.1,), lr=0.01, epochs=8)
    train(chosen, comm=comm)
    comm.Barrier()
    with h5py.File(home / "model.h5") as file:
        coef, intercept = file["weights/coef"][:], file["weights/intercept"][0]
        mean, deviation = file["scaling/mean"][:], file["scaling/deviation"][:]
    source = scan(data)
    X, y = source.read("train", 0, source.rows["train"])
    assert np.allclose(mean, X.mean(axis=0)) and np.allclose(deviation, X.std(axis=0))
    p = (X - mean) / deviation @ coef + intercept
    loss = 0.5 * np.mean((p - y) ** 2) + 0.05 * np.sum(coef**2)
    last = json.loads((home / "summary.json").read_text())
    assert np.isclose(last["loss"], loss, rtol=1e-10)
    X, y = source.read("test", 0, source.rows["test"])
    p = (X - mean) / deviation @ coef + intercept
    r2 = 1 - np.sum((p - y) ** 2) / np.sum((y - y.mean()) ** 2)
    assert np.isclose(last["score"], r2, rtol=1e-10)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"target": 0.5}, "target"),
        ({"tol": 10.0, "patience": 2}, "plateau"),
        ({"time_limit": 0.0}, "time limit"),
        ({}, "epochs"),
    ],
)
def test_a_run_ends_early_for_one_reason_on_all_ranks(comm, folder, changes, reason):
    data, home = made(comm, folder), folder / "run"
    train(options(data, home, workers=2, epochs=9, **changes), comm=comm)
    comm.Barrier()
    summary = json.loads((home / "summary.json").read_text())
    assert summary["reason"] == reason
    assert (summary["epochs"] == 9) == (reason == "epochs")
    assert len(lines(home, "stop")) == (reason != "epochs")


def test_workers_fewer_than_ranks_leave_the_others_idle(comm, folder):
    data = made(comm, folder)
    summary = train(options(data, folder / "run", workers=1), comm=comm)
    assert (summary is None) == (comm.rank > 0)


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_predictions_and_scores_are_those_of_training(comm, folder, name):
    data, home, out = made(comm, folder, name), folder / "run", folder / "out.h5"
    train(options(data, home, workers=2, epochs=20, lr=0.05), comm=comm)
    comm.Barrier()
    last = json.loads((home / "summary.json").read_text())
    found = evaluate(home, data, comm=comm)
    assert np.isclose(found["test"]["score"], last["score"], rtol=1e-9)
    assert predict(home, data, out, comm=comm) == scan(data).rows
    comm.Barrier()
    source = scan(data)
    _, y = source.read("test", 0, source.rows["test"])
    with h5py.File(out) as file:
        outputs, predicted = file["test/output"][:], file["test/prediction"]
        if name == "wine":
            labels = predicted.asstr()[:]
            assert np.allclose(outputs.sum(axis=1), 1)
            known = np.array(source.header.classes)[y]
            assert np.isclose(np.mean(labels == known), last["score"])
        else:
            r2 = 1 - np.sum((predicted[:] - y) ** 2) / np.sum((y - y.mean()) ** 2)
            assert np.isclose(r2, last["score"], rtol=1e-9)


def test_a_model_refuses_data_of_another_shape(comm, folder):
    digits, wine = made(comm, folder), made(comm, folder, "wine")
    train(options(digits, folder / "run", workers=1, epochs=1), comm=comm)
    comm.Barrier()
    with pytest.raises(DataError, match="has no feature .* takes .64 such") as caught:
        evaluate(folder / "run", wine, comm=comm)
    assert caught.value.agreed


def test_shards_and_one_file_give_the_same_weights(comm, folder):
    recipe = {"rows": 900, "features": 7, "classes": 3}
    make(comm, "blobs", str(folder / "one.h5"), **recipe)
    make(comm, "blobs", str(folder / "many"), shards=4, **recipe)
    one, many = (
        train(options(folder / name, folder / f"run-{name}", workers=3), comm=comm)
        for name in ("one.h5", "many")
    )
    if one:
        assert one["loss"] == many["loss"]
        assert one["weights_sha256"] == many["weights_sha256"]
