"""Validation rows: a function of the seed; what early stopping and --many go by."""

import dataclasses
import json

import numpy as np
import pytest

from mpipgd import train
from mpipgd.comm import mpi
from mpipgd.data.create.make import make, make_bundled
from mpipgd.data.hdf5.held_out import draw_held_out, draw_stratified
from mpipgd.data.hdf5.source import open_data, scan
from mpipgd.data.matrix import take_rows
from mpipgd.data.validation import hold_out
from mpipgd.training import checkpoint
from mpipgd.training.run import resume

from ..support import options


def lines(folder):
    """Return the evaluations of a run, that of the first weights first."""
    records = map(json.loads, (folder / "metrics.jsonl").open())
    return [record for record in records if record["event"] == "epoch"]


def test_the_mask_is_a_function_of_its_arguments():
    mask = draw_held_out(1000, 0.2, 5)
    assert mask.sum() == 200
    np.testing.assert_array_equal(mask, draw_held_out(1000, 0.2, 5))
    assert (mask != draw_held_out(1000, 0.2, 6)).any()
    assert draw_held_out(2, 0.01, 0).sum() == 1 == draw_held_out(2, 0.9, 0).sum()


def test_stratified_rows_have_the_shares_of_the_classes():
    classes = np.repeat([0, 1, 2], [700, 205, 95])
    mask = draw_stratified(classes, 0.2, 3)
    assert mask.sum() == 200
    held_out = np.bincount(classes[mask])
    assert np.all(np.abs(held_out - 0.2 * np.bincount(classes)) < 1)


@pytest.mark.parametrize("density", [1.0, 0.2])
def test_the_rows_are_those_of_the_file_in_their_order(comm, folder, density):
    path = folder / "data"
    recipe = {"rows": 900, "features": 7, "shards": 3}
    recipe |= {"density": density} if density < 1 else {}
    make(comm, "classification", str(path), **recipe)
    whole = scan(path)
    n = whole.rows["train"]
    X, y = whole.read("train", 0, n)
    source = hold_out(comm, open_data(comm, path), options(path, "", validation=0.3))
    mask = draw_held_out(n, 0.3, 0)
    for split, rows in {"train": ~mask, "validation": mask}.items():
        assert source.rows[split] == rows.sum()
        lo, hi = 11, source.rows[split] - 5
        found, targets = source.read(split, lo, hi)
        np.testing.assert_array_equal(targets, y[rows][lo:hi])
        np.testing.assert_array_equal(source.read_targets(split, lo, hi), targets)
        if density == 1:
            np.testing.assert_array_equal(found, X[rows][lo:hi])
        else:
            expected = take_rows(X, np.flatnonzero(rows)[lo:hi])
            for part, array in zip(found[:3], expected[:3]):
                np.testing.assert_array_equal(part, array)
    assert source.rows["test"] == whole.rows["test"]


@pytest.mark.mpi
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"model": "mlp", "hidden": (8,), "dtype": "float64"},
        {"split": "replicate", "strategy": "average"},
        {"split": "sample", "strategy": "gossip"},
        {"memory_limit": "20KB"},
        {"rows_share": 0.6, "optimizer": "lbfgs"},
        {"loss": "huber", "penalty": "elasticnet", "alpha": (0.1,)},
        {"many": "lr=0.05,0.01,alpha=0.1,0.001"},
        {"tol": 0.01, "patience": 2, "epochs": 12},
    ],
    ids=str,
)
def test_weights_and_scores_are_those_of_one_rank(shared_tmp, more):
    world, path = mpi.world(), shared_tmp / "data.h5"
    make(world, "regression", str(path), rows=700, features=9)
    known = {"validation": 0.25, "seed": 4, "workers": 6, "lr": 0.05} | more

    def facts(folder, comm):
        summary = train(options(path, shared_tmp / folder, **known), comm=comm)
        keys = ("weights_sha256", "loss", "data_loss", "start_loss", "score")
        keys += ("validation_loss", "validation_score", "epochs")
        return summary and [summary[key] for key in keys]

    alone = mpi.on_root(world, facts, "alone", mpi.comm_self())
    assert world.bcast(facts("world", world)) == alone


