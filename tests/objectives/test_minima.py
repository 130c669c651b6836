"""Minima: deterministic full-batch descent ends where scikit-learn's solvers do.

Where scikit-learn has no such solver, scipy finds the reference. Both points are
judged by our objective.
"""

import warnings

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from sklearn.svm import LinearSVC

from mpipgd.objectives.linear import Linear
from mpipgd.objectives.losses import LOSSES

from ..problems import STRENGTHS, linear, problem

N, D = 40, 5
CURVATURE = {"squared": 1, "huber": 1, "log": 0.25, "squared_hinge": 2, "softmax": 0.5}


def strengths(penalty):
    """Return (alpha, l1_ratio) whose shares are the l2 and l1 of the problems."""
    l2, l1 = (STRENGTHS[penalty].get(kind, 0.0) for kind in ("l2", "l1"))
    alpha = l2 + l1
    return alpha, l1 / alpha if alpha else 0.0


def value(objective, w, X, y):
    return objective.evaluate(w, X, y)[0] / len(y) + objective.penalty(w)


def repeated(objective, X, y, rates, w):
    """Descend with all rows in every step, in place, and return `w`."""
    chunk, n = 1000, len(y)
    order, cuts = np.tile(np.arange(n), chunk), n * np.arange(chunk + 1)
    for lo in range(0, len(rates), chunk):
        objective.sgd_steps(w, X, y, order, cuts, rates[lo : lo + chunk])
    return w


def descended(objective, X, y):
    """Return the weights after many steps at a rate that suits the loss.

    Smooth losses take 1 / L. Hinge takes rates that fall by a factor a step: its
    minimum is a sharp corner, so that the distance falls as fast.
    """
    w = np.zeros(objective.size)
    if objective.loss != "hinge":
        lipschitz = np.linalg.eigvalsh(X.T @ X / len(y))[-1]
        lipschitz = lipschitz * CURVATURE[objective.loss] + objective.l2
        return repeated(objective, X, y, np.full(20_000, 1 / lipschitz), w)
    return repeated(objective, X, y, np.geomspace(5, 1e-7, 200_000), w)


def squared(X, y, alpha, ratio):
    tight = {"tol": 1e-12, "max_iter": 100_000}
    if alpha == 0:
        return LinearRegression().fit(X, y)
    if ratio == 0:
        return Ridge(alpha=len(y) * alpha).fit(X, y)
    if ratio == 1:
        return Lasso(alpha=alpha, **tight).fit(X, y)
    return ElasticNet(alpha=alpha, l1_ratio=ratio, **tight).fit(X, y)


def logistic(X, y, alpha, ratio):
    C = 1 / (len(y) * alpha) if alpha else np.inf
    solver = "saga" if ratio else "lbfgs"
    tight = {"tol": 1e-10, "max_iter": 50_000, "random_state": 0}
    return LogisticRegression(C=C, l1_ratio=ratio, solver=solver, **tight).fit(X, y)


def margin(loss):
    def solve(X, y, alpha, ratio):
        l1 = {"penalty": "l1", "dual": False} if ratio else {"dual": loss == "hinge"}
        tight = {"tol": 1e-9, "max_iter": 1_000_000, "random_state": 0}
        C = 1 / (len(y) * alpha)
        return LinearSVC(C=C, loss=loss, fit_intercept=False, **l1, **tight).fit(X, y)

    return solve


SCIKIT_LEARN = {
    "squared": (squared, STRENGTHS),
    "log": (logistic, STRENGTHS),
    "softmax": (logistic, STRENGTHS),
    "squared_hinge": (margin("squared_hinge"), ("l2", "l1")),
    "hinge": (margin("hinge"), ("l2",)),
}


def scikit_learn(objective, penalty, X, y):
    """Return scikit-learn's weights, in our flat order."""
    solver, _ = SCIKIT_LEARN[objective.loss]
    features = X[:, :D] if objective.intercept else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = solver(features, y, *strengths(penalty))
    parts = [np.atleast_2d(model.coef_).T]
    if objective.intercept:
        parts.append(np.atleast_2d(model.intercept_))
    return np.concatenate(parts).ravel()


def smooth_by_scipy(objective, X, y):
    """Return the minimum by L-BFGS-B over w = plus - minus, where ‖w‖₁ is linear."""
    size = objective.size
    alpha, beta = (np.zeros(size) if s is None else s for s in
                   (objective.l2_weights, objective.l1_weights))  # fmt: skip

    def function(parts):
        plus, minus = parts[:size], parts[size:]
        w, g = plus - minus, np.empty(size)
        total = objective.gradient(w, X, y, None, g)
        g = g / len(y) + alpha * w
        loss = total / len(y) + 0.5 * alpha @ (w * w) + beta @ (plus + minus)
        return loss, np.concatenate([g + beta, beta - g])

    exact = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000, "maxfun": 100_000}
    found = minimize(function, np.zeros(2 * size), jac=True, method="L-BFGS-B",
                     bounds=[(0, None)] * (2 * size), options=exact)  # fmt: skip
    return found.x[:size] - found.x[size:]


def hinge_constraints(X, y):
    """Return G with G (plus, minus, slack) ≥ 1: each row's slack covers its loss."""
    signed = y[:, None] * X
    return np.hstack([signed, -signed, np.eye(len(y))])


def hinge_by_scipy(objective, X, y):
    """Return the minimum of the hinge loss as a linear, or a quadratic, programme."""
    size, n = objective.size, len(y)
    alpha, beta = (np.zeros(size) if s is None else s for s in
                   (objective.l2_weights, objective.l1_weights))  # fmt: skip
    cost, G = np.concatenate([beta, beta, np.full(n, 1 / n)]), hinge_constraints(X, y)
    start = linprog(cost, A_ub=-G, b_ub=-np.ones(n), bounds=(0, None)).x
    if alpha.any():
        w = lambda v: v[:size] - v[size : 2 * size]  # noqa: E731
        slope = lambda v: alpha * w(v)  # noqa: E731
        start = minimize(
            lambda v: cost @ v + 0.5 * alpha @ w(v) ** 2,
            start,
            jac=lambda v: cost + np.concatenate([slope(v), -slope(v), np.zeros(n)]),
            method="SLSQP",
            bounds=[(0, None)] * cost.size,
            constraints={"type": "ineq", "fun": lambda v: G @ v - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        ).x
    return start[:size] - start[size : 2 * size]


def reference(objective, penalty, X, y):
    """Return the weights of the best solver there is for this loss and penalty."""
    if penalty in SCIKIT_LEARN.get(objective.loss, (None, ()))[1]:
        return scikit_learn(objective, penalty, X, y)
    if objective.loss == "hinge":
        return hinge_by_scipy(objective, X, y)
    return smooth_by_scipy(objective, X, y)


@pytest.mark.parametrize("penalty", STRENGTHS)
@pytest.mark.parametrize("loss", LOSSES)
def test_minimum_is_the_reference_solvers(loss, penalty):
    X, y = problem(loss, n=N, d=D)
    objective = linear(loss, penalty, compiled=True, n_features=D)
    if loss in ("hinge", "squared_hinge"):  # LinearSVC would penalise an intercept
        objective = Linear(
            D + 1, 1, loss=loss, intercept=False, compiled=True, **STRENGTHS[penalty]
        )
    best = value(objective, reference(objective, penalty, X, y), X, y)
    ours = value(objective, descended(objective, X, y), X, y)
    assert ours <= best * (1 + 1e-6)
    assert best <= ours * (1 + 1e-5), "the reference solver stopped too early"
