"""Penalties on sparse rows: taken late they are what they are taken at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.data.create.make import make
from mpipgd.training.run import resume, train

from ..problems import linear, problem, sparse
from ..support import options
from .test_kernels import TOLERANCE, batches, step_by_step


@settings(max_examples=60, deadline=None)
@given(
    loss=st.sampled_from(["hinge", "squared", "softmax"]),
    penalty=st.sampled_from(["l2", "l1", "elasticnet"]),
    dtype=st.sampled_from([np.float64, np.float32]),
    n=st.sampled_from([1, 7, 40]),
    d=st.sampled_from([1, 3, 129]),
    size=st.sampled_from([1, 2, 9]),
    rate=st.sampled_from([0.01, 0.3, 30.0, 80.0]),
)
def test_late_is_at_once(loss, penalty, dtype, n, d, size, rate):
    """With rates so high that a shrinking weight falls to 0, or beyond it."""
    X, y = problem(loss, n=max(n, 4), d=d, dtype=dtype)
    X, y = X[:n], y[:n]
    order, cuts = batches(n, size, 20)
    rates = np.where(np.arange(20) < 10, 0.01, rate)
    known = {"dtype": dtype, "n_features": d}
    with np.errstate(over="ignore", invalid="ignore"):
        plain = step_by_step(
            linear(loss, penalty, **known),
            X,
            y,
            order,
            cuts,
            lambda t: rates[np.minimum(t, 19)],
        )
        objective = linear(loss, penalty, compiled=True, **known)
        w = np.zeros_like(plain)
        objective.sgd_steps(w, sparse(X), y, order, cuts, rates)
    finite = np.abs(plain) < 1e6  # what diverges magnifies the last bit
    if finite.all():
        scale = TOLERANCE[dtype] * max(1, np.abs(plain).max()) * 10
        np.testing.assert_allclose(w, plain, rtol=0, atol=scale)


@pytest.fixture
def path(comm, folder):
    found = folder / "sparse.h5"
    make(comm, "classification", str(found), rows=3000, features=400, density=0.02)
    return found


@pytest.mark.parametrize(
    "strategy, penalty", [("average", "elasticnet"), ("sync", "l2")]
)
def test_checkpoints_in_between_keep_the_bits(
    comm, folder, path, agree, strategy, penalty
):
    workers = 1 if strategy == "sync" else 3
    known = {"loss": "hinge", "penalty": penalty, "alpha": (1e-3,), "batch_size": 1}
    known |= {
        "strategy": strategy,
        "workers": workers,
        "epochs": 4,
        "lr": 0.02,
        "sync_every": 300,
    }
    hashes = set()
    for every in ("1", "700s", "37s"):
        run = folder / f"every{every}"
        summary = train(options(path, run, checkpoint_every=every, **known), comm=comm)
        hashes.add(summary and summary["weights_sha256"])
    longer = train(options(path, folder / "longer", **known | {"epochs": 6}), comm=comm)
    further = resume(str(run), {"epochs": 6}, comm=comm)
    agree(len(hashes) == 1, comm)
    agree(
        (longer and longer["weights_sha256"])
        == (further and further["weights_sha256"]),
        comm,
    )