@pytest.mark.mpi
def test_stratified_classes_are_those_of_one_rank(shared_tmp):
    world, path = mpi.world(), shared_tmp / "digits.h5"
    mpi.on_root(world, make_bundled, "digits", path)
    known = {"validation": 0.2, "stratify": True, "workers": 5}

    def sha(folder, comm):
        summary = train(options(path, shared_tmp / folder, **known), comm=comm)
        return summary and (summary["weights_sha256"], summary["validation_score"])

    alone = mpi.on_root(world, sha, "alone", mpi.comm_self())
    assert world.bcast(sha("world", world)) == alone


def test_streamed_is_in_memory(comm, folder, agree):
    path = folder / "data.h5"
    make(comm, "regression", str(path), rows=800, features=6)
    known = {"validation": 0.25, "optimizer": "lbfgs", "epochs": 8, "workers": 3}
    streamed, memory = (
        train(options(path, folder / name, **known, memory_limit=limit), comm=comm)
        for name, limit in {"streamed": "20KB", "memory": None}.items()
    )
    close = not memory or all(
        np.isclose(streamed[key], memory[key], rtol=1e-9)
        for key in ("loss", "validation_loss", "validation_score", "test_loss")
    )
    agree(close, comm)


def test_the_validation_loss_decides_and_the_test_rows_never(comm, folder, agree):
    path = folder / "data.h5"
    # more features than rows: the validation loss rises while the training loss falls
    make(comm, "regression", str(path), rows=120, features=80, noise=3.0)
    known = {"validation": 0.3, "workers": 2, "epochs": 60, "lr": 0.05}
    known |= {"tol": 0.0, "patience": 3, "checkpoint_every": "1"}
    summary = train(options(path, folder / "run", **known), comm=comm)
    comm.Barrier()
    records = lines(folder / "run")[1:]
    losses = [record["validation_loss"] for record in records]
    best = int(np.argmin(losses))
    agree(not summary or summary["reason"] == "plateau", comm)
    agree(len(records) == best + 1 + 3, comm)
    agree(records[-1]["loss"] < records[best]["loss"], comm)
    kept = [path.name for path in checkpoint.saved(folder / "run")]
    agree(checkpoint.file_name(records[best]["step"]) in kept, comm)


def test_target_is_a_validation_score(comm, folder, agree):
    path = folder / "data.h5"
    make(comm, "regression", str(path), rows=400, features=5)
    known = {"validation": 0.3, "workers": 2, "epochs": 40, "lr": 0.01}
    train(options(path, folder / "run", **known, target=0.5), comm=comm)
    comm.Barrier()
    scores = [record["validation_score"] for record in lines(folder / "run")[1:]]
    agree(scores[-1] >= 0.5 and max([*scores[:-1], 0]) < 0.5, comm)


def test_a_sweep_takes_a_fifth_and_is_chosen_by_it(comm, folder, agree):
    path = folder / "data.h5"
    make(comm, "regression", str(path), rows=150, features=60, noise=2.0)
    many = "alpha=10,1,0.1,0.001"
    run = options(path, folder / "run", many=many, workers=2, epochs=20, lr=0.02)
    summary = train(run, comm=comm)
    comm.Barrier()
    if summary:
        scores = [setting["validation_score"] for setting in summary["many"]]
        assert int(np.argmax(scores)) == summary["best"]
        assert all("score" not in setting for setting in summary["many"])
        assert summary["validation_score"] == max(scores)
    alone = dataclasses.replace(run, many=None, validation=0.2, run=str(folder / "one"))
    alpha = (
        (float(many.removeprefix("alpha=").split(",")[summary["best"]]),)
        if (summary)
        else (1.0,)
    )
    alpha = comm.bcast(alpha)
    single = train(dataclasses.replace(alone, alpha=alpha), comm=comm)
    agree(not single or np.isclose(single["score"], summary["score"]), comm)


def test_resumed_is_straight_on(comm, folder, agree):
    path = folder / "data.h5"
    make(comm, "regression", str(path), rows=300, features=5)
    known = {"validation": 0.2, "workers": 3, "tol": 1e-9, "lr": 0.01}
    straight = train(options(path, folder / "all", epochs=7, **known), comm=comm)
    train(options(path, folder / "cut", epochs=3, **known), comm=comm)
    further = resume(str(folder / "cut"), {"epochs": 7}, comm=comm)
    keys = ("weights_sha256", "validation_loss", "start_loss", "loss")
    agree(not further or all(further[k] == straight[k] for k in keys), comm)
