"""The law: weights are a function of the workers, never of the ranks."""

import os
import shutil

import h5py
import numpy as np
import pytest

from mpipgd import Grid, train
from mpipgd.comm import mpi
from mpipgd.data.create.make import make, make_bundled
from mpipgd.data.hdf5.header import Header
from mpipgd.data.hdf5.source import create

from .support import options

pytestmark = pytest.mark.mpi

MODELS = {
    "softmax": {"model": "linear"},
    "mlp": {"model": "mlp", "hidden": (16,), "activation": "tanh"},
}
LARGE = {"model": "mlp", "hidden": (200,)}  # enough weights for slices
VARIANTS = [
    {"strategy": strategy, **MODELS[model]}
    for strategy in ("sync", "average", "oneshot")
    for model in MODELS
] + [
    {"optimizer": "adam", "lr": 0.01, "clip_norm": 1.0, "clip_weights": 0.5},
    {"optimizer": "momentum", "strategy": "average", "sync_every": 5, "lr": 0.01},
    {"penalty": "elasticnet", "alpha": (0.01,), "schedule": "cosine", "warmup": 1.0},
    {"workers": 3, "lr_scaling": "linear"},
    {"workers": 13, "batch_size": 7, "strategy": "average", "n_sync": 4},
    {"workers": 100, "batch_size": 64, "optimizer": "nesterov", "lr": 0.01},
    {"dtype": "float32", "kernels": "numba"},
    {"tol": 0.05, "patience": 1, "epochs": 20},
    {"strategy": "average", "outer_momentum": 0.5, "outer_lr": 0.8, "sync_until": 0.5},
    {"strategy": "average", "outer_momentum": 0.9, "outer_nesterov": True},
    {"strategy": "average", "sync_until": 99.0, "epochs": 2},
    {"strategy": "average", "n_sync": 4, "worker_scores": True, "workers": 5},
    {"average_from": 0.5, "workers": 4},
    {"average_from": 1.0, "optimizer": "adam", "lr": 0.01, **LARGE},
    {"strategy": "elastic", "optimizer": "momentum", "pull": 0.3, "lr": 0.01},
    {"strategy": "gossip", "topology": "torus", "workers": 12, **MODELS["mlp"]},
    {"strategy": "gossip", "topology": "complete", "workers": 5, "sync_every": 3},
]
VARIANTS += [
    {"strategy": strategy, "split": split}
    for strategy in ("sync", "average", "oneshot", "elastic", "gossip")
    for split in ("disjoint", "replicate", "sample")
    if split != "disjoint" or strategy in ("elastic", "gossip")
]
VARIANTS += [
    {**LARGE, "optimizer": "adam", "lr": 0.01, "alpha": (0.01,), "workers": 5},
    {**LARGE, "optimizer": "nesterov", "clip_weights": 0.3, "dtype": "float64"},
    {**LARGE, "clip_norm": 1.0},
    {**LARGE, "optimizer": "adamw", "weight_decay": 0.1, "lr": 0.01, "workers": 5},
    {"optimizer": "adamw", "lr": 0.01, "strategy": "gossip"},
    {**LARGE, "strategy": "average"},
    {"optimizer": "lbfgs", "epochs": 6},
    {"then": "lbfgs", "epochs": 9, "kernels": "numba"},
    {"then": "lbfgs", "epochs": 9, "strategy": "average", "tol": 0.1, "workers": 3},
    {"then": "lbfgs", "epochs": 4, "tol": 9.0, **LARGE, "activation": "tanh"},
]
VARIANTS += [
    {"strategy": strategy, "split": "sample", "fraction": 0.1, "workers": 100}
    for strategy in ("average", "elastic", "gossip")
]


