"""Compiled products with few columns, and vectors written out: numpy's results."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from mpipgd.objectives.kernels import simd
from mpipgd.objectives.linear import Linear
from mpipgd.objectives.losses import LOSS_IDS, LOSSES
from mpipgd.objectives.sweep import LinearSweep

SIZES = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 100, 129, 257]
each_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def dot(w, X, i, shift):
    return simd.dot(w, X, i, shift)


@njit
def add(out, r, X, i, shift):
    simd.axpy(out, r, X, i, shift)


@each_type
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shifted", [True, False])
def test_vectors_of_any_length_that_lie_anywhere(dtype, size, shifted):
    rng = np.random.default_rng(size)
    w, out = rng.normal(size=(2, size)).astype(dtype)
    X = np.zeros(3 * size + 1, dtype)[1:].reshape(3, size)  # not where vectors begin
    X[:] = rng.normal(size=(3, size))
    shift = rng.normal(size=size).astype(dtype) if shifted else None
    row = X[1] - shift if shifted else X[1]
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    if dtype == np.float32:
        tolerance = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(dot(w, X, 1, shift), row @ w, **tolerance)
    known = out + dtype(0.3) * row
    add(out, dtype(0.3), X, 1, shift)
    np.testing.assert_allclose(out, known, **tolerance)


@each_type
@pytest.mark.parametrize("size", SIZES)
def test_rows_that_are_not_in_one_piece(dtype, size):
    rng = np.random.default_rng(size)
    X = rng.normal(size=(2, 2 * size)).astype(dtype)[:, ::2]
    w, out = rng.normal(size=(2, size)).astype(dtype)
    np.testing.assert_allclose(dot(w, X, 1, None), X[1] @ w, rtol=1e-4, atol=1e-4)
    known = out + dtype(0.3) * X[1]
    add(out, dtype(0.3), X, 1, None)
    np.testing.assert_allclose(out, known, rtol=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(0, 100),
    d=st.sampled_from([1, 3, 4, 7, 101]),
    K=st.sampled_from([1, 2, 3, 7, 8, 16, 21]),
    loss=st.sampled_from(sorted(set(LOSS_IDS) - {"softmax"})),
    dtype=st.sampled_from([np.float32, np.float64]),
    order=st.sampled_from(["all", "some", "strided"]),
)
def test_gradients_of_many_settings_are_numpys(n, d, K, loss, dtype, order):
    rng = np.random.default_rng([n, d, K])
    X, W = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, K)).astype(dtype)
    task = LOSSES[loss].task
    y = rng.normal(size=n) if task == "regression" else rng.choice([-1, 1], size=n)
    y = y.astype(dtype)
    rows = None
    if order == "some":
        rows = rng.integers(0, n, size=n // 2 if n else 0)
    if order == "strided":
        X = np.repeat(X, 2, axis=1)[:, ::2]
    sides = []
    for compiled in (False, True):
        model = Linear(
            d, 1, loss=loss, intercept=False, dtype=np.dtype(dtype), compiled=compiled
        )
        out = np.ones(d * K, dtype)
        value = LinearSweep([model] * K, [{}] * K).gradient(
            W.reshape(-1), X, y, rows, out
        )
        sides.append((value, out))
    tolerance = 1e-10 if dtype == np.float64 else 2e-3
    for a, b in zip(*sides):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