def name(variant):
    """Return a readable name of a variant."""
    return "-".join(str(value) for value in variant.values())


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A digits file on rank 0, its path on all ranks."""
    path = str(tmp_path_factory.mktemp("data") / "digits.h5")
    return mpi.on_root(mpi.world(), _made, path)


def _made(path):
    make_bundled("digits", path)
    return path


WEIGHTED = [
    {"class_weight": "balanced"},
    {"class_weight": "0=2.5,1=0", "strategy": "average", "n_sync": 4, "workers": 5},
    {"optimizer": "adam", "lr": 0.01, "workers": 13, "standardize": False},
    {"optimizer": "lbfgs", "epochs": 5, "class_weight": "balanced"},
    {"split": "sample", "workers": 6, "strategy": "gossip"},
    {"memory_limit": "100KB", "batch_size": 64},
    {"memory_limit": "100KB", "batch_size": 10**6, "class_weight": "balanced"},
    {"model": "mlp", "hidden": (16,), "class_weight": "balanced"},
]


@pytest.fixture(scope="module")
def weighted_digits(digits, tmp_path_factory):
    """The digits with row weights, on rank 0; its path on all ranks."""
    path = str(tmp_path_factory.mktemp("weighted") / "digits.h5")
    return mpi.on_root(mpi.world(), _weighted, digits, path)


def _weighted(digits, path):
    shutil.copy(digits, path)
    with h5py.File(path, "a") as file:
        file.attrs["weight"] = "w"
        for split in ("train", "test"):
            rng = np.random.default_rng(4)
            file[f"{split}/weight"] = rng.exponential(size=len(file[f"{split}/y"]))
    return path


@pytest.mark.parametrize("variant", WEIGHTED, ids=name)
def test_weighted_rows_give_the_weights_of_one_rank(
    weighted_digits, shared_tmp, variant
):
    found, alone = same_as_serial(weighted_digits, shared_tmp, variant)
    note(f"weighted-{name(variant)}", alone)
    assert found == alone


SEVERAL = [
    {},
    {"strategy": "average", "n_sync": 4, "workers": 5, "loss": "huber"},
    {"model": "mlp", "hidden": (16,), "strategy": "gossip"},
    {"memory_limit": "30KB", "optimizer": "lbfgs", "epochs": 4},
    {"split": "replicate", "optimizer": "adam"},
]


@pytest.mark.parametrize("variant", SEVERAL, ids=name)
def test_several_targets_give_the_weights_of_one_rank(shared_tmp, variant):
    path = mpi.on_root(mpi.world(), _several_targets, shared_tmp / "several.h5")
    known = {"lr": 0.01} | variant
    found, alone = same_as_serial(path, shared_tmp, known)
    note(f"several-{name(variant)}", alone)
    assert found == alone


def _several_targets(path):
    header = Header("regression", 6, targets=("a", "b", "c"), weight="w")
    rng = np.random.default_rng(6)
    X, weights = rng.normal(size=(900, 6)), rng.exponential(size=900)
    y = X @ rng.normal(size=(6, 3)) + rng.normal(size=(900, 3))
    with create(path, header, rows={"train": 800, "test": 100}) as writer:
        for split, rows in (("train", slice(800)), ("test", slice(800, None))):
            writer.write(split, 0, X[rows], y[rows], weights[rows])
    return str(path)


def sha(data, folder, variant, comm):
    """Train; return the hash of the weights, or None on an idle rank."""
    summary = train(options(data, folder, **variant), comm=comm)
    return summary and (summary["weights_sha256"], summary["loss"], summary["score"])


def same_as_serial(data, folder, variant):
    """Return the summary's facts on the ranks of the world and on one rank alone."""
    world = mpi.world()
    alone = mpi.on_root(world, sha, data, folder / "serial", variant, mpi.comm_self())
    found = world.bcast(sha(data, folder / "world", variant, world))
    return found, alone


def note(label, facts):
    """Leave a hash for the comparison of one MPI library with the other."""
    if "MPIPGD_HASHES" in os.environ and mpi.world().rank == 0:
        with open(os.environ["MPIPGD_HASHES"], "a") as file:
            file.write(f"{label} {facts[0]}\n")


@pytest.mark.parametrize("variant", VARIANTS, ids=name)
def test_weights_are_those_of_one_rank(digits, shared_tmp, variant):
    found, alone = same_as_serial(digits, shared_tmp, variant)
    note(name(variant), alone)
    assert found == alone


@pytest.mark.parametrize("split", ["disjoint", "replicate"])
@pytest.mark.parametrize("strategy", ["sync", "average"])
def test_sparse_weights_are_those_of_one_rank(shared_tmp, strategy, split):
    path = shared_tmp / "sparse.h5"
    recipe = {"rows": 1500, "features": 300, "density": 0.05, "classes": 2}
    make(mpi.world(), "classification", str(path), **recipe)
    variant = {"strategy": strategy, "split": split}
    found, alone = same_as_serial(path, shared_tmp, variant)
    note(f"sparse-{name(variant)}", alone)
    assert found == alone


@pytest.mark.parametrize("node_size", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 5, 8, 21])
@pytest.mark.parametrize("size", [7, 20_000])
def test_sum_is_that_of_one_rank_on_any_nodes(agree, workers, size, node_size):
    from mpipgd.comm.allreduce import make_allreduce
    from mpipgd.reporting.timing import Clock

    rows = np.random.default_rng([workers, size]).normal(size=(workers, size))
    rows *= np.logspace(-3, 3, workers)[:, None]
    serial = Grid(mpi.comm_self(), workers)
    expected = make_allreduce(serial, Clock(), size, "f8")(rows.copy()).copy()
    serial.free()
    grid = Grid(mpi.world(), workers, node_size=node_size)
    held = True
    if not grid.idle:
        summed = make_allreduce(grid, Clock(), size, "f8")
        for _ in range(3):
            mine = rows[grid.first : grid.last].copy()
            held &= summed(mine).tobytes() == expected.tobytes()
        summed.free()
    grid.free()
    agree(held)
    assert np.allclose(expected, rows.sum(axis=0))
